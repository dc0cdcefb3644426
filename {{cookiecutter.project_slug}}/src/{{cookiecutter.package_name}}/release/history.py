"""What an environment ran, read from git: the audit trail, rollbacks and holds."""

import datetime as dt
from dataclasses import dataclass
from itertools import pairwise

from ..errors import InputError
from .git import Git
from .record import Record, record_path


@dataclass(frozen=True)
class Entry:
    """One change of a record on main. `record` is None where it was removed or is not valid."""

    commit: str
    time: dt.datetime
    subject: str
    blob: str | None
    record: Record | None
    fault: str | None
    rollback: bool


def history(git: Git, commit: str, environment: str) -> tuple[Entry, ...]:
    """Every change of the record in the first-parent history of `commit`, newest first.

    A change whose new content equals an earlier content of the file is a rollback, however it was
    made: a hand-made revert brings back the old `replaces.commit` too, which would look stale.
    """
    path = record_path(environment)
    output = git.run(
        "log", "--first-parent", "-m", "--raw", "--no-abbrev", "--no-renames", "--reverse",
        "--format=%x01%H%x09%ct%x09%s", commit, "--", path,
    )  # fmt: skip
    entries: list[Entry] = []
    seen: set[str] = set()
    for chunk in output.split("\x01")[1:]:
        header, *raw = [line for line in chunk.splitlines() if line]
        change, seconds, subject = header.split("\t", 2)
        blob: str | None = raw[-1].split()[3] if raw else None
        if blob is None or set(blob) == {"0"}:
            blob = None
        record, fault = _read(git, blob, path)
        time = dt.datetime.fromtimestamp(int(seconds), dt.UTC)
        entries.append(Entry(change, time, subject, blob, record, fault, blob in seen))
        if blob:
            seen.add(blob)
    return tuple(reversed(entries))


def _read(git: Git, blob: str | None, path: str) -> tuple[Record | None, str | None]:
    if blob is None:
        return None, "the record was removed"
    try:
        return Record.read(git.output("cat-file", "blob", blob), path), None
    except InputError as error:
        return None, str(error)


def live(entries: tuple[Entry, ...]) -> Record | None:
    """The record that main names now."""
    return entries[0].record if entries else None


def held(entries: tuple[Entry, ...]) -> dict[str, Entry]:
    """Digests that were live here and are not any more, with the entry that made them live last.

    Automation does not propose them again; a person may, with a reason.
    """
    current = live(entries)
    result: dict[str, Entry] = {}
    for entry in entries:
        if entry.record and (current is None or entry.record.model != current.model):
            result.setdefault(entry.record.model, entry)
    return result


def ended_by(entries: tuple[Entry, ...], model: str) -> Entry | None:
    """The change that took a held model out of service."""
    for newer, older in pairwise(entries):
        if older.record and older.record.model == model:
            return newer
    return None


def before_current(entries: tuple[Entry, ...]) -> Entry | None:
    """The entry that a rollback restores: what the current model replaced when it was promoted."""
    current = live(entries)
    if current is None or current.replaces.model is None:
        return None
    return held(entries).get(current.replaces.model)


def live_since(entries: tuple[Entry, ...]) -> dt.datetime | None:
    """Since when main names the current model without a break."""
    current, since = live(entries), None
    for entry in entries:
        if current is None or entry.record is None or entry.record.model != current.model:
            break
        since = entry.time
    return since
