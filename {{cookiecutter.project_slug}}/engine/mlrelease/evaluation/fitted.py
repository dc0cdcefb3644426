"""Which rows a model was fitted on, as hashes of their cells, so that no later model is compared on
them.

The columns that two models have in common tell their rows apart. Whoever knows which values a
column can have can tell them from its hashes: the file is as private as the rows.
"""

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlrelease.errors import InputError
from mlrelease.params import Params
from mlrelease.scoring.contents import read
from mlrelease.scoring.features import category_text
from mlrelease.scoring.times import plain_time

FILE = "fitted.parquet"
EXACT = 2**53  # whole numbers below are what they are in float64
TRUTHS = {"True": "1", "False": "0", "true": "1", "false": "0"}
MIX = np.uint64(0x9E3779B97F4A7C15)


def columns(frame: pd.DataFrame, params: Params) -> list[str]:
    """What tells a row apart: inputs, key, and the group or time of the split."""
    data, kept = params.data, {*params.data.key, params.split.column}
    out = {data.target, *data.drop} - kept
    return [str(name) for name in frame.columns if name not in out]


def key_of(split: Mapping[str, Any]) -> set[str]:
    """The key's columns, by the split of a model card, which may be anybody's."""
    key = split.get("key")
    return set(map(str, key)) if isinstance(key, list) else set()


def naming(split: Mapping[str, Any]) -> set[str]:
    """The columns that only name a row or its group: the same row may get other names."""
    return key_of(split) | ({str(split.get("column"))} if split.get("by") == "group" else set())


def hashed(frame: pd.DataFrame, names: Iterable[str], exact: Collection[str] = ()) -> pd.DataFrame:
    """The hash of each cell, uint32, a column for each name; the same on every machine and for
    good: the rows of every champion are hashed so. Numbers are hashed as models see them, those of
    the `exact` columns, which name rows, as they are."""
    return pd.DataFrame({name: _cells(frame[name], name in exact) for name in names})


def read_fitted(directory: Path, digest: str | None = None) -> pd.DataFrame:
    """The hashes as `model train` wrote them.

    Raises:
        RefusedError: The directory has another digest, when one is given.
        InputError: The file is missing or damaged, or holds anything else.
    """
    content = read(directory, digest)[FILE]
    try:
        table = pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError) as error:  # pyarrow derives its errors from these
        message = " ".join(str(error).split())
        raise InputError(f"{directory / FILE}: cannot be read: {message}") from None
    if not table.columns.is_unique or not all(kind == np.uint32 for kind in table.dtypes):
        raise InputError(f"{directory / FILE}: holds something else than hashes of 32 bits")
    return table


def among(
    rows: pd.DataFrame,
    fitted: pd.DataFrame,
    names: Sequence[str],
    exact: Collection[str] = (),
    *,
    telling: bool = False,
) -> np.ndarray:
    """Which of the raw `rows` are among the fitted ones, equal in these columns; shape (n,). The
    `exact` columns are those that the fitted ones were hashed with.
    `telling`: only those that are told apart by these columns, see `_telling`."""
    mine, known = _rows(hashed(rows, names, exact)), fitted[list(names)]
    theirs = _rows(known)
    return pd.Series(mine).isin(theirs[_telling(known, theirs)] if telling else theirs).to_numpy()


def _rows(table: pd.DataFrame) -> np.ndarray:
    """One number for each row of hashes, uint64."""
    total = np.zeros(len(table), dtype=np.uint64)
    for name in table:
        total = total * MIX + table[name].to_numpy().astype(np.uint64)  # wraps around
    return total


def _telling(table: pd.DataFrame, rows: np.ndarray) -> np.ndarray:
    """Which rows no other is taken for, shape (n,): there once, or copies of a row that has a value
    of its own, or that is like no other in all columns but one. Where columns have few values, rows
    that have nothing in common look alike."""
    numbers = pd.Series(rows)
    once = ~numbers.duplicated(keep=False).to_numpy()
    if once.all():
        return once
    first = ~numbers.duplicated().to_numpy()
    own, alone, weight = np.zeros(first.sum(), bool), np.ones(first.sum(), bool), 1
    for name in reversed(list(table)):
        cells = table[name].to_numpy()[first].astype(np.uint64)
        own |= ~pd.Series(cells).duplicated(keep=False).to_numpy()
        others = rows[first] - cells * np.uint64(weight)  # the row without this cell, see `_rows`
        alone &= ~pd.Series(others).duplicated(keep=False).to_numpy()
        weight = weight * int(MIX) % 2**64
    own &= len(table.columns) > 1
    return once | numbers.isin(rows[first][own | alone]).to_numpy()


def _cells(values: pd.Series, exact: bool) -> np.ndarray:
    """Equal hashes for equal values, whatever the column's type: 1, 1.0 and "1"; nothing and "";
    a time as text and as a time."""
    if pd.api.types.is_numeric_dtype(values):
        return _numbers(values.to_numpy(dtype=np.float64, na_value=np.nan), exact)
    codes, distinct = pd.factorize(values, use_na_sentinel=True)
    spelled = [plain_time(category_text(value)).removesuffix(" 00:00:00") for value in distinct]
    texts = pd.Series([*spelled, ""], dtype=object)
    numbers = pd.to_numeric(texts.replace(TRUTHS), errors="coerce").to_numpy(
        dtype=np.float64, na_value=np.nan
    )
    plain = np.isnan(numbers) & (texts != "").to_numpy()
    if exact:  # digits of a long number are its name
        plain |= np.abs(numbers) >= EXACT
    found = np.where(plain, _hash(texts.to_numpy(dtype=object)), _numbers(numbers, exact))
    return found[codes]  # code -1 (missing) is the last entry


def _numbers(values: np.ndarray, exact: bool) -> np.ndarray:
    """Numbers as float32, as models see them: the same from CSV and from a file of float32. Whole
    ones that are `exact` stay what they are, as numbers of orders and customers must."""
    with np.errstate(over="ignore"):
        seen = values.astype(np.float32).astype(np.float64)
    if exact:
        seen = np.where(values == np.floor(values), values, seen)
    return _hash(np.where(np.isnan(seen), np.nan, seen + 0.0))  # -0.0 is 0.0


def _hash(values: np.ndarray) -> np.ndarray:
    return (pd.util.hash_array(values, categorize=False) >> np.uint64(32)).astype(np.uint32)
