"""What this machine shall run: the ledger's effective entry, or what it verified before.

A host that restarts while `origin`, the registry or GitHub is away starts what it remembers, from
its own copy. What is remembered was verified here.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from mlrelease.deployment.pin import pinned, unpin
from mlrelease.environments import Environment
from mlrelease.errors import InputError, ModelError, RefusedError
from mlrelease.files import canonical_json, read_json, write_atomically
from mlrelease.records.ledger import MAX_RECORD, Entry, Ledger, branch
from mlrelease.records.record import Record
from mlrelease.verification.confirm import confirmed, settle
from mlrelease.workspace import Workspace


@dataclass(frozen=True)
class Wanted:
    """A release to run: its record, the entry that released it, and the commit of main that asked
    for it. `because` says why it is taken from memory."""

    record: Record
    entry: str
    main: str
    rollback: bool
    because: str | None = None
    time: str | None = None


def wanted(workspace: Workspace, environment: Environment) -> Wanted | None:
    """What shall run; None where nothing was ever released.

    Raises:
        ModelError: Nobody can be asked, and nothing is remembered.
    """
    pin = pinned(workspace, environment)
    found = _followed(workspace, environment)
    if pin is None:
        return found
    if found is not None and found.because is None and found.record.model == pin[0].model:
        unpin(workspace, environment)
        return found
    return replace(_of(workspace, environment, pin[0]), because=pin[1])


def _followed(workspace: Workspace, environment: Environment) -> Wanted | None:
    ledger: Ledger | None = None
    try:
        ledger = settle(workspace, workspace.ledger(environment, workspace.git.base()))
        entry = ledger.effective
        if entry is None:
            why = "is missing" if ledger.tip is None else "holds no entry that counts here"
            why += f" ({ledger.skipped[-1]})" if ledger.skipped else ""
            raise RefusedError(f"{environment}: {branch(environment)} {why}")
        _refuse_older(workspace, ledger, entry)
        return _of(workspace, environment, entry)
    except ModelError as error:
        kept = remembered(workspace, environment, str(error))
        if kept is None and not (ledger and ledger.tip is None):
            raise
        return kept


def _refuse_older(workspace: Workspace, ledger: Ledger, entry: Entry) -> None:
    """What ran here may have failed or been replaced; that it does not count any more, by a clock
    that is wrong or a main that was rewritten, is no reason to go back behind it."""
    kept = remembered(workspace, ledger.environment, "")
    if kept is None or ledger.find(kept.entry) is not None:
        return
    anchors = (e for e in ledger.entries if e.released.change == "anchor" and kept.time)
    if any(
        e.time.isoformat() > str(kept.time) and confirmed(workspace, ledger, e) for e in anchors
    ):
        return  # people began again since
    if not workspace.git.is_ancestor(kept.entry, entry.commit):
        raise RefusedError(
            f"{ledger.environment}: {kept.entry[:7]}, which runs here, does not count now"
            f" ({'; '.join(ledger.skipped) or 'it does not verify'})"
        )


def remembered(workspace: Workspace, environment: Environment, because: str) -> Wanted | None:
    """What this machine verified and ran last, if anything."""
    path = _path(workspace, environment)
    if not path.exists():
        return None
    facts = read_json(path)
    try:
        record = Record.read(facts["record"].encode(), str(path))
        told = facts["entry"], facts["main"], facts["rollback"] is True
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{path}: is not what `model deploy` writes; remove it") from None
    if record.environment != environment:
        raise InputError(f"{path}: is a copy of {record.environment}'s; remove it")
    return Wanted(record, *told, because, facts.get("time"))


def _of(workspace: Workspace, environment: Environment, entry: Entry) -> Wanted:
    (file,) = workspace.git.objects([entry.record], MAX_RECORD)
    if file.content is None:
        raise RefusedError(f"{environment}: the record of {entry.commit[:7]} is too large")
    record = Record.read(file.content, f"env/{environment}:model.yaml")
    told = entry.released
    back, time = told.change == "rollback", entry.time.isoformat()
    return Wanted(record, entry.commit, told.main, back, time=time)


def remember(workspace: Workspace, found: Wanted) -> None:
    """Note what runs here, once it does."""
    facts = {
        "record": found.record.write(),
        "entry": found.entry,
        "main": found.main,
        "rollback": found.rollback,
        "time": found.time,
    }
    text, path = canonical_json(facts), _path(workspace, found.record.environment)
    if not path.exists() or path.read_text() != text:
        write_atomically(path, text)


def _path(workspace: Workspace, environment: Environment) -> Path:
    return workspace.state / "environments" / environment / "release.json"
