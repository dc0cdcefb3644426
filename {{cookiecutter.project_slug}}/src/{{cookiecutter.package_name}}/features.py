"""Typed columns, built in one place for training, batch and service.

Numbers are float32 with NaN where missing, so that every runtime sees the same values; categories
are text with "" where missing.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import pandas as pd

FLOAT32_MAX = float(np.finfo(np.float32).max)


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
    """One category as text: missing is "", 1.0 is "1", so that a column reads the same from
    CSV, Parquet and JSON whether or not some of its values are missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def category_texts(values: Sequence[Any] | pd.Series) -> np.ndarray:
    """Categories of shape (n,) as an object array of text; each distinct value is converted
    once."""
    plain = [str(v) if isinstance(v, bool | np.bool_) else v for v in values]  # True is not 1
    codes, distinct = pd.factorize(pd.Series(plain, dtype=object), use_na_sentinel=True)
    texts = np.array([*(category_text(value) for value in distinct), ""], dtype=object)
    return texts[codes]  # code -1 (missing) is the last entry


def numbers(values: Sequence[Any] | pd.Series, column: str) -> np.ndarray:
    """Numbers of shape (n,) as float32, NaN where missing.

    Raises:
        InvalidRowsError: A value is not a number, or does not fit float32.
    """
    if isinstance(values, pd.Series):
        plain = values.dtype.kind in "fiu"
    else:
        plain = all(value is None or isinstance(value, int | float) for value in values)
    try:  # the quick way, for what cannot hide a text
        wide = np.asarray(values, dtype=np.float64) if plain else _parsed(values)
    except OverflowError:
        wide = _parsed(values)
    bad = np.abs(wide) > FLOAT32_MAX
    if np.isnan(wide).any():
        bad |= np.isnan(wide) & pd.Series(values).notna().to_numpy()
    if bad.any():
        rows, shown = np.flatnonzero(bad), pd.Series(values)
        raise InvalidRowsError(
            [Fault(int(row), column, f"{shown.iloc[row]!r} is not a number") for row in rows]
        )
    return wide.astype(np.float32)


def _parsed(values: Sequence[Any] | pd.Series) -> np.ndarray:
    series = pd.to_numeric(pd.Series(values), errors="coerce")
    return series.to_numpy(dtype=np.float64, na_value=np.nan)


def to_frame(
    table: pd.DataFrame | Mapping[str, Sequence[Any]], columns: Sequence[Column]
) -> pd.DataFrame:
    """The model's input: one typed column per entry of `columns`, in that order, index 0..n-1.

    Raises:
        InvalidRowsError: A column is missing, or a value does not fit its type. Unknown categories
            pass: whether they are refused is for the caller to say.
    """
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
