"""What was rightly released, and what follows from it."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from tests.engine.law.law_world import World

# Faults that are known: test_law_found.py has a history of each, and the machine steps around them.
KNOWN: frozenset[str] = frozenset()


@dataclass
class Fact:
    """A release that was right."""

    commit: str
    main: str
    record: str  # the blob
    model: str
    content: dict[str, Any]
    stamp: dt.datetime  # as the ledger says
    true: dt.datetime
    clock: dt.datetime  # of the machine that released it
    forged: bool  # or trusted, because it could not be trained again
    restores: str | None
    outcome: str | None = None
    doubtful: bool = False  # whether the outcome is forged


@dataclass
class Facts:
    """What was rightly released, by environment, oldest first. `known`: every commit of a ledger,
    `forgeries`: those of them that somebody else appended.

    Where somebody forged an entry that names an acceptable change of main, more than one reading of
    what is effective is right; then each of them is.
    """

    world: World
    facts: dict[str, list[Fact]] = field(default_factory=lambda: {"staging": [], "production": []})
    known: dict[str, list[str]] = field(default_factory=lambda: {"staging": [], "production": []})
    forgeries: set[str] = field(default_factory=set)

    def effective(self, environment: str) -> list[Fact | None]:
        """What may be what runs: one, unless something was forged or main was rewritten."""
        found: list[Fact | None] = []
        line = set(self.world.origin.line(self.world.origin.branch("main")))
        for fact in reversed(self.facts[environment]):
            if fact.outcome == "failed" and not fact.doubtful:
                continue
            found.append(fact)
            if not fact.forged and fact.main in line and not fact.doubtful:
                return found
        return [*found, None]

    def clean(self, environment: str) -> bool:
        """Whether there is one reading."""
        return len(self.effective(environment)) == 1

    def models(self, environment: str) -> set[str | None]:
        return {fact.model if fact else None for fact in self.effective(environment)}

    def right(self, environment: str, record: dict[str, Any]) -> bool:
        """Whether this record was rightly released at any time."""
        return any(fact.content == record for fact in self.facts[environment])

    def below(self, name: str) -> list[Fact]:
        """What a rollback may go back to: a stack, from which each rollback takes."""
        stack: list[Fact] = []
        for fact in self.facts[name]:
            if fact.outcome == "failed":
                continue
            if fact.restores is None:
                stack.append(fact)
                continue
            at = next((n for n, f in enumerate(stack) if f.record == fact.record), None)
            if at is None:
                return self.facts[name]  # it went back to what failed later: nobody can say
            stack = [*stack[:at], stack[at]]
        return stack[:-1]

    def held(self, name: str) -> set[str]:
        """Models that were released and do not run any more."""
        facts = self.facts[name]
        if "failed" in KNOWN and facts and facts[-1].outcome == "failed":
            facts = facts[:-1]
        return {f.model for f in facts if not f.forged} - self.models(name)
