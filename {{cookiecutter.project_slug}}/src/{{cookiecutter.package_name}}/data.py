"""Yours: where rows come from. Add a source by adding a branch to `load`; describe what a valid row
is in params.yaml, `data.columns`."""

from pathlib import Path

import pandas as pd

from .config import Params
from .errors import InputError
from .files import TABLES, sha256

SKLEARN_SOURCES = ("breast_cancer", "diabetes")
LFS_POINTER = b"version https://git-lfs.github.com/spec/"


def load(params: Params, root: Path) -> pd.DataFrame:
    """All rows of the source, as they are there, index 0..n-1.

    Raises:
        InputError: The source is unknown, missing, damaged or empty.
    """
    source = params.data.source
    scheme, _, name = source.partition(":")
    if scheme == "sklearn":
        return _load_sklearn(name)
    if scheme == source and Path(source).suffix not in TABLES:
        raise InputError(
            f"params.yaml: data.source: {source!r} is neither sklearn:NAME nor a path to a"
            " .csv or .parquet file"
        )
    return read_table(root / source)


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


def fingerprint(params: Params, root: Path) -> str:
    """What changes whenever the source's content does; cheap, because nothing is parsed."""
    source = params.data.source
    if source.startswith("sklearn:"):
        from importlib.metadata import version

        return f"{source}@{version('scikit-learn')}"
    try:
        return sha256((root / source).read_bytes())
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from None


def _load_sklearn(name: str) -> pd.DataFrame:
    import sklearn.datasets

    if name == "breast_cancer":
        bunch = sklearn.datasets.load_breast_cancer(as_frame=True)
        names = pd.Series(bunch.target_names[bunch.target], dtype=object)
        frame = bunch.data.assign(diagnosis=names)
    elif name == "diabetes":
        bunch = sklearn.datasets.load_diabetes(as_frame=True, scaled=False)
        frame = bunch.data.assign(progression=bunch.target)
    else:
        raise InputError(
            f"params.yaml: data.source: sklearn:{name} is unknown;"
            f" known: {', '.join(SKLEARN_SOURCES)}"
        )
    return pd.DataFrame(frame)
