"""Golden requests: rows that nobody is, drawn column by column from `profile.json`, with the
model's answers. They are in every image and on the page of the service, where no row of the data
belongs."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from mlrelease.errors import InputError
from mlrelease.scoring.features import Column, Signature, to_frame, to_inputs
from mlrelease.scoring.runtime import Runtime
from mlrelease.training.profiles import STEPS, Distribution, Profile
from mlrelease.training.split import row_hashes

ROWS, DRAWS = 5, 200
Row = dict[str, Any]


def golden_requests(
    signature: Signature, runtime: Runtime, told: Profile, training: pd.DataFrame, seed: int
) -> list[Row]:
    """Five rows as a caller would send them, and one with each column missing that may be.

    None equals a row of `training` (typed), where that is possible: in a table with few different
    rows, those come first that most people share.

    Raises:
        InputError: The model has no finite answer to any of them.
    """
    random, columns = np.random.default_rng(seed), signature.columns
    table = {c.name: _drawn(told.columns[c.name], c, training[c.name], random) for c in columns}
    bare = {c.name: [None] * DRAWS if c.nullable else table[c.name] for c in columns}
    full = _best(table, signature, runtime, training)[:ROWS]
    return full + _best(bare, signature, runtime, training)[:1]


def _best(
    table: Mapping[str, list[Any]], signature: Signature, runtime: Runtime, training: pd.DataFrame
) -> list[Row]:
    """The rows with a finite answer: those that nobody is, then those that many are."""
    typed = to_frame(table, signature.columns)
    scores = runtime.scores(to_inputs(typed, signature))
    hashes, counts = np.unique(row_hashes(training), return_counts=True)
    ours = row_hashes(typed)
    places = np.minimum(np.searchsorted(hashes, ours), len(hashes) - 1)
    times = np.where(hashes[places] == ours, counts[places], 0)
    order = np.lexsort((-times, times > 0))  # stable: else as they were drawn
    found = [int(at) for at in order if np.isfinite(scores[at])]
    if not found:
        raise InputError("the model has no finite answer to rows like those it was trained on")
    answers = signature.answers(scores[found])
    rows = [{name: values[at] for name, values in table.items()} for at in found]
    return [{"row": row, "answer": answer} for row, answer in zip(rows, answers, strict=True)]


def _drawn(
    told: Distribution, column: Column, training: pd.Series, random: np.random.Generator
) -> list[Any]:
    """Values of one column as people write them: 17.99, not all digits of a float32."""
    values: list[Any]
    if not told.rows:
        return [None if column.nullable else 0.0] * DRAWS
    if told.type == "category":
        shares = np.asarray(told.shares) / sum(told.shares)
        values = [str(value) for value in random.choice(told.values, DRAWS, p=shares)]
    else:
        # Not the ends: they are no values, see profile.py.
        at = random.uniform(1, STEPS - 1, DRAWS)
        numbers = np.interp(at, np.arange(STEPS + 1), told.quantiles)
        known = training.to_numpy(np.float64)
        if (known[np.isfinite(known)] % 1 == 0).all():  # whole numbers stay whole
            numbers = np.round(numbers)
        values = [float(f"{number:.6g}") for number in numbers]
    missing = random.uniform(size=DRAWS) < told.missing * column.nullable
    return [None if gone else value for value, gone in zip(values, missing, strict=True)]
