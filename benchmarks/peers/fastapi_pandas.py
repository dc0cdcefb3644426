"""The usual FastAPI service around a scikit-learn pipeline."""

import os

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel, create_model

pipeline = joblib.load(os.environ["BENCHMARK_PIPELINE"])
kinds = {"number": float, "category": str}
Row: type[BaseModel] = create_model(
    "Row",
    **{name: (kinds[name.split("_")[0]] | None, ...) for name in pipeline.feature_names_in_},
)
app = FastAPI()


class Answer(BaseModel):
    """P(yes)."""

    probability: float


@app.post("/predict")
def predict(row: Row) -> Answer:
    """One row."""
    frame = pd.DataFrame([row.model_dump()])
    return Answer(probability=pipeline.predict_proba(frame)[0, 1])


@app.post("/batch")
def batch(rows: list[Row]) -> list[Answer]:
    """Several rows."""
    frame = pd.DataFrame([row.model_dump() for row in rows])
    return [Answer(probability=score) for score in pipeline.predict_proba(frame)[:, 1]]
