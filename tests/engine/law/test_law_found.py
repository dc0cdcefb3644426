"""Histories that broke the one law when `test_law.py` found them, each as short as it gets."""

import datetime as dt
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mlrelease import errors, workspace
from mlrelease.deployment import deploy
from mlrelease.promotion import promote, rollback
from tests.engine.law.law_build import build, copied
from tests.engine.law.law_forgery import entry, noted
from tests.engine.law.law_hands import Hands
from tests.engine.law.law_standins import SWAPPED, GitHub
from tests.engine.law.law_world import World

pytestmark = pytest.mark.slow
GOOD, BETTER, BEST, TWIN, BAD, BROKEN = range(6)


class Play:
    """A person who does as the book says."""

    def __init__(self, world: World) -> None:
        self.world, self.hands = world, Hands(world)

    def do(self, verb: Any) -> Any:
        return self.world.run(self.world.person, verb)

    def propose(self, name: Any, model: int, reason: str | None = None) -> Any:
        digest = self.world.digests[model] if name == "staging" else None
        return self.do(lambda here: promote.promote(here, name, model=digest, reason=reason))

    def approve(self, opened: Any) -> None:
        assert not isinstance(opened, Exception), opened
        assert self.hands.merge(opened.pull_request.head, "merge", ("ann", "bob"))

    def deploy(self, name: Any) -> Any:
        return self.do(lambda here: deploy.deploy(here, name, revert=False))

    def release(self, name: Any, model: int) -> None:
        self.approve(self.propose(name, model))
        done = self.deploy(name)
        assert isinstance(done, deploy.Deployment), done

    def runs(self, name: str) -> int:
        (service,) = self.world.person.driver(name).services
        return self.world.digests.index(service.record.model)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("found") / "template"
    build(root)
    return root


@pytest.fixture(params=[False, True], ids=["alone", "on GitHub"])
def play(template: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Play]:
    with copied(template, tmp_path / "copy", request.param) as world:
        yield Play(world)


def test_a_model_that_failed_its_golden_requests_is_held(play: Play) -> None:
    play.release("staging", GOOD)
    play.approve(play.propose("staging", BROKEN))
    assert "failed the golden requests" in str(play.deploy("staging"))
    play.approve(play.do(lambda here: rollback.rollback(here, "staging", reason="undo it")))
    assert play.deploy("staging").action == "unchanged"
    assert "held" in str(play.propose("staging", BROKEN))


def test_a_model_that_failed_does_not_come_back_by_an_undone_edit(play: Play) -> None:
    """main named something else for a while; the failed model's record is no news after that."""
    play.release("staging", GOOD)
    play.approve(play.propose("staging", BROKEN))
    play.deploy("staging")
    for what in ("deleted", "oversized"):
        play.hands.push(play.hands.edited("staging", what, ""), ("ann", "bob"))
        play.hands.undo(0, again=False, approved_by=("ann", "bob"))
        assert "held: it failed its golden requests" in str(play.deploy("staging"))
    assert play.runs("staging") == GOOD


def test_a_machine_whose_clock_is_behind_runs_nothing_older(play: Play) -> None:
    play.release("staging", GOOD)
    play.world.true += dt.timedelta(days=9)
    play.release("staging", BETTER)
    play.world.off = -dt.timedelta(days=5)
    play.do(lambda here: deploy.deploy(here, "staging", releases=False))
    assert play.runs("staging") == BETTER


def test_an_unapproved_change_of_the_policy_that_was_taken_back_blocks_nothing(play: Play) -> None:
    for name in ("staging", "production"):
        play.release(name, GOOD)
        play.world.true += dt.timedelta(hours=25)
    play.hands.policy("weak", None)
    play.hands.policy("as it was", ("ann", "bob"))
    for name in ("staging", "production"):
        play.release(name, BETTER)
        play.world.true += dt.timedelta(hours=25)
    assert play.runs("production") == BETTER


def test_a_forged_ledger_does_not_shorten_the_soak(play: Play) -> None:
    """Whoever may append to env/staging cannot say that a model ran there before it was merged."""
    for name in ("staging", "production"):
        play.release(name, GOOD)
        play.world.true += dt.timedelta(hours=25)
    play.world.true += dt.timedelta(days=3)
    play.approve(play.propose("staging", BETTER))
    stamp = f"{play.world.true - dt.timedelta(days=2):%Y-%m-%dT%H:%M:%SZ}"
    main, files, model = play.hands.named("staging")
    ledger = play.do(lambda here: here.ledger("staging", here.git.base()))
    note = entry("staging", main, model, ledger.effective.commit, stamp)
    forged = play.hands.append("staging", files, json.dumps(note).encode())
    play.hands.append("staging", files, json.dumps(noted(forged, "live", stamp)).encode())
    refused = play.propose("production", BETTER)
    assert isinstance(refused, errors.RefusedError), "it never ran in staging"


def forget(play: Play) -> None:
    """A machine with a state of its own at each run, as a job has."""
    for path in (play.world.person.state / "verified").glob("*/*"):
        path.unlink()


def test_a_request_that_fails_once_releases_nothing_again(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be verified now is not what does not verify."""
    play.release("staging", GOOD)
    play.release("staging", BETTER)
    forget(play)
    tip, real, failures = play.world.origin.branch("env/staging"), GitHub.approvals, [1]

    def approvals(*given: Any, **more: Any) -> Any:
        if failures:
            failures.pop()
            raise errors.ModelError("GitHub: 502")
        return real(*given, **more)

    monkeypatch.setattr(GitHub, "approvals", approvals)
    play.deploy("staging")
    assert play.world.origin.branch("env/staging") == tip


def test_a_model_that_was_lost_goes_on_running(play: Play) -> None:
    """Its artefact is gone and nobody remembers; that is no reason to start an older one."""
    play.release("staging", GOOD)
    play.release("staging", BETTER)
    forget(play)
    play.hands.lose(play.world.digests[BETTER], tamper=False)
    play.do(lambda here: deploy.deploy(here, "staging", releases=False))
    assert play.runs("staging") == BETTER


def test_an_agent_that_never_saw_the_old_main_follows_an_anchor(play: Play) -> None:
    """main was rewritten and anchored again; what it named before is in no new clone."""
    for name, model in (("staging", GOOD), ("production", GOOD), ("staging", BETTER)):
        play.release(name, model)
        play.world.true += dt.timedelta(hours=25)
    play.release("production", BETTER)
    line = play.world.origin.line(play.hands.main())
    play.world.origin.move("main", line[2])
    for name, model in (("staging", BEST), ("production", BEST)):
        digest = play.world.digests[model]
        play.approve(play.do(partial(anchor, name=name, model=digest)))
        play.deploy(name)
        play.world.true += dt.timedelta(hours=25)
    assert play.runs("production") == BEST
    for name in ("staging", "production"):
        play.world.run(play.world.agent, partial(follow, name=name))
        (service,) = play.world.agent.driver(name).services
        assert service.record.model == play.world.digests[BEST], name


def test_files_that_change_while_models_are_compared_are_not_compared(play: Play) -> None:
    """A model that its source does not give is not taken for the one that lies there meanwhile."""
    digest, honest = (play.world.digests[number] for number in (SWAPPED, BEST))
    play.world.meanwhile = ("before compare", lambda: play.hands.swap(digest, honest))
    refused = play.propose("staging", SWAPPED)
    assert play.world.meanwhile is None
    assert "content is" in str(refused)
    assert "rebuilt" in str(refused)


def test_what_one_environment_remembers_does_not_run_in_another(play: Play) -> None:
    play.release("staging", GOOD)
    state = play.world.person.state / "environments"
    (state / "production").mkdir(exist_ok=True)
    (state / "production" / "release.json").write_bytes(
        (state / "staging" / "release.json").read_bytes()
    )
    play.hands.unreachable(True)
    refused = play.deploy("production")
    assert "remove it" in str(refused)
    assert not play.world.person.driver("production").started


def test_a_new_machine_takes_what_cannot_be_trained_again_neither_for_forged_nor_for_good(
    play: Play,
) -> None:
    """Production asks for it. That it was done at release is only what the entry says; data may be
    away for a while, and a machine may be too slow."""
    for name in ("staging", "production"):
        play.release(name, GOOD)
        play.world.true += dt.timedelta(hours=25)
    for rebuilds, why in (("slow", "takes over 6 h"), ("away", "rows.csv: no such file")):
        play.world.newcomer()
        play.world.rebuilds = rebuilds
        unclear = play.world.run(play.world.colleague, partial(follow, name="production"))
        assert isinstance(unclear, errors.UnclearError)
        assert why in str(unclear)
    play.world.rebuilds = "yes"
    runs = play.world.run(play.world.colleague, partial(follow, name="production"))
    assert runs.model == play.world.digests[GOOD]


def test_nothing_new_is_released_that_cannot_be_trained_again(play: Play) -> None:
    for rebuilds in ("slow", "away"):
        play.release("staging", GOOD if rebuilds == "slow" else BETTER)
        play.world.true += dt.timedelta(hours=25)
        play.world.rebuilds = rebuilds
        assert "NOT REBUILT" in str(play.propose("production", GOOD))
        play.world.rebuilds = "yes"


def anchor(here: workspace.Workspace, name: Any, model: str) -> Any:
    return promote.promote(here, name, model=model, reason="main was rewritten", intent="anchor")


def follow(here: workspace.Workspace, name: Any) -> Any:
    return deploy.deploy(here, name, releases=False)
