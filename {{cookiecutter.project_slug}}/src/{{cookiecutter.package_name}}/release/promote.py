"""`model promote`: propose that an environment runs a model, as a pull request."""

import datetime as dt
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..config import Environment, Policy
from ..errors import RefusedError
from ..files import sha256
from ..pipeline import plots, report
from ..pipeline.train import Candidate
from .history import history, live
from .pull_request import PullRequest
from .record import Provenance, Record, Replaces, folder, short
from .verify import Change, Verification, evaluate_stored, verify
from .workspace import Workspace


@dataclass(frozen=True)
class Proposal:
    """An open promotion. `opened` is False when the same one was open already."""

    pull_request: PullRequest
    verification: Verification
    body: str
    merge: str
    opened: bool
    superseded: tuple[str, ...] = ()


def promote(
    workspace: Workspace,
    environment: Environment,
    *,
    model: str | None = None,
    reason: str | None = None,
    now: dt.datetime,
) -> Proposal:
    """Evaluate against what the environment runs, verify the outcome, open the pull request.

    Without `model`: what `needs` of policy.yaml runs, or else the candidate of this work tree.
    `reason` is what a person says to overrule a hold, or an earlier "no".

    Raises:
        RefusedError: A rule of policy.yaml or of promotion does not hold; nothing was changed.
    """
    git = workspace.git
    base = git.base()
    policy = workspace.policy_at(base)
    entries = history(git, base, environment)
    current = live(entries)
    candidate = _choose(workspace, base, environment, policy, model)
    digest = candidate.model
    if current is not None and current.model == digest:
        raise RefusedError(f"{environment} runs {short(digest)} already; nothing to promote")
    branch = f"promote/{environment}/{short(digest)}"
    others = workspace.pull_requests.list(environment, base)
    _refuse_again(branch, others, {e.record.model for e in entries if e.record}, reason)
    merge = workspace.pull_requests.how_to_merge(branch)
    already = next((p for p in others if p.branch == branch and p.state == "open"), None)
    if already is not None:
        verification = verify(workspace, Change.proposed(git, environment, already.head, base, now))
        if verification.passed:
            body = already.body_file.read_text()
            return Proposal(already, verification, body, merge, opened=False)

    champion = current.model if current else None
    evaluation, scored = evaluate_stored(
        workspace, digest, champion, candidate.data, candidate.source.commit, policy
    )
    text = evaluation.write().encode()
    record = Record(
        environment=environment,
        model=digest,
        image=candidate.image,
        version=candidate.version,
        source=candidate.source,
        data=candidate.data,
        evaluation=sha256(text),
        policy=sha256(git.show(base, "policy.yaml") or b""),
        trust=candidate.trust,
        replaces=Replaces(model=champion, commit=entries[0].commit if entries else None),
        reason=reason,
    )
    files = {"model.yaml": record.write().encode(), "evaluation.json": text}
    title = f"Promote {short(digest)} to {environment}"
    place = folder(environment)
    draft = git.commit_folder(base, place, files, title)
    verification = verify(workspace, Change(environment, draft, base, now))
    details = report.Promotion(
        environment=environment,
        version=record.version,
        trust=record.trust,
        replaces=current.version if current else None,
        checks=verification.checks,
        merge=merge,
        reason=reason,
    )
    body = report.render(evaluation, verification.rules, details)
    if not verification.passed:
        lines = "\n".join(f"  {f.name}: {f.message}" for f in verification.failed)
        raise RefusedError(f"{title}: refused\n{lines}")
    with tempfile.TemporaryDirectory() as directory:
        for path in plots.write(Path(directory), scored, evaluation):
            files[f"plots/{path.name}"] = path.read_bytes()
    files["report.md"] = report.render(evaluation, verification.rules, details, plots=True).encode()
    head = git.commit_folder(base, place, files, f"{title}\n\n{report.headline(evaluation)}")
    opened = workspace.pull_requests.open(branch, title, head, digest, body)
    older = [p for p in others if p.state == "open" and p.branch != branch]
    for pull_request in older:
        workspace.pull_requests.supersede(pull_request)
    superseded = tuple(p.branch for p in older)
    return Proposal(opened, verification, body, merge, True, superseded)


def _choose(
    workspace: Workspace, base: str, environment: Environment, policy: Policy, model: str | None
) -> Provenance:
    needs = policy.environments[environment].needs
    if model is not None:
        return workspace.store.provenance(workspace.store.complete(model))
    if needs is None:
        return workspace.store.provenance(Candidate.read(workspace.candidate).model)
    source = live(history(workspace.git, base, needs))
    if source is None:
        raise RefusedError(f"{needs} runs nothing yet: run `model promote {needs}` first")
    return workspace.store.provenance(source.model)


def _refuse_again(
    branch: str, others: tuple[PullRequest, ...], lived: set[str], reason: str | None
) -> None:
    """A pull request that a person closed is a decision: only a person's reason reopens it."""
    closed = next((p for p in others if p.branch == branch and p.state == "closed"), None)
    if closed is not None and closed.model not in lived and not reason:
        raise RefusedError(
            f"{branch} was closed without merging, which is a decision;"
            ' say --reason "..." to propose it again'
        )
