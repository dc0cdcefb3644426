"""Are profile.json and golden.json of a model those that training again gave? What they say of the
rows is equal; what they say of answers is as near as answers have to be."""

from typing import Any

import msgspec
import numpy as np

from mlrelease.scoring.features import Signature
from mlrelease.training.profiles import Distribution, Profile
from mlrelease.verification.likeness import RELATIVE

ENDS = 0.1  # of the first and the last quantile, which are rounded to two digits


def same_profile(a: Profile, b: Profile, apart: float) -> bool:
    """Whether `a` describes the rows as `b` does, and answers at most `apart` from its."""
    same = a.rows == b.rows and a.columns.keys() == b.columns.keys()
    columns = (_same_column(a.columns[name], b.columns[name]) for name in b.columns)
    return same and all(columns) and _same_score(a.score, b.score, apart)


def same_golden(a: Any, b: Any, told: Signature, apart: float) -> bool:
    """Whether the same rows are asked, and their answers are at most `apart` from each other."""
    name = "value" if told.task == "regression" else "probability"
    try:
        scores, others = (np.array([x["answer"][name] for x in every], float) for every in (a, b))
        again = [
            {"row": y["row"], "answer": answer}
            for y, answer in zip(b, told.answers(scores), strict=True)
        ]
    except (KeyError, TypeError, ValueError):
        return False
    return bool(a == again) and bool((np.abs(scores - others) <= apart).all())


def _same_column(a: Distribution, b: Distribution) -> bool:
    """Sums may differ in their last digits; all else is counted, or is a value of the data."""
    allowed = RELATIVE * max(abs(b.mean), b.sd), RELATIVE * b.sd
    near = abs(a.mean - b.mean) <= allowed[0] and abs(a.sd - b.sd) <= allowed[1]
    return near and msgspec.structs.replace(a, mean=b.mean, sd=b.sd) == b


def _same_score(a: Distribution, b: Distribution, apart: float) -> bool:
    if (a.type, a.rows, a.missing, a.values) != (b.type, b.rows, b.missing, b.values):
        return False
    points, others = np.array(a.quantiles), np.array(b.quantiles)
    if not len(others):
        return a == b
    allowed = np.full(len(others), apart)
    allowed[[0, -1]] = np.maximum(apart, ENDS * np.abs(others[[0, -1]]))
    near = abs(a.mean - b.mean) <= apart and abs(a.sd - b.sd) <= apart
    near = near and bool((np.abs(points - others) <= allowed).all())
    # Between edges: where scores are tied on one processor only, there are fewer.
    edges, below = np.array(a.edges), np.cumsum(a.shares)[:-1]
    step = 1 / (len(others) - 1)
    least = np.searchsorted(others, edges - apart) * step - 2 * step
    most = np.searchsorted(others, edges + apart, side="right") * step + step
    fit = np.array_equal(edges, np.unique(points[20:-1:20]))
    return near and fit and bool(((least <= below) & (below <= most)).all())
