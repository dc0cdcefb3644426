"""Who approved a change: asked of GitHub where there is one, said where there is none."""

from dataclasses import dataclass

from mlrelease.errors import UnclearError
from mlrelease.evaluation.gate import Finding
from mlrelease.github.repository import GitHub, Review
from mlrelease.policy import Policy
from mlrelease.records.change import Change
from mlrelease.records.ledger import SKEW
from mlrelease.records.record import Record, record_path
from mlrelease.verification.in_force import approvals_at, at_source, in_force
from mlrelease.workspace import Workspace

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
    force = in_force(workspace, change, github)
    if rollback:  # a policy that nobody approved lowers nothing
        needed = max(needed, approvals_at(workspace, change, force.policy, 0, rollback=True))
    asked = () if rollback or record.requested_by is None else (record.requested_by,)
    review = github.approvals(change.head, exclude=asked, permitted=change.recorded is None)
    findings = [_change(workspace, change, github, review, needed)]
    if not rollback and record.schema_version > 1:  # nobody could approve by rules yet to come
        findings += force.findings()
        findings += at_source(workspace, change, record.source.commit, github)
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
