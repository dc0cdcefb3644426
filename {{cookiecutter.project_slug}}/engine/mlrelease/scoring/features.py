"""Typed columns, built in one place for training, batch and service.

Numbers are float32 with NaN where missing, so that every runtime sees the same values; categories
are text with "" where missing. The service builds them without pandas, which its image has not.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
import numpy as np

from mlrelease.scoring.times import plain_time

if TYPE_CHECKING:
    import pandas as pd

FLOAT32_MAX = float(np.finfo(np.float32).max)
MISSING, NO_NUMBER = "is missing", "is not a number"  # why a value is refused
UNKNOWN_CATEGORY = "is no known category"
_FLOATS = (np.float16, np.float32, np.float64)  # where NaN is missing, and nothing else


class Column(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input of the model; `categories` is sorted and empty for numbers."""

    name: str
    type: Literal["number", "category"]
    nullable: bool = False
    categories: tuple[str, ...] = ()


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What goes in and what comes out. `classes` is (negative, positive), empty for regression."""

    task: Literal["classification", "regression"]
    columns: tuple[Column, ...]
    target: str
    classes: tuple[str, ...] = ()
    threshold: float = 0.5

    @property
    def limit(self) -> float:
        """The least score of the positive class. Below the threshold by more than float32 loses, so
        that a tie, five trees of ten, is the same decision in every runtime."""
        return self.threshold - 1e-6

    def names(self) -> tuple[list[str], list[str]]:
        """The names of its numbers, and those of its categories, in the order of `Inputs`."""
        kinds = ("number", "category")
        numbers, texts = ([c.name for c in self.columns if c.type == kind] for kind in kinds)
        return numbers, texts

    def answers(self, scores: np.ndarray) -> list[dict[str, Any]]:
        """What a caller gets for each score: label and probability, or value."""
        if self.task == "regression":
            return [{"value": score} for score in scores.tolist()]
        (negative, positive), limit = self.classes, self.limit
        return [
            {"label": positive if score >= limit else negative, "probability": score}
            for score in scores.tolist()
        ]


class Inputs(NamedTuple):
    """What a runtime takes: `numbers` float32 (n, k) and `categories`, text as objects (n, m)."""

    numbers: np.ndarray
    categories: np.ndarray


class Fault(msgspec.Struct, frozen=True):
    """One bad value. `row` counts from 0; None stands for the whole column or table."""

    row: int | None
    column: str
    message: str


class InvalidRowsError(ValueError):
    """Values that cannot become typed columns; `faults` names each by row and column."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(f"{len(faults)} invalid values")
        self.faults = tuple(faults)


def category_text(value: Any) -> str:
    """One category as text: missing is "", 1.0 is "1", a midnight is a day, so that a column reads
    the same from CSV, Parquet and JSON whether or not some of its values are missing."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return ""
    if isinstance(value, float) and value != value:
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return plain_time(str(value)) if isinstance(value, dt.datetime) else str(value)


def category_texts(values: "Sequence[Any] | pd.Series") -> np.ndarray:
    """Categories of shape (n,) as an object array of text; each distinct value is converted
    once."""
    import pandas as pd

    series = values if isinstance(values, pd.Series) else pd.Series(list(values), dtype=object)
    if series.dtype == object and pd.api.types.infer_dtype(series) not in ("string", "empty"):
        plain = [str(v) if isinstance(v, bool | np.bool_) else v for v in series]  # True is not 1
        series = pd.Series(plain, dtype=object)
    codes, distinct = pd.factorize(series, use_na_sentinel=True)
    texts = np.array([*(category_text(value) for value in distinct), ""], dtype=object)
    return texts[codes]  # code -1 (missing) is the last entry


def numbers(values: "Sequence[Any] | pd.Series", column: str) -> np.ndarray:
    """Numbers of shape (n,) as float32, NaN where missing.

    Raises:
        InvalidRowsError: A value is not a number, or does not fit float32.
    """
    found, bad = parsed_numbers(values)
    if bad.any():
        raise InvalidRowsError([Fault(int(row), column, NO_NUMBER) for row in np.flatnonzero(bad)])
    return found


def parsed_numbers(values: "Sequence[Any] | pd.Series | np.ndarray") -> tuple[np.ndarray, ...]:
    """Numbers of shape (n,) as float32, NaN where missing or bad, and which are bad: not a number,
    or beyond float32."""
    import pandas as pd

    if isinstance(values, pd.Series | np.ndarray):
        plain = values.dtype.kind in "fiu"
    else:
        plain = all(value is None or isinstance(value, int | float) for value in values)
    try:  # the quick way, for what cannot hide a text
        wide = np.asarray(values, dtype=np.float64) if plain else _parsed(values)
    except OverflowError:
        wide = _parsed(values)
    bad = np.abs(wide) > FLOAT32_MAX
    if getattr(values, "dtype", None) not in _FLOATS and np.isnan(wide).any():
        bad |= np.isnan(wide) & pd.Series(values).notna().to_numpy()
    return np.where(bad, np.nan, wide).astype(np.float32), bad


def _parsed(values: "Sequence[Any] | pd.Series | np.ndarray") -> np.ndarray:
    import pandas as pd

    given = pd.Series(values)
    found = pd.to_numeric(given, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(given.isna(), np.nan, found)  # a missing time would be the smallest integer


def to_frame(
    table: "pd.DataFrame | Mapping[str, Sequence[Any]]", columns: Sequence[Column]
) -> "pd.DataFrame":
    """The model's input: one typed column per entry of `columns`, in that order, index 0..n-1.

    Raises:
        InvalidRowsError: A column is missing, or a value does not fit its type. Unknown categories
            pass: whether they are refused is for the caller to say.
    """
    import pandas as pd

    missing = [Fault(None, c.name, "is missing") for c in columns if c.name not in table]
    if missing:
        raise InvalidRowsError(missing)
    typed: dict[str, np.ndarray] = {}
    faults: list[Fault] = []
    for column in columns:
        try:
            values = table[column.name]
            if column.type == "number":
                typed[column.name] = numbers(values, column.name)
            else:
                typed[column.name] = category_texts(values)
        except InvalidRowsError as error:
            faults += error.faults
    if faults:
        raise InvalidRowsError(faults)
    # Objects as Series: pandas would make them its own text type, and turn "" into nothing.
    return pd.DataFrame(
        {n: a if a.dtype == np.float32 else pd.Series(a, dtype=object) for n, a in typed.items()}
    )


def to_inputs(frame: "pd.DataFrame", signature: Signature) -> Inputs:
    """What `to_frame` made, as a runtime takes it."""
    names, texts = signature.names()
    return Inputs(frame[names].to_numpy(dtype=np.float32), frame[texts].to_numpy(dtype=object))


def from_inputs(inputs: Inputs, signature: Signature) -> "pd.DataFrame":
    """What `to_frame` would have made."""
    import pandas as pd

    names, texts = signature.names()
    table: dict[str, Any] = dict(zip(names, inputs.numbers.T, strict=True))
    for name, values in zip(texts, inputs.categories.T, strict=True):
        table[name] = pd.Series(values, dtype=object)
    return pd.DataFrame({column.name: table[column.name] for column in signature.columns})


def refused(frame: "pd.DataFrame", signature: Signature) -> list[Fault]:
    """What a service refuses in typed columns: categories that training never saw, and values
    missing where none was missing in training."""
    faults = []
    for column in signature.columns:
        values = frame[column.name].to_numpy()
        for reason, mask in refusals(values, column):
            faults += [Fault(int(row), column.name, reason) for row in np.flatnonzero(mask)]
    return sorted(faults, key=lambda fault: (fault.row or 0, fault.column))


def refusals(values: np.ndarray, column: Column) -> list[tuple[str, np.ndarray]]:
    """The reasons to refuse typed values of one column, each with a mask of their shape."""
    if column.type == "number":
        missing = np.isnan(values.astype(np.float32))
        return [] if column.nullable else [(MISSING, missing)]
    missing, known = values == "", frozenset(column.categories)
    strange = np.fromiter((value not in known for value in values), bool, len(values)) & ~missing
    found = [] if column.nullable else [(MISSING, missing)]
    return [*found, (UNKNOWN_CATEGORY, strange)]
