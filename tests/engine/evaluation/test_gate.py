"""Every rule of the policy refuses, alone and by its own name."""

from typing import Any

import pytest
import yaml
from hypothesis import given, strategies as st

from mlrelease.evaluation import evaluation, gate
from mlrelease.policy import Policy
from tests.engine.conftest import POLICY
from tests.engine.evaluation.models import PARITY

DIGEST = "sha256:" + "a" * 64


def estimate(value: float, low: float | None = None, high: float | None = None) -> dict[str, float]:
    return {
        "value": value,
        "low": value - 0.01 if low is None else low,
        "high": value + 0.01 if high is None else high,
    }


def compared(value: float, change: dict[str, float]) -> dict[str, Any]:
    return {"candidate": estimate(value), "champion": estimate(value), "difference": change}


def good(**changes: Any) -> evaluation.Evaluation:
    part = {
        "column": "sex", "value": "f", "rows": 50, "metric": "brier", "candidate": 0.05,
        "champion": 0.05, "difference": estimate(0.0),
    }  # fmt: skip
    content: dict[str, Any] = {
        "task": "classification",
        "candidate": DIGEST,
        "champion": DIGEST,
        "holdout": DIGEST,
        "rows": 200,
        "metrics": {
            "roc_auc": compared(0.97, estimate(0.005)),
            "brier": compared(0.04, estimate(-0.001)),
            "calibration_error": compared(0.05, estimate(0.0)),
        },
        "slices": [part],
        "parity": PARITY,
        "cost": {"size_bytes": 10_000, "latency_p50_ms": 1.0, "latency_p99_ms": 2.0},
    }
    return evaluation.Evaluation.model_validate(content | changes)


def policy(**changes: Any) -> Policy:
    return Policy.model_validate(yaml.safe_load(POLICY) | changes)


def failed(found: evaluation.Evaluation, rules: Policy | None = None) -> list[str]:
    return [f.name for f in gate.judge(found, rules or policy()) if not f.passed]


def with_metric(name: str, metric: dict[str, Any] | None) -> dict[str, Any]:
    metrics = good().model_dump()["metrics"] | {name: metric}
    return {"metrics": {key: value for key, value in metrics.items() if value is not None}}


def with_slice(**changes: Any) -> dict[str, Any]:
    return {"slices": [good().slices[0].model_dump() | changes]}


def test_a_good_model_passes_every_rule() -> None:
    findings = gate.judge(good(), policy())
    assert gate.passed(findings)
    assert len(findings) == 11


def cost(**changes: float) -> dict[str, Any]:
    return {"cost": good().cost.model_dump() | changes}


SAME, UNSURE = estimate(0.0), estimate(0.0, -0.03, 0.03)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (with_metric("roc_auc", compared(0.94, SAME)), "metrics.roc_auc.min"),
        (with_metric("calibration_error", compared(0.2, SAME)), "metrics.calibration_error.max"),
        (with_metric("roc_auc", compared(0.97, UNSURE)), "champion.roc_auc.margin"),
        (with_metric("brier", compared(0.04, UNSURE)), "champion.brier.margin"),
        (with_slice(candidate=0.2), "slices[sex = f].max"),
        (with_slice(difference=estimate(0.05)), "slices[sex = f].margin"),
        (with_slice(candidate=None), "slices[sex = f]"),
        ({"incomparable": "the split changed"}, "champion.comparable"),
        (cost(size_bytes=21e6), "budgets.size_mb"),
        (cost(latency_p50_ms=3000), "budgets.latency_ms"),
        ({"refused": 11, "refused_column": "sex"}, "budgets.refused"),
        (with_metric("calibration_error", None), "metrics.calibration_error"),
        (with_metric("brier", None), "champion.brier"),
        (with_metric("brier", {"candidate": estimate(0.04)}), "champion.brier"),
    ],
)  # fmt: skip
def test_each_rule_refuses_alone(change: dict[str, Any], rule: str) -> None:
    assert failed(good(**change)) == [rule]


def test_a_service_may_refuse_the_share_of_the_holdout_that_the_policy_names() -> None:
    budgets = {"size_mb": 20, "latency_ms": 2000}
    assert failed(good(refused=10)) == []
    assert failed(good(refused=1), policy(budgets=budgets | {"refused": 0})) == ["budgets.refused"]
    assert failed(good(refused=40), policy(budgets=budgets | {"refused": 0.2})) == []
    (finding,) = (
        f for f in gate.judge(good(refused=11, refused_column="sex"), policy()) if not f.passed
    )
    assert finding.message == (
        "the service would refuse 11 of 200 holdout rows, most for 'sex', budget 5 %"
    )


def test_a_required_gain_must_be_shown_not_guessed() -> None:
    rules = policy(champion={"roc_auc": {"min_gain": 0.001}})
    gained = with_metric("roc_auc", compared(0.97, estimate(0.01, 0.002, 0.02)))
    assert failed(good(**gained), rules) == []
    assert failed(good(), rules) == ["champion.roc_auc.min_gain"]


def test_a_small_slice_is_shown_but_not_judged() -> None:
    large = good().slices[0].model_dump() | {"value": "m"}
    small = large | {"value": "f", "candidate": 0.9, "rows": 29}
    assert failed(good(slices=[large, small])) == []
    assert failed(good(**with_slice(candidate=0.9, rows=30))) == ["slices[sex = f].max"]


def limits(**changes: Any) -> Policy:
    return policy(slices=yaml.safe_load(POLICY)["slices"] | changes)


@pytest.mark.parametrize("change", [{"slices": []}, with_slice(rows=29), with_slice(metric="f1")])
def test_slice_limits_that_judge_no_slice_refuse(change: dict[str, Any]) -> None:
    assert failed(good(**change)) == ["slices"]
    assert failed(good(**change), policy(slices=None)) == []


def test_a_column_that_the_policy_names_must_be_judged() -> None:
    assert failed(good(), limits(columns=["sex"])) == []
    assert failed(good(), limits(columns=["sex", "age"])) == ["slices[age]"]
    small = {**good().slices[0].model_dump(), "column": "age", "rows": 29}
    both = good(slices=[good().slices[0].model_dump(), small])
    assert failed(both, limits(columns=["age", "sex"])) == ["slices[age]"]
    assert failed(good(slices=[]), limits(columns=["sex"])) == ["slices", "slices[sex]"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (None, "brier is not evaluated by age; run `model evaluate` again"),
        (29, "29 rows in the largest slice of age, needs 30; hold out more rows, or lower"),
    ],
)
def test_a_column_that_is_not_judged_says_what_to_do(rows: int | None, message: str) -> None:
    part = good().slices[0].model_dump() | {"column": "age", "rows": rows}
    found = good(**({"slices": [part]} if rows else {}))
    (finding,) = (f for f in gate.judge(found, limits(columns=["age"])) if f.name == "slices[age]")
    assert message in finding.message


def test_without_a_champion_only_absolute_limits_apply() -> None:
    metrics = {
        name: {"candidate": m["candidate"]} for name, m in good().model_dump()["metrics"].items()
    }
    first = good(champion=None, metrics=metrics, **with_slice(difference=None, champion=None))
    names = [f.name for f in gate.judge(first, policy())]
    assert failed(first) == []
    assert not [name for name in names if "champion" in name or "margin" in name]


def test_a_failure_shows_value_limit_and_interval() -> None:
    found = good(**with_metric("roc_auc", compared(0.94, estimate(0.0))))
    message = next(f.message for f in gate.judge(found, policy()) if not f.passed)
    assert message == "roc_auc 0.940 [0.930, 0.950], needs at least 0.95"


def test_no_finding_is_no_approval() -> None:
    assert not gate.passed(())


@given(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_wider_interval_never_turns_refused_into_passed(
    value: float, narrow: float, more: float
) -> None:
    def refused(width: float) -> bool:
        change = estimate(value, value - width, value + width)
        return "champion.roc_auc.margin" in failed(
            good(**with_metric("roc_auc", compared(0.97, change)))
        )

    assert refused(narrow + more) or not refused(narrow)
