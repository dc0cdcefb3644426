"""Is a model, part by part, the one that training again gave? Its answers alone do not tell: rows
that nobody asks may get another one.

Each number is compared in its own unit, never in that of its neighbours: an array may hold the
thresholds of a column in square metres beside those of one in farad.
"""

import io
import json
import math
import zipfile
from collections.abc import Iterator
from typing import Any

import numpy as np

TOLERANCE = 1e-2  # of answers, and of what coefficients do to them: solvers amplify the last bits
RELATIVE = 1e-6  # of any other number, as a part of itself
ROUNDED = 1e-9  # of thresholds behind a transformer that was fitted with other last bits
STEPS = "n_iter_"  # how often a solver had to go on: one step more decides nothing
LINEAR = ("coef_", "intercept_")
# Made without linear algebra: of the same rows, the same bits on every processor.
SETTLED = ("SimpleImputer", "_BinMapper")
TREES = ("Tree", "TreePredictor")
THRESHOLDS = ("threshold", "num_threshold")

Place = tuple[str | int, ...]  # the names and numbers of what leads to a part
Parts = dict[Place, tuple[str, bytes]]  # the class that a part belongs to, and its content


def difference(a: bytes, b: bytes, reach: np.ndarray) -> list[str]:
    """What differs first between a fitted pipeline and `b`, the one that training again gave, as
    `dump_estimator` writes them: types, names, shapes or numbers. Empty: alike.

    Whole numbers and thresholds of trees are equal. Coefficients of the last step may differ by
    `TOLERANCE` of the largest effect that one has; `reach`, of shape (k,), is how far apart the
    values of each of its inputs are.
    """
    (here, parts), (there, others) = (_members(content) for content in (a, b))
    if not close(here, there):
        return ["structure"]
    if parts.keys() != others.keys():
        return ["parts"]
    last = _last(others)
    moved = any(parts[at] != others[at] for at in others if at[: len(last)] != last)
    wrong = [at for at in others if not _same(parts, others, at, last, reach, moved)]
    return [f"part ({'.'.join(map(str, wrong[0]))})"] if wrong else []


def close(a: Any, b: Any) -> bool:
    """Whether two values of JSON are the same, but for what the tolerance allows numbers."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return (a != a and b != b) or math.isclose(a, b, rel_tol=RELATIVE)
    return type(a) is type(b) and bool(a == b)


def _members(content: bytes) -> tuple[Any, Parts]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = _numbers(json.loads(files.pop("schema.json")))
    listed = list(_listed(schema, "", ()))
    parts: Parts = {place: (kind, files.get(name, b"")) for place, kind, name in listed}
    named = {name for _, _, name in listed}
    return schema, parts | {(n,): ("", rest) for n, rest in files.items() if n not in named}


def _numbers(node: Any) -> Any:
    """skops writes numbers as text of JSON; as numbers they can be compared."""
    if isinstance(node, dict):
        if node.get("__loader__") == "JsonNode":
            return node | {"content": json.loads(node["content"])}
        return {key: _numbers(value) for key, value in node.items()}
    return [_numbers(item) for item in node] if isinstance(node, list) else node


def _listed(node: Any, kind: str, place: Place) -> Iterator[tuple[Place, str, str]]:
    """Each part that is a file: where it is, the class of the object that has it, its name."""
    if isinstance(node, dict) and isinstance(node.get("file"), str):
        yield place, kind, node["file"]
    elif isinstance(node, dict):
        if node.get("__module__") != "builtins":
            kind = str(node.get("__class__", kind))
        for key, value in node.items():
            yield from _listed(value, kind, place if key == "content" else (*place, key))
    elif isinstance(node, list):
        for at, value in enumerate(node):
            yield from _listed(value, kind, (*place, at))


def _last(parts: Parts) -> Place:
    """Where the last step of the pipeline stands; of what is no pipeline, everything does."""
    steps = [at[1] for at in parts if at[0] == "steps" and isinstance(at[1], int)]
    return ("steps", max(steps), 1) if steps else ()


def _same(
    parts: Parts, others: Parts, at: Place, last: Place, reach: np.ndarray, moved: bool
) -> bool:
    kind, name = others[at][0], str(at[-1])
    if parts[at] == others[at] or name == STEPS:
        return True
    x, y = _array(parts[at][1]), _array(others[at][1])
    if x is None or y is None or x.dtype != y.dtype or x.shape != y.shape:
        return False
    if y.dtype.names:
        return all(_of_tree(n, x[n], y[n], moved) for n in y.dtype.names)
    if kind in TREES:
        return _of_tree(name, x, y, moved)
    if not np.issubdtype(y.dtype, np.inexact):
        return np.array_equal(x, y)
    if kind in SETTLED:
        return np.array_equal(x, y, equal_nan=True)
    if at == (*last, name) and name in LINEAR and (*last, "coef_") in others:
        allowed = _by_effect(_array(others[*last, "coef_"][1]), reach)
        return allowed is not None and _near(x, y, allowed[LINEAR.index(name)])
    if kind == "StandardScaler" and (*at[:-1], "scale_") in others:
        scale = _array(others[*at[:-1], "scale_"][1])
        return _near(x, y, RELATIVE * (scale**2 if name == "var_" else scale))
    # The rows of a table have their columns' units; in a row, each number has its own.
    across = tuple(range(y.ndim - 1))
    return _near(x, y, RELATIVE * _size(y).max(axis=across, initial=0.0) if across else 0.0)


def _array(content: bytes) -> Any:
    """The array; None where it is none."""
    try:
        return np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError):
        return None


def _of_tree(name: str, x: np.ndarray, y: np.ndarray, moved: bool) -> bool:
    """What stands at the nodes of a tree: in one unit, except the thresholds, which are values of
    the data; `moved`: of data that a transformer gave with other last bits."""
    if name in THRESHOLDS:
        rounded = moved and bool(np.allclose(x, y, rtol=ROUNDED, atol=0.0, equal_nan=True))
        return rounded or np.array_equal(x, y, equal_nan=True)
    if not np.issubdtype(y.dtype, np.inexact):
        return np.array_equal(x, y)
    return _near(x, y, RELATIVE * _size(y).max(initial=0.0))


def _by_effect(coefficients: np.ndarray, reach: np.ndarray) -> tuple[np.ndarray, float] | None:
    """How far the coefficients, shape (..., k), and the intercept may be apart."""
    if coefficients.shape[-1:] != reach.shape:
        return None
    allowed = TOLERANCE * float((_size(coefficients) * reach).max(initial=0.0))
    still = RELATIVE * _size(coefficients).max(initial=0.0)  # an input that never changes
    return np.where(reach > 0, allowed / np.where(reach > 0, reach, 1.0), still), allowed


def _size(values: np.ndarray) -> np.ndarray:
    return np.abs(np.where(np.isfinite(values), values, 0.0).astype(np.float64))


def _near(x: np.ndarray, y: np.ndarray, allowed: Any) -> bool:
    """Whether numbers are as near as they may be, or by the last bits."""
    return bool(np.isclose(x, y, rtol=RELATIVE, atol=allowed, equal_nan=True).all())
