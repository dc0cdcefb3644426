"""Candidate and champion are compared on the same rows, or the reason why not is said."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from sklearn import metrics as sklearn_metrics

from mlrelease import errors
from mlrelease.evaluation import evaluate, evaluation, metrics, reproduce, slices
from mlrelease.scoring import artifact, features
from tests.engine.evaluation.models import Built, cancer, diabetes, fit, judge

COLUMNS = ("mean radius", "mean texture", "mean smoothness", "clinic")
NUMBERS = ("age", "bmi", "bp", "s5")


@dataclass(frozen=True)
class World:
    """Models fitted once; tests that change a directory copy it first."""

    rows: pd.DataFrame
    holdout: pd.DataFrame
    candidate: Built
    champion: Built
    evaluation: evaluation.Evaluation
    scored: metrics.Scored


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    directory = tmp_path_factory.mktemp("models")
    rows, holdout = cancer()
    candidate = fit(directory / "candidate", rows, COLUMNS)
    champion = fit(directory / "champion", rows, ("mean texture", "clinic"), threshold=0.4)
    found, scored = judge(candidate, champion, holdout, slices=["mean radius", "clinic"])
    return World(rows, holdout, candidate, champion, found, scored)


@pytest.fixture(autouse=True)
def _short_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "LATENCY_ROWS", 5)  # `world` has measured all of them


def part(found: evaluation.Evaluation, column: str, value: str) -> evaluation.Slice:
    return next(s for s in found.slices if (s.column, s.value) == (column, value))


def test_the_figures_are_those_of_scikit_learn_on_the_stored_model(world: World) -> None:
    model = artifact.Model.load(world.candidate.path)
    scores = model.scores(features.to_frame(world.holdout, model.signature.columns))
    truth = world.holdout["diagnosis"] == "malignant"
    found = world.evaluation.metrics
    assert found["roc_auc"].candidate.value == pytest.approx(
        sklearn_metrics.roc_auc_score(truth, scores), rel=1e-12
    )
    assert found["brier"].candidate.value == pytest.approx(
        sklearn_metrics.brier_score_loss(truth, scores), rel=1e-12
    )
    assert world.evaluation.rows == len(world.holdout)


def test_a_better_model_is_seen_to_be_better_by_more_than_chance(world: World) -> None:
    difference = world.evaluation.metrics["roc_auc"].difference
    assert difference is not None
    assert difference.low > 0
    assert world.evaluation.incomparable is None


def test_decisions_that_flip_are_counted_at_each_models_own_threshold(world: World) -> None:
    now = world.scored.candidate >= 0.5
    assert world.scored.champion is not None
    before = world.scored.champion >= 0.4
    decisions = world.evaluation.decisions
    assert decisions is not None
    assert decisions.flipped == int((now != before).sum()) > 0
    assert decisions.to_positive == int((now & ~before).sum())
    assert decisions.flipped == decisions.to_positive + decisions.to_negative


def test_size_and_latency_are_measured(world: World) -> None:
    cost = world.evaluation.cost
    assert cost.size_bytes == sum(f.stat().st_size for f in world.candidate.path.iterdir())
    assert 0 < cost.latency_p50_ms <= cost.latency_p99_ms
    assert world.evaluation.champion_cost is not None


def test_the_first_model_has_nothing_to_be_compared_with(world: World) -> None:
    found, scored = judge(world.candidate, None, world.holdout)
    assert scored.champion is None
    assert (found.champion, found.champion_cost, found.decisions) == (None, None, None)
    assert all(m.champion is None and m.difference is None for m in found.metrics.values())
    assert [s.value for s in found.slices] != []  # the categories of the candidate


def test_regression_is_evaluated_without_decisions(tmp_path: Path) -> None:
    rows, holdout = diabetes()
    one = fit(tmp_path / "one", rows, NUMBERS, "progression", ())
    two = fit(tmp_path / "two", rows, ("age", "bmi"), "progression", ())
    found, scored = judge(one, two, holdout, slices=["bmi"])
    assert set(found.metrics) == {"r2", "mae", "rmse", "mape"}
    expected = sklearn_metrics.r2_score(holdout["progression"], scored.candidate)
    assert found.metrics["r2"].candidate.value == pytest.approx(expected, rel=1e-12)
    assert found.decisions is None
    assert {s.metric for s in found.slices} == {"mae"}


def other_task(w: World, to: Path) -> Built:
    return fit(to, w.rows.assign(diagnosis=np.arange(len(w.rows))), classes=())


def other_target(w: World, to: Path) -> Built:
    return fit(to, w.rows.rename(columns={"diagnosis": "outcome"}), target="outcome")


def other_classes(w: World, to: Path) -> Built:
    return fit(to, w.rows, classes=("malignant", "benign"))


def more_columns(w: World, to: Path) -> Built:
    return fit(to, w.rows.assign(biopsy=1.0), ("mean radius", "biopsy"))


def number_then_text(w: World, to: Path) -> Built:
    rows = w.rows.assign(clinic=np.arange(len(w.rows)))
    return fit(to, rows, ("mean radius", "clinic"))


def unreadable(w: World, to: Path) -> Built:
    shutil.copytree(w.champion.path, to)
    (to / "model.json").write_text(json.dumps({"schema": 0}))
    return Built(to, artifact.digest_of(to))


@pytest.mark.parametrize(
    ("champion", "reason"),
    [
        (other_task, "made for task 'regression', the candidate for 'classification'"),
        (other_target, "made for target 'outcome', the candidate for 'diagnosis'"),
        (other_classes, r"made for classes \('malignant', 'benign'\)"),
        (more_columns, "the holdout's column 'biopsy' is missing"),
        (number_then_text, "the holdout's column 'clinic', row 0: is not a number"),
        (unreadable, "model.json"),
    ],
)
def test_a_champion_that_cannot_be_compared_fairly_is_named_and_left_out(
    world: World, tmp_path: Path, champion: Callable[[World, Path], Built], reason: str
) -> None:
    rival = champion(world, tmp_path / "champion")
    found, scored = judge(world.candidate, rival, world.holdout)
    alone, _ = judge(world.candidate, None, world.holdout)
    assert re.search(reason, found.incomparable or "")
    assert found.champion == rival.digest
    assert found.metrics == alone.metrics
    assert (scored.champion, found.decisions, found.champion_cost) == (None, None, None)


def test_a_champion_that_was_tampered_with_is_refused(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.champion.path, tmp_path / "champion")
    (tmp_path / "champion" / "golden.json").write_text("[1]")
    with pytest.raises(errors.RefusedError, match="not loaded"):
        judge(world.candidate, Built(tmp_path / "champion", world.champion.digest), world.holdout)


def test_a_model_that_is_worse_in_one_slice_only_is_seen_there_only(
    world: World, tmp_path: Path
) -> None:
    forest = {"n_estimators": 20, "max_features": None}
    flipped = world.rows["diagnosis"].map({"benign": "malignant", "malignant": "benign"})
    wrong = world.rows["diagnosis"].where(world.rows["clinic"] != "west", flipped)
    good, bad = (
        fit(tmp_path / name, rows, COLUMNS, estimator="random_forest", parameters=forest)
        for name, rows in (("good", world.rows), ("bad", world.rows.assign(diagnosis=wrong)))
    )
    found, _ = judge(bad, good, world.holdout)
    changes = {s.value: s.difference for s in found.slices if s.difference}
    assert changes["west"].low > 0.5
    assert abs(changes["north"].value) < 0.05
    assert abs(changes["south"].value) < 0.05


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_values_are_scored_and_sliced(world: World, missing: Any) -> None:
    holdout = world.holdout.copy()
    holdout.loc[::5, "clinic"] = missing
    holdout.loc[::7, "mean radius"] = np.nan
    names = ["clinic", "mean radius"]
    found, scored = judge(world.candidate, world.champion, holdout, slices=names)
    assert np.isfinite(scored.candidate).all()
    assert part(found, "clinic", "missing").rows == len(holdout.loc[::5])
    assert part(found, "mean radius", "missing").rows == len(holdout.loc[::7])


def test_a_slice_of_one_class_has_no_ranking_but_is_listed(world: World) -> None:
    holdout = world.holdout.copy()
    holdout.loc[holdout["clinic"] == "west", "diagnosis"] = "benign"
    found, _ = judge(world.candidate, world.champion, holdout, slice_metric="roc_auc")
    west, north = part(found, "clinic", "west"), part(found, "clinic", "north")
    assert (west.candidate, west.champion, west.difference) == (None, None, None)
    assert west.rows > 0
    assert north.candidate is not None


@pytest.mark.parametrize(
    ("chosen", "columns"),
    [
        ((), ["clinic", "mean radius"]),  # the categories stay when the policy adds a column
        (("mean texture",), ["mean texture", "mean radius"]),
        (("mean radius",), ["mean radius"]),
    ],
)
def test_mandatory_columns_are_added_to_the_slices(
    world: World, chosen: tuple[str, ...], columns: list[str]
) -> None:
    found, _ = judge(world.candidate, None, world.holdout, slices=chosen, mandatory=["mean radius"])
    assert list(dict.fromkeys(part.column for part in found.slices)) == columns


def test_small_slices_have_no_interval(world: World) -> None:
    rows = part(world.evaluation, "clinic", "west").rows
    for least, seen in ((rows, True), (rows + 1, False)):
        found, _ = judge(world.candidate, world.champion, world.holdout, min_rows=least)
        assert (part(found, "clinic", "west").difference is not None) == seen


def test_numbers_are_cut_into_three_ranges_that_can_be_read(world: World) -> None:
    names = [s.value for s in world.evaluation.slices if s.column == "mean radius"]
    low, middle, high = names
    assert low.removeprefix("<= ") == middle.split(" to ")[0]
    assert high.removeprefix("> ") == middle.split(" to ")[1]
    assert max(map(len, names)) < 15
    rows = [part(world.evaluation, "mean radius", name).rows for name in names]
    assert min(rows) > len(world.holdout) / 4


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.none() | st.floats(allow_nan=True, width=32) | st.sampled_from([0.0, -0.0, 5.0]),
        min_size=1,
        max_size=60,
    )
)
def test_every_row_is_in_exactly_one_slice_and_the_label_tells_the_truth(
    values: list[float | None],
) -> None:
    told = features.Signature("regression", (features.Column("x", "number", True),), "y")
    frame = pd.DataFrame({"x": pd.Series(values, dtype="float64")})
    found = slices.slices_of(frame, "x", told)
    assert (np.sum([mask for _, mask in found], axis=0) == 1).all()
    for name, mask in found:
        inside = frame["x"][mask]
        lowest, _, highest = name.removeprefix("> ").removeprefix("<= ").partition(" to ")
        if name.startswith("> ") or " to " in name:
            assert inside.min() > float(lowest) - 1e-11 * abs(float(lowest))
        if name.startswith("<= ") or " to " in name:
            edge = float(highest or lowest)
            assert inside.max() <= edge + 1e-11 * abs(edge)


def test_the_rarest_categories_share_a_slice(world: World) -> None:
    names = [f"ward {at % 13 if at < 52 else at % 20:02}" for at in range(len(world.holdout))]
    holdout = world.holdout.assign(ward=names)
    found, _ = judge(world.candidate, None, holdout, slices=["ward"])
    assert len(found.slices) == 13
    assert found.slices[-1].value == "other"
    assert sum(s.rows for s in found.slices) == len(holdout)
    counts = [s.rows for s in found.slices[:-1]]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h[h["diagnosis"] == "benign"], "one diagnosis only"),
        (lambda h: h.head(1), "one diagnosis only in 1 rows"),
        (lambda h: h.head(0), "one diagnosis only in 0 rows"),
        (lambda h: h.assign(diagnosis="unclear"), "row 0: diagnosis is not 'benign' or"),
        (lambda h: h.drop(columns="diagnosis"), "the target 'diagnosis' is missing"),
        (lambda h: h.drop(columns="mean radius"), "column 'mean radius' is missing"),
        (lambda h: h.drop(columns="clinic"), "column 'clinic' is missing"),
    ],
)
def test_a_holdout_that_cannot_judge_is_refused(
    world: World, change: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    with pytest.raises(errors.InputError, match=message):
        judge(world.candidate, None, change(world.holdout))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slices": ["altitude"]}, "column 'altitude' of params.yaml or policy.yaml is not"),
        ({"slice_metric": "rmse"}, "policy.yaml: slices.metric: rmse is none of roc_auc"),
    ],
)
def test_a_slice_that_does_not_exist_is_refused(
    world: World, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.InputError, match=message):
        judge(world.candidate, None, world.holdout, **options)


def test_the_same_evaluation_gives_the_same_numbers_except_for_latency(world: World) -> None:
    again, _ = judge(
        world.candidate, world.champion, world.holdout, slices=["mean radius", "clinic"]
    )
    assert again.cost.latency_p50_ms != world.evaluation.cost.latency_p50_ms
    assert reproduce.same_numbers(again, world.evaluation) == []


def edited(found: evaluation.Evaluation, path: str, change: Callable[[Any], Any]) -> Any:
    facts = found.model_dump()
    *parents, last = path.split(".")
    place: Any = facts
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    place[last] = change(place[last])
    return evaluation.Evaluation.model_validate(facts)


@pytest.mark.parametrize(
    ("path", "change", "line"),
    [
        ("metrics.roc_auc.candidate.value", lambda x: x + 1e-7, "metrics.roc_auc.candidate.value"),
        ("metrics.brier.difference", lambda _: None, "metrics.brier.difference"),
        ("slices.0.candidate", lambda x: x * 0.9, "slices.0 mean radius <= .*candidate"),
        ("slices.0.rows", lambda x: x + 1, "slices.0 .*rows"),
        ("slices", lambda x: x[1:], "slices"),
        ("slices", lambda x: [*x, x[0]], "slices.6 mean radius"),
        ("decisions.flipped", lambda x: x - 1, "decisions.flipped: .* here, .* in evaluation.json"),
        ("cost.size_bytes", lambda x: x - 1, "cost.size_bytes"),
        ("champion", lambda _: "sha256:" + "f" * 64, "champion: sha256:"),
        ("incomparable", lambda _: "No.", "incomparable: None here, No. in evaluation.json"),
    ],
)
def test_a_number_that_does_not_reproduce_is_named(
    world: World, path: str, change: Callable[[Any], Any], line: str
) -> None:
    found = reproduce.same_numbers(world.evaluation, edited(world.evaluation, path, change))
    assert found
    assert re.search(line, found[0])


def test_the_last_digit_is_no_difference(world: World) -> None:
    almost = edited(world.evaluation, "metrics.log_loss.candidate.value", lambda x: x * (1 + 1e-12))
    assert almost != world.evaluation
    assert reproduce.same_numbers(world.evaluation, almost) == []
