"""Who approved a change: asked of GitHub where there is one, said where there is none."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..config import Policy
from ..errors import InputError, UnclearError
from ..pipeline.gate import Finding
from . import main_line
from .change import Change
from .github import GitHub, Review
from .ledger import SKEW
from .record import Record, record_path
from .workspace import Workspace

NOT_ASKED = "not asked: this repository is not on GitHub, or GITHUB_TOKEN is not set"


@dataclass(frozen=True)
class Approval:
    """Findings, and the review that they are about."""

    findings: tuple[Finding, ...]
    review: Review | None = None


def check(
    workspace: Workspace, change: Change, record: Record, policy: Policy, rollback: bool
) -> Approval:
    """Whether enough people approved the change as it is, and whatever decides about it."""
    if not change.merged:
        return Approval(())
    rules = policy.environments[change.environment]
    github, needed = workspace.github, rules.approvals_for(rollback)
    if github is None:
        return Approval((_nobody(workspace, change, needed),))
    force = _in_force(workspace, change, github)
    if rollback:  # a policy that nobody approved lowers nothing
        needed = max(needed, _needed(workspace, change, force.commit, 0, rollback=True))
    asked = () if rollback or record.requested_by is None else (record.requested_by,)
    review = github.approvals(change.head, exclude=asked, permitted=change.recorded is None)
    findings = [_change(workspace, change, github, review, needed)]
    if not rollback and record.schema_version > 1:  # nobody could approve by rules yet to come
        findings += force.findings()
    return Approval(tuple(findings), review)


def _nobody(workspace: Workspace, change: Change, needed: int) -> Finding:
    """There is no GitHub to ask. Where origin is on a server, that is a fault of this machine."""
    server = workspace.git.server()
    if not needed or server is None:
        return Finding("approval", True, NOT_ASKED)
    text = f"policy.yaml asks for {needed} of {server}, and nobody can be asked: set GITHUB_TOKEN"
    if change.recorded is not None:
        raise UnclearError(f"{change.environment}: {text}")
    return Finding("approval", False, text)


def _change(
    workspace: Workspace, change: Change, github: GitHub, review: Review | None, needed: int
) -> Finding:
    commit = change.head[:7]
    if review is None:
        ok = not needed
        return Finding("approval", ok, f"{commit} came to main without a pull request")
    people = set(review.approved_by)
    if change.recorded is not None:  # who may write was judged then: approvers leave
        people &= set(change.recorded.released.approved_by)
        if change.recorded.released.time < review.merged_at - SKEW:
            text = (
                f"#{review.number} was merged at {review.merged_at:%Y-%m-%d %H:%M}, later than that"
            )
            return Finding("approval", False, text)
    names = ", ".join(sorted(people)) or "nobody"
    text = f"#{review.number} was approved by {names}, needs {needed}"
    if len(people) < needed:
        return Finding("approval", False, text)
    path = record_path(change.environment)
    merged, approved = workspace.git.objects([f"{change.head}:{path}", f"{review.head}:{path}"], 0)
    theirs = approved.oid or github.blob(review.head, path)
    if needed and theirs != merged.oid:
        text = f"{path} at {commit} is not the one that #{review.number} had when it was approved"
        return Finding("approval", False, text)
    return Finding("approval", True, text)


@dataclass(frozen=True)
class _Force:
    """The newest commit up to which what decides was approved, and what was changed after it."""

    commit: str
    start: str
    count: int
    asked: int
    culprit: str

    def findings(self) -> Iterator[Finding]:
        if self.culprit:
            text = f"{self.culprit[:7]} changed policy, workflows or engine, and {self.asked} must"
            text += " approve that: take it back, and propose it as a pull request"
            yield Finding("approved rules", False, text)
        elif self.asked:
            text = f"{self.count} changes of policy, workflows and engine since {self.start[:7]}"
            yield Finding("approved rules", True, f"{text}, each approved")


def _in_force(workspace: Workspace, change: Change, github: GitHub) -> _Force:
    """Whether what decides is as it was at the last release, or as approved since: a weak policy in
    one commit and the model that needs it in the next are two changes. Each must be approved, by as
    many as the policy before it asks; one that was not is undone by going back to what was."""
    git = workspace.git
    line = set(git.line(change.parent))
    released = [e.released.main for e in change.ledger.entries if not e.failed]
    last = next((main for main in reversed(released) if main in line), None)
    start = force = main_line.started(git, change.parent, last)
    good, culprit, count = main_line.deciding(git, start), "", 0
    needed = asked = _needed(workspace, change, start, 0)
    for commit in main_line.protected(git, change.parent, start):
        state = main_line.deciding(git, commit)
        if state == good:
            culprit = ""
            continue
        review = None
        if needed and not culprit:
            review = github.approvals(commit, permitted=change.recorded is None)
        if culprit or (needed and (review is None or len(review.approved_by) < needed)):
            culprit = culprit or commit
            continue
        good, force, count = state, commit, count + 1
        needed = _needed(workspace, change, commit, needed)
        asked = max(asked, needed)
    return _Force(force, start, count, asked, culprit)


def _needed(
    workspace: Workspace, change: Change, commit: str, before: int, rollback: bool = False
) -> int:
    """How many the policy at a commit asks for; as `before`, where it cannot be read."""
    try:
        rules = workspace.policy_at(commit).environments[change.environment]
    except InputError:
        return before
    return rules.approvals_for(rollback)
