"""An entry of a ledger that is about to be used is verified again, as of its day.

Somebody who may push to `env/*` can append what looks like a release. It counts for a champion, a
rollback or what runs only if the change of main that it names verifies as of its own parent and
policy. This machine remembers what it verified.
"""

from functools import cache

from ..config import Environment
from ..errors import ModelError
from ..files import canonical_json, write_atomically
from .change import Change, Ledgers, parent_on_main
from .ledger import Entry, Ledger
from .verify import verify
from .workspace import Workspace


def settled(workspace: Workspace, main: str) -> Ledgers:
    """The ledger of each environment whose effective entry verifies; read once, when asked for."""

    @cache
    def ledger(environment: Environment) -> Ledger:
        return settle(workspace, workspace.ledger(environment, main))

    return ledger


def settle(workspace: Workspace, ledger: Ledger) -> Ledger:
    """Leave out the newest entries that do not verify, down to one that does."""
    while (last := ledger.effective) is not None and not confirmed(workspace, ledger, last):
        ledger = ledger.without(last)
    return ledger


def confirmed(workspace: Workspace, ledger: Ledger, entry: Entry) -> bool:
    """Whether this entry verifies, as of its day; remembered where it does."""
    if workspace.remembers(ledger.environment, entry.commit):
        return True
    try:
        outcome = verify(workspace, _as_of(workspace, ledger, entry))
    except ModelError:
        return False
    kind = "rollback" if entry.released.change == "rollback" else "promotion"
    found = outcome.record.model if outcome.record else None
    if not outcome.passed or outcome.kind != kind or found != entry.model:
        return False
    remember(workspace, ledger.environment, entry.commit)
    return True


def remember(workspace: Workspace, environment: str, commit: str) -> None:
    """Note that this machine verified an entry."""
    write_atomically(workspace.memory(environment, commit), canonical_json({"entry": commit}))


def _as_of(workspace: Workspace, ledger: Ledger, entry: Entry) -> Change:
    environment = ledger.environment
    before = ledger.before(entry)
    claimed = entry.released.replaces
    while (last := before.effective) is not None and last.commit != claimed:
        if confirmed(workspace, before, last):
            break  # it was overtaken: the comparison says so
        before = before.without(last)

    def then(name: Environment) -> Ledger:
        if name == environment:
            return before
        return settle(workspace, workspace.ledger(name, ledger.main).at(entry.time))

    return Change(
        environment,
        entry.released.main,
        parent_on_main(workspace.git, environment, entry.released.main),
        entry.time,
        cache(then),
        lambda one: confirmed(workspace, before, one),
        merged=True,
        recorded=entry,
    )
