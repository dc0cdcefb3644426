"""Rollback restores what ran before, whatever the policy says today."""

import datetime as dt
import shutil

import pytest

from mlrelease import errors
from mlrelease.promotion import rollback
from mlrelease.records import record
from mlrelease.rehearsal import sandbox
from mlrelease.verification import confirm, verify
from tests.engine.conftest import BETTER
from tests.engine.verification.changes import entries, live, on_main, release_both


def test_a_rollback_restores_the_folder_byte_for_byte(world: sandbox.Sandbox) -> None:
    git = world.here.git
    before = git.files(git.base(), "deploy/production")
    first = live(world)
    release_both(world, BETTER)
    world.roll_back("production")
    world.release("production")
    assert git.files(git.base(), "deploy/production") == before
    assert live(world) == first
    assert entries(world)[0].released.change == "rollback"


def test_a_machine_that_knows_nothing_verifies_a_rollback_again(world: sandbox.Sandbox) -> None:
    release_both(world, BETTER)
    world.roll_back("production")
    world.release("production")
    shutil.rmtree(world.here.state / "verified")
    recorded = world.here.ledger("production", world.here.git.base())
    assert confirm.settle(world.here, recorded).effective == recorded.effective


def test_a_rollback_is_exempt_from_freezes(world: sandbox.Sandbox) -> None:
    release_both(world, BETTER)
    text = (world.here.root / "policy.yaml").read_text()
    freeze = "soak_hours: 24\n    freeze: [{first: 2020-01-01, last: 2099-01-01, reason: x}]"
    world.commit("policy.yaml", text.replace("soak_hours: 24", freeze))
    world.roll_back("production")
    assert not verify.verify(world.here, on_main(world)).failed


def test_a_policy_that_cannot_be_read_does_not_hold_up_a_rollback(world: sandbox.Sandbox) -> None:
    """The one that the release was made under still says who must approve."""
    first = live(world)
    release_both(world, BETTER)
    (world.here.root / "policy.yaml").write_text("environments: [")
    world.git("commit", "--quiet", "--all", "--message", "Break it")
    world.git("push", "--quiet", "origin", "main")
    world.roll_back("production")
    world.release("production")
    assert live(world) == first


def test_nothing_before_the_first_model(world: sandbox.Sandbox) -> None:
    with pytest.raises(errors.RefusedError, match="nothing to roll back to"):
        rollback.rollback(world.here, "production", reason="x")


def test_a_second_rollback_goes_further_back_not_forward(world: sandbox.Sandbox) -> None:
    first = live(world)
    second = release_both(world, BETTER)
    third = release_both(world, BETTER | {"seed": 8})
    for expected in (second, first):
        world.roll_back("production")
        world.release("production")
        world.clock += dt.timedelta(hours=1)
        assert live(world) == expected
    assert third in world.here.ledger("production", world.here.git.base()).held()


def test_an_earlier_model_can_be_named(world: sandbox.Sandbox) -> None:
    first = live(world)
    release_both(world, BETTER)
    release_both(world, BETTER | {"seed": 8})
    back = rollback.rollback(world.here, "production", to=record.short(first), reason="x")
    assert record.short(first) in back.pull_request.branch


@pytest.mark.parametrize("name", ["", "ffff", "sha256:", "latest"])
def test_a_model_that_never_ran_here_is_refused(world: sandbox.Sandbox, name: str) -> None:
    release_both(world, BETTER)
    with pytest.raises(errors.InputError, match="earlier"):
        rollback.rollback(world.here, "production", to=name, reason="x")


def test_a_vanished_artefact_is_refused(world: sandbox.Sandbox) -> None:
    first = live(world)
    release_both(world, BETTER)
    shutil.rmtree(world.here.store.fetch(first))
    with pytest.raises(errors.RefusedError, match="not in the store"):
        rollback.rollback(world.here, "production", reason="x")
