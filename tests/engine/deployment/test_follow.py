"""What runs follows the ledger: whatever main names, whoever is away, and nothing else."""

import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mlrelease import errors, workspace
from mlrelease.deployment import (
    deploy,
    drivers as driver,
    observe,
    pin,
    processes as supervisor,
    status,
)
from mlrelease.environments import ENVIRONMENTS
from mlrelease.promotion import promote
from mlrelease.records import git, ledger, ledger_branch
from mlrelease.rehearsal import sandbox
from mlrelease.serving import golden
from tests.engine.conftest import BETTER, WORSE
from tests.engine.deployment.test_deploy import processes, serves
from tests.engine.records.test_ledger import edit, forge_for_main, name, whole
from tests.engine.verification.changes import entries, live, merge_both, release_both

pytestmark = pytest.mark.slow  # each starts real services


@pytest.fixture
def served(world: sandbox.Sandbox) -> Iterator[sandbox.Sandbox]:
    """Production runs what was released; everything is stopped afterwards."""
    deploy.deploy(world.here, "production")
    try:
        yield world
    finally:
        for environment in ENVIRONMENTS:
            deploy.stop(world.here, environment)


def url(world: sandbox.Sandbox) -> str:
    port = supervisor.Processes(
        world.here.state / "environments" / "production", world.here.git
    ).public_port(0)
    return f"http://127.0.0.1:{port}"


def stopped(world: sandbox.Sandbox) -> None:
    """The machine was restarted."""
    for process in processes(world):
        os.kill(process.pid, signal.SIGKILL)
    while processes(world):
        time.sleep(0.02)


def test_deploying_notes_once_that_it_is_live(served: sandbox.Sandbox) -> None:
    tip = whole(served).tip
    assert entries(served)[0].live == served.clock
    deploy.deploy(served.here, "production")
    assert whole(served).tip == tip


def test_a_lost_outcome_is_noted_by_the_next_deployment(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(deploy, "observe", lambda *_: (_ for _ in ()).throw(OSError("full")))
        deploy.attempt(world.here, "production")
    try:
        assert entries(world)[0].live is None
        assert deploy.deploy(world.here, "production").action == "unchanged"
        assert entries(world)[0].live
    finally:
        deploy.stop(world.here, "production")


def test_a_refused_change_on_main_stops_nothing(served: sandbox.Sandbox) -> None:
    first = live(served)
    edit(served, served.candidate(WORSE))
    stopped(served)
    done = deploy.attempt(served.here, "production")
    assert done.action == "refused"
    assert "stale" in str(done.error)
    assert serves(url(served)) == first  # it was started again all the same


def test_a_follower_appends_and_releases_nothing(served: sandbox.Sandbox) -> None:
    first = live(served)
    merge_both(served, BETTER)
    tip = whole(served).tip
    done = deploy.deploy(served.here, "production", releases=False)
    assert (done.action, done.model) == ("unchanged", first)
    assert whole(served).tip == tip


def test_an_entry_that_does_not_verify_is_not_followed(served: sandbox.Sandbox) -> None:
    first, bad = live(served), served.candidate(WORSE)
    name(served, bad)
    forge_for_main(served, bad)
    done = deploy.deploy(served.here, "production", releases=False)
    assert (done.action, done.model) == ("unchanged", first)


@pytest.mark.parametrize("gone", ["origin", "ledger", "main rewritten", "clock"])
def test_a_host_that_restarts_runs_what_it_verified(served: sandbox.Sandbox, gone: str) -> None:
    first = live(served)
    if gone == "origin":
        shutil.rmtree(served.here.root.parent / "origin.git")
    elif gone == "ledger":
        served.git("push", "--quiet", "origin", "--delete", "env/production")
    elif gone == "main rewritten":
        served.git("reset", "--quiet", "--hard", "HEAD~2")
        served.git("push", "--quiet", "--force", "origin", "main")
    else:
        served.clock = served.clock.replace(year=2020)
    stopped(served)
    done = deploy.deploy(served.here, "production", releases=False)
    assert (done.action, done.model) == ("deployed", first)
    assert bool(done.warning) == (gone != "main rewritten")
    assert serves(url(served)) == first


@pytest.mark.parametrize("text", ["environments: [", None])
def test_a_policy_that_cannot_be_read_moves_nothing_that_serves(
    served: sandbox.Sandbox, text: str | None
) -> None:
    port, policy = driver.free_port(), served.here.root / "policy.yaml"
    fixed = policy.read_text().replace("soak_hours: 24", f"soak_hours: 24\n    port: {port}")
    served.commit("policy.yaml", fixed)
    address = f"http://127.0.0.1:{port}"
    assert deploy.deploy(served.here, "production").url == address
    if text is None:
        policy.unlink()
        served.git("commit", "--quiet", "--all", "--message", "Remove it")
        served.git("push", "--quiet", "origin", "main")
    else:
        served.commit("policy.yaml", text)
    for killed in (False, True):
        if killed:
            stopped(served)
        assert deploy.deploy(served.here, "production").url == address
        assert serves(address) == live(served)


def test_where_origin_is_away_a_deployment_says_what_runs(served: sandbox.Sandbox) -> None:
    served.git("remote", "set-url", "origin", "/nowhere")
    done = deploy.attempt(served.here, "production")
    assert re.search(r"^git fetch: .*, which this machine knows, runs at http", str(done.error))
    assert serves(url(served)) == live_here(served)
    (_, production) = status.status(served.here)
    assert production.running == production.released
    assert "as this clone knows it: git fetch" in production.advice


def live_here(world: sandbox.Sandbox) -> str:
    """What runs, as far as this clone knows without asking origin."""
    main, _ = world.here.known_main()
    found = world.here.ledger("production", main).effective
    assert found
    return found.model


def test_a_ledger_that_people_began_again_is_followed(served: sandbox.Sandbox) -> None:
    """Nobody had a copy, so its owners took what is said of that in the runbook."""
    served.git("push", "--quiet", "origin", "--delete", "env/production")
    served.git("update-ref", "-d", "refs/model/seen/production")
    served.look_again()
    opened = promote.promote(served.here, "production", intent="anchor", reason="nobody has it")
    served.merge(opened.pull_request.branch)
    assert deploy.deploy(served.here, "production").warning is None
    second = release_both(served, BETTER)
    done = deploy.deploy(served.here, "production")
    assert (done.model, done.warning, serves(url(served))) == (second, None, second)
    assert entries(served)[0].live


def test_a_fresh_host_without_a_ledger_runs_nothing(world: sandbox.Sandbox, tmp_path: Path) -> None:
    world.git("push", "--quiet", "origin", "--delete", "env/production")
    world.here.git.run("update-ref", "-d", "refs/model/seen/production")
    fresh = workspace.Workspace(world.here.root, tmp_path / "fresh", now=world.here.now)
    assert deploy.deploy(fresh, "production", releases=False).action == "nothing"


def test_what_failed_is_noted_undone_and_not_tried_again(
    served: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = live(served), merge_both(served, BETTER)
    real = golden.check

    def wrong(address: str, requests: list[dict[str, Any]], model: str) -> list[str]:
        return ["golden row 0: wrong"] if model == second else real(address, requests, model)

    monkeypatch.setattr(golden, "check", wrong)
    done = deploy.attempt(served.here, "production")
    assert done.action == "failed"
    assert "a revert is proposed" in str(done.error)
    assert entries(served)[0].failed
    assert (live(served), serves(url(served))) == (first, first)
    started = len(list((served.here.state / "environments/production").glob("process-*")))
    again = deploy.attempt(served.here, "production")
    assert (again.action, "failed its golden requests" in str(again.error)) == ("refused", True)
    assert len(list((served.here.state / "environments/production").glob("process-*"))) == started
    (request,) = served.here.pull_requests.list("production", served.here.git.base())
    served.merge(request.branch)
    assert deploy.deploy(served.here, "production").action == "unchanged"
    assert len(entries(served)) == 2  # letting main name what runs is no release


def test_a_fault_of_this_machine_fails_nothing_for_others(
    served: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = merge_both(served, BETTER)

    def full(*_: Any) -> Any:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(supervisor.Processes, "start", full)
        done = deploy.attempt(served.here, "production")
    assert done.action == "refused"
    assert "No space left" in str(done.error)
    assert entries(served)[0].outcome is None
    assert deploy.deploy(served.here, "production").model == second
    assert entries(served)[0].live


def test_a_push_that_loses_a_race_verifies_again(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    merge_both(world, BETTER)
    raced: list[bool] = []
    real = ledger_branch.append

    def append(git: Any, found: Any, *rest: Any) -> str:
        if not raced:
            raced.append(True)
            observe.observe(world.here, "production", entries(world)[0].commit, "live", "other")
        return str(real(git, found, *rest))

    monkeypatch.setattr(ledger_branch, "append", append)
    entry = world.release("production")
    assert entry
    assert [e.live is not None for e in entries(world)] == [False, True]


def noted(world: sandbox.Sandbox, git: git.Git, observer: str) -> str:
    """Append a note to production's ledger as it is known here."""
    found = world.here.ledger("production", world.here.git.resolve("main") or "")
    entry = found.entries[0].commit
    note = ledger.Outcome(entry, "live", world.clock, observer, None, None)
    return ledger_branch.append(git, found, note, entry, observer)


@pytest.mark.parametrize("both", [True, False])
def test_of_two_who_append_at_once_the_loser_hears_that_the_ledger_moved(
    world: sandbox.Sandbox, tmp_path: Path, both: bool
) -> None:
    """Also where production's ledger is the only branch below `env/`."""
    if not both:
        world.git("push", "--quiet", "origin", "--delete", "env/staging")
    shutil.copytree(world.here.root, tmp_path / "other")
    clones = (world.here.git, git.Git(tmp_path / "other"))
    for turn in range(5):
        start = threading.Barrier(2)
        before = whole(world).tip

        def attempt(clone: git.Git, start: threading.Barrier = start, turn: int = turn) -> object:
            start.wait()
            try:
                return noted(world, clone, f"{clone.root.name} {turn}")
            except errors.ModelError as error:
                return error

        with ThreadPoolExecutor(2) as pool:
            answers = [*pool.map(attempt, clones)]
        (lost,) = [answer for answer in answers if isinstance(answer, errors.ModelError)]
        assert isinstance(lost, ledger_branch.RacedError), lost
        assert "env/production moved meanwhile" in str(lost)
        assert world.here.git.line(whole(world).tip or "")[1] == before


def test_a_push_that_finds_another_one_under_way_may_be_repeated(world: sandbox.Sandbox) -> None:
    place = world.here.root.parent / "origin.git" / "refs/heads/env/production.lock"
    place.touch()
    with pytest.raises(ledger_branch.RacedError, match=r"another push .*production\.lock"):
        noted(world, world.here.git, "test")
    place.unlink()
    assert noted(world, world.here.git, "test") == whole(world).tip


def test_each_environment_is_a_world_of_its_own(
    served: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = driver.driver
    with monkeypatch.context() as patch:
        patch.setattr(deploy, "driver", lambda w, e, b: 1 / 0 if e == "staging" else real(w, e, b))
        staging, production = (deploy.attempt(served.here, e) for e in ENVIRONMENTS)
    assert (staging.action, production.action) == ("refused", "unchanged")
    assert "ZeroDivisionError" in str(staging.error)


def test_a_rollback_starts_without_its_source_being_asked_for_time(
    served: sandbox.Sandbox,
) -> None:
    first = live(served)
    release_both(served, BETTER)
    deploy.deploy(served.here, "production")
    served.roll_back("production")
    done = deploy.deploy(served.here, "production")
    assert (done.rollback, done.model, serves(url(served))) == (True, first, first)


def test_a_refusal_names_the_check(served: sandbox.Sandbox) -> None:
    edit(served, served.candidate(WORSE))
    with pytest.raises(errors.RefusedError, match=r"is refused; what ran before still runs\n"):
        deploy.deploy(served.here, "production")


def test_a_machine_can_be_pinned_while_nobody_can_be_asked(served: sandbox.Sandbox) -> None:
    first, second = live(served), release_both(served, BETTER)
    deploy.deploy(served.here, "production")
    origin = served.here.git.run("remote", "get-url", "origin")
    served.git("remote", "set-url", "origin", "/nowhere")
    with pytest.raises(errors.InputError, match="this machine verified"):
        pin.pin(served.here, "production", "0" * 12, "prices are wrong")
    pin.pin(served.here, "production", first, "prices are wrong")
    done = deploy.attempt(served.here, "production")
    assert (done.error, done.model, serves(url(served))) == (None, first, first)
    assert "prices are wrong; nothing new is released: git fetch" in str(done.warning)
    served.git("remote", "set-url", "origin", origin)
    assert "prices are wrong" in str(status.status(served.here)[1].pinned)
    tip = whole(served).tip
    assert deploy.deploy(served.here, "production").model == first
    assert (whole(served).tip, live(served)) == (tip, second)  # a pin is no release
    served.roll_back("production")
    assert deploy.deploy(served.here, "production").warning is None
    assert pin.pinned(served.here, "production") is None


def test_a_forged_pin_runs_nothing_that_was_not_verified_here(served: sandbox.Sandbox) -> None:
    first, bad = live(served), served.candidate(WORSE)
    name(served, bad)
    commit = forge_for_main(served, bad)
    served.here.git.base()
    path = served.here.state / "environments" / "production" / "pin.json"
    path.write_text(f'{{"entry": "{commit}", "reason": "x", "time": "now"}}')
    with pytest.raises(errors.RefusedError, match="names no release that this machine verified"):
        deploy.deploy(served.here, "production", releases=False)
    assert serves(url(served)) == first
