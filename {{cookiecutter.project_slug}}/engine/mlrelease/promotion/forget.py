"""`model forget`: erase rows from the store, while records and ledgers keep their digests."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from mlrelease.environments import ENVIRONMENTS
from mlrelease.errors import InputError, RefusedError
from mlrelease.records.ledger import MAX_RECORD
from mlrelease.records.record import Erased, Record, short
from mlrelease.verification.confirm import shown
from mlrelease.workspace import Workspace


@dataclass(frozen=True)
class Rows:
    """A directory of rows: its bytes, None where they are gone; the models that were judged on it,
    the releases that name it, and the environments that run one of them now."""

    digest: str
    size: int | None
    models: tuple[str, ...]
    releases: tuple[str, ...]
    runs: tuple[str, ...]
    erased: Erased | None = None

    def __str__(self) -> str:
        size = "no bytes left" if self.size is None else f"{self.size:,} bytes"
        models = ", ".join(map(short, self.models)) or "no model"
        named = f"; named by {', '.join(self.releases)}" if self.releases else ""
        runs = f"; runs now in {' and '.join(self.runs)}" if self.runs else ""
        done = f"; {self.erased}" if self.erased else ""
        return f"{short(self.digest)}: {size}, of {models}{named}{runs}{done}"


def chosen(
    workspace: Workspace,
    models: Sequence[str] = (),
    before: dt.date | None = None,
    data: Sequence[str] = (),
) -> list[Rows]:
    """The rows of these models (by prefix), of those packaged from a commit before a day, and those
    with these digests.

    Raises:
        InputError: Nothing has such a digest.
    """
    store = workspace.store
    known = store.candidates()
    wanted = {store.complete(prefix) for prefix in models}
    if before:
        wanted |= {one.model for one in known if one.version[:10] < f"{before:%Y.%m.%d}"}
    digests = [rows for one in known if one.model in wanted for rows in one.data.kept]
    released = _released(workspace)
    every = {rows for one in known for rows in one.data.kept} | {r for r, *_ in released}
    for prefix in data:
        start = prefix.removeprefix("sha256:")
        found = [rows for rows in every if short(rows).startswith(start[:12]) and start]
        if len(found) != 1:
            raise InputError(f"{prefix!r} names {len(found)} directories of rows; give more digits")
        digests += found
    return [
        Rows(
            rows,
            store.size(rows),
            tuple(sorted(one.model for one in known if rows in one.data.kept)),
            tuple(name for named, name, _ in released if named == rows),
            tuple(name.split()[0] for named, name, runs in released if named == rows and runs),
            store.erased(rows),
        )
        for rows in dict.fromkeys(digests)
    ]


def forget(
    workspace: Workspace, rows: Sequence[Rows], reason: str, force: bool = False
) -> list[Erased]:
    """Erase them, and note it where verification looks. Safe to repeat.

    Raises:
        RefusedError: An environment runs a model that was judged on them, or a registry does not
            delete.
    """
    running = [one for one in rows if one.runs]
    if running and not force:
        raise RefusedError(
            f"{running[0].runs[0]} runs a model that was judged on {short(running[0].digest)}:"
            " promote one that was trained without these rows first. --force erases them now: it"
            " keeps running, and its figures cannot be recomputed any more"
        )
    moment, by = workspace.now(), workspace.git.person()
    notes = [
        one.erased or Erased(rows=one.digest, time=moment, reason=reason, by=by) for one in rows
    ]
    for note in notes:
        workspace.store.erase(note)
    return notes


def _released(workspace: Workspace) -> list[tuple[str, str, bool]]:
    """Each directory of rows that a ledger names, with the release, and whether it runs: as
    recorded, or of what followers take for it, whose newest entry may be anybody's."""
    main, found = workspace.git.base(), list[tuple[str, str, bool]]()
    for environment in ENVIRONMENTS:
        ledger = workspace.ledger(environment, main)
        runs = (ledger.effective, shown(workspace, ledger)[0].effective)
        files = workspace.git.objects([entry.record for entry in ledger.entries], MAX_RECORD)
        for entry, file in zip(ledger.entries, files, strict=True):
            record = Record.read(file.content or b"", f"env/{environment}:model.yaml")
            name = f"{environment} {entry.time:%Y-%m-%d} {entry.commit[:7]}"
            found += [(rows, name, entry in runs) for rows in record.data.kept]
    return found
