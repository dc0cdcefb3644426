"""Whether a champion can be compared, and on which rows: on those that it was not fitted on."""

from typing import Any

import numpy as np
import pandas as pd

from mlrelease.errors import InputError
from mlrelease.evaluation.fitted import among, key_of, naming
from mlrelease.scoring.artifact import Model

MIN_ROWS = 20  # of a part: training refuses fewer, and so does a comparison


def check_alike(model: Model, rival: Model) -> None:
    """Whether two models answer the same question.

    Raises:
        InputError: They do not.
    """
    for what in ("task", "target", "classes"):
        ours, theirs = getattr(model.signature, what), getattr(rival.signature, what)
        if ours != theirs:
            raise InputError(f"it was made for {what} {theirs!r}, the candidate for {ours!r}")


def compared(
    model: Model, rival: Model, holdout: pd.DataFrame, y: np.ndarray, fitted: pd.DataFrame
) -> np.ndarray:
    """Which of the candidate's holdout rows the champion was not fitted on, by the hashes of the
    rows that it was; shape (n,), at least MIN_ROWS of them, and not with one target only.

    Raises:
        InputError: Too few are left, or nothing tells which they are.
    """
    rows = rival.card.rows.get("train")
    if len(fitted) != rows:
        raise InputError(f"its fitted rows are {len(fitted)}, its model card says {rows}")
    ours, theirs = model.card.split, rival.card.split
    names, exact = _identity(ours, theirs, holdout, fitted), naming(theirs)
    if not names:
        raise InputError("no column of the rows that it was fitted on is in this holdout")
    seen = among(holdout, fitted, names, exact)
    named = naming(ours) | naming(theirs)
    rest = [name for name in common(holdout, fitted) if name not in named]
    if rest and rest != names:  # rows may have got new keys: the row itself tells, too
        seen = seen | among(holdout, fitted, rest, exact, telling=True)
    unseen = ~seen
    left, known = int(unseen.sum()), f"of {len(holdout)} holdout rows it was not fitted on"
    if left < MIN_ROWS:
        raise InputError(f"{known} {left} only, a comparison needs {MIN_ROWS}")
    if len(np.unique(y[unseen])) < 2:
        target = model.signature.target
        raise InputError(f"{known} {left}, and these have one {target} only")
    return unseen


def check_split(model: Model, rival: Model, of_before: bool = False, erased: bool = False) -> None:
    """Whether the champion, of whose fitted rows nothing is known, cannot have seen the holdout:
    the split is the same, and what it goes by. `of_before`: as earlier versions asked, which is the
    split alone; of what was released then. `erased`: there were hashes of its rows, by which all
    others are compared, and no weaker rule replaces them.

    Raises:
        InputError: It may have.
    """
    if erased:
        raise InputError("the hashes of the rows that it was fitted on were erased")
    ours, theirs = model.card.split, rival.card.split
    same = ours.get("by") == theirs.get("by") and ours.get("column") == theirs.get("column")
    later = str(ours.get("holdout_from")) >= str(theirs.get("holdout_from"))
    if same and ours.get("by") == "time" and later and not of_before:
        return
    if ours != theirs:
        raise InputError("its rows were split in another way, it may have trained on this holdout")
    columns = [[(c.name, c.type) for c in m.signature.columns] for m in (model, rival)]
    by_inputs = ours.get("by") == "row" and not ours.get("key")
    if by_inputs and not of_before and columns[0] != columns[1]:
        raise InputError(
            "its columns are others, and rows are split by a hash of them, so it may have trained"
            " on this holdout"
        )


def _identity(
    ours: dict[str, Any], theirs: dict[str, Any], holdout: pd.DataFrame, fitted: pd.DataFrame
) -> list[str]:
    """The columns that tell whether a row was seen: a group that is held out whole, a key that both
    have, or else all that both have."""
    shared = common(holdout, fitted)
    if ours.get("by") == "group" and (group := str(ours.get("column"))) in shared:
        return [group]
    keys = key_of(ours), key_of(theirs)
    key = min(keys, key=len)
    nested = key and key <= max(keys, key=len)
    return sorted(key) if nested and key <= set(shared) else shared


def common(holdout: pd.DataFrame, fitted: pd.DataFrame) -> list[str]:
    """The columns that both have."""
    return [str(name) for name in fitted if name in holdout]
