"""Does what serves answer as what was trained, and does the service answer as `model predict` does?

Conversions can be silently wrong, and only on some rows: so beside the holdout, rows are made with
each column missing in turn, unknown categories, extreme values, and values at the thresholds of
trees. One row that differs is one too many.
"""

import json
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from mlrelease.evaluation.evaluation import Parity
from mlrelease.scoring.artifact import Model
from mlrelease.scoring.batch import Chunk, score
from mlrelease.scoring.decoder import Decoder
from mlrelease.scoring.features import FLOAT32_MAX, Column, Signature, to_inputs
from mlrelease.scoring.request_rows import RequestError
from mlrelease.scoring.runtime import OnnxRuntime, Runtime, TrainingRuntime

TOLERANCE = 1e-5  # of a probability; of values, as a part of the largest one in the rows
ROWS_EACH, THRESHOLDS = 5, 200  # made rows for each column and fault; thresholds that are tried
ONLINE_ROWS = 50
UNKNOWN = "no such category"


def parity(model: Model, served: Runtime, rows: pd.DataFrame) -> Parity:
    """Compare what serves with the training runtime, and the service with a batch.

    `rows` are typed as `to_frame` makes them, at least one.
    """
    told = model.signature
    thresholds = list(at_thresholds(rows, told, served))
    every = pd.concat([rows, *made(rows, told), *thresholds])
    inputs = to_inputs(every, told)
    expected, found = TrainingRuntime(model).scores(inputs), served.scores(inputs)
    largest = _largest(expected[: len(rows)])
    online = pd.concat([rows.head(ONLINE_ROWS), *made(rows.head(1), told), *thresholds])
    return Parity(
        runtime=model.card.runtime,
        not_onnx=model.card.not_onnx,
        rows=len(every),
        different=_different(expected, found, largest, told),
        largest_difference=_largest(apart(expected, found, largest, told), least=0.0),
        online_rows=len(online),
        online_different=_online(served, online, largest, told),
    )


def apart(expected: np.ndarray, found: np.ndarray, largest: float, told: Signature) -> np.ndarray:
    """How far answers differ: probabilities as they are, values as a part of the largest."""
    scale = np.maximum(np.abs(expected), largest) if told.task == "regression" else 1.0
    apart: np.ndarray = np.abs(expected - found) / scale
    return apart


def _largest(values: np.ndarray, least: float = 1.0) -> float:
    """The largest size of a value that is there."""
    return float(np.abs(values[~np.isnan(values)]).max(initial=least))


def _different(expected: np.ndarray, found: np.ndarray, largest: float, told: Signature) -> int:
    """How many rows get another answer; those without an answer in training do not count."""
    wrong = ~(apart(expected, found, largest, told) <= TOLERANCE)  # NaN is wrong
    if told.task == "classification":
        wrong |= (expected >= told.limit) != (found >= told.limit)
    return int((wrong & ~np.isnan(expected)).sum())


def made(rows: pd.DataFrame, told: Signature) -> Iterator[pd.DataFrame]:
    """Rows that data seldom hold and callers send."""
    few = rows.head(ROWS_EACH)
    for column in told.columns:
        if column.type == "category":
            yield from (few.assign(**{column.name: value}) for value in ("", UNKNOWN))
            continue
        # Not the end of float32: scikit-learn overflows there, and has no answer to be equal to.
        largest = min(1e6 * _largest(rows[column.name].to_numpy()), FLOAT32_MAX)
        for value in (np.nan, 0.0, -0.0, 1e-38, largest, -largest):
            yield few.assign(**{column.name: np.float32(value)})


def at_thresholds(rows: pd.DataFrame, told: Signature, served: Runtime) -> Iterator[pd.DataFrame]:
    """The first row with a number at, just below and just above what a tree compares it with."""
    names, _ = told.names()
    found = served.thresholds() if isinstance(served, OnnxRuntime) else []
    found = [(place, value) for place, value in found if place < len(names)]
    for place, value in found[:: max(1, len(found) // THRESHOLDS)]:
        for way in (-np.inf, value, np.inf):
            near = np.nextafter(np.float32(value), np.float32(way))
            yield rows.head(1).assign(**{names[place]: near})


def _online(served: Runtime, rows: pd.DataFrame, largest: float, told: Signature) -> int:
    """How many rows the service answers in another way, one by one, than a file of them is."""
    decode, different = Decoder(told), 0
    file = pa.table({column.name: _in_file(rows[column.name], column) for column in told.columns})
    scored = score(Chunk(0, file, {}), served, told, csv=False)
    outcomes = scored.select(range(file.num_columns, scored.num_columns)).to_pylist()
    for row, outcome in zip(rows.to_dict("records"), outcomes, strict=True):
        try:
            scores = served.scores(decode(request(row)).inputs)
        except RequestError:
            scores = np.full(1, np.nan)
        answer = told.answers(scores)[0] if np.isfinite(scores[0]) else None
        different += not _alike(answer, outcome, largest)
    return different


def _in_file(values: pd.Series, column: Column) -> pa.Array:
    if column.type == "number":
        return pa.array(values, pa.float64(), from_pandas=True)
    return pa.array([value or None for value in values], pa.string())


def _alike(answer: dict[str, Any] | None, outcome: Mapping[str, Any], largest: float) -> bool:
    """Is it the answer that the row got in a file, or did both refuse it?"""
    if answer is None or outcome["reason"] is not None:
        return answer is None and outcome["reason"] is not None
    *label, number = answer  # "label" and "probability", or "value"
    scale = max(abs(answer[number]), largest) if number == "value" else 1.0
    close = abs(answer[number] - outcome[number]) <= TOLERANCE * scale
    return close and all(answer[name] == outcome[name] for name in label)


def request(row: Mapping[Hashable, Any]) -> bytes:
    """A typed row as a caller may send it: its columns in another order than the signature's, whole
    numbers without a point, what is missing as null."""
    return json.dumps({str(name): _sent(row[name]) for name in reversed(row)}).encode()


def _sent(value: Any) -> Any:
    if isinstance(value, str):
        return value or None
    number = float(value)
    return None if np.isnan(number) else int(number) if number.is_integer() else number
