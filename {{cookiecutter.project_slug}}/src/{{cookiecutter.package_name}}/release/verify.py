"""`model verify`: is this change of a record what it says it is? Recomputed, never believed.

The same checks run before a promotion is opened, on its pull request, and again before deployment.
Policy comes from the commit that the change is made on, not from the change.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass

from ..config import Environment, Policy
from ..errors import InputError, ModelError, RefusedError
from ..files import sha256
from ..pipeline.evaluate import Scored, evaluate, same_numbers
from ..pipeline.evaluation import Evaluation
from ..pipeline.gate import Finding, judge
from ..pipeline.train import read_holdout
from . import attestation, rendered
from .git import Git
from .history import Entry, ended_by, held, history, live, live_since
from .record import DataDigests, Record, folder, record_path, short
from .workspace import Workspace


@dataclass(frozen=True)
class Change:
    """A record as `head` has it, on top of `parent`, at the time it was or would be merged.

    `fork` is where an unmerged branch left main, when that is not `parent` itself. `merged`: it is
    on main already, so who approved it can be asked.
    """

    environment: Environment
    head: str
    parent: str
    time: dt.datetime
    fork: str | None = None
    merged: bool = False

    @classmethod
    def proposed(
        cls, git: Git, environment: Environment, head: str, base: str, now: dt.datetime
    ) -> "Change":
        """What merging a branch into main would change, were it merged now."""
        return cls(environment, head, base, now, fork=git.run("merge-base", base, head))

    @classmethod
    def on_main(cls, git: Git, environment: Environment, entry: Entry) -> "Change":
        """What a commit on main changed, at the time it did.

        Raises:
            RefusedError: It is the first commit of all, so nobody can have reviewed it.
        """
        if not git.ok("rev-parse", "--verify", "--quiet", f"{entry.commit}^1"):
            raise RefusedError(f"{environment}: the record came with the first commit, unreviewed")
        parent = git.run("rev-parse", f"{entry.commit}^1")
        return cls(environment, entry.commit, parent, entry.time, merged=True)


@dataclass(frozen=True)
class Verification:
    """Every check of the change, and every rule of the policy on the recomputed figures."""

    checks: tuple[Finding, ...]
    rules: tuple[Finding, ...] = ()
    record: Record | None = None
    rollback: bool = False

    @property
    def passed(self) -> bool:
        return bool(self.checks) and not self.failed

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(f for f in (*self.checks, *self.rules) if not f.passed)


def verify(workspace: Workspace, change: Change) -> Verification:
    """Check a change of one environment's record; a check that cannot be made has failed."""
    git, path = workspace.git, record_path(change.environment)
    content = git.show(change.head, path)
    if content is None:
        return Verification((Finding("record", False, f"{path} is missing"),))
    try:
        record = Record.read(content, path)
    except InputError as error:
        return Verification((Finding("record", False, str(error)),))
    entries = history(git, change.parent, change.environment)
    checks = [*_form(workspace, change, record)]
    if git.run("rev-parse", f"{change.head}:{path}") in {entry.blob for entry in entries}:
        checks.append(_artefact(workspace, "model", record.model))
        return Verification(tuple(checks), record=record, rollback=True)
    checks.append(rendered.check_folder(git, change.head, change.environment))
    checks += _order(workspace, change, record, entries)
    rules: tuple[Finding, ...] = ()
    try:
        policy = workspace.policy_at(change.parent)
        checks += _timing(workspace, change, record, policy)
        checks += _approval(workspace, change, policy)
        checks += attestation.check(workspace.github, record)
        figures, rules = _figures(workspace, change, record, policy)
        checks += figures
    except ModelError as error:
        checks.append(Finding("figures", False, str(error)))
    return Verification(tuple(checks), rules, record)


def evaluate_stored(
    workspace: Workspace, model: str, champion: str | None, data: DataDigests, commit: str,
    policy: Policy,
) -> tuple[Evaluation, Scored]:  # fmt: skip
    """Evaluate a packaged model on its pinned holdout, fetched by digest.

    The slices are those of params.yaml at `commit`, the source of the model.

    Raises:
        RefusedError: An artefact vanished or was changed.
    """
    return evaluate(
        workspace.store.fetch(model),
        workspace.store.fetch(champion) if champion else None,
        read_holdout(workspace.store.fetch(data.holdout)),
        candidate_digest=model,
        champion_digest=champion,
        holdout_digest=data.holdout,
        slices=workspace.params_at(commit).slices,
        slice_metric=policy.slices.metric if policy.slices else None,
        min_rows=policy.slices.min_rows if policy.slices else 1,
    )


def _form(workspace: Workspace, change: Change, record: Record) -> Iterator[Finding]:
    place = folder(change.environment)
    ok = record.environment == change.environment
    message = f"{short(record.model)}, by digest" if ok else f"names {record.environment}"
    yield Finding("record", ok, f"{place}/model.yaml {message}")
    changed = workspace.git.changed(change.fork or change.parent, change.head)
    strangers = [name for name in changed if not name.startswith(f"{place}/")]
    message = f"also touches {', '.join(strangers[:3])}" if strangers else f"touches {place}/ only"
    yield Finding("one folder", not strangers, message)


def _artefact(workspace: Workspace, name: str, digest: str) -> Finding:
    try:
        workspace.store.fetch(digest)
    except RefusedError as error:
        return Finding(name, False, str(error))
    return Finding(name, True, f"{short(digest)} is in the store, byte for byte")


def _order(
    workspace: Workspace, change: Change, record: Record, entries: tuple[Entry, ...]
) -> Iterator[Finding]:
    current, now = live(entries), entries[0].commit if entries else None
    expected = (current.model if current else None, now)
    compared = (record.replaces.model, record.replaces.commit)
    seen, moved = (commit[:7] if commit else "nothing" for commit in (compared[1], now))
    yield Finding(
        "comparison",
        expected == compared,
        f"compared with what {change.environment} runs, {short(expected[0])}"
        if expected == compared
        else f"stale: compared with {short(compared[0])} ({seen}), but {change.environment} is at"
        f" {short(expected[0])} ({moved}); run `model promote {change.environment}` again",
    )
    on_main = workspace.git.is_ancestor(record.source.commit, change.parent)
    built = f"built from {record.source.commit[:7]}, which is {'' if on_main else 'not '}on main"
    yield Finding("source", on_main, built)
    end = ended_by(entries, record.model) if record.model in held(entries) else None
    if end is not None:
        message = f"held: it ran in {change.environment} until {end.time:%Y-%m-%d} ({end.subject})"
        advice = f"; overruled: {record.reason}" if record.reason else '; --reason "..." overrules'
        yield Finding("hold", bool(record.reason), message + advice)


def _timing(
    workspace: Workspace, change: Change, record: Record, policy: Policy
) -> Iterator[Finding]:
    rules = policy.environments[change.environment]
    if record.intent == "hotfix":
        said = f"soak time and freezes do not hold it up: {record.reason}"
        yield Finding("hotfix", bool(record.reason), said if record.reason else "gives no reason")
        return
    for freeze in rules.freeze:
        if freeze.first <= change.time.date() <= freeze.last:
            yield Finding("freeze", False, f"{freeze.first} to {freeze.last}: {freeze.reason}")
    if rules.needs is None:
        return
    before = history(workspace.git, change.parent, rules.needs)
    current, since = live(before), live_since(before)
    same = current is not None and current.model == record.model
    runs = short(current.model) if current else "nothing"
    message = f"the same bytes as {rules.needs}" if same else f"{rules.needs} runs {runs}"
    yield Finding(f"{rules.needs} first", same, message)
    if same and since is not None:
        hours = (change.time - since).total_seconds() / 3600
        message = f"{hours:.1f} h in {rules.needs}, needs {rules.soak_hours:g} h"
        yield Finding("soak", hours >= rules.soak_hours, message)


def _approval(workspace: Workspace, change: Change, policy: Policy) -> Iterator[Finding]:
    """Only where GitHub can tell: it came through a pull request that others approved as it is."""
    if workspace.github is None or not change.merged:
        return
    found = workspace.github.approvals(change.head)
    if found is None:
        yield Finding("approval", False, f"{change.head[:7]} came to main without a pull request")
        return
    (number, people), needed = found, policy.environments[change.environment].approvals
    message = f"#{number} was approved by {', '.join(sorted(people)) or 'nobody'}, needs {needed}"
    yield Finding("approval", len(people) >= needed, message)


def _figures(
    workspace: Workspace, change: Change, record: Record, policy: Policy
) -> tuple[list[Finding], tuple[Finding, ...]]:
    """Compare evaluation.json with the record, and with the figures recomputed from artefacts."""
    name = f"{folder(change.environment)}/evaluation.json"
    claimed = Evaluation.parse(content := workspace.git.show(change.head, name) or b"", name)
    wrong = [
        what
        for what, there, here in (
            ("its digest", sha256(content), record.evaluation),
            ("the candidate", claimed.candidate, record.model),
            ("the champion", claimed.champion, record.replaces.model),
            ("the holdout", claimed.holdout, record.data.holdout),
            ("the runtime", claimed.parity.runtime, record.runtime),
        )
        if there != here
    ]
    message = f"{name} is not about this record: {', '.join(wrong)} differs"
    checks = [Finding("evaluation", not wrong, message if wrong else f"{name} is about this model")]
    same = sha256(workspace.git.show(change.parent, "policy.yaml") or b"") == record.policy
    message = "is the one it was proposed under" if same else "changed since; promote again"
    checks.append(Finding("policy", same, f"policy.yaml {message}"))
    checks += [_artefact(workspace, "model", record.model)]
    checks += [_artefact(workspace, "holdout", record.data.holdout)]
    if not all(check.passed for check in checks[-2:]):
        return checks, ()
    recomputed, scored = evaluate_stored(
        workspace, record.model, record.replaces.model, record.data, record.source.commit, policy
    )
    differences = same_numbers(recomputed, claimed)
    message = f"recomputed on {recomputed.rows} holdout rows: "
    message += f"differ: {'; '.join(differences[:3])}" if differences else "equal"
    checks.append(Finding("numbers", not differences, message))
    if not differences:  # figures that are wrong are not drawn
        about = (change.head, change.environment, record, claimed, scored, policy)
        checks.append(rendered.check_rendered(workspace.git, *about, released=change.merged))
    return checks, judge(recomputed, policy)
