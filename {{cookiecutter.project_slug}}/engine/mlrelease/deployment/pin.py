"""`model deploy ENV --pin`: what to do in an incident while GitHub, or origin, is away.

It asks nobody and releases nothing: this machine runs again what it verified itself before. It ends
when the ledger says the same, so that afterwards the rollback is merged as any other.
"""

from pathlib import Path

from mlrelease.environments import Environment
from mlrelease.errors import InputError, RefusedError
from mlrelease.files import canonical_json, read_json, write_atomically
from mlrelease.records.git import BRANCH
from mlrelease.records.ledger import Entry, Ledger
from mlrelease.records.record import short
from mlrelease.workspace import Workspace


def pin(workspace: Workspace, environment: Environment, model: str, reason: str) -> Entry:
    """Let this machine run an earlier release, whatever the ledger says until it says so too.

    Raises:
        InputError: `model` names no release that this machine verified, or more than one.
    """
    known = [entry for entry in _known(workspace, environment).entries if not entry.failed]
    mine = [entry for entry in known if workspace.remembers(environment, entry.commit)]
    prefix = model.removeprefix("sha256:")
    found = {e.model: e for e in mine if prefix and short(e.model).startswith(prefix[:12])}
    if len(found) != 1:
        there = ", ".join(dict.fromkeys(short(entry.model) for entry in mine)) or "none"
        raise InputError(
            f"{model!r} names no release of {environment} that this machine verified: {there}"
        )
    (entry,) = found.values()
    facts = {"entry": entry.commit, "reason": reason, "time": workspace.now().isoformat()}
    write_atomically(_path(workspace, environment), canonical_json(facts))
    return entry


def unpin(workspace: Workspace, environment: Environment) -> bool:
    """Follow the ledger again; whether there was a pin."""
    path = _path(workspace, environment)
    there = path.exists()
    path.unlink(missing_ok=True)
    return there


def pinned(workspace: Workspace, environment: Environment) -> tuple[Entry, str] | None:
    """The release that this machine is pinned to, and why.

    Raises:
        RefusedError: The pin names what this machine did not verify.
    """
    path = _path(workspace, environment)
    if not path.exists():
        return None
    facts = read_json(path)
    commit = facts.get("entry") if isinstance(facts, dict) else None
    entry = _known(workspace, environment).find(commit)
    if entry is None or not workspace.remembers(environment, entry.commit):
        raise RefusedError(
            f"{path}: names no release that this machine verified; `model deploy {environment}"
            " --unpin` removes it"
        )
    return entry, f"pinned since {facts.get('time')}: {facts.get('reason')}"


def _known(workspace: Workspace, environment: Environment) -> Ledger:
    """The ledger as far as this clone knows it."""
    main = workspace.git.resolve(BRANCH)
    return workspace.ledger(environment, main) if main else Ledger(environment)


def _path(workspace: Workspace, environment: Environment) -> Path:
    return workspace.state / "environments" / environment / "pin.json"
