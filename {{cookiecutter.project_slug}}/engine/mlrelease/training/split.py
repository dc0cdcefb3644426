"""Which rows are held out: by a hash, so that adding rows moves no old row to the other side."""

from typing import Any

import numpy as np
import pandas as pd

from mlrelease.errors import InputError
from mlrelease.evaluation.fitted import among, columns, hashed, naming
from mlrelease.files import canonical_json, sha256
from mlrelease.params import Params
from mlrelease.scoring.features import category_text, category_texts
from mlrelease.scoring.times import plain_time

DEFAULT_HOLDOUT = 0.2


def holdout_mask(frame: pd.DataFrame, params: Params) -> np.ndarray:
    """True for each row that is held out; shape (n,), bool.

    Rows with equal keys, or without a key equal inputs, land on the same side: a duplicate cannot
    leak from training into the holdout.

    Raises:
        InputError: A time cannot be read as a date.
    """
    split, data = params.split, params.data
    if split.by == "time":
        days = moments(frame[str(split.column)])
        if days.isna().any():
            row = int(np.flatnonzero(days.isna())[0])
            raise InputError(f"row {row}, column {split.column!r}: cannot be read as a date")
        return (days >= pd.Timestamp(split.holdout_from, tz="UTC")).to_numpy()  # type: ignore[arg-type]  # checked by Split
    inputs = [c for c in frame.columns if c != data.target and c not in data.drop]
    names = [str(split.column)] if split.by == "group" else list(data.key) or inputs
    share = split.holdout or DEFAULT_HOLDOUT
    plain = pd.DataFrame({name: _plain(frame[name]) for name in names})
    return row_hashes(plain) < np.uint64(int(share * 2**64))


def facts(params: Params) -> dict[str, Any]:
    """What decides the split, for a model card."""
    return params.split.model_dump(mode="json") | {"key": list(params.data.key)}


def copies(held_out: pd.DataFrame, fit_rows: pd.DataFrame, params: Params) -> np.ndarray:
    """Which rows that are held out are copies of rows to fit on as the model sees them: under
    another key or group, or with digits that float32 does not hold; shape (n,). By time there are
    none: what comes again on a later day comes again in production."""
    named = naming(facts(params))
    names = [name for name in columns(fit_rows, params) if name not in named]
    if params.split.by == "time" or not names:
        return np.zeros(len(held_out), dtype=bool)
    return among(held_out, hashed(fit_rows, names), names, telling=bool(named))


def moments(values: pd.Series) -> pd.Series:
    """The times of a column, UTC, whatever it is stored as; NaT for what cannot be read."""
    texts = pd.Series(category_texts(values), index=values.index, dtype=object)
    found = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
    if found.isna().any():  # of another form, then all of one
        found = pd.to_datetime(texts, errors="coerce", utc=True)
    return found


def row_hashes(frame: pd.DataFrame) -> np.ndarray:
    """A hash of each row's values, shape (n,), uint64; the same on every machine and every day."""
    plain = {
        name: series.astype("float64") + 0.0  # -0.0 and 0.0, 1 and 1.0 are the same value
        if pd.api.types.is_numeric_dtype(series)
        else series.astype(object).where(series.notna(), "").map(str)
        for name, series in frame.items()
    }
    return pd.util.hash_pandas_object(pd.DataFrame(plain), index=False).to_numpy()


def _plain(values: pd.Series) -> pd.Series:
    """A column whose times are spelled in one way; numbers as they are."""
    if pd.api.types.is_numeric_dtype(values):
        return values
    codes, distinct = pd.factorize(values, use_na_sentinel=True)
    texts = np.array([*(plain_time(category_text(v)) for v in distinct), ""], dtype=object)
    return pd.Series(texts[codes], index=values.index, dtype=object)  # -1 (missing) is the last


def digest(frame: pd.DataFrame) -> str:
    """The digest of a table's content: its column names, and its rows in their order."""
    names = canonical_json(list(frame.columns)).encode()
    return sha256(names + row_hashes(frame).astype("<u8").tobytes())
