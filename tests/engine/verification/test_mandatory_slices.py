"""params.yaml cannot take a group of rows from the gate: the policy says which must be judged."""

import pytest
import yaml

from mlrelease import errors
from mlrelease.evaluation import gate
from mlrelease.promotion import work_tree
from mlrelease.rehearsal import sandbox
from mlrelease.verification import verify
from tests.engine.verification.changes import proposed


def with_columns(world: sandbox.Sandbox, *columns: str) -> None:
    path = world.here.root / "policy.yaml"
    content = yaml.safe_load(path.read_text())
    content["slices"] |= {"columns": list(columns), "max": 0.9, "margin": 0.9}
    world.commit("policy.yaml", yaml.safe_dump(content, sort_keys=False))


def test_a_candidate_without_slices_is_refused(world: sandbox.Sandbox) -> None:
    world.candidate({"slices": [], "seed": 8})
    with pytest.raises(errors.RefusedError, match="slices: no slice has brier on 30 rows or more"):
        world.promote("staging")


def test_the_policy_s_columns_are_judged_whatever_params_name(world: sandbox.Sandbox) -> None:
    with_columns(world, "mean texture")
    world.candidate({"slices": ["mean radius"], "seed": 8})
    evaluation, _ = work_tree.evaluate_candidate(world.here, "staging")
    assert {part.column for part in evaluation.slices} == {"mean radius", "mean texture"}
    head = world.promote("staging").pull_request.head
    found = verify.verify(world.here, proposed(world, head, "staging"))
    assert found.passed
    assert any(rule.name.startswith("slices[mean texture ") for rule in found.rules)


def test_the_policy_s_columns_are_judged_without_slices_in_params(world: sandbox.Sandbox) -> None:
    with_columns(world, "mean texture")
    world.candidate({"slices": [], "seed": 8})
    evaluation, _ = work_tree.evaluate_candidate(world.here, "staging")
    assert {part.column for part in evaluation.slices} == {"mean texture"}
    assert gate.passed(gate.judge(evaluation, world.here.policy))


def test_a_column_that_the_holdout_has_not_is_named(world: sandbox.Sandbox) -> None:
    with_columns(world, "altitude")
    world.candidate({"seed": 8})
    with pytest.raises(errors.InputError, match="'altitude' of params.yaml or policy.yaml"):
        work_tree.evaluate_candidate(world.here, "staging")
