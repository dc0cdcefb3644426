"""One reading of a ledger's branch: which of its commits count, in which order.

It parses `ledger.json` and the lines of a record that bind it, within bounds; commit messages,
authors and dates are never looked at.
"""

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from mlrelease.environments import Environment, record_path
from mlrelease.errors import RefusedError
from mlrelease.records import main_line
from mlrelease.records.git import Git, Object
from mlrelease.records.ledger import (
    FILE,
    MAX_RECORD,
    SKEW,
    Entry,
    Ledger,
    Outcome,
    Released,
    branch,
)

MAX_BYTES = 262_144  # of one ledger.json
MAX_COMMITS = 100_000  # of a branch
MODEL = re.compile(rb"(?m)^model: (sha256:[0-9a-f]{64})$")
ENTRY = re.compile(rb"(?m)^replaces:\n  model: [^\n]*\n  entry: (\w+)$")
Objects = Callable[[Sequence[str], int], list[Object]]  # `Git.objects`
NAMED = 5  # commits that do not count are named up to here, then counted


class UnreadableError(RefusedError):
    """The branch holds more than anybody would release."""


@dataclass
class Reader:
    """One pass over a branch, parents first: whatever was ever pushed is read, also beside a merge,
    so that no push hides what was there. Order is that of main."""

    git: Git
    objects: Objects
    environment: Environment
    main: str
    now: dt.datetime
    tip: str
    proven: Callable[[str, str], bool]
    found: dict[str, tuple[tuple[int, int], Entry]] = field(default_factory=dict)
    outcomes: dict[str, list[tuple[str, Outcome]]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def read(self) -> Ledger:
        commits = self._commits()
        names = [f"{commit}:{FILE}" for commit, _ in commits]
        decoded = [decode(note) for note in self.objects(names, MAX_BYTES)]
        noted = [(c, n.main) for (c, _), n in zip(commits, decoded, strict=True)
                 if isinstance(n, Released)]  # fmt: skip
        records, said = self._records(noted)
        place = main_line.places(self.git, self.main)
        last = (-len(place), 0)
        for at, ((commit, parent), note) in enumerate(zip(commits, decoded, strict=True)):
            if isinstance(note, str):
                fault = note
            elif note.time > self.now + SKEW:
                fault = f"is of {note.time:%Y-%m-%d %H:%M}, which is to come"
            elif isinstance(note, Outcome):
                fault = "" if note.entry in self.found else f"is of no entry: {note.entry[:7]}"
                if not fault:
                    self.outcomes.setdefault(note.entry, []).append((commit, note))
            else:
                fault = self._entry(commit, note, records[commit], place)
                if not fault:
                    last = (place.get(note.main, last[0]), at)
                    entry = Entry(commit, parent, note, records[commit][0].oid or "", note.time)
                    self.found[commit] = (last, entry)
            if fault:
                self.faults.append(f"{commit[:7]} {fault}")
        entries = self._ordered()
        gone = entries[-1].released.main if entries else None
        adrift = f"{gone[:7]}, which was released last, is not on main any more" if gone else None
        adrift = None if gone is None or gone in place else adrift
        return Ledger(self.environment, self.main, self.tip, entries, self._skipped(), adrift, said)

    def _commits(self) -> list[tuple[str, str | None]]:
        """Every commit with its first parent, parents first."""
        listed = self.git.run(
            "rev-list",
            "--topo-order",
            "--parents",
            f"--max-count={MAX_COMMITS + 1}",
            self.tip,
            "--",
        ).splitlines()
        if len(listed) > MAX_COMMITS:
            raise UnreadableError(
                f"{branch(self.environment)} has more than {MAX_COMMITS} commits: somebody filled"
                " it. Look at it, and restore it with `model ledger restore`"
            )
        rows = [line.split() for line in reversed(listed)]
        return [(row[0], row[1] if len(row) > 1 else None) for row in rows]

    def _records(
        self, noted: list[tuple[str, str]]
    ) -> tuple[dict[str, tuple[Object, Object, Object]], str | None]:
        """The record: in each entry, at its commit of main, and before; and what main names now."""
        path = record_path(self.environment)
        mains = [name for _, m in noted for name in (f"{m}:{path}", f"{m}^1:{path}")]
        found = self.objects(mains, 0)
        ours = self.objects([f"{c}:model.yaml" for c, _ in noted], MAX_RECORD)
        (now,) = self.git.objects([f"{self.main}:{path}"], 0)
        three = {c: (ours[at], found[2 * at], found[2 * at + 1]) for at, (c, _) in enumerate(noted)}
        return three, now.oid or ""

    def _entry(
        self, commit: str, note: Released, record: tuple[Object, Object, Object],
        place: Mapping[str, int],
    ) -> str:  # fmt: skip
        """Why an entry does not count, if so: it says otherwise than main, or than its record."""
        ours, mains, before = record
        on_main, name = note.main in place, note.main[:7]
        if note.environment != self.environment:
            return f"is about {note.environment}"
        if ours.content is None or (on_main and mains.oid != ours.oid):
            return f"holds another record than main at {name}"
        if on_main and mains.oid == before.oid:
            return f"names {name}, which did not change the record"
        if not on_main and not self.proven(commit, note.main):
            return f"names {name}, which is not on main"
        if _said(ours.content, MODEL) != note.model:
            return "names another model than its record"
        known = self.found.keys() | ({note.replaces} if note.change == "anchor" else set())
        if (
            not {note.replaces, note.restores} - {None} <= known
        ):  # main lost what an anchor replaces
            return "refers to an entry that is not there"
        if note.change == "rollback":
            if note.restores is None or self.found[note.restores][1].record != ours.oid:
                return "restores another record than the one that it names"
        elif note.change != "migrate" and _said(ours.content, ENTRY) != note.replaces:
            return "was compared with another entry than its record says"
        return ""

    def _ordered(self) -> tuple[Entry, ...]:
        """Entries in the order of main, each not before the one before, with its outcome."""
        ordered: list[Entry] = []
        moment = dt.datetime.min.replace(tzinfo=dt.UTC)
        for _, entry in sorted(self.found.values(), key=lambda pair: pair[0]):
            moment = max(moment, entry.time)
            commit, outcome = self._outcome(self.outcomes.get(entry.commit, []))
            if outcome is not None and outcome.time < moment:
                outcome = msgspec.structs.replace(outcome, time=moment)
            facts = (entry.commit, entry.parent, entry.released, entry.record)
            ordered.append(Entry(*facts, moment, outcome, commit))
        return tuple(ordered)

    def _outcome(self, noted: list[tuple[str, Outcome]]) -> tuple[str, Outcome] | tuple[None, None]:
        """The first; of two that stand beside each other, what is live: nobody knows which was."""
        if not noted:
            return None, None
        first, *others = noted
        self.faults += [f"{commit[:7]} is a second outcome" for commit, _ in others]
        for other in others:
            if other[1].outcome == "live" and not self.git.is_ancestor(first[0], other[0]):
                return other
        return first

    def _skipped(self) -> tuple[str, ...]:
        more = len(self.faults) - NAMED
        shown = tuple(self.faults[-NAMED:])
        return shown if more <= 0 else (f"{more} earlier commits do not count", *shown)


def _said(record: bytes, line: re.Pattern[bytes]) -> str | None:
    """A value of a record, as our writer puts it: to read a thousand records as YAML takes seconds.
    One that is written otherwise was not written by us, and says nothing."""
    found = line.findall(record)
    said = found[0].decode() if len(found) == 1 else "?"
    return None if said == "null" else said


def decode(note: Object) -> Released | Outcome | str:
    """What a ledger.json says, or why it says nothing."""
    if note.oid is None:
        return f"has no {FILE}"
    if note.content is None:
        return f"has a {FILE} of {note.size} bytes"
    try:
        return msgspec.json.decode(note.content, type=Released | Outcome)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        return f"has no readable {FILE}: {str(error)[:200]}"
