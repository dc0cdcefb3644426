"""Reading and appending to `env/<environment>`, the branch of a ledger.

Reading takes nothing on trust: an entry counts when main says the same. It parses `ledger.json` and
nothing else, within bounds; commit messages, authors and dates are never looked at.
"""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from ..environments import Environment, record_path
from ..errors import RefusedError
from . import main_line
from .git import Git, GitError, Object
from .ledger import FILE, SKEW, Entry, Ledger, Outcome, Released, branch

MAX_BYTES = 262_144  # of one ledger.json
MAX_COMMITS = 100_000  # the newest of a branch
NAMED = 5  # commits that do not count are named up to here, then counted


class TruncatedError(RefusedError):
    """The ledger is missing, or shorter than somebody saw it."""


class RacedError(RefusedError):
    """Somebody else appended first."""


def read(
    git: Git,
    environment: Environment,
    main: str,
    now: dt.datetime,
    proven: Callable[[str, str], bool],
    known: Ledger | None = None,
) -> Ledger:
    """The ledger as it is now, against main as it is at `main`. `proven` tells of an entry and its
    commit of main, which is not there any more, whether it was. `known` was read before: it is
    still that, unless commits did not count, for some of them only did not yet.

    Raises:
        TruncatedError: It is shorter than this clone has seen it.
    """
    tip = git.resolve_exactly(branch(environment))
    _refuse_shorter(git, environment, tip)
    if tip is None:
        return Ledger(environment, main)
    if known and (known.tip, known.main) == (tip, main) and not known.skipped:
        return known
    return _Reader(git, environment, main, now, tip, proven).read()


def append(git: Git, ledger: Ledger, note: Released | Outcome, folder: str, message: str) -> str:
    """Append one commit: the files of `folder`, a `COMMIT:path` or a commit of the ledger, and the
    note. The commit; the branch moves forward or not at all.

    Raises:
        RacedError: The branch is not where `ledger` was read.
    """
    blob = git.run("hash-object", "-w", "--stdin", stdin=encode(note))
    kept = [
        line
        for line in git.run("ls-tree", "-z", folder).split("\0")
        if line and not line.endswith(f"\t{FILE}")
    ]
    listed = "\0".join([*kept, f"100644 blob {blob}\t{FILE}", ""])
    tree = git.run("mktree", "-z", stdin=listed.encode())
    commit = git.commit_tree(tree, ledger.tip, message)
    name = branch(ledger.environment)
    try:
        git.advance(name, commit, ledger.tip)
    except GitError as error:
        if git.resolve_exactly("env"):
            text = f"a branch called `env` is in the way of `{name}`: rename it"
            raise RefusedError(text) from None
        raise RacedError(f"{name} did not move: {error}") from None
    git.run("update-ref", seen(ledger.environment), commit)
    return commit


def encode(note: Released | Outcome) -> bytes:
    """The content of ledger.json: sorted keys, one a line."""
    return msgspec.json.format(msgspec.json.encode(note, order="sorted"), indent=1) + b"\n"


def seen(environment: str) -> str:
    """What this clone remembers of a ledger. It also keeps git from forgetting the objects."""
    return f"refs/model/seen/{environment}"


def _refuse_shorter(git: Git, environment: str, tip: str | None) -> None:
    name = branch(environment)
    known = git.run("for-each-ref", "--format=%(objectname)", seen(environment))
    if known == tip:
        return
    if known and (tip is None or not git.is_ancestor(known, tip)):
        raise TruncatedError(
            f"{name} is {'missing' if tip is None else 'not what it was'}: this clone has seen"
            f" {known[:7]} there; run `model ledger restore {environment}`"
        )
    if tip:
        git.run("update-ref", seen(environment), tip)


@dataclass
class _Reader:
    """One pass over a branch, oldest commit first."""

    git: Git
    environment: Environment
    main: str
    now: dt.datetime
    tip: str
    proven: Callable[[str, str], bool]
    adrift: str | None = None
    entries: list[Entry] = field(default_factory=list)
    places: dict[str | None, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def read(self) -> Ledger:
        commits = self._commits()  # newest first, as packs have them
        notes = self.git.objects([f"{c}:{FILE}" for c in commits], MAX_BYTES)
        decoded = [_decode(note) for note in notes]
        named = [n.main if isinstance(n, Released) else None for n in decoded]
        blobs = self._records(commits, named)
        place = main_line.places(self.git, self.main)
        moment, latest = dt.datetime.min.replace(tzinfo=dt.UTC), self.now + SKEW
        parents = [*commits[1:], None]
        for commit, parent, note in [*zip(commits, parents, decoded, strict=True)][::-1]:
            if isinstance(note, str):
                fault = note
            elif note.time > latest:
                fault = f"is of {note.time:%Y-%m-%d %H:%M}, which is to come"
            elif isinstance(note, Outcome):
                fault = self._outcome(commit, note, moment)
            else:
                fault = self._entry(commit, parent, note, blobs[commit], place, moment)
            if fault:
                self.faults.append(f"{commit[:7]} {fault}")
            elif not isinstance(note, str):
                moment = max(moment, note.time)
        found = (tuple(self.entries), self._skipped(), self.adrift)
        return Ledger(self.environment, self.main, self.tip, *found)

    def _commits(self) -> list[str]:
        listed = self.git.run(
            "rev-list", "--first-parent", f"--max-count={MAX_COMMITS}", self.tip, "--"
        )
        return listed.split()

    def _records(self, commits: list[str], named: list[str | None]) -> dict[str, list[str | None]]:
        """The blob of the record: in each entry, at its commit of main, and before that commit."""
        found = [(c, m) for c, m in zip(commits, named, strict=True) if m]
        path = record_path(self.environment)
        names = [(f"{c}:model.yaml", f"{m}:{path}", f"{m}^1:{path}") for c, m in found]
        oids = [o.oid for o in self.git.objects([name for three in names for name in three], 0)]
        return {commit: oids[3 * at : 3 * at + 3] for at, (commit, _) in enumerate(found)}

    def _entry(
        self, commit: str, parent: str | None, note: Released, blobs: list[str | None],
        place: Mapping[str, int], moment: dt.datetime,
    ) -> str:  # fmt: skip
        last = self.entries[-1] if self.entries else None
        ours, mains, before = blobs
        on_main, name = note.main in place, note.main[:7]
        if note.environment != self.environment:
            return f"is about {note.environment}"
        if ours is None or (on_main and mains != ours):
            return f"holds another record than main at {name}"
        if on_main and mains == before:
            return f"names {name}, which did not change the record"
        if not on_main and not self.proven(commit, note.main):
            return f"names {name}, which is not on main"
        if self.adrift and on_main and note.change != "anchor":
            return "follows a main that was rewritten, and is no anchor"
        earliest = place.get(last.released.main) if last else None
        if on_main and earliest is not None and place[note.main] <= earliest:
            return f"names {name}, which is not after the entry before"
        if not {note.replaces, note.restores} - {None} <= self.places.keys():
            return "refers to an entry that is not there"
        self.adrift = (
            None if on_main else f"{name}, which was released last, is not on main any more"
        )
        self.places[commit] = len(self.entries)
        self.entries.append(Entry(commit, parent, note, ours, max(note.time, moment)))
        return ""

    def _outcome(self, commit: str, note: Outcome, moment: dt.datetime) -> str:
        at = self.places.get(note.entry)
        if at is None:
            return f"is an outcome of {note.entry[:7]}, which is no entry"
        entry = self.entries[at]
        if entry.outcome is not None:
            return f"is a second outcome of {note.entry[:7]}"
        noted = note if note.time >= moment else msgspec.structs.replace(note, time=moment)
        known = (entry.commit, entry.parent, entry.released, entry.record, entry.time)
        self.entries[at] = Entry(*known, noted, commit)
        return ""

    def _skipped(self) -> tuple[str, ...]:
        more = len(self.faults) - NAMED
        shown = tuple(self.faults[-NAMED:])
        return shown if more <= 0 else (f"{more} earlier commits do not count", *shown)


def _decode(note: Object) -> Released | Outcome | str:
    if note.oid is None:
        return f"has no {FILE}"
    if note.content is None:
        return f"has a {FILE} of {note.size} bytes"
    try:
        return msgspec.json.decode(note.content, type=Released | Outcome)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        return f"has no readable {FILE}: {str(error)[:200]}"
