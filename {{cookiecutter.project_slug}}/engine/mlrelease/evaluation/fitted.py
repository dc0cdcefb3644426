"""Which rows a model was fitted on, as hashes of their cells, so that no later model is compared on
them.

The columns that two models have in common tell their rows apart. Whoever knows which values a
column can have can tell them from its hashes: the file is as private as the rows.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mlrelease.errors import InputError
from mlrelease.params import Params
from mlrelease.scoring.contents import read
from mlrelease.scoring.features import category_text

FILE = "fitted.parquet"
TRUTHS = {"True": "1", "False": "0", "true": "1", "false": "0"}
MIX = np.uint64(0x9E3779B97F4A7C15)


def columns(frame: pd.DataFrame, params: Params) -> list[str]:
    """What tells a row apart: inputs, key, and the group or time of the split."""
    data, kept = params.data, {*params.data.key, params.split.column}
    out = {data.target, *data.drop} - kept
    return [str(name) for name in frame.columns if name not in out]


def hashed(frame: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """The hash of each cell, uint32, a column for each name; the same on every machine and for
    good: the rows of every champion are hashed so."""
    return pd.DataFrame({name: _cells(frame[name]) for name in names})


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
    rows: pd.DataFrame, fitted: pd.DataFrame, names: Sequence[str], *, once: bool = False
) -> np.ndarray:
    """Which of the raw `rows` are among the fitted ones, equal in these columns; shape (n,).
    `once`: only those that are there once, and so are told apart by these columns."""
    mine, theirs = _rows(hashed(rows, names)), pd.Series(_rows(fitted[list(names)]))
    theirs = theirs[~theirs.duplicated(keep=False)] if once else theirs
    return pd.Series(mine).isin(theirs).to_numpy()


def _rows(table: pd.DataFrame) -> np.ndarray:
    """One number for each row of hashes, uint64."""
    total = np.zeros(len(table), dtype=np.uint64)
    for name in table:
        total = total * MIX + table[name].to_numpy().astype(np.uint64)  # wraps around
    return total


def _cells(values: pd.Series) -> np.ndarray:
    """Equal hashes for equal values, whatever the column's type: 1, 1.0 and "1"; nothing and ""."""
    if pd.api.types.is_numeric_dtype(values):
        return _numbers(values.to_numpy(dtype=np.float64, na_value=np.nan))
    codes, distinct = pd.factorize(values, use_na_sentinel=True)
    texts = pd.Series([*map(category_text, distinct), ""], dtype=object)
    texts = texts.str.removesuffix(" 00:00:00")  # a day is a day, as text and as a time
    numbers = pd.to_numeric(texts.replace(TRUTHS), errors="coerce").to_numpy(
        dtype=np.float64, na_value=np.nan
    )
    plain = np.isnan(numbers) & (texts != "").to_numpy()
    found = np.where(plain, _hash(texts.to_numpy(dtype=object)), _numbers(numbers))
    return found[codes]  # code -1 (missing) is the last entry


def _numbers(values: np.ndarray) -> np.ndarray:
    """Fractions as float32, as models see them: the same from CSV and from a file of float32."""
    with np.errstate(over="ignore"):
        short = values.astype(np.float32).astype(np.float64)
    exact = np.where(values == np.floor(values), values, short) + 0.0  # -0.0 is 0.0
    return _hash(np.where(np.isnan(exact), np.nan, exact))


def _hash(values: np.ndarray) -> np.ndarray:
    return (pd.util.hash_array(values, categorize=False) >> np.uint64(32)).astype(np.uint32)
