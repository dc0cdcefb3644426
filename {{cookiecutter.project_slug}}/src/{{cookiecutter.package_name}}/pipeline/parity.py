"""Does what serves answer as what was trained, and does the service answer as a batch does?

Conversions can be silently wrong, and only on some rows: so beside the holdout, rows are made with
each column missing in turn, unknown categories, extreme values, and values at the thresholds of
trees. One row that differs is one too many.
"""

import json
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from ..features import FLOAT32_MAX, Inputs, Signature, refused, to_inputs
from ..runtime import OnnxRuntime, Runtime, TrainingRuntime
from ..serving.requests import RequestError, decode
from .artifact import Model
from .evaluation import Parity

TOLERANCE = 1e-5  # of a probability; of values, as a part of the largest one in the rows
ROWS_EACH, THRESHOLDS = 5, 200  # made rows for each column and fault; thresholds that are tried
ONLINE_ROWS = 50
UNKNOWN = "no such category"


def parity(model: Model, served: Runtime, rows: pd.DataFrame) -> Parity:
    """Compare what serves with the training runtime, and the service with a batch.

    `rows` are typed as `to_frame` makes them, at least one.
    """
    told = model.signature
    every = pd.concat([rows, *made(rows, told), *_at_thresholds(rows, told, served)])
    inputs = to_inputs(every, told)
    expected, found = TrainingRuntime(model).scores(inputs), served.scores(inputs)
    apart = np.abs(expected - found)[~np.isnan(expected)]
    largest = float(np.nanmax(np.abs(expected[: len(rows)]), initial=1.0))
    online = pd.concat([rows.head(ONLINE_ROWS), *made(rows.head(1), told)], ignore_index=True)
    return Parity(
        runtime=model.card.runtime,
        not_onnx=model.card.not_onnx,
        rows=len(every),
        different=_different(expected, found, largest, told),
        largest_difference=float(np.max(apart, initial=0.0)),
        online_rows=len(online),
        online_different=_online(served, online, largest, told),
    )


def _different(expected: np.ndarray, found: np.ndarray, largest: float, told: Signature) -> int:
    """How many rows get another answer; those without an answer in training do not count."""
    scale = np.maximum(np.abs(expected), largest) if told.task == "regression" else 1.0
    wrong = ~(np.abs(expected - found) <= TOLERANCE * scale)  # NaN is wrong
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
        largest = min(1e6 * float(np.nanmax(np.abs(rows[column.name]), initial=1.0)), FLOAT32_MAX)
        for value in (np.nan, 0.0, -0.0, 1e-38, largest, -largest):
            yield few.assign(**{column.name: np.float32(value)})


def _at_thresholds(rows: pd.DataFrame, told: Signature, served: Runtime) -> Iterator[pd.DataFrame]:
    """The first row with a number at, just below and just above what a tree compares it with."""
    names, _ = told.names()
    found = served.thresholds() if isinstance(served, OnnxRuntime) else []
    found = [(place, value) for place, value in found if place < len(names)]
    for place, value in found[:: max(1, len(found) // THRESHOLDS)]:
        for way in (-np.inf, value, np.inf):
            near = np.nextafter(np.float32(value), np.float32(way))
            yield rows.head(1).assign(**{names[place]: near})


def _online(served: Runtime, rows: pd.DataFrame, largest: float, told: Signature) -> int:
    """How many rows the service would answer in another way, one by one, than a batch does."""
    faulty = {fault.row for fault in refused(rows, told)}
    batch = served.scores(to_inputs(rows, told))
    different = 0
    for place, row in enumerate(dict(row) for row in rows.to_dict("records")):
        try:
            alone: Inputs | None = decode(request(row), told).inputs
        except RequestError:
            alone = None
        if alone is None or place in faulty:
            different += (alone is None) != (place in faulty)
        else:
            one = slice(place, place + 1)
            different += _different(batch[one], served.scores(alone), largest, told)
    return different


def request(row: Mapping[Hashable, Any]) -> bytes:
    """A typed row as a caller may send it: its columns in another order than the signature's, whole
    numbers without a point, what is missing as null."""
    return json.dumps({str(name): _sent(row[name]) for name in reversed(row)}).encode()


def _sent(value: Any) -> Any:
    if isinstance(value, str):
        return value or None
    number = float(value)
    return None if np.isnan(number) else int(number) if number.is_integer() else number
