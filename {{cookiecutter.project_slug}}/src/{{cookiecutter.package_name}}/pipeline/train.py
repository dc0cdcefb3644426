"""`model train`: data and params.yaml in, a content-addressed model directory out."""

import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..config import Params
from ..errors import InputError
from ..files import canonical_json, read_json, sha256, write_atomically

if TYPE_CHECKING:
    import pandas as pd

# What decides a trained model besides params.yaml and the data; a change of it is a new input.
CODE = (
    "data.py", "schema.py", "features.py", "split.py", "model.py",
    "runtime.py", "pipeline/artifact.py", "pipeline/export.py", "pipeline/parity.py",
    "pipeline/profile.py", "pipeline/synthetic.py", "pipeline/train.py",
)  # fmt: skip
LIBRARIES = (
    "numpy", "onnx", "onnxruntime", "pandas", "protobuf", "scikit-learn", "scipy", "skl2onnx",
    "skops",
)  # fmt: skip
MIN_ROWS, MAX_ROWS = 20, 10_000  # of a part; of the fitted rows that parity is shown on


@dataclass(frozen=True)
class Candidate:
    """What `candidate/` holds: a model, the rows it was not shown, and what made it."""

    key: str
    model: str
    train: str
    holdout: str

    def write(self, directory: Path) -> None:
        write_atomically(directory / "inputs.json", canonical_json(self.__dict__))

    @classmethod
    def read(cls, directory: Path) -> "Candidate":
        path = directory / "inputs.json"
        if not path.exists():
            raise InputError(f"{directory}: holds no candidate; run `model train`")
        try:
            return msgspec.convert(read_json(path), cls)
        except msgspec.ValidationError as error:
            raise InputError(f"{path}: {error}; run `model train --force`") from None


def input_key(params: Params, root: Path) -> str:
    """The digest of everything that decides the model: equal keys, equal models."""
    from ..data import fingerprint  # the user's code: whoever writes to main loads none of it

    package = Path(__file__).parent.parent
    facts = {
        "params": params.model_dump(mode="json", exclude={"slices": True, "data": {"public"}}),
        "data": fingerprint(params, root),
        "code": {name: sha256((package / name).read_bytes()) for name in CODE},
        "libraries": libraries(),
    }
    return sha256(canonical_json(facts).encode())


def libraries() -> dict[str, str]:
    """The versions that decide what a fit gives."""
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def train(params: Params, root: Path, directory: Path) -> Candidate:
    """Fit on all rows that are not held out; write `directory/model` and `directory/holdout`.

    Raises:
        RefusedError: Rows break the schema; nothing is written.
        InputError: Too few rows, one class only, or a parameter that the estimator refuses.
    """
    import pandas as pd

    from .. import schema, split
    from ..features import Signature, category_texts, to_frame
    from ..model import build
    from .artifact import Model, ModelCard, write_model
    from .export import served_by
    from .profile import Profile, profile
    from .synthetic import golden_requests

    frame, fit_rows, holdout = _parts(params, root)
    if len(fit_rows) < MIN_ROWS or len(holdout) < MIN_ROWS:
        raise InputError(
            f"{params.data.source}: {len(fit_rows)} rows to train on and {len(holdout)} held out;"
            f" both need at least {MIN_ROWS}"
        )
    columns = schema.columns(frame, params)
    target = fit_rows[params.data.target]
    classes: tuple[str, ...] = ()
    if params.task == "classification":
        names = sorted(set(category_texts(target)))
        if len(names) < 2:
            raise InputError(f"{params.data.target}: all training rows are {names[0]!r}")
        positive = params.data.positive or names[1]
        classes = (next(name for name in names if name != positive), positive)
        target = (category_texts(target) == positive).astype(int)
    signature = Signature(params.task, columns, params.data.target, classes, params.model.threshold)
    estimator = build(params, columns)
    inputs = to_frame(fit_rows, columns)
    try:
        estimator.fit(inputs, target)
    except ValueError as error:
        raise InputError(f"params.yaml: model.parameters: {' '.join(str(error).split())}") from None
    card = ModelCard(
        signature=signature,
        estimator=params.model.estimator,
        parameters=params.model.parameters,
        split=params.split.model_dump(mode="json") | {"key": list(params.data.key)},
        rows={"train": len(fit_rows), "holdout": len(holdout)},
        libraries=libraries(),
        seed=params.seed,
    )
    model = Model(card, estimator)
    shown = to_frame(pd.concat([fit_rows.head(MAX_ROWS), holdout]), columns)
    card, runtime, onnx = served_by(model, shown)
    reference = profile(inputs, columns, model.scores(inputs))
    told = msgspec.convert(reference, Profile)
    golden = golden_requests(signature, runtime, told, inputs, params.seed)
    digest = write_model(directory / "model", card, estimator, reference, golden, onnx)
    kept = _keep(directory, "holdout", holdout)
    candidate = Candidate(input_key(params, root), digest, split.digest(fit_rows), kept)
    candidate.write(directory)
    return candidate


def write_rows(params: Params, root: Path, directory: Path) -> None:
    """Write the rows of a candidate again. The job that trains hands none on, because everybody can
    read what jobs of a public repository hand on; the job that packages reads them itself."""
    _, _, holdout = _parts(params, root)
    _keep(directory, "holdout", holdout)


def _parts(params: Params, root: Path) -> tuple["pd.DataFrame", "pd.DataFrame", "pd.DataFrame"]:
    """All rows, those to fit on, and those held out."""
    from .. import schema, split

    frame = schema.checked(params, root)
    held_out = split.holdout_mask(frame, params)
    return frame, frame[~held_out].reset_index(drop=True), frame[held_out]


def _keep(directory: Path, name: str, table: "pd.DataFrame") -> str:
    """Write a table as a directory of its own; its digest."""
    from .artifact import digest_of, replace_directory

    temporary = directory / f".{name}.tmp"
    temporary.mkdir(exist_ok=True)
    table.to_parquet(temporary / f"{name}.parquet", index=False)
    replace_directory(temporary, directory / name)
    return digest_of(directory / name)


def read_holdout(directory: Path) -> "pd.DataFrame":
    """The rows that were held out, as `train` wrote them; index 0..n-1."""
    import pandas as pd

    return pd.read_parquet(directory / "holdout.parquet")
