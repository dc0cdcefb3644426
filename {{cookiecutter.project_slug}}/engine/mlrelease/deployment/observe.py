"""How a release came out: noted in the ledger by the release job, from what it sees."""

from mlrelease.environments import Environment
from mlrelease.errors import InputError
from mlrelease.github.api import run_address
from mlrelease.records import ledger_branch
from mlrelease.records.ledger import Outcome, Word
from mlrelease.records.ledger_branch import RacedError
from mlrelease.records.record import short
from mlrelease.workspace import Workspace

TRIES = 3


def observe(
    workspace: Workspace,
    environment: Environment,
    entry: str,
    outcome: Word,
    observer: str,
    message: str | None = None,
) -> bool:
    """Note how an entry came out; False where that is noted. The first outcome counts, so nothing
    that is live fails by a note.

    Raises:
        InputError: There is no such entry.
        RacedError: Others kept appending.
    """
    git = workspace.git
    for _ in range(TRIES):
        ledger = workspace.ledger(environment, git.base())
        found = ledger.find(entry)
        if found is None:
            raise InputError(f"{environment}: {entry[:7]} is no entry of its ledger")
        if found.outcome is not None:
            return False
        note = Outcome(
            entry=entry,
            outcome=outcome,
            time=max([workspace.now(), *ledger.moments()]),
            observer=observer,
            run=run_address(),
            message=message[:2000] if message else None,
        )
        # The files at the tip are those of what runs, so that whoever follows the branch has them.
        runs = ledger.effective if outcome == "live" else ledger.without(found).effective
        try:
            words = f"{short(found.model)} {'is live' if outcome == 'live' else 'failed'}"
            ledger_branch.append(git, ledger, note, (runs or found).commit, words)
        except RacedError as error:
            raced = error
        else:
            return True
    raise raced
