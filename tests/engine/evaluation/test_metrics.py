"""Every figure equals scikit-learn's, and every interval means what it says."""

import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as arrays
from sklearn import metrics as sklearn_metrics

from mlrelease.evaluation import metrics

CLASSIFICATION: dict[str, Callable[..., float]] = {
    "roc_auc": lambda y, p, w: sklearn_metrics.roc_auc_score(y, p, sample_weight=w),
    "pr_auc": lambda y, p, w: sklearn_metrics.average_precision_score(y, p, sample_weight=w),
    "log_loss": lambda y, p, w: sklearn_metrics.log_loss(y, p, sample_weight=w, labels=[0, 1]),
    "brier": lambda y, p, w: sklearn_metrics.brier_score_loss(y, p, sample_weight=w),
    "accuracy": lambda y, p, w: sklearn_metrics.accuracy_score(y, p >= 0.3, sample_weight=w),
    "f1": lambda y, p, w: sklearn_metrics.f1_score(y, p >= 0.3, sample_weight=w),
}
REGRESSION: dict[str, Callable[..., float]] = {
    "r2": lambda y, p, w: sklearn_metrics.r2_score(y, p, sample_weight=w),
    "mae": lambda y, p, w: sklearn_metrics.mean_absolute_error(y, p, sample_weight=w),
    "rmse": lambda y, p, w: sklearn_metrics.root_mean_squared_error(y, p, sample_weight=w),
    "mape": lambda y, p, w: sklearn_metrics.mean_absolute_percentage_error(y, p, sample_weight=w),
}
SIZES = st.integers(2, 40)
DRAWS = 2
quick = settings(deadline=None, max_examples=25)


def weights(n: int) -> st.SearchStrategy[np.ndarray]:
    """Counts as in a resample, or any other weights; at least something on each row."""
    counts = arrays.arrays(np.float64, (n, DRAWS), elements=st.integers(1, 5))
    return counts | arrays.arrays(np.float64, (n, DRAWS), elements=st.floats(0.01, 10))


def noisy(n: int, seed: int = 0, shift: float = 1.5) -> metrics.Scored:
    """A candidate and a champion that share most of their signal."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(np.float64)
    signal = rng.normal(size=n) + shift * y
    other = signal + 0.4 * rng.normal(size=n)
    one, two = (1 / (1 + np.exp(0.5 - x)) for x in (signal, other))
    return metrics.Scored("classification", y, one, two)


@quick
@given(st.data())
def test_classification_equals_scikit_learn_with_ties_and_weights(data: st.DataObject) -> None:
    n = data.draw(SIZES)
    y = np.array([0, 1, *data.draw(st.lists(st.integers(0, 1), min_size=n - 2, max_size=n - 2))])
    scores = data.draw(arrays.arrays(np.float64, n, elements=st.integers(0, 10))) / 10
    w = data.draw(weights(n))
    order, ours = metrics.statistics("classification", y, scores, threshold=0.3)
    for name, theirs in CLASSIFICATION.items():
        expected = [theirs(y, scores, w[:, draw]) for draw in range(DRAWS)]
        assert ours[name](w[order]) == pytest.approx(expected, rel=1e-12, abs=1e-12), name


@quick
@given(st.data())
def test_regression_equals_scikit_learn_with_weights(data: st.DataObject) -> None:
    n = data.draw(SIZES)
    values = arrays.arrays(np.float64, n, elements=st.integers(-50, 50))
    y, scores, w = data.draw(values) / 7, data.draw(values) / 7, data.draw(weights(n))
    order, ours = metrics.statistics("regression", y, scores)
    for name, theirs in REGRESSION.items():
        if name == "r2" and np.ptp(y) == 0:
            assert np.isnan(ours[name](w[order])).all()
            continue
        expected = [theirs(y, scores, w[:, draw]) for draw in range(DRAWS)]
        assert ours[name](w[order]) == pytest.approx(expected, rel=1e-11, abs=1e-12), name


def test_certain_and_wrong_costs_a_finite_log_loss() -> None:
    y, scores = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    value = metrics.compare(metrics.Scored("classification", y, scores))["log_loss"].candidate.value
    assert value == pytest.approx(sklearn_metrics.log_loss(y, scores), rel=1e-12)


def test_the_calibration_error_is_the_mean_gap_of_ten_equal_bins() -> None:
    scored = noisy(1000)
    order = np.argsort(scored.candidate)
    gaps = [abs(np.mean(scored.y[b] - scored.candidate[b])) for b in np.split(order, 10)]
    found = metrics.compare(scored, ["calibration_error"])["calibration_error"].candidate
    assert found.value == pytest.approx(np.mean(gaps), rel=1e-12)
    assert found.low <= found.value <= found.high


@pytest.mark.parametrize("seed", range(20))
def test_the_interval_of_a_calibration_error_holds_it_although_bins_are_noisy(seed: int) -> None:
    p = np.random.default_rng(seed).random((2, 120))
    scored = metrics.Scored("classification", (p[1] < p[0]).astype(np.float64), p[0])
    found = metrics.compare(scored, ["calibration_error"], resamples=200)["calibration_error"]
    assert 0 <= found.candidate.low <= found.candidate.value <= found.candidate.high


@quick
@given(st.permutations(range(60)))
def test_the_order_of_equal_scores_does_not_change_the_calibration_error(order: list[int]) -> None:
    y = np.array([1.0, 1.0, 0.0] * 20)[order]
    scores = np.array([0.9] * 60)
    _, found = metrics.statistics("classification", y, scores)
    assert found["calibration_error"](np.ones((60, 1)))[0] == pytest.approx(0.9 - 2 / 3)


def test_the_interval_is_that_of_a_loop_over_scikit_learn() -> None:
    scored = noisy(300)
    assert scored.champion is not None
    rng, draws = np.random.default_rng(5), []
    for _ in range(200):
        rows = rng.integers(0, 300, 300)
        scores = (scored.candidate[rows], scored.champion[rows])
        one, other = (sklearn_metrics.roc_auc_score(scored.y[rows], s) for s in scores)
        draws.append(one - other)
    found = metrics.compare(scored, ["roc_auc"], resamples=2000)["roc_auc"].difference
    assert found is not None
    low, high = np.percentile(draws, [2.5, 97.5])
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.15 * (high - low))


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth = NormalDist().cdf(1.5 / 2**0.5)  # of two normals 1.5 standard deviations apart
    covered = 0
    for seed in range(200):
        found = metrics.compare(noisy(150, seed), ["roc_auc"], seed=seed, resamples=200)
        estimate = found["roc_auc"].candidate
        covered += estimate.low <= truth <= estimate.high
    assert 0.90 <= covered / 200 <= 0.99


def test_pairing_makes_the_difference_of_similar_models_much_sharper() -> None:
    found = metrics.compare(noisy(500), ["roc_auc"])["roc_auc"]
    assert found.champion is not None
    assert found.difference is not None
    estimates = (found.candidate, found.champion, found.difference)
    one, other, paired = (estimate.high - estimate.low for estimate in estimates)
    assert paired < 0.7 * np.hypot(one, other)


def test_a_model_does_not_differ_from_itself() -> None:
    scored = noisy(200)
    same = metrics.Scored("classification", scored.y, scored.candidate, scored.candidate.copy())
    for metric in metrics.compare(same).values():
        assert metric.difference is not None
        assert (metric.difference.value, metric.difference.low, metric.difference.high) == (0, 0, 0)


def test_each_model_is_judged_at_its_own_threshold() -> None:
    y, scores = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.4, 0.6, 0.9])
    scored = metrics.Scored("classification", y, scores, scores, 0.5, champion_threshold=0.3)
    found = metrics.compare(scored, ["accuracy"])["accuracy"]
    assert found.champion is not None
    assert (found.candidate.value, found.champion.value) == (1.0, 0.75)


def test_resamples_of_one_class_are_left_out_of_the_interval() -> None:
    y, scores = np.array([1.0, 0.0, 0.0, 0.0]), np.array([0.6, 0.9, 0.2, 0.1])
    found = metrics.compare(metrics.Scored("classification", y, scores))
    assert found["roc_auc"].candidate.value == pytest.approx(2 / 3)
    assert 0 <= found["roc_auc"].candidate.low < found["roc_auc"].candidate.high <= 1


def test_rows_of_one_class_have_no_ranking() -> None:
    found = metrics.compare(metrics.Scored("classification", np.zeros(9), np.linspace(0, 1, 9)))
    assert "roc_auc" not in found
    assert found["brier"].candidate.value > 0


def test_two_processes_give_the_same_digits() -> None:
    program = (
        "import sys, numpy as np\n"
        f"from {metrics.__name__} import Scored, compare\n"
        "y, a, b = np.random.default_rng(1).random((3, 3000))\n"  # several chunks, two threads
        "print(compare(Scored('classification', y.round(), a, b), resamples=200))"
    )
    answers = []
    for odd in ("1", "2"):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        environment |= {"PYTHONHASHSEED": odd, "OPENBLAS_NUM_THREADS": odd}
        run = [sys.executable, "-c", program]
        answers.append(subprocess.run(run, env=environment, capture_output=True, check=True).stdout)
    assert answers[0] == answers[1]
    assert b"roc_auc" in answers[0]


def test_no_resample_is_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = metrics.compare(noisy(200), ["brier"])["brier"].candidate
    monkeypatch.setattr(metrics, "CHUNK", 200)  # one resample at a time
    parts = metrics.compare(noisy(200), ["brier"])["brier"].candidate
    assert parts.high - parts.low == pytest.approx(whole.high - whole.low, rel=0.2)


def test_another_seed_draws_other_rows() -> None:
    one, same, other = (metrics.compare(noisy(99), ["brier"], seed=seed) for seed in (3, 3, 4))
    assert one == same != other


@pytest.mark.slow
def test_a_million_rows_stay_within_two_hundred_megabytes() -> None:
    scored = noisy(1_000_000)
    tracemalloc.start()
    found = metrics.compare(scored, resamples=4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == 7
    assert peak < 200e6
