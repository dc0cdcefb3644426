"""Who approved is asked before a release: of the change, and of whatever decides about it."""

import dataclasses
import datetime as dt
import shutil
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from mlrelease import errors, workspace
from mlrelease.evaluation import gate
from mlrelease.github import repository as github
from mlrelease.promotion import draft, release
from mlrelease.records import git, pull_request
from mlrelease.rehearsal import sandbox
from mlrelease.verification import confirm, rebuild
from tests.engine.conftest import BETTER
from tests.engine.records.test_ledger import whole
from tests.engine.verification.changes import entries, live, merge_both, named, release_both


class Reviews:
    """What GitHub knows of approvals, by the commit of main. Merges are approved by Ann."""

    def __init__(self, world: sandbox.Sandbox) -> None:
        self.world = world
        self.known: dict[str, github.Review | None] = {}
        self.off = dt.timedelta()
        self.left: set[str] = set()

    def approvals(
        self, commit: str, exclude: Collection[str] = (), permitted: bool = True
    ) -> github.Review | None:
        found = self.known.get(commit, self._merged(commit))
        if found is None:
            return None
        gone = self.left if permitted else set()
        people = [name for name in found.approved_by if name not in {*exclude, *gone}]
        return dataclasses.replace(found, approved_by=tuple(people))

    def _merged(self, commit: str) -> github.Review | None:
        here = self.world.here.git
        if not here.ok("rev-parse", "--verify", "--quiet", f"{commit}^2"):
            return None
        head = here.run("rev-parse", f"{commit}^2")
        merged = dt.datetime.fromisoformat(here.run("show", "-s", "--format=%cI", commit))
        return github.Review(7, head, "bot", ("ann",), merged)

    def approve(self, *commits: str, head: str | None = None) -> None:
        """Ann approved a pull request that came to main as these."""
        number = 100 + len(self.known)
        review = github.Review(number, head or commits[-1], "ben", ("ann",), self.world.clock)
        self.known.update(dict.fromkeys(commits, review))

    def middle(self, commit: str) -> int | None:
        number = found.number if (found := self.known.get(commit)) else None
        together = [c for c, review in self.known.items() if review and review.number == number]
        return None if number is None or commit == together[-1] else number

    def clock(self) -> dt.datetime:
        return self.world.clock + self.off

    def blob(self, commit: str, path: str) -> str | None:
        return self.world.here.git.objects([f"{commit}:{path}"], 0)[0].oid


@pytest.fixture
def reviews(world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch) -> Reviews:
    """Production asks for one approval, of a GitHub that knows who gave it."""
    policy = (world.here.root / "policy.yaml").read_text()
    world.commit(
        "policy.yaml", policy.replace("soak_hours: 24", "soak_hours: 24\n    approvals: 1")
    )
    told = Reviews(world)
    told.approve(world.here.git.base())

    def local(here: workspace.Workspace) -> pull_request.LocalPullRequests:
        return pull_request.LocalPullRequests(here.git, here.state / "pull-requests")

    monkeypatch.setattr(workspace.Workspace, "github", property(lambda _: told))
    monkeypatch.setattr(workspace.Workspace, "pull_requests", property(local))
    return told


def push(world: sandbox.Sandbox, path: str, content: str) -> str:
    """Change a file on main without a pull request."""
    world.commit(path, content)
    return world.here.git.base()


def test_who_approved_and_who_asked_stand_in_the_entry(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    release_both(world, BETTER)
    told = entries(world)[0].released
    assert (told.approved_by, told.requested_by, told.pull_request) == (("ann",), "Rehearsal", 7)


def test_github_is_not_asked_for_what_this_clone_has(
    world: sandbox.Sandbox, reviews: Reviews, monkeypatch: pytest.MonkeyPatch
) -> None:
    def blob(commit: str, path: str) -> str:
        raise AssertionError((commit, path))

    monkeypatch.setattr(reviews, "blob", blob)
    second = release_both(world, BETTER)
    assert live(world) == second


def test_nobody_s_approval_is_refused(world: sandbox.Sandbox, reviews: Reviews) -> None:
    merge_both(world, BETTER)
    reviews.left.add("ann")
    with pytest.raises(errors.RefusedError, match="approval: #7 was approved by nobody, needs 1"):
        world.release("production")


def test_whoever_asked_for_it_does_not_approve_it(world: sandbox.Sandbox, reviews: Reviews) -> None:
    world.git("config", "user.name", "ann")
    merge_both(world, BETTER)
    with pytest.raises(errors.RefusedError, match="approved by nobody"):
        world.release("production")


def test_a_record_that_was_not_approved_as_it_is_is_refused(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    merge_both(world, BETTER)
    commit = named(world).commit
    found = reviews.approvals(commit)
    assert found
    first = world.here.git.run("rev-list", "--max-parents=0", "HEAD")
    reviews.known[commit] = dataclasses.replace(found, head=first)
    with pytest.raises(
        errors.RefusedError, match="is not the one that #7 had when it was approved"
    ):
        world.release("production")


def test_an_earlier_record_that_is_pushed_is_no_rollback(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    second = release_both(world, BETTER)
    text = world.here.git.show(entries(world)[1].released.main, "deploy/production/model.yaml")
    push(world, "deploy/production/model.yaml", (text or b"").decode())
    with pytest.raises(errors.RefusedError, match="came to main without a pull request"):
        world.release("production")
    assert live(world) == second


def test_a_rollback_has_its_own_number_of_approvals(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    first = live(world)
    release_both(world, BETTER)
    policy = (world.here.root / "policy.yaml").read_text()
    text = policy.replace("approvals: 1", "approvals: 1\n    rollback_approvals: 0")
    commit = push(world, "policy.yaml", text)
    reviews.approve(commit)
    world.roll_back("production")
    reviews.known[named(world).commit] = github.Review(4, "0" * 40, "ben", (), world.clock)
    world.release("production")
    assert live(world) == first


def weaker(text: str, how: str) -> str:
    if how == "limits":
        return text.replace("min: 0.95", "min: 0.1")
    return text.replace("approvals: 1", "approvals: 0")


@pytest.mark.parametrize("how", ["limits", "approvals"])
def test_a_policy_that_nobody_approved_releases_nothing(
    world: sandbox.Sandbox, reviews: Reviews, how: str
) -> None:
    """Weakened in one commit, and the record in the next."""
    first = live(world)
    commit = push(world, "policy.yaml", weaker((world.here.root / "policy.yaml").read_text(), how))
    merge_both(world, BETTER)
    with pytest.raises(errors.RefusedError, match=f"approved rules: {commit[:7]} changed policy"):
        world.release("production")
    assert live(world) == first
    reviews.approve(commit)
    world.release("production")
    assert live(world) != first


def test_what_nobody_approved_can_be_taken_back(world: sandbox.Sandbox, reviews: Reviews) -> None:
    before = (world.here.root / "policy.yaml").read_text()
    push(world, "policy.yaml", weaker(before, "limits"))
    push(world, "policy.yaml", before)
    second = release_both(world, BETTER)
    assert live(world) == second


def test_an_approved_change_on_top_does_not_approve_what_it_stands_on(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    before = (world.here.root / "policy.yaml").read_text()
    weak = push(world, "policy.yaml", weaker(before, "limits"))
    commit = push(world, "policy.yaml", weaker(before, "limits").replace("max: 0.12", "max: 0.11"))
    reviews.approve(commit)
    merge_both(world, BETTER)
    with pytest.raises(errors.RefusedError, match=f"approved rules: {weak[:7]} changed policy"):
        world.release("production")


def test_what_a_reader_approved_and_was_undone_spoils_no_release_after_it(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    """Anybody may approve on a public repository. Then it did not count; an approver who has left
    did, and nobody can tell the two apart later."""
    before = (world.here.root / "policy.yaml").read_text()
    commit = push(world, "policy.yaml", weaker(before, "limits"))
    reviews.known[commit] = github.Review(9, commit, "ben", ("eve",), world.clock)
    reviews.left.add("eve")
    merge_both(world, BETTER)
    with pytest.raises(errors.RefusedError, match=f"{commit[:7]} changed policy.yaml"):
        world.release("production")
    world.roll_back("production")
    push(world, "policy.yaml", before)
    world.clock += dt.timedelta(hours=25)
    second = release_both(world, BETTER | {"seed": 8})
    for path in (world.here.state / "verified").rglob("*.json"):
        path.unlink()
    found = confirm.settle(world.here, whole(world)).effective
    assert found
    assert found.model == second


def test_taking_back_what_nobody_approved_leaves_what_was_approved_after_it(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    push(world, ".github/workflows/deploy.yml", "on: push\n")
    reviews.approve(push(world, "Makefile", "all:\n"))
    world.git("rm", "-q", ".github/workflows/deploy.yml")
    world.git("commit", "-qm", "Take it back")
    world.git("push", "-q", "origin", "main")
    world.look_again()
    second = release_both(world, BETTER)
    assert live(world) == second


def test_the_entry_says_how_many_changes_were_approved(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    for text in ("one\n", "two\n"):
        reviews.approve(push(world, "Makefile", text))
    release_both(world, BETTER)
    (told,) = (c for c in entries(world)[0].released.checks if c.name == "approved rules")
    assert told.message.startswith("2 changes of policy, workflows and engine since")
    assert told.message.endswith("each approved")


def merged_by_hand(world: sandbox.Sandbox, reviews: Reviews, path: str, content: str) -> None:
    """Merge an approved branch that stands on an older main, and change one more file in it."""
    world.git("switch", "-qc", "work", "HEAD~1")
    (world.here.root / "Dockerfile").write_text("approved\n")
    world.git("add", ".")
    world.git("commit", "-qm", "On a branch")
    head = world.here.git.run("rev-parse", "HEAD")
    world.git("switch", "-q", "main")
    world.git("merge", "-q", "--no-ff", "--no-commit", "work")
    (world.here.root / path).parent.mkdir(parents=True, exist_ok=True)
    (world.here.root / path).write_text(content)
    world.git("add", ".")
    world.git("commit", "-qm", "Merge it")
    world.git("push", "-q", "origin", "main")
    world.look_again()
    reviews.approve(world.here.git.base(), head=head)


def test_what_a_merge_adds_to_an_approved_branch_is_not_approved(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    reviews.approve(push(world, "Makefile", "new\n"))
    merged_by_hand(world, reviews, ".github/workflows/deploy.yml", "on: push\n")
    commit = world.here.git.base()
    merge_both(world, BETTER)
    with pytest.raises(errors.RefusedError, match=f"{commit[:7]} changed .github/workflows/deploy"):
        world.release("production")


def test_an_approved_branch_does_not_bring_back_what_it_stands_on(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    """The branch has the old file, as it forked before; whoever merged took it from there."""
    reviews.approve(push(world, "Makefile", "old\n"))
    reviews.approve(push(world, "Makefile", "new\n"))
    merged_by_hand(world, reviews, "Makefile", "old\n")
    commit = world.here.git.base()
    merge_both(world, BETTER)
    with pytest.raises(errors.RefusedError, match=f"{commit[:7]} changed Makefile"):
        world.release("production")


@pytest.mark.parametrize("path", ["Makefile", "README.md"])
def test_an_approved_branch_on_an_older_main_is_approved(
    world: sandbox.Sandbox, reviews: Reviews, path: str
) -> None:
    reviews.approve(push(world, path, "new\n"))
    merged_by_hand(world, reviews, path, "new\n")
    second = release_both(world, BETTER)
    assert live(world) == second


def test_an_old_git_is_named_and_not_taken_for_a_conflict(
    world: sandbox.Sandbox, reviews: Reviews, monkeypatch: pytest.MonkeyPatch
) -> None:
    reviews.approve(push(world, "Makefile", "new\n"))
    merge_both(world, BETTER)
    run = git.Git.run

    def old(self: git.Git, *arguments: str, **more: Any) -> str:
        if arguments[0] == "merge-tree":  # as 2.34 answers
            raise git.GitError("git merge-tree: usage: git merge-tree <base-tree> <branch1>")
        return run(self, *arguments, **more)

    monkeypatch.setattr(git.Git, "run", old)
    with pytest.raises(errors.ModelError, match=r"git 2.38 or newer is needed.*here is git vers"):
        world.release("production")


def test_a_rebased_pull_request_is_approved_as_a_whole(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    commits = [push(world, "Makefile", text) for text in ("half\n", "whole\n")]
    reviews.approve(*commits)
    second = release_both(world, BETTER)
    assert live(world) == second


def built_and_taken_back(world: sandbox.Sandbox, reviews: Reviews, path: str) -> tuple[str, str]:
    """A model is made where a file is another; the commit after takes that back."""
    reviews.approve(push(world, path, "honest\n"))
    push(world, path, "another\n")
    world.candidate(BETTER)
    return world.here.git.base(), push(world, path, "honest\n")


def test_a_model_of_the_middle_of_a_pull_request_is_refused_and_its_code_does_not_run(
    world: sandbox.Sandbox, reviews: Reviews, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People saw what all of it changed, and its commits are on main."""
    both = built_and_taken_back(world, reviews, "README.md")
    reviews.approve(*both)

    def ran(*_: Any, **__: Any) -> Any:
        raise AssertionError("the code of the source commit ran")

    monkeypatch.setattr(rebuild, "check", ran)
    said = f"built from {both[0][:7]}, which is on main, but in the middle of #10., .*; train again"
    with pytest.raises(errors.RefusedError, match=said):
        world.promote("staging")


def test_a_model_of_the_last_commit_of_a_pull_request_is_released(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    first = live(world, "staging")
    half = push(world, "README.md", "half\n")
    world.candidate(BETTER)
    reviews.approve(half, world.here.git.base())
    world.merge(world.promote("staging").pull_request.branch)
    world.release("staging")
    assert live(world, "staging") != first


def test_what_was_taken_back_releases_no_model_that_was_built_with_it(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    """Nobody approved it, and no pull request knows of it."""
    first = live(world)
    built, _ = built_and_taken_back(world, reviews, "Makefile")
    world.merge(world.promote("staging").pull_request.branch)
    world.release("staging")  # asks for no approval
    world.clock += dt.timedelta(hours=25)
    world.merge(world.promote("production").pull_request.branch)
    said = f"approved rules: built from {built[:7]}, where Makefile is as .* and 1 must"
    with pytest.raises(errors.RefusedError, match=said):
        world.release("production")
    assert live(world) == first


def test_what_was_approved_is_fetched_where_only_origin_has_it(
    world: sandbox.Sandbox, reviews: Reviews, tmp_path: Path
) -> None:
    """A squash leaves the branch's own commits out of main's history."""
    origin = world.here.git.run("remote", "get-url", "origin")
    other = git.Git(tmp_path / "other")
    other.root.mkdir()
    other.run("clone", "-q", origin, ".")
    (other.root / "Makefile").write_text("squashed\n")
    other.run("add", ".")
    other.run("-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "On a branch")
    head = other.run("rev-parse", "HEAD")
    other.run("push", "-q", "origin", "HEAD:refs/pull/7/head")
    reviews.approve(push(world, "Makefile", "squashed\n"), head=head)
    second = release_both(world, BETTER)
    assert live(world) == second


def test_what_was_approved_and_is_nowhere_to_be_had_is_not_approved(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    commit = push(world, "Makefile", "squashed\n")
    reviews.approve(commit, head="1" * 40)
    merge_both(world, BETTER)
    with pytest.raises(errors.RefusedError, match=f"{commit[:7]} changed Makefile, and 1 must"):
        world.release("production")


def test_an_entry_from_before_its_merge_does_not_verify(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    """Whoever may append cannot say that a model soaked before it was merged."""
    second = release_both(world, BETTER)
    commit = entries(world)[0].released.main
    found = reviews.approvals(commit)
    assert found
    later = world.clock + dt.timedelta(hours=3)
    reviews.known[commit] = dataclasses.replace(found, merged_at=later)
    for path in (world.here.state / "verified").rglob("*.json"):
        path.unlink()
    settled = confirm.settle(world.here, whole(world)).effective
    assert settled
    assert settled.model != second


@pytest.mark.parametrize("path", [".github/workflows/deploy.yml", "src/any/release/verify.py"])
def test_workflows_and_engine_decide_too(
    world: sandbox.Sandbox, reviews: Reviews, path: str
) -> None:
    commit = push(world, path, "changed\n")
    merge_both(world, BETTER)
    with pytest.raises(errors.RefusedError, match=f"approved rules: {commit[:7]}"):
        world.release("production")


def test_what_is_the_user_s_decides_nothing(world: sandbox.Sandbox, reviews: Reviews) -> None:
    push(world, "src/any/model.py", "changed\n")
    push(world, "README.md", "changed\n")
    release_both(world, BETTER)
    assert entries(world)[0].released.approved_by == ("ann",)


def test_approvers_leave_and_their_releases_stay(world: sandbox.Sandbox, reviews: Reviews) -> None:
    second = release_both(world, BETTER)
    for path in (world.here.state / "verified").rglob("*.json"):
        path.unlink()
    reviews.left.add("ann")
    found = confirm.settle(world.here, whole(world)).effective
    assert found
    assert found.model == second


def test_an_entry_whose_approval_vanished_does_not_verify(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    second = release_both(world, BETTER)
    reviews.known[entries(world)[0].released.main] = None
    for path in (world.here.state / "verified").rglob("*.json"):
        path.unlink()
    found = confirm.settle(world.here, whole(world)).effective
    assert found
    assert found.model != second


def test_a_clock_that_is_off_releases_nothing(world: sandbox.Sandbox, reviews: Reviews) -> None:
    merge_both(world, BETTER)
    reviews.off = dt.timedelta(minutes=11)
    with pytest.raises(errors.RefusedError, match="-11 minutes off GitHub's"):
        world.release("production")


def test_undoing_what_was_refused_needs_no_approval(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    merge_both(world, BETTER)
    reviews.left.add("ann")
    with pytest.raises(errors.RefusedError):
        world.release("production")
    world.git("revert", "--no-edit", "-m", "1", "HEAD")
    world.git("push", "--quiet", "origin", "main")
    assert world.release("production") is None


def test_what_appends_imports_nothing_of_the_user_s() -> None:
    """data.py and model.py need no approval, so they must not run where a token may write."""
    code = """
import sys
import mlrelease.promotion.release, mlrelease.automation.follow_up, mlrelease.cli.ledger
loaded = [n for n in sys.modules if n.startswith("dummy")]
sys.exit(f"imports {loaded}" if loaded else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_rollback_is_not_released_by_a_policy_that_nobody_approved(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    second = release_both(world, BETTER)
    policy = (world.here.root / "policy.yaml").read_text()
    push(world, "policy.yaml", weaker(policy, "approvals"))
    reviews.left.add("ann")
    world.roll_back("production")
    with pytest.raises(errors.RefusedError, match="approved by nobody, needs 1"):
        world.release("production")
    assert live(world) == second


def test_a_rollback_does_not_wait_for_what_nobody_approved_elsewhere(
    world: sandbox.Sandbox, reviews: Reviews
) -> None:
    first = live(world)
    release_both(world, BETTER)
    push(world, "Makefile", "changed\n")
    world.roll_back("production")
    world.release("production")
    assert live(world) == first


def test_a_server_that_nobody_can_be_asked_of_releases_nothing(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = (world.here.root / "policy.yaml").read_text()
    text = policy.replace("soak_hours: 24", "soak_hours: 24\n    approvals: 1")
    world.commit("policy.yaml", text)
    merge_both(world, BETTER)
    monkeypatch.setattr(git.Git, "server", lambda _: "github.com/acme/churn")
    with pytest.raises(errors.RefusedError, match="nobody can be asked: set GITHUB_TOKEN"):
        world.release("production")


def test_a_draft_may_leave_out_only_what_does_not_verify(world: sandbox.Sandbox) -> None:
    """Else the job that appends would judge against an older ledger."""
    release_both(world, BETTER)
    third = world.candidate(BETTER | {"seed": 3, "slices": ["mean texture"]})
    assert third
    newest = entries(world)[0]
    text = world.here.git.show(entries(world)[1].released.main, "deploy/production/model.yaml")
    world.commit(
        "deploy/production/model.yaml", (text or b"").decode().replace("version: ", "version: x")
    )
    failed = (gate.Finding("numbers", False, "differ"),)
    told: list[tuple[gate.Finding, ...]] = [failed]  # this machine remembers that it verified it
    told += [(), (gate.Finding("numbers", True, "equal"),), (gate.Finding("hold", False, "held"),)]
    for number, findings in enumerate(told):
        made = draft.Draft(
            "production",
            named(world).commit,
            whole(world).tip,
            (),
            {},
            {},
            {newest.commit: findings},
        )
        with pytest.raises(errors.RefusedError, match="leaves out .* which verifies here"):
            release.append(world.here, made)
        if not number:
            shutil.rmtree(world.here.state / "verified")
