"""A proposal is data to the job that opens it: all of it is checked, and nothing is loaded."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlrelease import errors
from mlrelease.promotion import promote, proposal, rollback
from mlrelease.records import git
from mlrelease.rehearsal import sandbox
from mlrelease.scoring import artifact
from tests.engine.conftest import BETTER
from tests.engine.verification.changes import release_both

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def prepared(world: sandbox.Sandbox) -> proposal.Proposal:
    world.candidate(BETTER)
    made = promote.prepare(world.here, "staging")
    assert isinstance(made, proposal.Proposal)
    return made


def test_preparing_changes_nothing_and_opening_needs_no_model(
    world: sandbox.Sandbox,
    prepared: proposal.Proposal,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = world.here.git.run("ls-remote", "origin")
    prepared.write(tmp_path / "proposal.json")
    assert world.here.git.run("ls-remote", "origin") == before

    def load(*_: object) -> None:
        raise AssertionError("the job that may write loads no model")

    monkeypatch.setattr(artifact, "load", load, raising=False)
    monkeypatch.setattr(artifact, "read_card", load)
    opened = proposal.publish(world.here, proposal.Proposal.read(tmp_path / "proposal.json"))
    assert opened.new
    assert world.here.git.files(opened.pull_request.head, "deploy/staging") == prepared.files


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p["files"].update({"../../src/evil.py": ""}), "may not bring"),
        (lambda p: p["files"].update({"plots/../../x.png": ""}), "may not bring"),
        (lambda p: p["files"].pop("evaluation.json"), "no record with its evaluation"),
        (lambda p: p["files"].update({"evaluation.json": ""}), "not the one that the record names"),
        (lambda p: p.update(environment="production"), "is not promote/production"),
        (lambda p: p.update(branch="main"), "is not promote/staging"),
        (lambda p: p.update(branch=p["branch"] + "/x"), "is not promote/staging"),
        (lambda p: p.update(kind="merge"), "is no proposal"),
        (lambda p: p.pop("base"), "is no proposal"),
    ],
)
def test_a_forged_proposal_is_refused(
    prepared: proposal.Proposal, tmp_path: Path, change: Change, words: str
) -> None:
    path = tmp_path / "proposal.json"
    prepared.write(path)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(errors.InputError, match=words):
        proposal.Proposal.read(path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff"])
def test_what_is_no_proposal_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "proposal.json"
    path.write_bytes(content)
    with pytest.raises(errors.InputError, match="is no proposal"):
        proposal.Proposal.read(path)
    with pytest.raises(errors.InputError, match="cannot be read"):
        proposal.Proposal.read(tmp_path / "none.json")


def test_a_huge_proposal_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proposal, "MAX_BYTES", 10)
    (tmp_path / "proposal.json").write_bytes(b"0" * 11)
    with pytest.raises(errors.InputError, match="larger than"):
        proposal.Proposal.read(tmp_path / "proposal.json")


def test_a_commit_of_code_in_between_does_no_harm(
    world: sandbox.Sandbox, prepared: proposal.Proposal
) -> None:
    world.commit("README.md", "changed")
    opened = proposal.publish(world.here, prepared)
    base = world.here.git.base()
    assert world.here.git.is_ancestor(base, opened.pull_request.head)


def test_main_moved_in_between_so_it_is_prepared_again(
    world: sandbox.Sandbox, prepared: proposal.Proposal
) -> None:
    world.candidate(BETTER | {"seed": 9})
    world.merge(world.promote("staging").pull_request.branch)
    with pytest.raises(errors.RefusedError, match="main moved while it was prepared"):
        proposal.publish(world.here, prepared)


def test_a_promotion_withdraws_promotions_and_no_rollback(world: sandbox.Sandbox) -> None:
    release_both(world, BETTER)
    back = rollback.rollback(world.here, "staging", reason="a bad day").pull_request
    world.candidate(BETTER | {"seed": 9})
    opened = world.promote("staging")
    assert opened.superseded == ()
    still = world.here.pull_requests.list("staging", world.here.git.base())
    assert {p.branch for p in still} == {back.branch, opened.pull_request.branch}


def test_the_same_rollback_is_opened_once(world: sandbox.Sandbox) -> None:
    release_both(world, BETTER)
    first = rollback.rollback(world.here, "production", reason="a bad day")
    world.commit("README.md", "changed")
    again = rollback.rollback(world.here, "production", reason="a bad day")
    assert (first.new, again.new) == (True, False)
    assert again.pull_request == first.pull_request


def test_a_shallow_clone_gets_its_history_first(world: sandbox.Sandbox, tmp_path: Path) -> None:
    """Holds and rollbacks are computed from history: half of it would be silently wrong."""
    origin = world.here.git.run("remote", "get-url", "origin")
    clone = ["git", "clone", "-q", "--depth=1", f"file://{origin}", str(tmp_path / "shallow")]
    subprocess.run(clone, check=True)
    shallow = git.Git(tmp_path / "shallow")
    base = shallow.base()
    count = ("rev-list", "--count", base)
    assert shallow.run(*count) == world.here.git.run(*count)
