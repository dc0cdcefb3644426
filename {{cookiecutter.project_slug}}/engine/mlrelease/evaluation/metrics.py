"""Metrics with bootstrap intervals. A resample is a column of row counts, so that one sort of the
scores serves all resamples."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from mlrelease.evaluation.evaluation import Estimate, Metric

Task = Literal["classification", "regression"]
BINS, ROWS_PER_BIN = 10, 10
MAX_COUNTS, MIN_RESAMPLES = 2 * 10**8, 200  # above 200,000 rows: fewer resamples
CHUNK = 2**18  # counts drawn at a time: they stay in the cache, and bound the memory
EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Scored:
    """The holdout's truth and what each model says of it, each of shape (n,). `y` is 1 for
    `classes[1]` and 0 for `classes[0]`, or the target; scores are P(classes[1]), or predictions."""

    task: Task
    y: np.ndarray
    candidate: np.ndarray
    champion: np.ndarray | None = None
    threshold: float = 0.5
    champion_threshold: float = 0.5
    classes: tuple[str, ...] = ()
    target: str = "target"
    compared: np.ndarray | None = None  # bool: rows the champion was not fitted on; None: all
    places: np.ndarray | None = None  # of these rows in the holdout; None: all in order

    def rows(self, mask: np.ndarray) -> "Scored":
        """The same for some of the rows."""
        arrays = ("y", "candidate", "champion", "compared", "places")
        kept = {name: a[mask] for name in arrays if (a := getattr(self, name)) is not None}
        return replace(self, **kept)

    def both(self) -> "Scored":
        """The rows on which the models are compared."""
        return self if self.compared is None else replace(self.rows(self.compared), compared=None)


def compare(
    scored: Scored, names: Sequence[str] = (), *, seed: int = 0, resamples: int = 1000
) -> dict[str, Metric]:
    """Each metric of both models and the paired difference, with 95 % percentile-bootstrap
    intervals (Efron & Tibshirani 1993, ch. 13); both models see the same resampled rows.

    A metric undefined on the rows is left out; resamples on which it is undefined are left out of
    its interval. Calibration errors are centred on their value: resampling adds noise to bins.
    The champion and the difference are of the compared rows only, the candidate of all."""
    if scored.compared is not None and not scored.compared.all():
        alone, both = replace(scored, champion=None, compared=None), scored.both()
        whole, shared = (
            compare(one, names, seed=seed, resamples=resamples) if len(one.y) else {}
            for one in (alone, both)
        )
        return {
            name: shared.get(name, metric).model_copy(update={"candidate": metric.candidate})
            for name, metric in whole.items()
        }
    pairs = (scored.candidate, scored.threshold), (scored.champion, scored.champion_threshold)
    models = [statistics(scored.task, scored.y, s, limit) for s, limit in pairs if s is not None]
    n, names = len(scored.y), names or list(models[0][1])
    width, resamples = max(1, CHUNK // n), min(resamples, max(MIN_RESAMPLES, MAX_COUNTS // n))

    def measure(counts: np.ndarray) -> np.ndarray:
        weights = ((metrics, counts[order]) for order, metrics in models)
        with np.errstate(invalid="ignore"):  # 0 / 0 where a metric is undefined
            return np.array([[metrics[name](w) for name in names] for metrics, w in weights])

    def draw(start: int) -> np.ndarray:  # each chunk has its own seed: any thread may draw it
        return measure(_counts(n, min(width, resamples - start), [seed, start]))

    exact = measure(np.ones((n, 1)))  # shape (models, names, 1)
    with ThreadPoolExecutor(2) as pool:
        drawn = np.concatenate(list(pool.map(draw, range(0, resamples, width))), axis=2)
    answer = {}
    for at, name in enumerate(names):
        values, draws = exact[:, at], drawn[:, at]
        if np.isnan(values).any():
            continue
        if name == "calibration_error":
            draws = np.maximum(draws + values - np.median(draws, axis=1, keepdims=True), 0)
        values, draws = (np.concatenate([x, x[:1] - x[1:]]) for x in (values, draws))
        rows = np.hstack([values, np.nanpercentile(draws, [2.5, 97.5], axis=1).T]).tolist()
        estimates = [Estimate(value=value, low=low, high=high) for value, low, high in rows]
        answer[name] = Metric(**dict(zip(Metric.model_fields, estimates, strict=False)))
    return answer


def statistics(
    task: Task, y: np.ndarray, scores: np.ndarray, threshold: float = 0.5
) -> tuple[np.ndarray, dict[str, Callable[[np.ndarray], np.ndarray]]]:
    """An order of the rows, and each metric as a function from weights (n, B), in that order, to
    (B,), NaN where undefined. MAPE as scikit-learn defines it. Calibration error: expected
    calibration error (Naeini et al. 2015) over at most 10 equal-mass bins (Roelofs et al. 2022),
    equal scores in one bin."""
    if task == "regression":
        error, centred = np.abs(scores - y), y - y.mean()
        share = error / np.maximum(np.abs(y), EPSILON)
        return np.arange(len(y)), {
            "r2": lambda w: 1 - _mean(w, error, error) / _variance(w, centred),
            "mae": lambda w: _mean(w, error),
            "rmse": lambda w: np.sqrt(_mean(w, error, error)),
            "mape": lambda w: _mean(w, share),
        }
    order = np.argsort(-scores, kind="stable")
    y, scores = y[order].astype(np.float64), scores[order]
    first = np.flatnonzero(np.diff(scores, prepend=np.inf))  # of each group of equal scores
    number = first * max(1, min(BINS, len(y) // ROWS_PER_BIN)) // len(y)
    bins = first[np.diff(number, prepend=-1) > 0]
    loss = -np.log(np.clip(np.where(y == 1, scores, 1 - scores), EPSILON, 1 - EPSILON))
    gap, said = scores - y, scores >= threshold
    return order, {
        "roc_auc": lambda w: _roc_auc(*_by_class(w, y, first)),
        "pr_auc": lambda w: _pr_auc(*_by_class(w, y, first)),
        "log_loss": lambda w: _mean(w, loss),
        "brier": lambda w: _mean(w, gap, gap),
        "calibration_error": lambda w: (
            np.abs(np.add.reduceat(w * gap[:, None], bins)).sum(axis=0) / w.sum(axis=0)
        ),
        "accuracy": lambda w: _mean(w, said == y),
        "f1": lambda w: 2 * _mean(w, said, y) / (_mean(w, said) + _mean(w, y)),
    }


def _by_class(w: np.ndarray, y: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of positives and of negatives, by descending score; equal scores are one step."""
    true = w * y[:, None]
    if len(first) == len(y):
        return true, w - true
    return np.add.reduceat(true, first), np.add.reduceat(w - true, first)


def _roc_auc(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    above = np.cumsum(true, axis=0)
    below = _mean(false, above) - _mean(false, true) / 2  # of those with the same score, one half
    return np.asarray(below / above[-1])


def _pr_auc(true: np.ndarray, false: np.ndarray) -> np.ndarray:
    hits = np.cumsum(true, axis=0)
    taken = hits + np.cumsum(false, axis=0)
    return _mean(true, np.divide(hits, taken, out=hits, where=taken > 0))


def _variance(w: np.ndarray, centred: np.ndarray) -> np.ndarray:
    moment, mean = _mean(w, centred, centred), _mean(w, centred)
    return np.where(mean**2 < (1 - 1e-12) * moment, moment - mean**2, np.nan)  # NaN: one value only


def _mean(w: np.ndarray, *factors: np.ndarray) -> np.ndarray:
    """Means by weights (n, B) of a product of factors (n,) or (n, B): shape (B,). Not by BLAS: its
    threads would fight with ours, and its last digits differ from machine to machine."""
    terms = [term for f in factors for term in (f, [0, 1][: f.ndim])]
    return np.asarray(np.einsum(w, [0, 1], *terms, [1]) / w.sum(axis=0))


def _counts(n: int, resamples: int, seed: Sequence[int]) -> np.ndarray:
    """How often each of `n` rows is drawn in each resample: shape (n, resamples)."""
    rows = np.random.default_rng(seed).integers(0, n, size=(n, resamples)) * resamples
    rows += np.arange(resamples)
    return np.bincount(rows.ravel(), minlength=n * resamples).reshape(n, -1).astype(np.float64)
