"""What a record claims, held against what lies beside it: nothing is loaded."""

from mlrelease.evaluation.evaluation import Evaluation
from mlrelease.evaluation.gate import Finding
from mlrelease.files import sha256
from mlrelease.records import main_line
from mlrelease.records.change import Change
from mlrelease.records.record import Record, folder
from mlrelease.storage.store import MissingError
from mlrelease.workspace import Workspace


def claims(
    workspace: Workspace, change: Change, record: Record
) -> tuple[Evaluation, list[Finding]]:
    """Whether evaluation.json is about this record, the policy is the one that it was for, and the
    image the one that was packaged with the model."""
    name = f"{folder(change.environment)}/evaluation.json"
    claimed = Evaluation.parse(content := workspace.git.show(change.head, name) or b"", name)
    wrong = [
        what
        for what, there, here in (
            ("its digest", sha256(content), record.evaluation),
            ("the candidate", claimed.candidate, record.model),
            ("the champion", claimed.champion, record.replaces.model),
            ("the holdout", claimed.holdout, record.data.holdout),
            ("the runtime", claimed.parity.runtime, record.runtime),
        )
        if there != here
    ]
    message = f"{name} is not about this record: {', '.join(wrong)} differs"
    checks = [Finding("evaluation", not wrong, message if wrong else f"{name} is about this model")]
    policy_now = sha256(workspace.git.show(change.parent, "policy.yaml") or b"")
    if record.image and not (change.recorded and unbound(workspace, change, record)):
        checks.append(_image(workspace, record))
    same = policy_now == record.policy
    message = "is the one it was proposed under" if same else "changed since; promote again"
    return claimed, [*checks, Finding("policy", same, f"policy.yaml {message}")]


def unbound(workspace: Workspace, change: Change, record: Record) -> bool:
    """Whether it is of a version that said nothing of its rows and code, and stays as it was
    released then. The day of its merge tells, not what it leaves out."""
    main = change.ledger.main or change.parent
    return record.key is None and main_line.unbound(workspace.git, change.head, main)


def _image(workspace: Workspace, record: Record) -> Finding:
    """Whether the image was packaged with the model, for these inputs or last: nobody edits it in.

    Raises:
        MissingError: No note says how it was packaged.
    """
    about = [("candidate", record.model), *([("inputs", record.key)] if record.key else [])]
    notes = [workspace.store.notes.provenance(kind, digest) for kind, digest in about]
    known = {note.image or "no image" for note in notes if note and note.model == record.model}
    if not known:
        text = f"no note says how {record.model} was packaged: run `model package` at its commit"
        raise MissingError(text)
    if record.image in known:
        return Finding("image", True, f"{record.image} was packaged with the model")
    there = " or ".join(sorted(known))
    return Finding("image", False, f"{record.image} was not packaged with the model, but {there}")
