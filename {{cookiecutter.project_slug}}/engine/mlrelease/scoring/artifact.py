"""The model directory: content-addressed, refused when one byte differs, never a pickle."""

import io
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from mlrelease import project
from mlrelease.errors import InputError, RefusedError
from mlrelease.files import canonical_json, write_atomically
from mlrelease.output import claim
from mlrelease.scoring.candidate_lock import INPUTS, INPUTS_OURS, temporary_beside
from mlrelease.scoring.contents import (
    Contents,
    check_digest as check_digest,
    digest_of as digest_of,
    read,
)
from mlrelease.scoring.features import Signature

if TYPE_CHECKING:
    import pandas as pd

ONNX_FILE = "model.onnx"  # not there where ONNX Runtime would give other answers
HOLDOUT_FILES, FITTED_FILES = ("holdout.parquet",), ("fitted.parquet",)
MODEL_FILES = ("golden.json", "model.json", ONNX_FILE, "model.skops", "profile.json")

# The types beyond the default list of skops that a model file may hold, besides the project's own
# and those that it names: what scikit-learn's estimators are made of. Everything else is refused
# before it is built.
TRUSTED_TYPES = (
    "numpy.dtype",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogLink",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn._loss.loss.HalfGammaLoss",
    "sklearn._loss.loss.HalfPoissonLoss",
    "sklearn._loss.loss.HalfSquaredError",
    "sklearn._loss.loss.AbsoluteError",
    "sklearn._loss.loss.PinballLoss",
)


class ModelCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`model.json`: what the model takes and gives, what made it, and what serves it; `not_onnx`
    says why that is not ONNX Runtime."""

    signature: Signature
    estimator: str
    parameters: dict[str, Any]
    split: dict[str, Any]
    rows: dict[str, int]
    libraries: dict[str, str]
    seed: int
    runtime: Literal["onnx", "scikit-learn"] = "scikit-learn"
    not_onnx: str | None = None
    data: dict[str, str] = {}  # digests of the rows: `train`, `holdout`; none before there were any
    schema: int = 1

    def __post_init__(self) -> None:
        if self.runtime == "onnx" and self.not_onnx is not None:
            raise ValueError("says why ONNX Runtime does not serve the model, and that it does")


def whole(files: Contents) -> Contents:
    """What was read of a model directory, when no file is missing.

    Raises:
        RefusedError: It is damaged.
    """
    missing = [name for name in MODEL_FILES if name not in files]
    if missing == [ONNX_FILE] and read_card(files).runtime != "onnx":
        return files
    if missing:
        names = ", ".join(missing)
        raise RefusedError(
            f"{files.directory}: damaged: {names} is missing; run `model train --force`"
        )
    return files


class Model:
    """A model in the runtime that trained it: typed frame in, scores out."""

    def __init__(self, card: ModelCard, estimator: Any) -> None:
        self.card = card
        self.signature = card.signature
        self.estimator = estimator

    @classmethod
    def load(cls, directory: Path, digest: str | None = None) -> "Model":
        """Load a model directory: the bytes that have the digest, when one is given.

        Raises:
            RefusedError: The content has another digest, or holds a type that is not trusted.
            InputError: A file is missing or damaged.
        """
        return cls.of(read(directory, digest))

    @classmethod
    def of(cls, files: Contents) -> "Model":
        """Load what was read of a model directory.

        Raises:
            As `load`.
        """
        card = read_card(files)
        return cls(card, load_estimator(files["model.skops"], files.directory / "model.skops"))

    def scores(self, frame: "pd.DataFrame") -> np.ndarray:
        """Scores of shape (n,), float64: P(positive class), or the predicted value.

        Numbers are widened first. They stay what they are, and linear models multiply in float64:
        in float32, sums differ in the seventh digit from one processor to another.
        """
        narrow = frame.dtypes == np.float32
        frame = frame.astype(dict.fromkeys(frame.columns[narrow], np.float64))
        if self.signature.task == "classification":
            positive = list(self.estimator.classes_).index(1)
            return np.asarray(self.estimator.predict_proba(frame)[:, positive], dtype=np.float64)
        return np.asarray(self.estimator.predict(frame), dtype=np.float64).ravel()


def read_card(files: Contents) -> ModelCard:
    """What `model.json` of a model directory says."""
    try:
        return msgspec.convert(files.json("model.json"), ModelCard)
    except msgspec.ValidationError as error:
        raise InputError(f"{files.directory / 'model.json'}: {error}") from None


def write_model(
    directory: Path,
    card: ModelCard,
    estimator: Any,
    profile: Any,
    golden: list[dict[str, Any]],
    onnx: bytes | None = None,
) -> str:
    """Write a model directory whole or not at all, replacing an earlier one; return its digest."""
    temporary = temporary_beside(directory)
    write_atomically(temporary / "model.json", canonical_json(msgspec.to_builtins(card)))
    write_atomically(temporary / "model.skops", dump_estimator(estimator))
    if onnx is not None:
        write_atomically(temporary / ONNX_FILE, onnx)
    write_atomically(temporary / "profile.json", canonical_json(profile))
    write_atomically(temporary / "golden.json", canonical_json(golden))
    replace_directory(temporary, directory)
    return digest_of(directory)


def refuse_strangers(candidate: Path) -> None:
    """A new candidate replaces what was trained, and nothing else that lies there.

    Raises:
        RefusedError: Something else lies there.
    """
    for name, names in (
        ("model", MODEL_FILES), ("holdout", HOLDOUT_FILES), ("fitted", FITTED_FILES),
    ):  # fmt: skip
        place = candidate / name
        if place.is_symlink():
            raise RefusedError(f"{place}: is a link; make candidate/ itself one, if it must be")
        strange = [place] if place.exists() and not place.is_dir() else []
        strange += [p for p in place.glob("*") if p.name not in names or not p.is_file()]
        for path in strange:
            raise RefusedError(f"{path}: was not written by `model train`; move it away")
    if os.path.lexists(candidate / INPUTS):
        claim(candidate / INPUTS, INPUTS_OURS)


def replace_directory(source: Path, target: Path) -> None:
    """Move `source` to `target`; an older `target` goes away after the new one is whole."""
    old = temporary_beside(target)
    if target.exists():
        os.replace(target, old)
    os.replace(source, target)
    shutil.rmtree(old, ignore_errors=True)


def dump_estimator(estimator: Any) -> bytes:
    """The estimator as skops bytes, equal for equal estimators.

    skops names its members after memory addresses and stamps them with the time; both are replaced.
    """
    import skops.io

    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(estimator))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members.pop("schema.json"))
    numbers: dict[int, int] = {}
    renamed: dict[str, bytes] = {}

    def rename(node: Any) -> None:
        for item in node if isinstance(node, list) else ():
            rename(item)
        for key, value in node.items() if isinstance(node, dict) else ():
            if key == "__id__" and isinstance(value, int):
                node[key] = numbers.setdefault(value, len(numbers))
            elif key == "file" and value in members:
                stem, _, suffix = value.partition(".")
                node[key] = f"{numbers.setdefault(int(stem), len(numbers))}.{suffix}"
                renamed[node[key]] = members[value]
            else:
                rename(value)

    rename(schema)
    renamed["schema.json"] = json.dumps(schema, sort_keys=True).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(renamed):
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(info, renamed[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def load_estimator(content: bytes, path: Path) -> Any:
    """Load the content of a skops file, when every type in it is trusted; `path` is for messages.

    Raises:
        RefusedError: It holds another type: loading it could run somebody's code.
        InputError: It is damaged.
    """
    import skops.io

    try:
        unknown = set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED_TYPES)
        ours = project.trusted(unknown) if unknown else set()
        if unknown - ours:
            names = ", ".join(sorted(unknown - ours))
            raise RefusedError(
                f"{path}: holds types that are not trusted: {names}; if they are good, name them in"
                " `trusted` of src/*/project.py"
            )
        return skops.io.loads(content, trusted=[*TRUSTED_TYPES, *ours])
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be loaded: {error}") from None
