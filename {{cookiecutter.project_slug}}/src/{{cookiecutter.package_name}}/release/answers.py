"""What a model answers to rows of its holdout: a fingerprint that other digests cannot hide.

The rows are the ones whose hashes are smallest, so that two holdouts which share rows share them.
"""

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

ROWS = 64


def answers_of(holdout: "pd.DataFrame", scores: np.ndarray) -> dict[str, float]:
    """The score of each of at most 64 rows, by the row's hash; `scores` of shape (rows,)."""
    from pandas.util import hash_pandas_object

    ordered = holdout[sorted(holdout.columns)]
    hashes = hash_pandas_object(ordered, index=False).to_numpy()
    chosen = np.argsort(hashes, kind="stable")[:ROWS]
    return {f"{int(hashes[at]):016x}": float(f"{float(scores[at]):.9g}") for at in chosen}
