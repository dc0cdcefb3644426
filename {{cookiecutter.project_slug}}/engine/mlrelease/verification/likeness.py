"""Is a model, part by part, the one that training again gave? Its answers alone do not tell: rows
that nobody asks may get another one."""

import io
import json
import math
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

# Of a number, relative: solvers amplify the last bits in which processors differ.
TOLERANCE = 1e-3
ZERO = 1e-6  # of a number by itself: what is smaller is nothing
STEPS = "n_iter_"  # how often a solver had to go on: one step more decides nothing


def difference(a: bytes, b: bytes) -> list[str]:
    """What differs first between two fitted pipelines, as `dump_estimator` writes them: types,
    names, shapes, or a number by more than `TOLERANCE`. Whole numbers are equal. Empty: alike."""
    (parts, files), (others, there) = (_members(content) for content in (a, b))
    loose = set(_files_of(parts, STEPS))
    if not close(parts, others):
        return ["structure"]
    if files.keys() != there.keys():
        return ["parts"]
    wrong = [name for name in files if name not in loose and not _same(files[name], there[name])]
    return [f"part ({wrong[0]})"] if wrong else []


def close(a: Any, b: Any) -> bool:
    """Whether two values of JSON are the same, but for what the tolerance allows numbers."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return (a != a and b != b) or math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=ZERO)
    return type(a) is type(b) and bool(a == b)


def _members(content: bytes) -> tuple[Any, dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return _numbers(json.loads(files.pop("schema.json"))), files


def _numbers(node: Any) -> Any:
    """skops writes numbers as text of JSON; as numbers they can be compared."""
    if isinstance(node, dict):
        if node.get("__loader__") == "JsonNode":
            return node | {"content": json.loads(node["content"])}
        return {key: _numbers(value) for key, value in node.items()}
    return [_numbers(item) for item in node] if isinstance(node, list) else node


def _files_of(node: Any, name: str) -> Iterator[str]:
    """The files that hold attributes of this name."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        if key == name and isinstance(value, dict) and "file" in value:
            yield str(value["file"])
        elif isinstance(value, dict | list):
            yield from _files_of(value, name)


def _same(a: bytes, b: bytes) -> bool:
    try:
        x, y = (np.load(io.BytesIO(content), allow_pickle=False) for content in (a, b))
    except ValueError:  # no array
        return a == b
    if x.dtype != y.dtype or x.shape != y.shape:
        return False
    return all(_alike(x[n], y[n]) for n in x.dtype.names) if x.dtype.names else _alike(x, y)


def _alike(x: np.ndarray, y: np.ndarray) -> bool:
    if not np.issubdtype(x.dtype, np.inexact):
        return bool(np.array_equal(x, y))
    scale = float(np.abs(x[np.isfinite(x)]).max(initial=0.0))
    return bool(np.allclose(x, y, rtol=TOLERANCE, atol=TOLERANCE * scale, equal_nan=True))
