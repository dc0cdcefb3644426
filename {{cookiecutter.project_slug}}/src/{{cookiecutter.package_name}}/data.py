"""Yours: where rows come from. Add a source by adding a branch to `load`; describe what a valid row
is in params.yaml, `data.columns`.

For rows from a database, for example, let `data.source` be `sql:QUERY.sql`, read them in `load`,
and let `fingerprint` return what changes whenever they do: the name of a snapshot, or the latest
timestamp.
"""

from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from mlrelease import InputError, Params, read_table

SKLEARN_SOURCES = ("breast_cancer", "diabetes")


def load(params: Params, root: Path) -> pd.DataFrame:
    """All rows of the source, as they are there, index 0..n-1.

    Raises:
        InputError: The source is unknown, missing, damaged or empty.
    """
    source = params.data.source
    if source.startswith("sklearn:"):
        return _load_sklearn(source.removeprefix("sklearn:"))
    if Path(source).suffix not in (".csv", ".parquet"):
        raise InputError(
            f"params.yaml: data.source: {source!r} is neither sklearn:NAME nor a path to a"
            " .csv or .parquet file"
        )
    return read_table(root / source)


def fingerprint(params: Params, root: Path) -> str:
    """What changes whenever the source's content does; cheap, because nothing is parsed. Equal
    fingerprints, code and libraries mean an equal model, and nothing is trained."""
    source = params.data.source
    if source.startswith("sklearn:"):
        return f"{source}@{version('scikit-learn')}"
    try:
        return f"sha256:{sha256((root / source).read_bytes()).hexdigest()}"
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from None


def _load_sklearn(name: str) -> pd.DataFrame:
    import sklearn.datasets

    if name == "breast_cancer":
        bunch = sklearn.datasets.load_breast_cancer(as_frame=True)
        names = pd.Series(bunch.target_names[bunch.target], dtype=object)
        return pd.DataFrame(bunch.data.assign(diagnosis=names))
    if name == "diabetes":
        bunch = sklearn.datasets.load_diabetes(as_frame=True, scaled=False)
        return pd.DataFrame(bunch.data.assign(progression=bunch.target))
    raise InputError(
        f"params.yaml: data.source: sklearn:{name} is unknown; known: {', '.join(SKLEARN_SOURCES)}"
    )
