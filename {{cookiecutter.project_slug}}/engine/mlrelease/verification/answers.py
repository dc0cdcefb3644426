"""What a model answers to rows of its holdout: a fingerprint that other digests cannot hide.

The rows are the ones whose hashes are smallest, so that two holdouts which share rows share them.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from mlrelease.evaluation.metrics import Scored

ROWS = 64


def answers_of(holdout: "pd.DataFrame", scored: "Scored") -> dict[str, float]:
    """The candidate's score of each of at most 64 rows that are answered, by the row's hash."""
    from pandas.util import hash_pandas_object

    ordered, scores = holdout[sorted(holdout.columns)], scored.candidate
    if scored.places is not None:
        ordered = ordered.iloc[scored.places]
    hashes = hash_pandas_object(ordered, index=False).to_numpy()
    chosen = np.argsort(hashes, kind="stable")[:ROWS]
    return {f"{int(hashes[at]):016x}": float(f"{float(scores[at]):.9g}") for at in chosen}
