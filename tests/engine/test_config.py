"""params.yaml and policy.yaml: what is wrong is named by its path."""

import pytest
import yaml

from mlrelease import errors
from mlrelease.objects import parse
from mlrelease.params import Params
from mlrelease.policy import Freeze, Policy
from tests.engine.conftest import PARAMS, POLICY


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"sead": 1}, "sead"),
        ({"seed": -1}, "seed"),
        ({"task": "clustering"}, "task"),
        ({"data": {"source": "x.csv"}}, "data.target"),
        ({"data": {"source": "x.csv", "target": "y", "columns": {"a": {"mni": 0}}}}, "a.mni"),
        ({"split": {"by": "time", "column": "day"}}, "holdout_from"),
        ({"split": {"by": "row", "column": "day"}}, "column"),
        ({"split": {"holdout": 1.0}}, "split.holdout"),
        ({"model": {"estimator": "ridge", "threshold": float("nan")}}, "threshold"),
    ],
)
def test_a_wrong_parameter_is_named_by_its_path(change: dict[str, object], path: str) -> None:
    text = yaml.safe_dump(yaml.safe_load(PARAMS) | change)
    with pytest.raises(errors.InputError, match=path) as refusal:
        parse(text, Params, "params.yaml")
    assert "\n" not in str(refusal.value)


def with_rules(**rules: object) -> dict[str, object]:
    return {"environments": {"staging": rules, "production": {}}}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"metrics": {}}, "metrics"),
        ({"metrics": {"rocauc": {"min": 0.9}}}, "metrics.rocauc"),
        ({"metrics": {"roc_auc": {}}}, "min"),
        ({"champion": {"roc_auc": {"margin": 0.1, "min_gain": 0.1}}}, "either"),
        ({"champion": {"roc_auc": {"margin": -0.1}}}, "margin"),
        ({"environments": {"staging": {}}}, "production"),
        ({"champion": {"calibration_error": {"margin": 0.1}}}, "brier"),
        ({"budgets": {"size_mb": 0, "latency_ms": 1}}, "size_mb"),
        ({"slices": {"metric": "brier"}}, "slices: give `min`, `max` or `margin`"),
        ({"slices": {"metric": "brier", "max": 1, "columns": "sex"}}, "slices.columns"),
        (with_rules(rollback_approvals=-1), "staging.rollback_approvals"),
        (with_rules(retired="soon"), "staging.retired"),
    ],
)
def test_a_policy_that_cannot_refuse_is_refused(change: dict[str, object], path: str) -> None:
    text = yaml.safe_dump(yaml.safe_load(POLICY) | change)
    with pytest.raises(errors.InputError, match=path):
        parse(text, Policy, "policy.yaml")


@pytest.mark.parametrize("text", ["", "[]", "a: [", "\x00", "a: 1\na: 2", "- 1", "!!python/name:x"])
def test_what_is_not_a_mapping_is_one_clear_line(text: str) -> None:
    with pytest.raises(errors.InputError, match=r"params\.yaml") as refusal:
        parse(text, Params, "params.yaml")
    assert "\n" not in str(refusal.value)


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(errors.InputError, match="'seed' is given twice"):
        parse(PARAMS + "seed: 8\n", Params, "params.yaml")


@pytest.mark.parametrize(
    ("settings", "promotion", "rollback"),
    [
        ({}, 0, 0),
        ({"approvals": 2}, 2, 2),
        ({"approvals": 2, "rollback_approvals": 1}, 2, 1),
        ({"approvals": 1, "rollback_approvals": 0}, 1, 0),
    ],
)
def test_a_rollback_needs_as_many_approvals_as_a_promotion_unless_told(
    settings: dict[str, int], promotion: int, rollback: int
) -> None:
    text = yaml.safe_dump(yaml.safe_load(POLICY) | with_rules(**settings))
    rules = parse(text, Policy, "policy.yaml").environments["staging"]
    assert rules.approvals_for(rollback=False) == promotion
    assert rules.approvals_for(rollback=True) == rollback
    assert not rules.retired


def test_a_freeze_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(ValueError, match="before"):
        Freeze(first="2026-02-01", last="2026-01-01", reason="x")


@pytest.mark.parametrize("day", ["soon", "2026-13-01", 3])
def test_a_day_that_is_none_says_how_to_write_one(day: object) -> None:
    rules = {"freeze": [{"first": day, "last": "2026-01-01", "reason": "x"}]}
    text = yaml.safe_dump(yaml.safe_load(POLICY) | {"environments": {"staging": rules}})
    with pytest.raises(errors.InputError, match=r"freeze\.0\.first: .*YYYY-MM-DD"):
        parse(text, Policy, "policy.yaml")
