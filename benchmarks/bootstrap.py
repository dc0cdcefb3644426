"""How long a bootstrap of the ROC AUC difference takes: ours, and a loop over scikit-learn.

Run it in the environment of a generated project:

    python benchmarks/bootstrap.py PACKAGE [--rows 10000] [--resamples 1000] [--rounds 3]

Both do the same job on the same synthetic scores, in alternating rounds, so that the ratio holds
when the machine drifts. It fails when the two intervals differ by more than resampling noise.
"""

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from sklearn.metrics import roc_auc_score

Interval = tuple[float, float, float]


def main() -> int:
    """Measure, print a table, and say whether both did the same job."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--resamples", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    metrics = importlib.import_module("mlrelease.evaluation.metrics")

    rng = np.random.default_rng(0)
    y = (rng.random(options.rows) < 0.3).astype(np.float64)
    signal = rng.normal(size=options.rows) + 1.2 * y
    candidate = 1 / (1 + np.exp(-signal))
    champion = 1 / (1 + np.exp(-signal - 0.5 * rng.normal(size=options.rows)))
    scored = metrics.Scored("classification", y, candidate, champion)

    def ours() -> Interval:
        metric = metrics.compare(scored, ["roc_auc"], resamples=options.resamples)["roc_auc"]
        return metric.difference.value, metric.difference.low, metric.difference.high

    def loop() -> Interval:
        rng = np.random.default_rng(0)
        draws = []
        for _ in range(options.resamples):
            rows = rng.integers(0, options.rows, options.rows)
            draws.append(difference(y[rows], candidate[rows], champion[rows]))
        low, high = np.percentile(draws, [2.5, 97.5])
        return difference(y, candidate, champion), low, high

    mine, theirs = [], []
    for _ in range(options.rounds):
        seconds, our_interval = timed(ours)
        mine.append(seconds)
        seconds, their_interval = timed(loop)
        theirs.append(seconds)
    a, b = statistics.median(mine), statistics.median(theirs)
    print(f"ROC AUC difference, {options.rows:,} rows x {options.resamples:,} resamples, median:")
    for name, value, (estimate, low, high) in (
        ("vectorised (ours)", a, our_interval),
        ("loop over scikit-learn", b, their_interval),
    ):
        print(f"  {name:<24}{value:7.2f} s   {estimate:+.6f} [{low:+.4f}, {high:+.4f}]")
    print(f"  {'ratio':<24}{b / a:7.1f}")
    width = their_interval[2] - their_interval[1]
    same = abs(our_interval[0] - their_interval[0]) < 1e-12 and np.allclose(
        our_interval, their_interval, rtol=0, atol=width * 4 / options.resamples**0.5
    )
    if not same:
        print("the two do not agree: the times compare different jobs", file=sys.stderr)
    return 0 if same else 1


def difference(y: np.ndarray, candidate: np.ndarray, champion: np.ndarray) -> float:
    """Candidate - champion, by scikit-learn."""
    return float(roc_auc_score(y, candidate) - roc_auc_score(y, champion))


def timed(job: Callable[[], Interval]) -> tuple[float, Interval]:
    """Seconds, and what the job gave."""
    start = time.perf_counter()
    answer = job()
    return time.perf_counter() - start, answer


if __name__ == "__main__":
    sys.exit(main())
