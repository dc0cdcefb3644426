"""A change of one environment's record, and the ledgers that it is judged against."""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace

from mlrelease.environments import Environment
from mlrelease.errors import RefusedError
from mlrelease.records.git import Git
from mlrelease.records.ledger import Entry, Ledger

Ledgers = Callable[[Environment], Ledger]


@dataclass(frozen=True)
class Change:
    """A record as `head` has it, on top of `parent`, at the time of the verifying clock.

    `ledgers` gives the ledger of an environment, `confirmed` tells whether an entry of this one
    verifies. `fork` is where an unmerged branch left main, when that is not `parent` itself.
    `merged`: it is on main already, so who approved it can be asked. `recorded`: it was released,
    and is verified as of that day. `said`: the record that main named before, "" for none, where
    that is not what it names now.
    """

    environment: Environment
    head: str
    parent: str
    time: dt.datetime
    ledgers: Ledgers
    confirmed: Callable[[Entry], bool]
    fork: str | None = None
    merged: bool = False
    recorded: Entry | None = None
    said: str | None = None

    @property
    def ledger(self) -> Ledger:
        found = self.ledgers(self.environment)
        return found if self.said is None else replace(found, said=self.said)


def parent_on_main(git: Git, environment: str, commit: str) -> str:
    """What main was before a commit.

    Raises:
        RefusedError: It is the first commit of all, so nobody can have reviewed it.
    """
    if not git.ok("rev-parse", "--verify", "--quiet", f"{commit}^1"):
        raise RefusedError(f"{environment}: the record came with the first commit, unreviewed")
    return git.run("rev-parse", f"{commit}^1")
