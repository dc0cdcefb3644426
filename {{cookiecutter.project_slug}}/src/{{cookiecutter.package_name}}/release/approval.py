"""Who approved a change: asked of GitHub where there is one, said where there is none."""

from collections.abc import Iterator
from dataclasses import dataclass

from ..config import Policy
from ..errors import InputError
from ..pipeline.gate import Finding
from . import main_line
from .change import Change
from .github import GitHub, Review
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
    github = workspace.github
    if github is None:
        return Approval((Finding("approval", True, NOT_ASKED),))
    needed = policy.environments[change.environment].approvals_for(rollback)
    review = github.approvals(
        change.head, exclude=_asked(record), permitted=change.recorded is None
    )
    findings = [_change(workspace, change, github, review, needed)]
    if not rollback:
        findings += _protected(workspace, change, github)
    return Approval(tuple(findings), review)


def _asked(record: Record) -> tuple[str, ...]:
    return (record.requested_by,) if record.requested_by else ()


def _change(
    workspace: Workspace, change: Change, github: GitHub, review: Review | None, needed: int
) -> Finding:
    commit = change.head[:7]
    if review is None:
        ok = not needed
        return Finding("approval", ok, f"{commit} came to main without a pull request")
    people = set(review.approved_by)
    if change.recorded is not None:  # may write was judged then: approvers leave
        people &= set(change.recorded.released.approved_by)
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


def _protected(workspace: Workspace, change: Change, github: GitHub) -> Iterator[Finding]:
    """What decides, as it changed since the last release: a weak policy in one commit and the model
    that needs it in the next are two changes. Each must have been approved, by as many as the
    policy before it asks. What nobody approved counts no more once it is undone."""
    current, git = change.ledger.effective, workspace.git
    start = main_line.started(git, change.parent, current.released.main if current else None)
    needed, asked = _needed(workspace, change, start, 0), 0
    fine, alone = [start], None  # commits whose rules were approved; the first that was not
    for commit in main_line.protected(git, change.parent, start):
        if any(main_line.same_rules(git, commit, one) for one in fine):
            alone = None
        elif alone is None:
            review = github.approvals(commit, permitted=False) if needed else None
            if needed and (review is None or len(review.approved_by) < needed):
                alone = commit
                continue
            fine.append(commit)
            asked += bool(needed)
        if alone is None:
            needed = _needed(workspace, change, commit, needed)
    if alone:
        text = f"{alone[:7]} changed policy, workflows or engine, and {needed} must approve that"
        yield Finding("approved rules", False, f"{text}: undo it, and propose it as a pull request")
    elif needed or asked:
        text = f"{asked} changes of policy, workflows and engine since {start[:7]}, each approved"
        yield Finding("approved rules", True, text)


def _needed(workspace: Workspace, change: Change, commit: str, before: int) -> int:
    """How many the policy at a commit asks for; as `before`, where it cannot be read."""
    try:
        rules = workspace.policy_at(commit).environments[change.environment]
    except InputError:
        return before
    return rules.approvals_for(rollback=False)
