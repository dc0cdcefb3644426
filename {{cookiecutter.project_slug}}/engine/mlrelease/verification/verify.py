"""`model verify`: is this change of a record what it says it is? Recomputed, never taken on trust.

The same checks run before a promotion is opened, on its pull request, and before it is released.
Policy comes from the commit that the change is made on, not from the change.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from mlrelease.errors import InputError, ModelError, RefusedError
from mlrelease.evaluation.gate import Finding
from mlrelease.github.repository import Review
from mlrelease.programs import limits
from mlrelease.programs.limits import LimitError
from mlrelease.records.change import Change
from mlrelease.records.ledger import MAX_RECORD, Entry
from mlrelease.records.ledger_branch import TruncatedError
from mlrelease.records.ledger_reader import UnreadableError
from mlrelease.records.record import Record, folder, record_path, short
from mlrelease.storage.store import MissingError
from mlrelease.verification import approval, attestation, figures, order, rendered
from mlrelease.workspace import Workspace

AWAY = frozenset({"away", "model", "holdout", "fitted", "rebuilt"})


@dataclass(frozen=True)
class Verification:
    """Every check of the change, and every rule of the policy on the recomputed figures.

    `kind`: it brings a new release, goes back to `restores`, or says what runs already.
    """

    checks: tuple[Finding, ...]
    rules: tuple[Finding, ...] = ()
    record: Record | None = None
    kind: Literal["promotion", "rollback", "in step"] = "promotion"
    restores: Entry | None = None
    answers: dict[str, float] = field(default_factory=dict)
    again: dict[str, float] = field(default_factory=dict)  # to the rows that entries before name
    review: Review | None = None
    away: str | None = None  # what could not be asked, or is not there: it may come back

    @property
    def unclear(self) -> bool:
        """Whether nothing speaks against it but what is away."""
        return self.away is not None and {f.name for f in self.failed} <= AWAY

    @property
    def passed(self) -> bool:
        return bool(self.checks) and not self.failed

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(f for f in (*self.checks, *self.rules) if not f.passed)


@dataclass(frozen=True)
class Told:
    """What a job that loaded the model found; to a job that may write, it is data."""

    findings: tuple[Finding, ...]
    answers: dict[str, float]
    again: dict[str, float]


def verify(workspace: Workspace, change: Change, told: Told | None = None) -> Verification:
    """Check a change of one environment's record; a check that cannot be made has failed. With
    `told`, nothing is loaded, and all that needs no model is checked all the same."""
    git, path = workspace.git, record_path(change.environment)
    (file,) = git.objects([f"{change.head}:{path}"], MAX_RECORD)
    if file.oid is None and _retired(workspace, change):
        text = f"{path} is removed, and policy.yaml says that {change.environment} is retired"
        return Verification((Finding("record", True, text),), kind="in step")
    if file.content is None:
        missing = f"is missing, no file, or larger than {MAX_RECORD} bytes"
        return Verification((Finding("record", False, f"{path} {missing}"),))
    try:
        record = Record.read(file.content, path)
    except InputError as error:
        return Verification((Finding("record", False, str(error)),))
    ledger, checks = change.ledger, [*_form(workspace, change, record)]
    current = ledger.effective
    if current is not None and current.record == file.oid:
        checks += _restored(workspace, change, current)
        return Verification(tuple(checks), record=record, kind="in step")
    target = next((e for e in ledger.earlier() if e.record == file.oid), None)
    try:
        if target is not None:
            return _rollback(workspace, change, record, target, checks, told)
        return _promotion(workspace, change, record, checks, told)
    except ModelError as error:
        return Verification((*checks, _fault(error)), record=record, away=_away(error))


def _promotion(
    workspace: Workspace, change: Change, record: Record, checks: list[Finding], told: Told | None
) -> Verification:
    git = workspace.git
    if told is None:
        limits.start()
    checks.append(rendered.check_folder(git, change.head, change.environment))
    old = record.schema_version == 1  # from before there were ledgers
    checks += order.old(git, change) if old else order.ledger(git, change, record)
    source = order.source(git, change, record, workspace.github)
    checks += [order.comparison(workspace, change, record), source]
    checks += order.hold(change, record)
    policy = workspace.policy_at(change.parent)
    rules = policy.environments[change.environment]
    if rules.retired:
        text = f"policy.yaml: {change.environment} is retired: nothing is released there any more"
        checks.append(Finding("retired", False, text))
    checks += [] if old else order.timing(change, record, policy)
    approved = approval.check(workspace, change, record, policy, rollback=False)
    checks += approved.findings
    checks += attestation.check(workspace.github, record)
    away = None
    try:
        if told is None:
            found = figures.check(workspace, change, record, policy, on_main=source.passed)
        else:
            given = (told.findings, told.answers, told.again)
            found = figures.take(workspace, change, record, policy, *given)
    except ModelError as error:
        found, away = figures.Figures((_fault(error),)), _away(error)
    checks += found.findings
    away = away or found.away
    answers, again = found.answers or {}, found.again or {}
    checks += order.alike(change, record, answers | again)
    return Verification(
        tuple(checks), found.rules, record, answers=answers, again=again, review=approved.review,
        away=away,
    )  # fmt: skip


def _rollback(
    workspace: Workspace, change: Change, record: Record, target: Entry, checks: list[Finding],
    told: Told | None,
) -> Verification:  # fmt: skip
    """Back to a release that was verified and ran: form, artefact and approval are asked for, and
    nothing that takes time."""
    checks += order.ledger(workspace.git, change, record, rollback=True)
    checks += _restored(workspace, change, target)
    if told is None:
        checks.append(figures.artefact(workspace, "model", record.model))
        again = change.confirmed(target)
        text = f"{short(target.model)} was released in {target.commit[:7]}, which "
        text += "verifies" if again else "does not verify any more"
        checks.append(Finding("released", again, text))
    else:
        known = {finding.name: finding for finding in told.findings}
        for name in ("model", "released"):
            missing = Finding(name, False, "the job that loads the model did not say")
            checks.append(known.get(name, missing))
    try:
        policy = workspace.policy_at(change.parent)
    except InputError:  # an incident is no time to fix it
        current = change.ledger.effective or target
        policy = workspace.policy_at(f"{current.released.main}^1")
    approved = approval.check(workspace, change, record, policy, rollback=True)
    return Verification(
        (*checks, *approved.findings), record=record, kind="rollback", restores=target,
        answers=dict(target.released.answers), review=approved.review,
    )  # fmt: skip


def _fault(error: ModelError) -> Finding:
    return Finding("away" if _away(error) else "figures", False, str(error))


def _away(error: ModelError) -> str | None:
    """What is said of something that may come back: GitHub, a registry, an artefact, a remote; or
    of a machine that is too small or too busy now."""
    away = isinstance(error, MissingError | TruncatedError | UnreadableError | LimitError)
    return None if isinstance(error, RefusedError | InputError) and not away else str(error)


def _retired(workspace: Workspace, change: Change) -> bool:
    try:
        policy = workspace.policy_at(change.parent)
    except ModelError:
        return False
    return policy.environments[change.environment].retired


def _form(workspace: Workspace, change: Change, record: Record) -> Iterator[Finding]:
    place = folder(change.environment)
    ok = record.environment == change.environment
    message = f"{short(record.model)}, by digest" if ok else f"names {record.environment}"
    yield Finding("record", ok, f"{place}/model.yaml {message}")
    changed = workspace.git.changed(change.fork or change.parent, change.head)
    strangers = [name for name in changed if not name.startswith(f"{place}/")]
    message = f"also touches {', '.join(strangers[:3])}" if strangers else f"touches {place}/ only"
    yield Finding("one folder", not strangers, message)


def _restored(workspace: Workspace, change: Change, entry: Entry) -> Iterator[Finding]:
    """Whether the folder is, byte for byte, what the ledger has of an entry."""
    place = folder(change.environment)
    ours = workspace.git.tree(f"{change.head}:{place}")
    theirs = workspace.git.tree(entry.commit)
    theirs.pop("ledger.json", None)
    wrong = sorted(name for name in ours.keys() | theirs if ours.get(name) != theirs.get(name))
    message = f"{place}/ is as it was released in {entry.commit[:7]}"
    if wrong:
        message = f"{place}/{wrong[0]!r} is not as it was released in {entry.commit[:7]}"
    yield Finding("files", not wrong, message)
