"""`model rollback`: propose that an environment runs again what it ran before."""

from ..config import Environment
from ..errors import InputError, RefusedError
from .history import Entry, before_current, held, history, live
from .proposal import Opened, Proposal, find_open, publish
from .record import folder, short
from .workspace import Workspace


def rollback(
    workspace: Workspace, environment: Environment, *, to: str | None = None, reason: str
) -> Opened:
    """Open a pull request that restores the folder as it was; freezes and limits do not apply.

    Raises:
        RefusedError: There is nothing to go back to, or its artefact is gone.
        InputError: `to` never ran there.
    """
    prepared = prepare(workspace, environment, to=to, reason=reason)
    return prepared if isinstance(prepared, Opened) else publish(workspace, prepared)


def prepare(
    workspace: Workspace, environment: Environment, *, to: str | None = None, reason: str
) -> Proposal | Opened:
    """What `rollback` would open, or the same one that is open already."""
    git = workspace.git
    base = git.base()
    entries = history(git, base, environment)
    current = live(entries)
    target = _find(environment, entries, to)
    if current is None or target is None or target.record is None:
        raise RefusedError(f"{environment} ran nothing before; there is nothing to roll back to")
    before, after = short(current.model), short(target.record.model)
    branch = f"rollback/{environment}/{after}-{entries[0].commit[:7]}"
    already = find_open(workspace, environment, branch, base)
    if already is not None:
        return already
    workspace.store.fetch(target.record.model)
    place = folder(environment)
    merge = workspace.pull_requests.how_to_merge(branch)
    body = f"""\
**Roll {environment} back: {before} -> {after}.** {reason}

- {after} (version {target.record.version}) ran here since {target.time:%Y-%m-%d %H:%M} UTC, \
promoted by {target.commit[:7]}: *{target.subject}*.
- The change restores `{place}/` as it was then, byte for byte; its artefact is in the store.
- Deployment checks the digest and the golden requests, nothing else: limits, soak time and freezes
  do not hold up a rollback.
- {before} is held afterwards: automation does not propose it again, a person may, with a reason.

**Merge** with `{merge}`, then `model deploy {environment}`.
"""
    return Proposal(
        kind="rollback",
        environment=environment,
        branch=branch,
        title=f"Roll {environment} back to {after}",
        message=reason,
        body=body,
        base=base,
        files=git.files(target.commit, place),
    )


def _find(environment: str, entries: tuple[Entry, ...], to: str | None) -> Entry | None:
    if to is None:
        return before_current(entries)
    prefix = to.removeprefix("sha256:")
    found = [e for digest, e in held(entries).items() if short(digest).startswith(prefix[:12])]
    if len(found) != 1 or not prefix:
        known = ", ".join(short(digest) for digest in held(entries)) or "none"
        raise InputError(f"{to!r} names no earlier model of {environment}; earlier: {known}")
    return found[0]
