"""Small real models on real rows, written as `model train` writes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes

from dummy import model
from mlrelease.evaluation import evaluate, evaluation, fitted, metrics
from mlrelease.params import Params
from mlrelease.scoring import artifact, features
from mlrelease.training import export

HOLDOUT = "sha256:" + "0" * 64
SPLIT = {"by": "row", "holdout": 0.4}
PARITY = {
    "runtime": "onnx", "not_onnx": None, "rows": 300, "different": 0, "largest_difference": 1e-7,
    "online_rows": 60, "online_different": 0,
}  # fmt: skip
ESTIMATORS = {"classification": "logistic_regression", "regression": "ridge"}


class Built(NamedTuple):
    path: Path
    digest: str
    fitted: pd.DataFrame | None = None


def cancer() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to fit on and held-out rows; `clinic` is a category that says nothing."""
    bunch = load_breast_cancer(as_frame=True)
    names = ["mean radius", "mean texture", "mean smoothness", "mean concavity"]
    rows = bunch.data[names].assign(diagnosis=bunch.target_names[bunch.target])
    return _split(rows.assign(clinic=_clinics(len(rows))))


def diabetes() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to fit on and held-out rows."""
    bunch = load_diabetes(as_frame=True, scaled=False)
    rows = bunch.data[["age", "bmi", "bp", "s5"]].assign(progression=bunch.target)
    return _split(rows.assign(clinic=_clinics(len(rows))))


def fit(
    directory: Path,
    rows: pd.DataFrame,
    columns: Sequence[str] = ("mean radius", "mean texture", "mean smoothness", "clinic"),
    target: str = "diagnosis",
    classes: tuple[str, ...] = ("benign", "malignant"),
    threshold: float = 0.5,
    split: dict[str, Any] | None = None,
    estimator: str = "",
    parameters: dict[str, Any] | None = None,
) -> Built:
    """A model directory; without classes the target is a number."""
    task: metrics.Task = "classification" if classes else "regression"
    typed = tuple(
        features.Column(name, "number", nullable=True)
        if pd.api.types.is_numeric_dtype(rows[name])
        else features.Column(name, "category", True, tuple(sorted(set(rows[name].dropna()))))
        for name in columns
    )
    estimator = estimator or ESTIMATORS[task]
    parameters = parameters or {}
    params = Params.model_validate(
        {
            "task": task,
            "data": {"source": "rows.csv", "target": target},
            "model": {"estimator": estimator, "parameters": parameters},
        }
    )
    truth = (rows[target] == classes[1]).astype(int) if classes else rows[target]
    trained = model.build(params, typed).fit(features.to_frame(rows, typed), truth)
    card = artifact.ModelCard(
        signature=features.Signature(task, typed, target, classes, threshold),
        estimator=estimator,
        parameters=parameters,
        split=split or SPLIT,
        rows={"train": len(rows)},
        libraries={},
        seed=0,
    )
    shown = features.to_frame(rows, typed)
    card, _, graph = export.served_by(artifact.Model(card, trained), shown)
    digest = artifact.write_model(directory, card, trained, {}, [], graph)
    return Built(directory, digest, fitted.hashed(rows, rows.columns.drop(target)))


def judge(
    candidate: Built, champion: Built | None, holdout: pd.DataFrame, **options: Any
) -> tuple[evaluation.Evaluation, metrics.Scored]:
    """`evaluate`, with few resamples."""
    return evaluate.evaluate(
        candidate.path,
        champion.path if champion else None,
        holdout,
        candidate_digest=candidate.digest,
        champion_digest=champion.digest if champion else None,
        holdout_digest=HOLDOUT,
        fitted=champion.fitted if champion else None,
        **{"resamples": 200, **options},
    )


def _clinics(n: int) -> np.ndarray:
    return np.random.default_rng(1).choice(np.array(["north", "south", "west"], dtype=object), n)


def _split(rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    chosen = pd.Series(np.random.default_rng(2).random(len(rows)) < 0.4)
    return rows[~chosen].reset_index(drop=True), rows[chosen].reset_index(drop=True)
