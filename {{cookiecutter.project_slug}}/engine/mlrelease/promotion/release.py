"""`model release`: verify what main names, and append it to the ledger; what runs follows that.

On GitHub two jobs do it: one loads the model and may only read; the other writes, loads nothing,
and checks what it was given against main as if it were forged. A terminal does both in one go.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlrelease.environments import Environment
from mlrelease.errors import ModelError, RefusedError, unexpected
from mlrelease.github.api import run_address
from mlrelease.promotion.draft import Draft
from mlrelease.records import ledger_branch
from mlrelease.records.change import Change, Ledgers, parent_on_main
from mlrelease.records.ledger import SKEW, Check, Entry, Kind, Ledger, Released
from mlrelease.records.ledger_branch import RacedError
from mlrelease.records.record import Record, folder, record_path, short
from mlrelease.verification.confirm import Faults, confirmed, remember, settled, without
from mlrelease.verification.pending import NotReleasedError, asked, pending
from mlrelease.verification.verify import Told, Verification, verify
from mlrelease.workspace import Workspace

TRIES = 3


@dataclass(frozen=True)
class Result:
    """What became of one environment; a fault of one does not hold up the others. `model` and
    `commit` are what main asks for."""

    environment: Environment
    action: Literal["in step", "released", "prepared", "refused"]
    text: str
    model: str | None = None
    commit: str | None = None
    entry: str | None = None
    error: str | None = None


def attempt(workspace: Workspace, environment: Environment, output: Path | None = None) -> Result:
    """`release`, or only `prepare` into a folder, with any failure as an outcome."""

    def act() -> Result:
        if output is None:
            entry = release(workspace, environment)
            return _released(environment, entry) if entry else nothing
        draft = prepare(workspace, environment)
        if draft is None:
            return nothing
        draft.write(output / f"{environment}.json")
        text = f"{environment}: {draft.main[:7]} is verified ({len(draft.findings)} checks)"
        return Result(environment, "prepared", text, commit=draft.main)

    nothing = Result(environment, "in step", f"{environment}: nothing to release")
    return _outcome(workspace, environment, act)


def attempt_append(workspace: Workspace, draft: Draft) -> Result:
    """`append`, with any failure as an outcome."""
    name = draft.environment
    return _outcome(workspace, name, lambda: _released(name, append(workspace, draft)))


def _released(environment: Environment, entry: Entry) -> Result:
    text = f"{environment}: {short(entry.model)} is released, entry {entry.commit[:7]}"
    facts = (entry.model, entry.released.main, entry.commit)
    return Result(environment, "released", text, *facts)


def _outcome(workspace: Workspace, environment: Environment, act: Callable[[], Result]) -> Result:
    try:
        return act()
    except Exception as error:  # a full disk too
        known = isinstance(error, ModelError)
        text = str(error) if known else unexpected(error)
        named = asked(workspace, environment)
        return Result(environment, "refused", f"failed: {text}", *named, error=text)


def release(workspace: Workspace, environment: Environment) -> Entry | None:
    """Release what main names; None where that was released already, or main names nothing.

    Raises:
        NotReleasedError: A check failed.
    """
    for _ in range(TRIES):
        draft = prepare(workspace, environment)
        if draft is None:
            return None
        try:
            return append(workspace, draft)
        except RacedError as error:
            raced = error
    raise raced


def prepare(workspace: Workspace, environment: Environment) -> Draft | None:
    """Verify what main names, with its model; None where there is nothing to release.

    Raises:
        NotReleasedError: A check failed.
    """
    main = workspace.git.base()
    _refuse_wrong_clock(workspace)
    faults: Faults = {}
    ledgers = settled(workspace, main, faults)
    ledger = ledgers(environment)
    waiting = pending(workspace, ledger)
    if waiting is None:
        return None
    outcome = verify(workspace, on_main(workspace, environment, waiting, ledgers))
    _refuse_failed(environment, waiting, outcome)
    if outcome.kind == "in step":
        return None
    every = workspace.ledger(environment, main)
    counted = {entry.commit for entry in ledger.entries}
    left = {e.commit: faults[e.commit] for e in every.entries if e.commit not in counted}
    told = (outcome.checks, outcome.answers, outcome.again)
    return Draft(environment, waiting, every.tip, *told, left)


def append(workspace: Workspace, draft: Draft) -> Entry:
    """Append what another job, or this one, verified; whatever needs no model is checked again.

    Raises:
        RacedError: main or the ledger moved since.
        NotReleasedError: A check failed.
    """
    git, environment = workspace.git, draft.environment
    main = git.base()
    _refuse_wrong_clock(workspace)
    ledger, left = without(workspace, workspace.ledger(environment, main), draft.left_out)

    def ledgers(name: Environment) -> Ledger:
        return ledger if name == environment else workspace.ledger(name, main)

    waiting = pending(workspace, ledger)
    if waiting is None or (waiting, ledger.tip) != (draft.main, draft.tip):
        raise RacedError(f"{environment}: main or its ledger moved meanwhile; release it again")
    told = Told(draft.findings, draft.answers, draft.again)
    change = on_main(workspace, environment, waiting, ledgers)
    change = replace(change, confirmed=lambda _: True)  # told by the job that loads models
    outcome = verify(workspace, change, told)
    _refuse_failed(environment, waiting, outcome)
    if outcome.record is None or outcome.kind == "in step":
        raise RacedError(f"{environment}: there is nothing to release any more")
    with_left = replace(outcome, checks=(*outcome.checks, *left))
    commit = write(workspace, ledger, waiting, with_left, outcome.record)
    found = workspace.ledger(environment, main).find(commit)
    if found is None:  # never: it was checked as a reader does
        raise RefusedError(f"{environment}: {commit[:7]} was appended, and does not count")
    return found


def write(
    workspace: Workspace, ledger: Ledger, main: str, outcome: Verification, record: Record
) -> str:
    """Append an entry for what passed; its commit.

    Raises:
        RacedError: Somebody else appended first.
    """
    note, name = _entry(workspace, ledger, main, outcome, record), ledger.environment
    words = f"{note.change.capitalize()} {short(note.model)} to {name}\n\n{main}"
    place = f"{main}:{folder(name)}"
    commit = ledger_branch.append(workspace.git, ledger, note, place, words)
    remember(workspace, name, commit)
    return commit


def on_main(
    workspace: Workspace, environment: Environment, commit: str, ledgers: Ledgers
) -> Change:
    """What a commit of main changed, to be released now."""
    parent = parent_on_main(workspace.git, environment, commit)
    ledger = ledgers(environment)
    (before,) = workspace.git.objects([f"{parent}:{record_path(environment)}"], 0)
    return Change(
        environment, commit, parent, workspace.now(), ledgers,
        lambda entry: confirmed(workspace, ledger, entry), merged=True, said=before.oid or "",
    )  # fmt: skip


def proposed(workspace: Workspace, environment: Environment, head: str, base: str) -> Change:
    """What merging a branch into main would change, were it merged and released now."""
    ledgers = settled(workspace, base)
    return Change(
        environment, head, base, workspace.now(), ledgers,
        lambda entry: confirmed(workspace, ledgers(environment), entry),
        fork=workspace.git.run("merge-base", base, head),
    )  # fmt: skip


def _entry(
    workspace: Workspace, ledger: Ledger, main: str, outcome: Verification, record: Record
) -> Released:
    kind: Kind = "migrate" if record.schema_version == 1 else record.intent
    kind = "rollback" if outcome.kind == "rollback" else kind
    review, current = outcome.review, ledger.effective
    checks = (*outcome.checks, *outcome.rules)
    return Released(
        environment=ledger.environment,
        change=kind,
        main=main,
        model=record.model,
        version=record.version[:200],
        image=record.image,
        replaces=current.commit if current else None,
        restores=outcome.restores.commit if outcome.restores else None,
        time=max([workspace.now(), *ledger.moments()]),
        requested_by=record.requested_by[:200] if record.requested_by else None,
        approved_by=tuple(sorted(review.approved_by)) if review else (),
        pull_request=review.number if review else None,
        head=review.head if review else None,
        run=run_address(),
        reason=record.reason[:2000] if record.reason else None,
        checks=tuple(Check(f.name[:100], f.message[:2000]) for f in checks),
        answers=outcome.answers,
    )


def _refuse_failed(environment: str, commit: str, outcome: Verification) -> None:
    if outcome.passed:
        return
    lines = "\n".join(f"  {f.name}: {f.message}" for f in outcome.failed)
    text = f"{environment}: {commit[:7]} is refused; what ran before still runs\n{lines}"
    raise NotReleasedError(f"{text}\n  `model rollback {environment}` takes it back from main")


def _refuse_wrong_clock(workspace: Workspace) -> None:
    """Soak times and freezes hang on the clock, so a second one is asked where there is one."""
    if workspace.github is None:
        return
    off = workspace.now() - workspace.github.clock()
    if abs(off) > SKEW:
        minutes = off.total_seconds() / 60
        raise RefusedError(
            f"this machine's clock is {minutes:+.0f} minutes off GitHub's: set it right"
        )
