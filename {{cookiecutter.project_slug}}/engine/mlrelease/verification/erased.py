"""`deploy/erased/`: rows that were erased, and the entries of ledgers that verified with them.

Whoever may write to the store can note there that rows are erased, so that note excuses nothing.
What main lists was proposed by `model forget`, which verifies each entry before it erases, and was
reviewed.
"""

from pydantic import Field

from mlrelease.errors import InputError, RefusedError
from mlrelease.evaluation.gate import Finding
from mlrelease.files import short
from mlrelease.objects import parse
from mlrelease.records.change import Change
from mlrelease.records.ledger import Entry
from mlrelease.records.record import Commit, Erased, Record
from mlrelease.storage.store import ErasedError, Store
from mlrelease.verification.in_force import approvals_at
from mlrelease.workspace import Workspace

FOLDER = "deploy/erased"
MAX_BYTES = 1_000_000  # of one listing: 20,000 entries


class Listed(Erased):
    """What main says of rows that were erased; the name of its file is their digest."""

    entries: tuple[Commit, ...] = Field(description="of env/*, which verified with these rows")


def file_of(digest: str) -> str:
    """The name of a listing in its folder."""
    return f"{digest.removeprefix('sha256:')}.json"


def named_by(record: Record) -> tuple[str, ...]:
    """The rows without which a record's figures cannot be made again, or not compared with."""
    compared = (record.replaces.fitted,) if record.replaces.fitted else ()
    return (*record.data.kept, *compared)


def check(workspace: Workspace, change: Change, record: Record) -> Finding | None:
    """Whether a released change stands without rows that the store says were erased; None where its
    figures can be made again."""
    entry, notes = change.recorded, _gone(workspace.store, record)
    if entry is None or not notes:
        return None
    for note in notes:
        if fault := _unlisted(workspace, change, entry, note):
            text = f"{note}, {fault}: {short(record.model)} cannot be verified without them. Run"
            text += " `model forget` where it was released, and merge what that proposes"
            return Finding("holdout", False, text)
    needed = [note for note in notes if note.rows != record.data.fitted]
    return Finding("holdout", True, f"{needed[0]}, as main lists") if needed else None


def listed(workspace: Workspace, main: str, digest: str) -> Listed | None:
    """What main lists of these rows; None without it, or where it cannot be read."""
    path = f"{FOLDER}/{file_of(digest)}"
    (file,) = workspace.git.objects([f"{main}:{path}"], MAX_BYTES)
    try:
        found = parse(file.content or b"", Listed, path)
    except InputError:
        return None
    return found if found.rows == digest else None


def _gone(store: Store, record: Record) -> list[Erased]:
    found = []
    for digest in named_by(record):
        try:
            store.fetch(digest)
        except ErasedError as error:
            found.append(error.note)
        except RefusedError:
            pass  # away, or changed by somebody: whoever needs them says so
    return found


def _unlisted(workspace: Workspace, change: Change, entry: Entry, note: Erased) -> str:
    """Why main does not excuse that these rows are gone, if so."""
    git, main = workspace.git, change.ledger.main
    path, found = f"{FOLDER}/{file_of(note.rows)}", listed(workspace, main, note.rows)
    if found is None or entry.commit not in found.entries or found.time < entry.time:
        return f"and {path} on main does not list entry {entry.commit[:7]}"
    needed, github = approvals_at(workspace, change, change.parent, 0), workspace.github
    if not needed or github is None:
        return ""
    (commit,) = git.line(main, path, most=1)
    review = github.approvals(commit, permitted=False)  # approvers leave
    if review is None or len(review.approved_by) < needed:
        return f"and {needed} must approve {path}, which {commit[:7]} changed on main"
    merged, approved = git.objects([f"{commit}:{path}", f"{review.head}:{path}"], 0)
    if (approved.oid or github.blob(review.head, path)) != merged.oid:
        return f"and {path} is not the one that #{review.number} had when it was approved"
    return ""
