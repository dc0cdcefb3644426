"""Slices: the rows of one category, or of one range of numbers."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd

from mlrelease.errors import InputError
from mlrelease.scoring.features import Signature, category_texts

MAX_CATEGORIES, MAX_DISCRETE = 12, 3
FEW = 5  # rows: what fewer have is not named in reports, as it may be one person's


def slices_of(
    holdout: pd.DataFrame, column: str, signature: Signature, few: int = FEW
) -> list[tuple[str, np.ndarray]]:
    """A label and a mask of shape (n,) for each slice of the rows by one column.

    Numbers fall into three ranges; the most frequent categories of at least `few` rows stand for
    themselves, the rest are "other". Missing values are a slice of their own.
    """
    if column not in holdout:
        where = "params.yaml or policy.yaml"
        raise InputError(f"slices: column {column!r} of {where} is not in the holdout")
    values = holdout[column]
    discrete = not pd.api.types.is_numeric_dtype(values) or values.nunique() <= MAX_DISCRETE
    if discrete or any(c.name == column and c.type == "category" for c in signature.columns):
        labels = pd.Series(category_texts(values)).replace("", "missing")
        counts = labels[labels != "missing"].value_counts()
        counts = counts[counts >= few]
        names = sorted(counts.index, key=lambda name: (-counts[name], name))[:MAX_CATEGORIES]
        labels = labels.where(labels.isin([*names, "missing"]), "other")
    else:
        names, labels = _ranges(values.to_numpy(dtype=np.float64, na_value=np.nan))
    masks = {name: (labels == name).to_numpy() for name in [*names, "other", "missing"]}
    return [(name, mask) for name, mask in masks.items() if mask.any()]


def _ranges(values: np.ndarray) -> tuple[list[str], pd.Series]:
    """Three ranges, cut at round numbers near a third; what the labels say is exact."""
    present = values[np.isfinite(values)]
    cuts = np.quantile(present[present < present.max()], [1 / 3, 2 / 3])
    digits = 1 - math.floor(math.log10(np.ptp(cuts) or np.ptp(present)))
    edges = np.unique(np.round(cuts, digits) + 0.0)  # + 0.0: no "-0"
    shown = [f"{edge:.12g}" for edge in edges]
    names = [f"<= {shown[0]}", *map(" to ".join, pairwise(shown)), f"> {shown[-1]}"]
    labels = np.array(names, dtype=object)[np.searchsorted(edges, values)]
    return names, pd.Series(np.where(np.isfinite(values), labels, "missing"))
