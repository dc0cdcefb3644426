"""FastAPI around the very graph that our service runs: what a careful engineer writes by hand."""

import os
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI
from pydantic import BaseModel, create_model

NUMBERS = [f"number_{i}" for i in range(10)]
CATEGORIES = [f"category_{i}" for i in range(6)]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(os.environ["BENCHMARK_ONNX"], options)
fields: dict[str, Any] = dict.fromkeys(NUMBERS, (float | None, ...))
Row: type[BaseModel] = create_model("Row", **fields, **dict.fromkeys(CATEGORIES, (str | None, ...)))
app = FastAPI()


class Answer(BaseModel):
    """P(yes)."""

    probability: float


def scores(rows: list[Any]) -> list[float]:
    """P(yes) of each row; a missing category is "", as it was in training."""
    inputs = {
        "numbers": np.array([[getattr(r, n) for n in NUMBERS] for r in rows], dtype=np.float32),
        "categories": np.array(
            [[getattr(r, n) or "" for n in CATEGORIES] for r in rows], dtype=object
        ),
    }
    found = session.run(None, inputs)[0]
    return found[:, 1].tolist()


@app.post("/predict")
async def predict(row: Row) -> Answer:
    """One row."""
    return Answer(probability=scores([row])[0])


@app.post("/batch")
async def batch(rows: list[Row]) -> list[Answer]:
    """Several rows."""
    return [Answer(probability=score) for score in scores(rows)]
