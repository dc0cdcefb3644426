"""`env/<environment>`: what was verified and released there, one entry for each released change.

`main` proposes; only the release job appends here, after every check passed. Whoever decides
anything reads this branch: the champion, holds, soak, rollback targets, history, what runs.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mlrelease.environments import Environment

FILE = "ledger.json"
MAX_RECORD = 65_536  # bytes
SKEW = dt.timedelta(minutes=10)  # how far a clock may be ahead of ours

Commit = Annotated[str, Meta(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
Digest = Annotated[str, Meta(pattern=r"^sha256:[0-9a-f]{64}$")]
Time = Annotated[dt.datetime, Meta(tz=True)]
Short = Annotated[str, Meta(max_length=200)]
Name = Annotated[str, Meta(max_length=100)]
Word = Literal["live", "failed"]
Kind = Literal["promote", "hotfix", "anchor", "rollback", "migrate"]


class Check(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One check that passed, with its message."""

    name: Name
    message: Annotated[str, Meta(max_length=2000)]


class Released(
    msgspec.Struct, frozen=True, tag_field="kind", tag="entry", forbid_unknown_fields=True
):
    """`ledger.json` of an entry: a change of the record on main that was verified."""

    environment: Short
    change: Kind
    main: Commit  # the first-parent commit of main that changed the record
    model: Digest
    version: Short
    image: Annotated[str, Meta(max_length=500)] | None
    replaces: Commit | None  # the entry that was effective before
    restores: Commit | None  # of a rollback: the entry that runs again
    time: Time  # of the clock that verified
    requested_by: Short | None
    approved_by: Annotated[tuple[Short, ...], Meta(max_length=100)]
    pull_request: int | None
    head: Commit | None  # of the pull request: what was approved
    run: Short | None
    reason: Annotated[str, Meta(max_length=2000)] | None
    checks: Annotated[tuple[Check, ...], Meta(max_length=2000)]
    answers: Annotated[dict[Short, float], Meta(max_length=256)]  # to holdout rows, by row
    schema_version: Literal[1] = 1


class Outcome(
    msgspec.Struct, frozen=True, tag_field="kind", tag="outcome", forbid_unknown_fields=True
):
    """`ledger.json` of a commit that notes how an entry came out; the first one counts."""

    entry: Commit
    outcome: Word
    time: Time
    observer: Short | None
    run: Short | None
    message: Annotated[str, Meta(max_length=2000)] | None
    schema_version: Literal[1] = 1


@dataclass(frozen=True)
class Entry:
    """A release that counts. `time` is not before that of the commit before it."""

    commit: str
    parent: str | None  # the ledger that it was verified against
    released: Released
    record: str  # the blob of its model.yaml, which is also main's
    time: dt.datetime
    outcome: Outcome | None = None
    outcome_commit: str | None = None

    @property
    def model(self) -> str:
        return self.released.model

    @property
    def failed(self) -> bool:
        """Whether it did not pass its golden requests."""
        return self.outcome is not None and self.outcome.outcome == "failed"

    @property
    def live(self) -> dt.datetime | None:
        """Since when it was seen to run."""
        ok = self.outcome is not None and self.outcome.outcome == "live"
        return self.outcome.time if self.outcome and ok else None


@dataclass(frozen=True)
class Ledger:
    """The entries of an environment that count, oldest first. `skipped` says what does not."""

    environment: Environment
    main: str = ""  # the commit of main that it was read against
    tip: str | None = None
    entries: tuple[Entry, ...] = ()
    skipped: tuple[str, ...] = ()
    adrift: str | None = None  # why nothing new may be released: main was rewritten
    said: str | None = None  # the record that main names, "" for none

    @property
    def effective(self) -> Entry | None:
        """What runs, or shall: the last entry that did not fail."""
        return next((e for e in reversed(self.entries) if not e.failed), None)

    def find(self, commit: str | None) -> Entry | None:
        """The entry that this commit of the ledger is."""
        return next((e for e in self.entries if e.commit == commit), None)

    def of_main(self, commit: str) -> Entry | None:
        """The last entry of this commit of main."""
        return next((e for e in reversed(self.entries) if e.released.main == commit), None)

    def earlier(self) -> Iterator[Entry]:
        """What a rollback may go back to, nearest first: what the effective entry replaced, what
        that one replaced, and so on. Never what was rolled back from."""
        at, known = self.effective, {entry.commit: entry for entry in self.entries}
        while at is not None:
            if at.released.change == "rollback":
                at = known.get(at.released.restores or "")
            if at is not None:
                at = known.get(at.released.replaces or "")
            if at is not None and not at.failed:
                yield at

    def held(self) -> dict[str, Entry]:
        """Models that were released here and replaced, the newest first, each with its last entry.

        Automation does not propose them again; a person may, with a reason. An outcome makes no
        hold and lifts none: what failed is held once main names something else.
        """
        current = self.effective.model if self.effective else None
        found: dict[str, Entry] = {}
        gone = bool(self.entries) and self.entries[-1].failed and self.said is not None
        left = self.entries if gone and self.said != self.entries[-1].record else self.entries[:-1]
        for entry in reversed(left):
            if entry.model != current:
                found.setdefault(entry.model, entry)
        return found

    def ended_by(self, held: Entry) -> Entry:
        """The entry that replaced a held one."""
        later = self.entries[self.entries.index(held) + 1 :]
        return next((entry for entry in later if entry.model != held.model), held)

    @property
    def observed(self) -> bool:
        """Whether anybody looks at what runs here."""
        return any(entry.live for entry in self.entries)

    def since(self) -> dt.datetime | None:
        """Since when the effective model is live without a break; None while it is not. Where
        nobody looks, since its release."""
        since, current = None, self.effective
        for entry in reversed(self.entries):
            if entry.failed:
                continue
            if current is None or entry.model != current.model:
                break
            since = entry.live or (since if self.observed else entry.time)
        return since

    def moments(self) -> Iterator[dt.datetime]:
        """When each commit was made; no later one may be earlier."""
        for entry in self.entries:
            yield entry.time
            if entry.outcome:
                yield entry.outcome.time

    def without(self, entry: Entry) -> "Ledger":
        """The same but for an entry that does not count after all."""
        return replace(self, entries=tuple(e for e in self.entries if e is not entry))

    def before(self, entry: Entry) -> "Ledger":
        """The ledger that an entry was appended to."""
        at = self.entries.index(entry)
        return self._until(self.entries[:at], entry.parent, entry.time)

    def at(self, time: dt.datetime) -> "Ledger":
        """What it said at a moment."""
        known = tuple(e for e in self.entries if e.time <= time)
        return self._until(known, known[-1].commit if known else None, time)

    def _until(self, entries: tuple[Entry, ...], tip: str | None, time: dt.datetime) -> "Ledger":
        noted = (
            e if e.outcome is None or e.outcome.time <= time
            else replace(e, outcome=None, outcome_commit=None)
            for e in entries
        )  # fmt: skip
        return Ledger(self.environment, self.main, tip, tuple(noted))


def branch(environment: str) -> str:
    """The branch that holds an environment's ledger."""
    return f"env/{environment}"
