"""A small real model with every kind of column, and files of rows for it."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dummy import model
from mlrelease.params import Params
from mlrelease.scoring import (
    artifact,
    contents,
    features,
    request_rows as serving_requests,
    runtime,
)
from mlrelease.training import export

COLUMNS = (
    features.Column("age", "number", nullable=True),
    features.Column("income", "number"),
    features.Column("plan", "category", nullable=True, categories=("basic", "plus")),
    features.Column("ward", "category", nullable=False, categories=("1", "2", "3")),
    features.Column("smoker", "category", nullable=True, categories=("False", "True")),
)
ESTIMATORS = {"classification": "logistic_regression", "regression": "ridge"}


def table(rows: int, seed: int = 0) -> pd.DataFrame:
    """Rows that the model answers, and an `id` that it does not know."""
    random = np.random.default_rng(seed)
    texts = {c.name: np.array(c.categories, dtype=object) for c in COLUMNS if c.categories}
    frame = pd.DataFrame(
        {
            "id": np.arange(rows),
            "age": random.integers(18, 90, rows).astype(float),
            "income": random.normal(3000, 800, rows).round(2),
            "plan": random.choice(texts["plan"], rows),
            "ward": random.integers(1, 4, rows),
            "smoker": random.random(rows) < 0.5,
        }
    )
    frame.loc[random.random(rows) < 0.1, "age"] = None
    frame.loc[random.random(rows) < 0.1, "plan"] = None
    return frame


def fit(
    directory: Path,
    task: str = "classification",
    scale: float = 1.0,
    classes: tuple[str, ...] = ("stays", "leaves"),
) -> Path:
    """A model directory, as `model train` writes it."""
    rows = table(400)
    typed = features.to_frame(rows, COLUMNS)
    truth = (rows["income"] + rows["age"].fillna(50) * (rows["plan"] == "plus") * 20) * scale
    if task == "classification":
        truth = (truth > 3300).astype(int)
    params = Params.model_validate(
        {
            "task": task,
            "data": {"source": "rows.csv", "target": "y"},
            "model": {"estimator": ESTIMATORS[task], "parameters": {}},
        }
    )
    fitted = model.build(params, COLUMNS).fit(typed, truth)
    card = artifact.ModelCard(
        signature=features.Signature(
            task,  # type: ignore[arg-type]
            COLUMNS,
            "y",
            classes if task == "classification" else (),
        ),
        estimator=ESTIMATORS[task],
        parameters={},
        split={},
        rows={},
        libraries={},
        seed=0,
    )
    card, _, graph = export.served_by(artifact.Model(card, fitted), typed)
    assert graph is not None
    artifact.write_model(directory, card, fitted, {}, [], graph)
    return directory


def service_answer(directory: Path, row: Mapping[Any, Any]) -> dict[str, Any] | str:
    """What the service answers to one row, or the reason why it refuses it."""
    loaded = contents.read(directory)
    card = artifact.read_card(loaded)
    names = [column.name for column in COLUMNS]
    body = json.dumps({name: _json(row[name]) for name in names})
    try:
        asked = serving_requests.decode(body.encode(), card.signature)
    except serving_requests.RequestError as error:
        return str(error)
    scores = runtime.load(loaded, card).scores(asked.inputs)
    if math.isnan(scores[0]):
        return "no finite score"
    return card.signature.answers(scores)[0]


def _json(value: Any) -> Any:
    return None if value is None or value != value else getattr(value, "item", lambda: value)()
