"""The rules of promotion, in a real repository: each is kept, and each refuses."""

import datetime as dt
import shutil
from pathlib import Path

import pytest

from mlrelease import errors, workspace
from mlrelease.packages import package
from mlrelease.promotion import promote
from mlrelease.records import record
from mlrelease.rehearsal import sandbox
from mlrelease.training import train
from tests.engine.conftest import BETTER, SIMPLE, WORSE, add_code
from tests.engine.verification.changes import (
    entries,
    failed,
    live,
    named,
    on_main,
    proposed,
    release_both,
)


def test_merging_the_pull_request_promotes(world: sandbox.Sandbox) -> None:
    digest = release_both(world, BETTER)
    assert live(world) == digest


def test_a_promotion_touches_one_folder(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    base = world.here.git.base()
    head = world.promote("staging").pull_request.head
    names = world.here.git.changed(base, head)
    assert all(name.startswith("deploy/staging/") for name in names)
    assert {"model.yaml", "evaluation.json", "report.md"} <= {name.split("/")[2] for name in names}


def test_the_work_tree_is_left_alone(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    before = world.here.git.run("status", "--porcelain", "--branch")
    world.promote("staging")
    assert world.here.git.run("status", "--porcelain", "--branch") == before


def test_promoting_again_changes_nothing(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    first, again = world.promote("staging"), world.promote("staging")
    assert (first.new, again.new) == (True, False)
    assert again.pull_request.head == first.pull_request.head
    assert again.pull_request.body == first.pull_request.body


def test_what_runs_already_is_not_proposed(world: sandbox.Sandbox) -> None:
    with pytest.raises(errors.RefusedError, match="runs .* already"):
        world.promote("production")


def test_a_worse_model_is_refused_and_leaves_no_branch(world: sandbox.Sandbox) -> None:
    world.candidate(WORSE)
    before = world.here.git.run("ls-remote", "origin")
    with pytest.raises(errors.RefusedError, match=r"champion\.roc_auc\.margin"):
        world.promote("staging")
    assert world.here.git.run("ls-remote", "origin") == before
    assert world.here.pull_requests.list("staging", world.here.git.base()) == ()


def test_production_takes_what_staging_runs_not_what_is_newest(world: sandbox.Sandbox) -> None:
    newest = world.candidate(BETTER)
    with pytest.raises(errors.RefusedError, match="staging first"):
        promote.promote(world.here, "production", model=newest)


def test_production_waits_for_the_soak_time(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    world.merge(world.promote("staging").pull_request.branch)
    world.release("staging")
    world.clock += dt.timedelta(hours=23)
    with pytest.raises(errors.RefusedError, match=r"soak: 23\.0 h in staging, needs 24 h"):
        world.promote("production")


def test_a_freeze_refuses_promotions(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    text = (world.here.root / "policy.yaml").read_text()
    day = f"{world.clock:%Y-%m-%d}"
    freeze = f"{{freeze: [{{first: {day}, last: {day}, reason: audit}}]}}"
    world.commit("policy.yaml", text.replace("staging: {}", f"staging: {freeze}"))
    with pytest.raises(errors.RefusedError, match="freeze: .*audit"):
        world.promote("staging")


def test_a_newer_candidate_supersedes_the_open_one(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    older = world.promote("staging").pull_request.branch
    world.candidate(BETTER | {"seed": 8})
    assert world.promote("staging").superseded == (older,)
    open_ones = world.here.pull_requests.list("staging", world.here.git.base())
    assert older not in [p.branch for p in open_ones]


def test_a_newer_candidate_that_fails_supersedes_nothing(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    older = world.promote("staging").pull_request.branch
    world.candidate(WORSE)
    with pytest.raises(errors.RefusedError):
        world.promote("staging")
    open_ones = world.here.pull_requests.list("staging", world.here.git.base())
    assert [p.branch for p in open_ones] == [older]


def test_a_closed_promotion_is_a_decision(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    branch = world.promote("staging").pull_request.branch
    world.git("push", "--quiet", "origin", "--delete", branch)
    with pytest.raises(errors.RefusedError, match="closed without merging"):
        world.promote("staging")
    again = promote.promote(world.here, "staging", reason="asked again")
    assert again.new
    assert "asked again" in again.pull_request.body


def test_a_candidate_from_an_unmerged_branch_is_refused(world: sandbox.Sandbox) -> None:
    world.git("checkout", "--quiet", "-b", "experiment")
    path = world.here.root / "params.yaml"
    path.write_text(path.read_text().replace("max_depth: 3", "max_depth: 4"))
    world.git("commit", "--quiet", "--all", "--message", "Try")
    here = workspace.Workspace(world.here.root, world.here.state)
    train.train(here.params, here.root, here.candidate)
    package.package(here)
    with pytest.raises(errors.RefusedError, match="not on main"):
        promote.promote(here, "staging")


def test_two_racing_candidates_conflict_or_go_stale(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    first = world.promote("staging").pull_request
    world.candidate(BETTER | {"seed": 8})
    second = world.promote("staging").pull_request  # supersedes: bring the first back, as a race
    world.here.git.publish(first.head, first.branch)
    world.merge(first.branch)
    with pytest.raises(errors.ModelError, match="merge"):
        world.merge(second.branch)
    world.git("merge", "--abort")
    world.release("staging")
    assert list(failed(world, proposed(world, second.head, "staging"))) == ["comparison"]


def test_a_to_b_to_a_makes_an_open_comparison_stale(world: sandbox.Sandbox) -> None:
    """git merges this cleanly; only `replaces.entry` catches it."""
    waiting_model = world.candidate(BETTER | {"seed": 8})
    waiting = world.promote("staging").pull_request
    world.candidate(BETTER)
    other = world.promote("staging").pull_request
    world.here.git.publish(waiting.head, waiting.branch)
    before = live(world, "staging")
    world.merge(other.branch)
    world.release("staging")
    world.roll_back("staging")
    world.release("staging")
    world.merge(waiting.branch)
    content = world.here.git.show(named(world, "staging").commit, "deploy/staging/model.yaml")
    assert waiting_model in (content or b"").decode()
    found = failed(world, on_main(world, "staging"))
    assert list(found) == ["comparison", "hold"]  # another seed, the same answers
    assert "stale" in found["comparison"]
    with pytest.raises(errors.RefusedError, match="stale"):
        world.release("staging")
    assert live(world, "staging") == before


def test_a_rolled_back_model_is_held(world: sandbox.Sandbox) -> None:
    digest = release_both(world, BETTER)
    world.roll_back("production")
    world.release("production")
    assert digest in world.here.ledger("production", world.here.git.base()).held()
    with pytest.raises(errors.RefusedError, match="hold: held"):
        world.promote("production")


def test_a_person_may_overrule_a_hold_with_a_reason(world: sandbox.Sandbox) -> None:
    digest = release_both(world, BETTER)
    world.roll_back("production")
    world.release("production")
    world.clock += dt.timedelta(hours=1)
    again = promote.promote(world.here, "production", reason="the client is fixed")
    world.merge(again.pull_request.branch)
    world.release("production")
    assert live(world) == digest
    assert entries(world)[0].released.reason == "the client is fixed"


def test_a_vanished_artefact_is_refused(world: sandbox.Sandbox) -> None:
    digest = world.candidate(BETTER)
    shutil.rmtree(world.here.store.fetch(digest))
    with pytest.raises(errors.RefusedError, match="not in the store"):
        world.promote("staging")


def test_a_damaged_artefact_is_refused(world: sandbox.Sandbox) -> None:
    digest = world.candidate(BETTER)
    (world.here.store.fetch(digest) / "profile.json").write_text("{}")
    with pytest.raises(errors.RefusedError, match="expected sha256"):
        world.promote("staging")


def test_nothing_is_promoted_to_production_before_staging(project: Path) -> None:
    add_code(project)
    with sandbox.sandbox(project) as play:
        play.candidate(BETTER)
        with pytest.raises(errors.RefusedError, match="staging runs nothing"):
            play.promote("production")


def test_the_first_model_is_held_to_absolute_limits_only(
    first_release: object, world: sandbox.Sandbox
) -> None:
    first = entries(world, "staging")[-1].released
    assert first.replaces is None
    content = world.here.git.show(first.main, "deploy/staging/model.yaml") or b""
    assert record.Record.read(content, "model.yaml").replaces == record.Replaces()
    rules = [check.name for check in first.checks]
    assert "metrics.roc_auc.min" in rules
    assert not [rule for rule in rules if rule.startswith("champion")]


def test_the_same_model_can_be_packaged_twice(world: sandbox.Sandbox) -> None:
    digest = world.candidate(SIMPLE | {"seed": 9})
    again = package.package(world.here)
    assert again.model == digest
