"""A claimed figure may differ by what float32 loses of the scores, and a forged one is refused."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mlrelease.evaluation import evaluation, metrics, reproduce
from tests.engine.evaluation.test_plots import figures, scores

NAMES = {
    "classification": ("roc_auc", "pr_auc", "log_loss", "brier", "calibration_error", "accuracy",
                       "f1"),
    "regression": ("r2", "mae", "rmse", "mape"),
}  # fmt: skip
METRICS = [(task, name) for task, names in NAMES.items() for name in names]
NODES = [
    (model, end) for model in ("candidate", "champion", "difference")
    for end in ("value", "low", "high")
]  # fmt: skip


def evaluated(scored: metrics.Scored) -> evaluation.Evaluation:
    """An evaluation with one slice, and with the decisions that flip."""
    metric = "brier" if scored.task == "classification" else "mae"
    part = metrics.compare(scored.rows(scored.y > np.median(scored.y) - 1), [metric], resamples=50)
    found = part[metric]
    assert found.champion is not None
    north = evaluation.Slice(
        column="clinic", value="north", rows=60, metric=metric, candidate=found.candidate.value,
        champion=found.champion.value, difference=found.difference,
    )  # fmt: skip
    whole = figures(scored, (north,))
    if scored.task == "regression" or scored.champion is None:
        return whole
    now, then = scored.candidate >= scored.threshold, scored.champion >= scored.champion_threshold
    up, down = int((now & ~then).sum()), int((then & ~now).sum())
    flips = evaluation.Decisions(rows=len(now), flipped=up + down, to_positive=up, to_negative=down)
    return whole.model_copy(update={"decisions": flips})


def again(scored: metrics.Scored) -> reproduce.Moved:
    def moved(towards: int) -> tuple[evaluation.Evaluation, metrics.Scored]:
        there = reproduce.moved(scored, towards)
        return evaluated(there), there

    return moved


def forged(
    found: evaluation.Evaluation, path: str, change: Callable[[Any], Any]
) -> evaluation.Evaluation:
    facts: Any = found.model_dump()
    *parents, last = path.split(".")
    place = facts
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    place[last] = change(place[last])
    return evaluation.Evaluation.model_validate(facts)


def shifted(by: float, figure: float) -> float:
    return figure + by * max(1, abs(figure))


@pytest.fixture(scope="module")
def honest() -> dict[str, tuple[metrics.Scored, evaluation.Evaluation, reproduce.Moved]]:
    """200 rows of which none is near a threshold, or near one of the other class."""
    made = {}
    for task in NAMES:
        scored = scores(task, 200)  # type: ignore[arg-type]  # a key of NAMES
        results = {towards: again(scored)(towards) for towards in (1, -1)}
        made[task] = (scored, evaluated(scored), results.__getitem__)
    return made


@pytest.mark.parametrize(("task", "name"), METRICS)
def test_a_figure_that_is_forged_by_a_hundred_thousandth_is_refused(
    honest: Any, task: str, name: str
) -> None:
    _, found, moved = honest[task]
    for model, end in NODES:
        for by in (1e-5, -1e-5):
            path = f"metrics.{name}.{model}.{end}"
            there = forged(found, path, partial(shifted, by))
            (line,) = reproduce.same_numbers(found, there, moved)
            assert line.startswith(path)


@pytest.mark.parametrize("path", ["candidate", "champion", "difference.value", "difference.low"])
@pytest.mark.parametrize("task", NAMES)
def test_a_figure_of_a_slice_that_is_forged_is_refused(honest: Any, task: str, path: str) -> None:
    _, found, moved = honest[task]
    there = forged(found, f"slices.0.{path}", lambda x: x - 1e-5 * max(1, abs(x)))
    (line,) = reproduce.same_numbers(found, there, moved)
    assert line.startswith(f"slices.0 clinic north.{path}")


@pytest.mark.parametrize("name", ["accuracy", "f1", "roc_auc", "pr_auc", "calibration_error"])
def test_one_row_more_or_less_is_refused_where_none_is_near(honest: Any, name: str) -> None:
    """The step that a figure takes if the row next to the threshold crosses it."""
    scored, found, moved = honest["classification"]
    other = scored.candidate.copy()
    row = int(np.argmin(np.abs(other - scored.threshold)))
    other[row] += 0.2 if other[row] < scored.threshold else -0.2
    step = metrics.compare(replace(scored, candidate=other), [name], resamples=1)[name]
    now, then = found.metrics[name].candidate.value, step.candidate.value
    assert now != then
    for value in (then, 2 * now - then):
        there = forged(found, f"metrics.{name}.candidate.value", lambda _: value)  # noqa: B023
        assert reproduce.same_numbers(found, there, moved)


@pytest.mark.parametrize("path", ["decisions.flipped", "decisions.to_positive", "slices.0.rows"])
@pytest.mark.parametrize("sign", [1, -1])
def test_one_more_in_a_count_is_refused(honest: Any, path: str, sign: int) -> None:
    _, found, moved = honest["classification"]
    there = forged(found, path, lambda x: x + sign)
    assert reproduce.same_numbers(found, there, moved)


def near_the_threshold(by: float) -> tuple[metrics.Scored, metrics.Scored]:
    """A positive row just above the threshold, and the same just below."""
    scored = scores("classification", 200)
    row = int(np.flatnonzero(scored.y == 1)[0])
    pair = []
    for sign in (1, -1):
        candidate = scored.candidate.copy()
        candidate[row] = scored.threshold + sign * by
        pair.append(replace(scored, candidate=candidate))
    return pair[0], pair[1]


def test_one_row_more_passes_where_one_is_at_the_threshold() -> None:
    one, two = near_the_threshold(1e-7)
    here, there = evaluated(one), evaluated(two)
    assert here.metrics["accuracy"] != there.metrics["accuracy"]
    assert here.decisions != there.decisions
    assert reproduce.same_numbers(here, there, again(one)) == []
    assert reproduce.same_numbers(there, here, again(two)) == []
    worse = forged(there, "metrics.accuracy.candidate.value", lambda x: x - 1 / 200)
    assert reproduce.same_numbers(here, worse, again(one))
    more = forged(here, "decisions.flipped", lambda x: x + 2)
    assert reproduce.same_numbers(here, more, again(one))


def test_a_row_a_millionth_from_the_threshold_is_not_at_it() -> None:
    """`Signature.limit` lies so far below: half of the trees of a forest are one answer."""
    one, two = near_the_threshold(1e-6)
    lines = reproduce.same_numbers(evaluated(one), evaluated(two), again(one))
    assert any(line.startswith("metrics.accuracy.candidate.value") for line in lines)


def test_rows_of_a_forest_that_are_tied_are_not_taken_for_near_ones() -> None:
    """Ten trees give eleven scores; if ties could break, most of the curve would be in doubt."""
    scored = scores("classification", 200)
    assert scored.champion is not None
    scored = replace(
        scored, candidate=np.round(scored.candidate, 1), champion=np.round(scored.champion, 1)
    )
    found = evaluated(scored)
    for name in NAMES["classification"]:
        there = forged(found, f"metrics.{name}.candidate.value", lambda x: x - 1e-5)
        assert reproduce.same_numbers(found, there, again(scored))


def test_a_probability_of_nothing_that_was_wrong_leaves_the_log_loss_as_it_is() -> None:
    """-log(0) is cut at 36; -log(5e-7) would be 15, and no processor makes one of the other."""
    scored = scores("classification", 200)
    candidate = np.where(np.arange(200) < 10, 0.0, scored.candidate)
    found = evaluated(scored := replace(scored, candidate=candidate))
    there = forged(found, "metrics.log_loss.candidate.value", lambda x: x - 1e-5)
    assert reproduce.same_numbers(found, there, again(scored))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from(["classification", "regression"]))
def test_what_float32_would_lose_of_the_scores_is_no_difference(seed: int, task: Any) -> None:
    rng = np.random.default_rng(seed)
    scored = scores(task, 60)
    assert scored.champion is not None
    if task == "classification":  # some rows close to the threshold, and to one of another class
        yes, no = (rng.choice(np.flatnonzero(scored.y == y), 4, replace=False) for y in (1, 0))
        scored.candidate[[yes[0], *no[:2]]] = 0.5 + rng.uniform(-3e-7, 3e-7, 3)
        scored.candidate[no[2:]] = scored.candidate[yes[1]] * (1 + rng.uniform(-3e-7, 3e-7, 2))
    one, two = (
        s + reproduce.reach(scored, s) * rng.uniform(-1, 1, 60)
        for s in (scored.candidate, scored.champion)
    )
    there = evaluated(replace(scored, candidate=one, champion=two))
    lines = reproduce.same_numbers(evaluated(scored), there, again(scored))
    # Three rows that close at the edge of a bin are more than the rule allows for, and refused.
    assert [line for line in lines if "calibration_error" not in line] == []


def test_equal_rows_stay_tied_where_the_last_bit_differs() -> None:
    given = np.array([0.1, 0.7, 0.9999999, 1e-9, 0.5, 1.0])
    bits = np.nextafter(given, 2)
    assert (given != bits).all()
    np.testing.assert_array_equal(reproduce.settled(given), reproduce.settled(bits))
    np.testing.assert_allclose(reproduce.settled(given), given, rtol=1e-12)
    large = np.array([-123456.789, 1e300, 0.0])
    np.testing.assert_allclose(reproduce.settled(large), large, rtol=1e-12)
