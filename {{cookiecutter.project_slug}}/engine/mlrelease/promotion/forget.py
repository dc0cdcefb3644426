"""`model forget`: erase rows from the store, while records and ledgers keep their digests.

A release whose rows are gone cannot be verified any more. So each that names them is verified
first, and a pull request lists them for machines that have not verified them: see erased.py.
"""

import datetime as dt
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from mlrelease.environments import ENVIRONMENTS
from mlrelease.errors import InputError, RefusedError, UnclearError
from mlrelease.evaluation.markdown import code, escape
from mlrelease.files import canonical_json
from mlrelease.plain import message
from mlrelease.records.ledger import MAX_RECORD
from mlrelease.records.record import Erased, Record, short
from mlrelease.verification import erased
from mlrelease.verification.confirm import confirmed, shown
from mlrelease.verification.erased import Listed
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


@dataclass(frozen=True)
class Forgotten:
    """What was erased, the branch that lists it for main and how to merge that, where main does not
    list it yet, and the entries that did not verify."""

    notes: tuple[Erased, ...]
    branch: str | None = None
    merge: str | None = None
    left_out: tuple[str, ...] = ()


def forget(
    workspace: Workspace, rows: Sequence[Rows], reason: str, force: bool = False
) -> Forgotten:
    """Propose what main lists of them, then erase them and note it in the store. Safe to repeat.

    Raises:
        RefusedError: An environment runs a model that was judged on them, or a registry does not
            delete.
        UnclearError: A release that names them cannot be verified now; nothing was erased.
    """
    running = [one for one in rows if one.runs]
    if running and not force:
        raise RefusedError(
            f"{running[0].runs[0]} runs a model that was judged on {short(running[0].digest)}:"
            " promote one that was trained without these rows first. --force erases them now: it"
            " keeps running, and its figures cannot be recomputed any more"
        )
    moment, by = workspace.now(), workspace.git.person()
    notes = tuple(
        one.erased or Erased(rows=one.digest, time=moment, reason=reason, by=by) for one in rows
    )
    there = {one.digest for one in rows if one.size is not None}
    verified, left_out = _verified(workspace, {one.digest for one in rows}, there, force)
    branch, merge = _propose(workspace, notes, verified)
    for note in notes:
        workspace.store.erase(note)
    return Forgotten(notes, branch, merge, left_out)


def _verified(
    workspace: Workspace, rows: Set[str], there: Set[str], force: bool
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """The entries that name each of these rows and verify, and a word on those that do not. Where
    an entry cannot be verified now, rows that are still `there` are erased by `force` only."""
    main, found, left_out = workspace.git.base(), dict[str, list[str]](), list[str]()
    for environment in ENVIRONMENTS:
        ledger = workspace.ledger(environment, main)
        for entry in ledger.entries:
            named = rows & set(erased.named_by(workspace.recorded(entry)))
            try:
                verifies = bool(named) and confirmed(workspace, ledger, entry)
            except UnclearError:
                if named & there and not force:
                    raise
                verifies = False
            for digest in named if verifies else ():
                found.setdefault(digest, []).append(entry.commit)
            if named and not verifies:
                left_out.append(f"{environment}: entry {entry.commit[:7]} is not verified here")
    return found, tuple(left_out)


def _propose(
    workspace: Workspace, notes: Sequence[Erased], verified: Mapping[str, list[str]]
) -> tuple[str, str] | tuple[None, None]:
    """Open the pull request that lists these entries, unless main does, or it is open already."""
    git, main = workspace.git, workspace.git.base()
    files, new = git.files(main, erased.FOLDER), dict[str, Listed]()
    for note in notes:
        before = erased.listed(workspace, main, note.rows)
        known = before.entries if before else ()
        if more := set(verified.get(note.rows, ())) - set(known):
            facts = (before or note).model_dump() | {"entries": (*known, *sorted(more))}
            new[note.rows] = Listed.model_validate(facts)
    if not new:
        return None, None
    files |= {
        erased.file_of(rows): canonical_json(one.model_dump(mode="json")).encode()
        for rows, one in new.items()
    }
    branch = f"forget/{short(min(new))}"
    merge = workspace.pull_requests.how_to_merge(branch)
    there = git.resolve(branch)
    if there is None or git.files(there, erased.FOLDER) != files:
        title = f"List the releases that verified with erased rows {short(min(new))}"
        words = f"{title}\n\n{message(notes[0].reason)}"
        head = git.commit_folder(main, erased.FOLDER, files, words)
        workspace.pull_requests.open(branch, title, head, _body(new, merge))
    return branch, merge


def _body(new: Mapping[str, Listed], merge: str) -> str:
    rows = "\n".join(
        f"- {escape(str(one), most=2500)}; {len(one.entries)} releases: "
        + ", ".join(escape(commit[:7]) for commit in one.entries)
        for one in new.values()
    )
    return f"""\
**These rows are erased. The releases that name them verified before, where `model forget` ran.**

{rows}

Compare the releases with `model history ENV`. Once this is merged, a machine that remembers none of
them takes them as verified, without making their figures again. Until then it starts none of them.

**Merge** with {code(merge, 500)}.
"""


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
