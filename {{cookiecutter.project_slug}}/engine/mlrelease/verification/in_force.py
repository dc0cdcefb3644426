"""The rules in force: what decides as it was at the last release, or as approved since.

A weak policy in one commit and the model that needs it in the next are two changes, so each change
of policy, workflows and engine must be approved, path by path: a pull request approves what it
changes where that stood on approved content, and nothing that somebody put beneath or into it.
What nobody approved is undone by bringing the path back to what it was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from mlrelease.errors import InputError, UnclearError
from mlrelease.evaluation.gate import Finding
from mlrelease.github.repository import GitHub, Review
from mlrelease.records import main_line
from mlrelease.records.change import Change
from mlrelease.records.git import Git
from mlrelease.workspace import Workspace

POLICY = "policy.yaml"


@dataclass(frozen=True)
class Culprit:
    """A commit that changed a path, and how many must approve that."""

    commit: str
    needed: int


@dataclass(frozen=True)
class InForce:
    """The newest commit with the policy in force, and what was changed without approval."""

    policy: str
    start: str
    count: int
    asked: int
    culprits: Mapping[str, Culprit]

    def findings(self) -> Iterator[Finding]:
        """One refusal for each commit; one line for all that was approved."""
        for culprit in sorted(set(self.culprits.values()), key=lambda c: c.commit):
            paths = sorted(path for path, found in self.culprits.items() if found == culprit)
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            text = f"{culprit.commit[:7]} changed {paths[0]}{more}, and {culprit.needed} must"
            text += " approve that as it is: take it back, and propose it as a pull request"
            yield Finding("approved rules", False, text)
        if self.asked and not self.culprits:
            text = f"{self.count} changes of policy, workflows and engine since {self.start[:7]}"
            yield Finding("approved rules", True, f"{text}, each approved")


def in_force(workspace: Workspace, change: Change, github: GitHub) -> InForce:
    """What decides about a change, and who changed that since the last release."""
    git = workspace.git
    line = set(git.line(change.parent))
    released = [e.released.main for e in change.ledger.entries if not e.failed]
    last = next((main for main in reversed(released) if main in line), None)
    start = policy = main_line.started(git, change.parent, last)
    before, culprits, count = main_line.deciding(git, start), dict[str, Culprit](), 0
    good = {path: {facts} for path, facts in before.items()}
    needed = asked = approvals_at(workspace, change, start, 0)
    for together, review in _changes(workspace, change, start, github):
        commit = together[-1]
        state = main_line.deciding(git, commit)
        touched = [path for path in {**before, **state} if before.get(path) != state.get(path)]
        seen: Mapping[str, str] | None = state
        sure = True
        if needed:
            enough = review and len(review.approved_by) >= needed
            seen = _merged(change, git, together[0], review, touched) if review and enough else None
            count += seen is not None
            # Then they had to have the permission to write, and who has it changes.
            writers = github.approvals(commit) if seen and change.recorded else review
            sure = writers is not None and len(writers.approved_by) >= needed
        for path in touched:
            fine, now = good.setdefault(path, {""}), state.get(path, "")
            if before.get(path, "") in fine and seen is not None and seen.get(path, "") == now:
                good[path] = fine = {now} if sure else fine | {now}
            if now in fine:
                culprits.pop(path, None)
            else:
                culprits.setdefault(path, Culprit(commit, needed))
        before = state
        if POLICY not in culprits:
            policy, asks = commit, approvals_at(workspace, change, commit, needed)
            needed = asks if sure else max(asks, needed)
            asked = max(asked, needed)
    return InForce(policy, start, count, asked, culprits)


def at_source(
    workspace: Workspace, change: Change, source: str, github: GitHub
) -> Iterator[Finding]:
    """Whether what decides was approved as it is at the source commit, whose code runs: what was
    taken back since is no culprit any more, and is there."""
    git = workspace.git
    here, there = (main_line.deciding(git, commit) for commit in (change.parent, source))
    if here == there or source not in git.line(change.parent):
        return
    found = in_force(workspace, replace(change, parent=source), github)
    for path, culprit in sorted(found.culprits.items())[:1]:
        text = f"built from {source[:7]}, where {path} is as {culprit.commit[:7]} made it, and"
        text += f" {culprit.needed} must approve that: train again at a later commit"
        yield Finding("approved rules", False, text)


def _changes(
    workspace: Workspace, change: Change, start: str, github: GitHub
) -> Iterator[tuple[tuple[str, ...], Review | None]]:
    """What came to main since, oldest first, and who approved it. A rebased pull request comes as
    several commits, of which people approved the last state."""
    git = workspace.git
    commits = main_line.protected(git, change.parent, start)
    policies = (start, *git.line(change.parent, POLICY, after=start))
    reviews: dict[str, Review | None] = {}
    if any(approvals_at(workspace, change, commit, 0) for commit in policies):
        for commit in commits:
            reviews[commit] = github.approvals(commit, permitted=change.recorded is None)
    for _, group in groupby(commits, lambda c: found.number if (found := reviews.get(c)) else c):
        together = tuple(group)
        yield together, reviews.get(together[0])


def _merged(
    change: Change, git: Git, first: str, review: Review, paths: Sequence[str]
) -> Mapping[str, str] | None:
    """What git makes of the approved head on top of what was there, since a merge by hand may hold
    more; None where it conflicts, or where that head cannot be had."""
    there = git.ok("cat-file", "-e", f"{review.head}^{{commit}}")
    if not there and git.fetched("origin", review.head) is None:
        if change.recorded is not None:
            text = f"{change.environment}: the commit that #{review.number} had cannot be fetched"
            raise UnclearError(text)
        return None
    tree = git.merged(f"{first}^", review.head)
    return git.tree(tree, *paths) if tree else None


def approvals_at(
    workspace: Workspace, change: Change, commit: str, before: int, rollback: bool = False
) -> int:
    """How many the policy at a commit asks for; as `before`, where it cannot be read."""
    try:
        rules = workspace.policy_at(commit).environments[change.environment]
    except InputError:
        return before
    return rules.approvals_for(rollback)
