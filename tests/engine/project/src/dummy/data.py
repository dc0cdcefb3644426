"""Rows from scikit-learn, or from a file."""

import importlib.metadata
from pathlib import Path

import pandas as pd
import sklearn.datasets

from mlrelease import InputError, Params, read_table
from mlrelease.files import sha256


def load(params: Params, root: Path) -> pd.DataFrame:
    source = params.data.source
    if not source.startswith("sklearn:"):
        return read_table(root / source)
    name = source.removeprefix("sklearn:")
    read = getattr(sklearn.datasets, f"load_{name}", None)
    if read is None:
        raise InputError(f"params.yaml: data.source: {source} is unknown")
    bunch = read(as_frame=True, **({"scaled": False} if name == "diabetes" else {}))
    named = params.task == "classification"
    target = bunch.target_names[bunch.target] if named else bunch.target
    return pd.DataFrame(bunch.data.assign(**{params.data.target: target}))


def fingerprint(params: Params, root: Path) -> str:
    source = params.data.source
    if source.startswith("sklearn:"):
        return f"{source}, {importlib.metadata.version('scikit-learn')}"
    try:
        return sha256((root / source).read_bytes())
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}") from None
