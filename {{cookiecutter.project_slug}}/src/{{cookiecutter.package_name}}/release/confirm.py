"""An entry of a ledger that is about to be used is verified again, as of its day.

Somebody who may push to `env/*` can append what looks like a release. It counts for a champion, a
rollback or what runs only if the change of main that it names verifies as of its own parent and
policy. This machine remembers what it verified.
"""

from functools import cache

from ..config import Environment
from ..errors import InputError, ModelError, RefusedError
from ..files import canonical_json, write_atomically
from . import order
from .change import Change, Ledgers, parent_on_main
from .ledger import Entry, Ledger
from .verify import Verification, verify
from .workspace import Workspace


class UnclearError(ModelError):
    """An entry can be verified neither well nor badly now."""


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
    """Whether this entry verifies, as of its day; remembered where it does.

    Raises:
        UnclearError: It cannot be told now: what is away is not taken for what is forged.
    """
    if workspace.remembers(ledger.environment, entry.commit):
        return True
    try:
        change = _as_of(workspace, ledger, entry)
    except (InputError, RefusedError):  # its commit of main is gone, or the first of all
        return False
    outcome = verify(workspace, change)
    if outcome.unclear:
        raise UnclearError(
            f"{ledger.environment}: entry {entry.commit[:7]} cannot be verified now: {outcome.away}"
        )
    if not outcome.passed or not _as_recorded(change, entry, outcome):
        return False
    remember(workspace, ledger.environment, entry.commit)
    return True


def _as_recorded(change: Change, entry: Entry, outcome: Verification) -> bool:
    """Whether the entry says of its change what verification says."""
    told, then = entry.released, change.ledger.effective
    if outcome.record is None or outcome.record.model != told.model:
        return False
    if told.change == "rollback":
        back = outcome.restores.commit if outcome.restores else None
        replaced = then.commit if then else None
        return outcome.kind == "rollback" and (back, replaced) == (told.restores, told.replaces)
    return outcome.kind == "promotion" and (
        not outcome.answers or order.same_answers(outcome.answers, dict(told.answers))
    )


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
