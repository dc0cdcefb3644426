"""Which rows are held out: by a hash, so that adding rows moves no old row to the other side."""

import numpy as np
import pandas as pd

from mlrelease.errors import InputError
from mlrelease.files import canonical_json, sha256
from mlrelease.params import Params

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
        days = pd.to_datetime(frame[str(split.column)], errors="coerce", utc=True)
        if days.isna().any():
            row = int(np.flatnonzero(days.isna())[0])
            raise InputError(f"row {row}, column {split.column!r}: cannot be read as a date")
        return (days >= pd.Timestamp(split.holdout_from, tz="UTC")).to_numpy()  # type: ignore[arg-type]  # checked by Split
    inputs = [c for c in frame.columns if c != data.target and c not in data.drop]
    names = [str(split.column)] if split.by == "group" else list(data.key) or inputs
    share = split.holdout or DEFAULT_HOLDOUT
    return row_hashes(frame[names]) < np.uint64(int(share * 2**64))


def row_hashes(frame: pd.DataFrame) -> np.ndarray:
    """A hash of each row's values, shape (n,), uint64; the same on every machine and every day."""
    plain = {
        name: series.astype("float64") + 0.0  # -0.0 and 0.0, 1 and 1.0 are the same value
        if pd.api.types.is_numeric_dtype(series)
        else series.astype(object).where(series.notna(), "").map(str)
        for name, series in frame.items()
    }
    return pd.util.hash_pandas_object(pd.DataFrame(plain), index=False).to_numpy()


def digest(frame: pd.DataFrame) -> str:
    """The digest of a table's content: its column names, and its rows in their order."""
    names = canonical_json(list(frame.columns)).encode()
    return sha256(names + row_hashes(frame).astype("<u8").tobytes())
