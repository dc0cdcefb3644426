"""Do the figures of evaluation.json reproduce, on whatever processor they were computed?

scikit-learn is asked in float64 (`Model.scores`) and scores are compared to twelve digits
(`settled`), so two processors mostly give the same figures to the last bit. Where they do not, a
figure may differ by what float32 loses of the scores, and by nothing more:

- Every score may be off by `reach`. Moved that far towards the truth, and that far away from it,
  the scores give a best and a worst figure. Every metric but the calibration error gets better with
  each score that moves towards the truth, in every resample too. So each figure and each end of its
  interval lies between the two; so does a difference, with the champion moved the other way.
- Accuracy, F1 and the areas under curves take steps. They move only if a row is so close to the
  threshold, or to a row of the other class, that `reach` takes it across. If none is, the best and
  the worst figure are the same, and one row more or less is refused.
- The calibration error is not monotone: it may also differ by `CALIBRATION`, by which it moves at
  most while no row changes its bin. Three or more rows within `reach` of each other at the edge of
  a bin can move it further; that is not allowed for.
- The ends of the interval of PR AUC also depend on the order of positives within `reach` of each
  other, a little, because a row drawn twice is one step of the curve. That is not allowed for.
- Decisions that flip differ at most by the rows that are within `reach` of a threshold.
- All else is equal: rows, slices, digests, sizes. Milliseconds are not compared.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd

from mlrelease.evaluation.evaluation import Evaluation
from mlrelease.evaluation.metrics import Scored

# Float32 sums of 30 terms differed by 1.5e-7 of a probability between BLAS kernels: three times
# that. It is half of the 1e-6 by which `Signature.limit` is below the threshold, so that a row
# exactly at the threshold is on one side of it.
SCORE = 5e-7
BIT = 2.0**-24  # what float32 loses of a probability just below 1
CALIBRATION = 6 * (SCORE + BIT)  # a draw, the value and the median it is centred on; two models
SUM = 1e-9  # of a figure: the order in which float64 sums are made
DIGITS = 40  # bits of a score that are kept, twelve decimal digits
DECISIONS = ("flipped", "to_positive", "to_negative")

Moved = Callable[[int], tuple[Evaluation, Scored]]


def settled(scores: np.ndarray) -> np.ndarray:
    """Scores to twelve digits. Float64 kernels differ in the sixteenth: equal rows would be tied on
    one processor and not on another."""
    mantissa, exponent = np.frexp(scores)
    return np.asarray(np.ldexp(np.round(np.ldexp(mantissa, DIGITS)), exponent - DIGITS))


def reach(scored: Scored, scores: np.ndarray) -> np.ndarray:
    """How far each score may be off, shape (n,). Of a predicted value: `SCORE` of their standard
    deviation. Of a probability: `SCORE` at one half and less towards 0 and 1, as log-odds are what
    models compute; 0 and 1 themselves are exact."""
    if scored.task == "regression":
        return np.full(len(scores), SCORE * scores.std())
    near_one = BIT * ((scores > 0.5) & (scores < 1))
    return np.asarray(4 * SCORE * scores * (1 - scores) + near_one)


def moved(scored: Scored, towards: int) -> Scored:
    """The candidate's scores moved towards the truth (1) or away from it (-1), the champion's the
    other way. Rows with the same score and another truth stay: they were computed alike."""
    champion = None if scored.champion is None else _moved(scored, scored.champion, -towards)
    return replace(scored, candidate=_moved(scored, scored.candidate, towards), champion=champion)


def same_numbers(here: Evaluation, there: Evaluation, again: Moved | None = None) -> list[str]:
    """What does not reproduce, a line each: `here` was recomputed, `there` is claimed.

    `again(1)` and `again(-1)` evaluate scores that were `moved` so; they are asked only where
    something differs. Without it, nothing may differ but by the order of sums.
    """
    ours, claimed = _figures(here), _figures(there)
    differ = [key for key in ours | claimed if not _equal(ours.get(key), claimed.get(key))]
    if differ and again is not None:
        (best, up), (worst, down) = again(1), again(-1)
        bounds = [ours, _figures(best), _figures(worst)]
        rows = _undecided(up.both(), down.both())
        differ = [k for k in differ if not _within(k, claimed.get(k), bounds, here, rows)]
    return [f"{k}: {ours.get(k)} here, {claimed.get(k)} in evaluation.json" for k in differ]


def _moved(scored: Scored, scores: np.ndarray, towards: int) -> np.ndarray:
    by, y = reach(scored, scores), scored.y
    if scored.task == "regression":
        error = y - scores
        return scores + (np.clip(error, -by, by) if towards > 0 else np.where(error > 0, -by, by))
    _, tied = np.unique(scores, return_inverse=True)
    share = np.bincount(tied, y) / np.bincount(tied)
    alike = ((share == 0) | (share == 1))[tied]
    return np.where(alike, np.clip(scores + towards * by * (2 * y - 1), 0, 1), scores)


def _within(
    key: str, claimed: object, bounds: list[dict[str, object]], here: Evaluation, rows: int
) -> bool:
    values = [figures.get(key) for figures in bounds]
    if key.removeprefix("decisions.") in DECISIONS:
        ours = values[0]
        return isinstance(claimed, int) and isinstance(ours, int) and abs(claimed - ours) <= rows
    found = [value for value in (claimed, *values) if isinstance(value, float)]
    if len(found) < 1 + len(values):
        return False
    value, low, high = found[0], min(found[1:]), max(found[1:])
    judged = here.slices[0].metric if key.startswith("slices.") else key.split(".")[1]
    if judged == "calibration_error":
        low, high = low - CALIBRATION, high + CALIBRATION
    return low <= value <= high or _equal(low, value) or _equal(high, value)


def _undecided(up: Scored, down: Scored) -> int:
    """How many rows are so close to a threshold that their decision may differ."""
    near = (up.candidate >= up.threshold) != (down.candidate >= down.threshold)
    if up.champion is not None and down.champion is not None:
        limit = up.champion_threshold
        near |= (up.champion >= limit) != (down.champion >= limit)
    return int(near.sum())


def _equal(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=SUM, abs_tol=1e-12)
    return a == b


def _figures(evaluation: Evaluation) -> dict[str, object]:
    """Each figure by its path, such as `metrics.roc_auc.candidate.value`."""
    clock = {"latency_p50_ms", "latency_p99_ms"}
    machine = {"cost": clock, "champion_cost": clock, "parity": {"largest_difference"}}
    facts = evaluation.model_dump(exclude=machine)
    parts = enumerate(facts["slices"])
    facts["slices"] = {f"{at} {part['column']} {part['value']}": part for at, part in parts}
    return {str(k): v for k, v in pd.json_normalize(facts).to_dict("records")[0].items()}
