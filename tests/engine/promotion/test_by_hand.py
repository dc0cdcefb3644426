"""A record that somebody edited by hand around the model that runs, and ways to mislead git."""

import subprocess
from pathlib import Path

import pytest

from mlrelease import errors
from mlrelease.rehearsal import sandbox
from mlrelease.verification import verify
from tests.engine.conftest import BETTER
from tests.engine.verification.changes import entries, live, on_main, release_both

RECORD = "deploy/production/model.yaml"


@pytest.mark.parametrize(
    ("line", "edited"),
    [
        ("trust: digest", "trust: attested"),
        ("intent: promote", "intent: hotfix"),
        ("intent: promote", "intent: anchor"),
        ("image: null", "image: registry.example/other@sha256:" + "0" * 64),
    ],
)
def test_a_record_edited_around_the_model_that_runs_is_refused(
    world: sandbox.Sandbox, line: str, edited: str
) -> None:
    """It was "in step" once, because the model is the one that runs."""
    second = release_both(world, BETTER)
    text = (world.here.git.show("HEAD", RECORD) or b"").decode()
    assert f"\n{line}" in text, text
    world.commit(RECORD, text.replace(f"\n{line}", f"\n{edited}"))
    with pytest.raises(errors.RefusedError, match="by another record: somebody edited this one"):
        world.release("production")
    assert verify.verify(world.here, on_main(world)).kind == "promotion"
    assert (live(world), len(entries(world))) == (second, 2)


def test_a_lost_ledger_of_staging_stops_nothing_in_production(world: sandbox.Sandbox) -> None:
    first = live(world)
    second = release_both(world, BETTER)
    world.git("push", "--quiet", "origin", ":refs/heads/env/staging")
    world.look_again()
    assert live(world) == second
    world.roll_back("production")
    world.release("production")
    assert live(world) == first
    with pytest.raises(errors.RefusedError, match="env/staging is missing"):
        world.release("staging")


@pytest.mark.parametrize("how", ["graft", "replacement"])
def test_another_history_on_this_machine_is_not_main_s(world: sandbox.Sandbox, how: str) -> None:
    """A graft or a replacement that hides what was refused, or makes up what was not."""
    release_both(world, BETTER)
    git = world.here.git
    known, main = entries(world), git.base()
    first = git.run("rev-list", "--max-parents=0", main)
    if how == "graft":
        info = world.here.root / ".git" / "info"
        info.mkdir(exist_ok=True)
        (info / "grafts").write_text(f"{main} {first}\n")
    else:
        world.git("replace", "--graft", main, first)
    there = world.here.root
    shown = subprocess.run(
        ["git", "-C", str(there), "rev-list", "--first-parent", "--count", main],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown == "2\n", "git itself believes it"
    world.look_again()
    assert (entries(world), len(git.line(main))) == (known, len(git.line(main)))
    assert len(git.line(main)) > 2
    assert live(world) == known[0].model


def test_what_a_hook_inherits_points_git_nowhere_else(
    world: sandbox.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    subprocess.run(["git", "init", "-q", str(other)], check=True)
    for name, place in (
        ("GIT_DIR", ".git"), ("GIT_WORK_TREE", ""), ("GIT_INDEX_FILE", ".git/index"),
        ("GIT_OBJECT_DIRECTORY", ""), ("GIT_NAMESPACE", ""),
    ):  # fmt: skip
        monkeypatch.setenv(name, str(other / place))
    first = live(world)
    second = release_both(world, BETTER)
    assert (live(world), second != first) == (second, True)
    assert sorted(path.name for path in other.iterdir()) == [".git"]
    assert not list((other / ".git" / "objects").glob("??"))
