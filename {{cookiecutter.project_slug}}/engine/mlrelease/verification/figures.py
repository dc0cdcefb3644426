"""What a record claims about its model, recomputed from artefacts that are fetched by digest."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlrelease.errors import RefusedError
from mlrelease.evaluation.evaluation import Evaluation
from mlrelease.evaluation.gate import NOT_REBUILT, Finding, judge
from mlrelease.evaluation.metrics import Scored
from mlrelease.evaluation.reproduce import same_numbers
from mlrelease.evaluation.slices import FEW
from mlrelease.policy import Policy
from mlrelease.programs.libraries import lacking
from mlrelease.programs.limits import limited
from mlrelease.records.change import Change
from mlrelease.records.ledger import Entry
from mlrelease.records.record import DataDigests, Record, Replaces, short
from mlrelease.storage.store import MissingError
from mlrelease.verification import erased, measure, rebuild, rendered
from mlrelease.verification.answers import asked
from mlrelease.verification.claims import claims, unbound
from mlrelease.workspace import Workspace

LOADED = (
    "model",
    "holdout",
    "fitted",
    "bound",
    "onnx",
    "numbers",
    "rendered",
    "rebuilt",
)  # findings of a job that loads the model


@dataclass(frozen=True)
class Figures:
    """Findings about the figures, the policy's rules on them, and what the model answers."""

    findings: tuple[Finding, ...]
    rules: tuple[Finding, ...] = ()
    answers: dict[str, float] | None = None
    again: dict[str, float] | None = None  # answers to the rows that entries before were asked
    away: str | None = None


@dataclass(frozen=True)
class Measured:
    """What a process that loads the model found: see measure.py."""

    evaluation: Evaluation
    scored: Scored
    answers: dict[str, float]
    again: dict[str, float]
    findings: tuple[Finding, ...]


def check(
    workspace: Workspace, change: Change, record: Record, policy: Policy, *, on_main: bool
) -> Figures:
    """Evaluate again, and compare with what the record says; make again what can be. Code of a
    source commit that is not `on_main` is a stranger's, and does not run."""
    claimed, checks = claims(workspace, change, record)
    checks += [artefact(workspace, "model", record.model)]
    if change.recorded and (told := erased.check(workspace, change, record)):
        if not (told.passed and checks[-1].passed):
            away = _missing(workspace, record) if told.passed else told.message
            return Figures((*checks, told), away=away)
        stands = "not made again, the rows are erased; it stands as it was verified at release"
        checks += [told, *(Finding(name, True, stands) for name in ("numbers", "rendered"))]
        answers = dict(change.recorded.released.answers)
        return Figures(tuple(checks), judge(claimed, policy), answers)
    checks += [artefact(workspace, "holdout", record.data.holdout)]
    if not (change.recorded and workspace.fitted(record.data.fitted)[1]):
        checks += [artefact(workspace, "fitted", digest) for digest in _fitted(record)]
    if not all(check.passed for check in checks if check.name in LOADED):
        return Figures(tuple(checks), away=_missing(workspace, record))

    then = change.recorded is not None or record.schema_version == 1
    before = [*filter(None, [change.recorded]), *change.ledger.held().values()]
    old = then and unbound(workspace, change, record)

    def measure_again(towards: int = 0, few: int | None = None) -> Measured:
        return measured(
            workspace, record.model, record.replaces, record.data, record.source.commit, policy,
            of_before=old and record.data.fitted is None, towards=towards, few=few,
            before=before,
        )  # fmt: skip

    def moved(towards: int) -> tuple[Evaluation, Scored]:
        found = measure_again(towards)
        return found.evaluation, found.scored

    found = measure_again()
    differences = same_numbers(found.evaluation, claimed, moved)
    if differences and old:  # it may be from when every category was named
        found = measure_again(few=1)
        differences = same_numbers(found.evaluation, claimed)
    checks += [finding for finding in found.findings if not (old and finding.name == "bound")]
    if not old and record.key is None:
        checks.append(Finding("bound", False, "the record has no key: run `model promote` again"))
    message = f"recomputed on {found.evaluation.rows} holdout rows: "
    message += f"differ: {'; '.join(differences[:3])}" if differences else "equal"
    checks.append(Finding("numbers", not differences, message))
    if not differences:  # figures that are wrong are not drawn
        about = (change.head, change.environment, record, claimed, found.scored, policy)
        checks.append(rendered.check_rendered(workspace.git, *about, released=then))
    rules, away = policy.environments[change.environment], None
    if not old and on_main and all(check.passed for check in checks):
        again = rebuild.check(workspace, record, rules)
        away = None if again.passed or NOT_REBUILT not in again.message else again.message
        checks.append(again)
    return Figures(tuple(checks), judge(found.evaluation, policy), found.answers, found.again, away)


def take(
    workspace: Workspace, change: Change, record: Record, policy: Policy,
    told: tuple[Finding, ...], answers: dict[str, float], again: dict[str, float],
) -> Figures:  # fmt: skip
    """The same without loading anything: what needs the model is as another job `told` it."""
    claimed, checks = claims(workspace, change, record)
    known = {finding.name: finding for finding in told}
    for name in LOADED:
        if name == "fitted" and not _fitted(record):
            continue
        missing = Finding(name, False, "the job that loads the model did not say")
        checks.append(known.get(name, missing))
    return Figures(tuple(checks), judge(claimed, policy), answers, again)


def measured(
    workspace: Workspace, model: str, replaces: Replaces, data: DataDigests, commit: str,
    policy: Policy, *, of_before: bool = False, towards: int = 0, few: int | None = None,
    before: Sequence[Entry] = (),
) -> Measured:  # fmt: skip
    """Evaluate a packaged model on its pinned holdout, fetched by digest, in a process of its own;
    compare it with what it replaces where that was not fitted.

    The slices are those of params.yaml at `commit`, the source of the model. `towards` as of
    `evaluate`. `before`: the entries whose answers are looked for again.

    Raises:
        RefusedError: An artefact vanished or was changed, or needs more memory or time than it may.
    """
    params, slices, champion = workspace.params_at(commit), policy.slices, replaces.model
    fetch, (fitted, erased) = workspace.store.fetch, workspace.fitted(replaces.fitted)
    arguments = {
        "model": str(fetch(model)),
        "champion": str(fetch(champion)) if champion else None,
        "holdout": str(fetch(data.holdout)),
        "fitted": [str(fitted), replaces.fitted] if fitted else None,
        "params": params.model_dump(mode="json"),
        "data": data.model_dump(exclude_none=True),
        "pinned": not lacking(workspace.git, commit),
        **asked(workspace, before, data.holdout),
        "options": {
            "candidate_digest": model,
            "champion_digest": champion,
            "holdout_digest": data.holdout,
            "of_before": of_before,
            "erased": erased,
            "slices": params.slices,
            "mandatory": policy.slice_columns,
            "slice_metric": slices.metric if slices else None,
            "min_rows": slices.min_rows if slices else 1,
            "towards": towards,
            "few": few or FEW,
        },
    }
    with tempfile.TemporaryDirectory(prefix="measured-") as name:
        folder = Path(name)
        limited(f"model {short(model)}", f"{measure.__name__}:measure", arguments, folder)
        evaluation, scored, facts = measure.read_evaluated(folder)
        return Measured(
            evaluation,
            scored,
            dict(facts["answers"]),
            dict(facts["again"]),
            tuple(Finding(**finding) for finding in facts["findings"]),
        )


def artefact(workspace: Workspace, name: str, digest: str) -> Finding:
    """Whether an artefact is in the store, byte for byte."""
    try:
        workspace.store.fetch(digest)
    except RefusedError as error:
        return Finding(name, False, str(error))
    return Finding(name, True, f"{short(digest)} is in the store, byte for byte")


def _fitted(record: Record) -> tuple[str, ...]:
    """The digest of the rows it was fitted on, if it names them."""
    return (record.data.fitted,) if record.data.fitted else ()


def _missing(workspace: Workspace, record: Record) -> str | None:
    """Which artefact is not there, rather than changed by somebody."""
    for digest in (record.model, record.data.holdout, *_fitted(record)):
        try:
            workspace.store.fetch(digest)
        except MissingError as error:
            return str(error)
        except RefusedError:
            return None
    return None
