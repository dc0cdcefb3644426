"""`model train`: data and params.yaml in, a content-addressed model directory out."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlrelease.errors import InputError, RefusedError
from mlrelease.evaluation.fair import MIN_ROWS
from mlrelease.files import canonical_json, read_json
from mlrelease.output import write
from mlrelease.params import Params
from mlrelease.scoring.candidate_lock import INPUTS, INPUTS_OURS, temporary_beside, writing
from mlrelease.training.inputs import input_key as input_key, libraries

if TYPE_CHECKING:
    import pandas as pd

    from mlrelease.scoring.features import Signature

MAX_ROWS = 10_000  # of the fitted rows that parity is shown on


@dataclass(frozen=True)
class Candidate:
    """What `candidate/` holds: a model, the rows it was not shown, and what made it."""

    key: str
    model: str
    train: str
    holdout: str
    fitted: str | None = None  # candidates of earlier versions have none

    def write(self, directory: Path) -> None:
        write(directory / INPUTS, canonical_json(self.__dict__), INPUTS_OURS)

    @classmethod
    def read(cls, directory: Path) -> "Candidate":
        path = directory / INPUTS
        if not path.exists():
            raise InputError(f"{directory}: holds no candidate; run `model train`")
        try:
            return msgspec.convert(read_json(path), cls)
        except msgspec.ValidationError as error:
            raise InputError(f"{path}: {error}; run `model train --force`") from None

    def check(self, directory: Path) -> None:
        """See that `directory` holds the model and the rows that this names, whole.

        Raises:
            RefusedError: It does not: a training was killed, goes on, or somebody was there.
        """
        from mlrelease.scoring.artifact import check_digest, whole
        from mlrelease.scoring.contents import read

        whole(read(directory / "model", self.model))
        check_digest(directory / "holdout", self.holdout)
        if self.fitted:
            check_digest(directory / "fitted", self.fitted)


def train(params: Params, root: Path, directory: Path) -> Candidate:
    """Fit on all rows that are not held out; write `directory/model`, `directory/holdout`, and
    hashes of the fitted rows, `directory/fitted`.

    Raises:
        RefusedError: Rows break the schema, another training goes on, or somebody's file is in the
            way; nothing is written.
        InputError: Too few rows, one class only, or a parameter that the estimator refuses.
    """
    from mlrelease.scoring.artifact import refuse_strangers

    refuse_strangers(directory)
    with writing(directory):
        return _train(params, root, directory)


def _train(params: Params, root: Path, directory: Path) -> Candidate:
    import pandas as pd

    from mlrelease.scoring.artifact import Model, ModelCard, replace_directory, write_model
    from mlrelease.scoring.features import to_frame
    from mlrelease.training import split
    from mlrelease.training.export import served_by
    from mlrelease.training.profiles import Profile, profile
    from mlrelease.training.synthetic import golden_requests

    key = input_key(params, root)
    fit_rows, holdout, copies = divide(params, root)
    if len(fit_rows) < MIN_ROWS or len(holdout) < MIN_ROWS:
        raise InputError(
            f"{params.data.source}: {len(fit_rows)} rows to train on and {len(holdout)} held out;"
            f" both need at least {MIN_ROWS}"
            + (f" ({copies} more are copies of rows to train on)" if copies else "")
        )
    signature, estimator, inputs = fit(params, root, fit_rows)  # the holdout is not known to it
    new = {name: temporary_beside(directory / name) for name in ("holdout", "fitted")}
    data = write_rows(params, fit_rows, holdout, new)
    card = ModelCard(
        signature=signature,
        estimator=params.model.estimator,
        parameters=params.model.parameters,
        split=split.facts(params),
        rows={"train": len(fit_rows), "holdout": len(holdout), "copies": copies},
        libraries=libraries(root),
        seed=params.seed,
        data=data,
    )
    model = Model(card, estimator)
    shown = to_frame(pd.concat([fit_rows.head(MAX_ROWS), holdout]), signature.columns)
    card, runtime, onnx = served_by(model, shown)
    reference = profile(inputs, signature.columns, model.scores(inputs))
    told = msgspec.convert(reference, Profile)
    golden = golden_requests(signature, runtime, told, inputs, params.seed)
    if input_key(params, root) != key:
        raise RefusedError(
            "the rows, the code or the libraries changed during the training; nothing was kept:"
            " run `model train` again"
        )
    digest = write_model(directory / "model", card, estimator, reference, golden, onnx)
    for name, place in new.items():
        replace_directory(place, directory / name)
    candidate = Candidate(key, digest, **data)
    candidate.write(directory)
    return candidate


def fit(params: Params, root: Path, rows: "pd.DataFrame") -> "tuple[Signature, Any, pd.DataFrame]":
    """Fit the project's estimator on rows that were checked and typed: what the model takes and
    gives, the estimator, and the frame that it was fitted on.

    Raises:
        InputError: One class only, or the estimator takes no such rows or parameters.
    """
    from sklearn.utils._param_validation import InvalidParameterError

    from mlrelease import project
    from mlrelease.scoring.features import Signature, category_texts, to_frame
    from mlrelease.training import schema

    columns = schema.columns(rows, params)
    target = rows[params.data.target]
    classes: tuple[str, ...] = ()
    if params.task == "classification":
        names = sorted(set(category_texts(target)))
        if len(names) < 2:
            raise InputError(f"{params.data.target}: all training rows are of one class")
        positive = params.data.positive or names[1]
        classes = (next(name for name in names if name != positive), positive)
        target = (category_texts(target) == positive).astype(int)
    signature = Signature(params.task, columns, params.data.target, classes, params.model.threshold)
    with project.faults(root):
        estimator = project.find(root).build(params, columns)
    inputs = to_frame(rows, columns)
    try:
        with project.faults(root):
            estimator.fit(inputs, target)
    except InvalidParameterError as error:  # it quotes a parameter, and no row
        raise InputError(f"params.yaml: model.parameters: {' '.join(str(error).split())}") from None
    except ValueError as error:
        said = "its words may quote a row: `data.public: true` shows them"
        said = " ".join(str(error).split()) if params.data.public else said
        raise InputError(f"{params.model.estimator} does not take these rows: {said}") from None
    return signature, estimator, inputs


def divide(params: Params, root: Path) -> "tuple[pd.DataFrame, pd.DataFrame, int]":
    """The rows to fit on, checked and typed, index 0..n-1; those that are held out; and how many
    more would be, but are copies of rows to fit on.

    Raises:
        RefusedError: Rows break the schema.
    """
    from mlrelease.training import schema, split

    frame = schema.checked(params, root)
    held_out = split.holdout_mask(frame, params)
    fit_rows, holdout = frame[~held_out].reset_index(drop=True), frame[held_out]
    copies = split.copies(holdout, fit_rows, params)
    return fit_rows, holdout[~copies], int(copies.sum())


def write_rows(
    params: Params, fit_rows: "pd.DataFrame", holdout: "pd.DataFrame", places: dict[str, Path]
) -> dict[str, str]:
    """Write the rows that are held out, and hashes of those to fit on; the digests of all."""
    from mlrelease.evaluation import fitted
    from mlrelease.scoring.artifact import digest_of
    from mlrelease.training import split

    names, exact = fitted.columns(fit_rows, params), fitted.naming(split.facts(params))
    hashes = fitted.hashed(fit_rows, names, exact)
    for name, table in (("holdout", holdout), ("fitted", hashes)):
        places[name].mkdir(parents=True)
        table.to_parquet(places[name] / f"{name}.parquet", index=False)
    return {"train": split.digest(fit_rows)} | {n: digest_of(p) for n, p in places.items()}


def add_rows(params: Params, root: Path, directory: Path) -> None:
    """Write the rows of a candidate again. The job that trains hands none on, because everybody can
    read what jobs of a public repository hand on; the job that packages reads them itself."""
    from mlrelease.scoring.artifact import refuse_strangers, replace_directory

    refuse_strangers(directory)
    new = {name: temporary_beside(directory / name) for name in ("holdout", "fitted")}
    fit_rows, holdout, _ = divide(params, root)
    write_rows(params, fit_rows, holdout, new)
    for name, place in new.items():
        replace_directory(place, directory / name)


def read_holdout(directory: Path, digest: str | None = None) -> "pd.DataFrame":
    """The rows that were held out, as `train` wrote them; index 0..n-1.

    Raises:
        RefusedError: The directory has another digest, when one is given.
        InputError: It holds no rows.
    """
    import pandas as pd

    from mlrelease.scoring.contents import read

    return pd.read_parquet(io.BytesIO(read(directory, digest)["holdout.parquet"]))
