"""`model rollback`: propose that an environment runs again what it ran before."""

from dataclasses import dataclass

from ..config import Environment
from ..errors import InputError, RefusedError
from .history import Entry, before_current, held, history, live
from .pull_request import PullRequest
from .record import folder, short
from .workspace import Workspace


@dataclass(frozen=True)
class Rollback:
    """An open rollback."""

    pull_request: PullRequest
    model: str
    replaces: str
    body: str
    merge: str


def rollback(
    workspace: Workspace, environment: Environment, *, to: str | None = None, reason: str
) -> Rollback:
    """Open a pull request that restores the folder as it was; freezes and limits do not apply.

    Raises:
        RefusedError: There is nothing to go back to, or its artefact is gone.
        InputError: `to` never ran there.
    """
    git = workspace.git
    base = git.base()
    entries = history(git, base, environment)
    current = live(entries)
    target = _find(environment, entries, to)
    if current is None or target is None or target.record is None:
        raise RefusedError(f"{environment} ran nothing before; there is nothing to roll back to")
    workspace.store.fetch(target.record.model)
    before, after = short(current.model), short(target.record.model)
    place = folder(environment)
    title = f"Roll {environment} back to {after}"
    head = git.commit_folder(base, place, git.files(target.commit, place), f"{title}\n\n{reason}")
    branch = f"rollback/{environment}/{after}-{base[:7]}"
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
    opened = workspace.pull_requests.open(branch, title, head, target.record.model, body)
    return Rollback(opened, target.record.model, current.model, body, merge)


def _find(environment: str, entries: tuple[Entry, ...], to: str | None) -> Entry | None:
    if to is None:
        return before_current(entries)
    prefix = to.removeprefix("sha256:")
    found = [e for digest, e in held(entries).items() if short(digest).startswith(prefix[:12])]
    if len(found) != 1 or not prefix:
        known = ", ".join(short(digest) for digest in held(entries)) or "none"
        raise InputError(f"{to!r} names no earlier model of {environment}; earlier: {known}")
    return found[0]
