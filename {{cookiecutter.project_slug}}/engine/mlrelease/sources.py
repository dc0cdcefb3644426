"""Files of rows, as training reads them."""

from pathlib import Path

import pandas as pd

from mlrelease.errors import InputError
from mlrelease.files import TABLES

LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a .csv or .parquet file.

    Raises:
        InputError: It is missing, damaged, empty or of another kind.
    """
    if path.suffix not in TABLES:
        raise InputError(f"{path.name}: is neither .csv nor .parquet")
    try:
        with path.open("rb") as stream:
            if stream.read(len(LFS_POINTER)) == LFS_POINTER:
                raise InputError(f"{path.name}: is a Git LFS pointer; run `git lfs pull`")
        frame = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:  # pandas and pyarrow derive theirs from these
        message = " ".join(str(error).split())
        raise InputError(f"{path.name}: cannot be read: {message}") from None
    if frame.empty:
        raise InputError(f"{path.name}: holds no rows")
    frame.columns = frame.columns.map(str)
    return frame.reset_index(drop=True)
