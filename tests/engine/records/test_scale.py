"""A thousand promotions: no verb starts more of git for a long history than for a short one."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlrelease import workspace
from mlrelease.deployment import deploy, status
from mlrelease.records import git, known_objects, ledger, ledger_branch, ledger_reader
from mlrelease.rehearsal import sandbox
from mlrelease.verification import verify
from tests.engine.conftest import BETTER, commit_all
from tests.engine.records.long_history import grow
from tests.engine.verification.changes import entries, on_main


def counted(action: Callable[[], Any]) -> int:
    """How many git commands it runs."""
    before, count = git.Git.output, 0

    def output(self: git.Git, *arguments: str, **options: Any) -> bytes:
        nonlocal count
        count += 1
        return before(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(git.Git, "output", output)
        action()
    return count


def commands(world: sandbox.Sandbox, model: dict[str, object]) -> dict[str, int]:
    """Of each verb, as another process runs it, while a model goes to staging."""
    world.candidate(model)
    found = {}

    def note(name: str, action: Callable[[workspace.Workspace], Any]) -> None:
        world.look_again()
        found[name] = counted(lambda: action(world.here))

    note("promote", lambda _: world.promote("staging"))
    (request,) = world.here.pull_requests.list("staging", world.here.git.base())
    world.merge(request.branch)
    note("verify", lambda here: verify.verify(here, on_main(world, "staging")))
    note("deploy", lambda here: deploy.deploy(here, "staging"))
    note("deploy again", lambda here: deploy.deploy(here, "staging"))
    note("status", status.status)
    note("history", lambda here: here.ledger("production", here.git.base()))
    return found


def test_a_long_history_needs_no_more_git(world: sandbox.Sandbox) -> None:
    try:
        grow(world, 8)
        few = commands(world, BETTER)
        world.clock += dt.timedelta(hours=1)
        grow(world, 190)
        many = commands(world, BETTER | {"seed": 3, "slices": ["mean texture"]})
    finally:
        deploy.stop(world.here, "staging")
    assert [verb for verb in few if many[verb] > few[verb]] == []
    assert len(entries(world)) == 199
    assert world.here.ledger("production", world.here.git.base()).skipped == ()


def test_a_ledger_that_did_not_change_is_read_once(world: sandbox.Sandbox) -> None:
    here, base = world.here, world.here.git.base()
    first = here.ledger("production", base)
    assert here.ledger("production", base) is first
    world.git("push", "--quiet", "--force", "origin", "main~1:refs/heads/env/production")
    here.git.base()
    with pytest.raises(ledger_branch.TruncatedError):
        here.ledger("production", base)


@pytest.fixture
def releases(project: Path) -> workspace.Workspace:
    """Eight models, one after the other, in a repository without an origin."""
    made, here = commit_all(project), workspace.Workspace(project, project / ".model")
    made.run("config", "user.name", "T")
    made.run("config", "user.email", "t@localhost")
    for number in range(8):
        path = project / "deploy/production/model.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        before = here.ledger("production", made.base()).effective
        entry = before.commit if before else "null"
        model = f"sha256:{number:012x}{0:052x}"
        path.write_text(f"model: {model}\nreplaces:\n  model: null\n  entry: {entry}\n")
        made.run("add", "deploy")
        made.run("commit", "--quiet", "--message", "Promote")
        main = made.base()
        found = here.ledger("production", main)
        note = ledger.Released(
            environment="production", change="promote", main=main,
            model=model, version="1", image=None,
            replaces=before.commit if before else None, restores=None,
            time=here.now(), requested_by=None, approved_by=(), pull_request=None, head=None,
            run=None, reason=None, checks=(), answers={},
        )  # fmt: skip
        ledger_branch.append(made, found, note, f"{main}:deploy/production", "Promote")
    return here


def test_status_names_the_last_five_holds_and_counts_all(releases: workspace.Workspace) -> None:
    _, state = status.status(releases)
    assert state.released == f"sha256:{7:012x}{0:052x}"
    assert state.held == tuple(f"{n:012x}" for n in (6, 5, 4, 3, 2))
    assert state.holds == 7


def test_what_does_not_count_yet_is_looked_at_again(releases: workspace.Workspace) -> None:
    """An entry of a clock that is ahead counts once its time has come, in the same process too."""
    git_, main = releases.git, releases.git.base()
    early = workspace.Workspace(
        releases.root, releases.state, now=lambda: releases.now() - dt.timedelta(days=moved[0])
    )
    moved = [1]
    assert not early.ledger("production", main).entries
    moved[0] = 0
    assert len(early.ledger("production", main).entries) == 8
    assert git_.resolve_exactly("env/production")


def known(world: sandbox.Sandbox) -> known_objects.KnownObjects:
    path = world.here.state / "ledgers" / "production.msgpack"
    return known_objects.KnownObjects(world.here.git, path)


def test_what_was_read_once_is_not_asked_of_git_again(world: sandbox.Sandbox) -> None:
    grow(world, 40)
    first = world.here.ledger("production", world.here.git.base())
    world.look_again()
    by_git = ledger_branch.read(
        world.here.git, "production", first.main, world.clock, lambda *_: True
    )
    again = world.here.ledger("production", first.main)
    assert first == again == by_git
    names = [f"{entry.commit}:ledger.json" for entry in first.entries]
    asked = counted(lambda: known(world).read(names, ledger_reader.MAX_BYTES))
    assert asked == 0


def test_a_ledger_that_did_not_move_is_not_read_again(world: sandbox.Sandbox) -> None:
    first = world.here.ledger("production", world.here.git.base())
    assert counted(lambda: world.here.ledger("production", first.main)) == 2  # where it is


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"\x81\xa1a\x01", b"\xdf\xff\xff\xff\xff"])
def test_a_damaged_memory_of_a_ledger_is_none(world: sandbox.Sandbox, content: bytes) -> None:
    grow(world, 40)
    first = world.here.ledger("production", world.here.git.base())
    (world.here.state / "ledgers" / "production.msgpack").write_bytes(content)
    world.look_again()
    assert world.here.ledger("production", first.main) == first


def test_what_is_not_here_yet_is_asked_for_again(world: sandbox.Sandbox) -> None:
    objects = known(world)
    world.here.git.run("fetch", "-q")
    content = b"late\n"
    missing = f"{world.here.git.base()}:late.txt"
    assert objects.read([missing], 9)[0].oid is None
    world.commit("late.txt", content.decode())
    late = f"{world.here.git.base()}:late.txt"
    assert objects.read([missing, late], 9)[1].content == content
    assert objects.read([late], 0)[0].content is None
