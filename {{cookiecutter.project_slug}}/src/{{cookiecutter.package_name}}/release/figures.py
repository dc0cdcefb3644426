"""What a record claims about its model, recomputed from artefacts that are fetched by digest."""

from dataclasses import dataclass

from ..config import Policy
from ..errors import RefusedError
from ..features import FEW
from ..files import sha256
from ..pipeline.evaluate import Scored, evaluate, same_numbers
from ..pipeline.evaluation import Evaluation
from ..pipeline.gate import Finding, judge
from ..pipeline.train import read_holdout
from . import rendered
from .answers import answers_of
from .change import Change
from .ledger import Entry
from .record import DataDigests, Erased, Record, folder, short
from .store import ErasedError, MissingError
from .workspace import Workspace

LOADED = ("model", "holdout", "numbers", "rendered")  # findings of a job that loads the model


@dataclass(frozen=True)
class Figures:
    """Findings about the figures, the policy's rules on them, and what the model answers."""

    findings: tuple[Finding, ...]
    rules: tuple[Finding, ...] = ()
    answers: dict[str, float] | None = None
    away: str | None = None


def check(workspace: Workspace, change: Change, record: Record, policy: Policy) -> Figures:
    """Evaluate again, and compare with what the record says."""
    claimed, checks = _claims(workspace, change, record)
    checks += [artefact(workspace, "model", record.model)]
    if change.recorded and (note := _erased(workspace, change.recorded, record)):
        if not checks[-1].passed:
            return Figures(tuple(checks), away=_missing(workspace, record))
        stands = "not made again, the rows are erased; it stands as it was verified at release"
        told = [("holdout", str(note)), ("numbers", stands), ("rendered", stands)]
        checks += [Finding(name, True, message) for name, message in told]
        answers = dict(change.recorded.released.answers)
        return Figures(tuple(checks), judge(claimed, policy), answers)
    checks += [artefact(workspace, "holdout", record.data.holdout)]
    if not all(check.passed for check in checks[-2:]):
        return Figures(tuple(checks), away=_missing(workspace, record))
    named = record.model, record.replaces.model, record.data, record.source.commit
    recomputed, scored = evaluate_stored(workspace, *named, policy)
    differences = same_numbers(recomputed, claimed)
    then = change.recorded is not None or record.schema_version == 1
    if differences and then:  # it may be from when every category was named
        older = evaluate_stored(workspace, *named, policy, few=1)
        if not same_numbers(older[0], claimed):
            (recomputed, scored), differences = older, []
    message = f"recomputed on {recomputed.rows} holdout rows: "
    message += f"differ: {'; '.join(differences[:3])}" if differences else "equal"
    checks.append(Finding("numbers", not differences, message))
    if not differences:  # figures that are wrong are not drawn
        about = (change.head, change.environment, record, claimed, scored, policy)
        checks.append(rendered.check_rendered(workspace.git, *about, released=then))
    holdout = read_holdout(workspace.store.fetch(record.data.holdout))
    answers = answers_of(holdout, scored.candidate)
    return Figures(tuple(checks), judge(recomputed, policy), answers)


def take(
    workspace: Workspace, change: Change, record: Record, policy: Policy,
    told: tuple[Finding, ...], answers: dict[str, float],
) -> Figures:  # fmt: skip
    """The same without loading anything: what needs the model is as another job `told` it."""
    claimed, checks = _claims(workspace, change, record)
    known = {finding.name: finding for finding in told}
    for name in LOADED:
        missing = Finding(name, False, "the job that loads the model did not say")
        checks.append(known.get(name, missing))
    return Figures(tuple(checks), judge(claimed, policy), answers)


def evaluate_stored(
    workspace: Workspace, model: str, champion: str | None, data: DataDigests, commit: str,
    policy: Policy, few: int = FEW,
) -> tuple[Evaluation, Scored]:  # fmt: skip
    """Evaluate a packaged model on its pinned holdout, fetched by digest.

    The slices are those of params.yaml at `commit`, the source of the model.

    Raises:
        RefusedError: An artefact vanished or was changed.
    """
    return evaluate(
        workspace.store.fetch(model),
        workspace.store.fetch(champion) if champion else None,
        read_holdout(workspace.store.fetch(data.holdout)),
        candidate_digest=model,
        champion_digest=champion,
        holdout_digest=data.holdout,
        slices=workspace.params_at(commit).slices,
        mandatory=policy.slice_columns,
        slice_metric=policy.slices.metric if policy.slices else None,
        min_rows=policy.slices.min_rows if policy.slices else 1,
        few=few,
    )


def artefact(workspace: Workspace, name: str, digest: str) -> Finding:
    """Whether an artefact is in the store, byte for byte."""
    try:
        workspace.store.fetch(digest)
    except RefusedError as error:
        return Finding(name, False, str(error))
    return Finding(name, True, f"{short(digest)} is in the store, byte for byte")


def _erased(workspace: Workspace, entry: Entry, record: Record) -> Erased | None:
    """The note on rows that were erased since a release: that was verified with them, and may run.
    Nothing new is verified without its rows."""
    try:
        workspace.store.fetch(record.data.holdout)
    except ErasedError as error:
        return error.note if entry.time <= error.note.time else None
    except RefusedError:
        return None
    return None


def _missing(workspace: Workspace, record: Record) -> str | None:
    """Which artefact is not there, rather than changed by somebody."""
    for digest in (record.model, record.data.holdout):
        try:
            workspace.store.fetch(digest)
        except MissingError as error:
            return str(error)
        except RefusedError:
            return None
    return None


def _claims(
    workspace: Workspace, change: Change, record: Record
) -> tuple[Evaluation, list[Finding]]:
    """Whether evaluation.json is about this record, and the policy is the one that it was for."""
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
    same = policy_now == record.policy
    message = "is the one it was proposed under" if same else "changed since; promote again"
    return claimed, [*checks, Finding("policy", same, f"policy.yaml {message}")]
