"""`model promote`: propose that an environment runs a model, as a pull request."""

import datetime as dt

from ..config import Environment, Policy
from ..errors import RefusedError
from ..files import sha256
from ..pipeline import report
from ..pipeline.train import Candidate
from . import rendered
from .history import history, live
from .proposal import Opened, Proposal, find_open, publish
from .record import Provenance, Record, Replaces, folder, short
from .verify import Change, evaluate_stored, verify
from .workspace import Workspace


class RunsAlreadyError(RefusedError):
    """Main names this model: what was asked for is done."""


def promote(
    workspace: Workspace,
    environment: Environment,
    *,
    model: str | None = None,
    reason: str | None = None,
    hotfix: bool = False,
    issue: int | None = None,
    now: dt.datetime,
) -> Opened:
    """Evaluate against what the environment runs, verify the outcome, open the pull request.

    Without `model`: what `needs` of policy.yaml runs, or else the candidate of this work tree.
    `reason` is what a person says to overrule a hold, an earlier "no", or (as a `hotfix`) the soak
    time, the environment before and a freeze.

    Raises:
        RefusedError: A rule of policy.yaml or of promotion does not hold; nothing was changed.
    """
    prepared = prepare(
        workspace, environment, model=model, reason=reason, hotfix=hotfix, issue=issue, now=now
    )
    return prepared if isinstance(prepared, Opened) else publish(workspace, prepared)


def prepare(
    workspace: Workspace,
    environment: Environment,
    *,
    model: str | None = None,
    reason: str | None = None,
    hotfix: bool = False,
    issue: int | None = None,
    now: dt.datetime,
) -> Proposal | Opened:
    """What `promote` would open, or the same one that is open already and still holds."""
    if hotfix and not reason:
        raise RefusedError('a hotfix skips the soak time, so it needs a reason: --reason "..."')
    git = workspace.git
    base = git.base()
    policy = workspace.policy_at(base)
    entries = history(git, base, environment)
    current = live(entries)
    candidate = _choose(workspace, base, environment, policy, model)
    digest = candidate.model
    if current is not None and current.model == digest:
        raise RunsAlreadyError(f"{environment} runs {short(digest)} already; nothing to promote")
    branch = f"promote/{environment}/{short(digest)}"
    if digest not in {e.record.model for e in entries if e.record} and not reason:
        _refuse_again(workspace, branch, base)
    already = find_open(workspace, environment, branch, base)
    if already is not None:
        change = Change.proposed(git, environment, already.pull_request.head, base, now)
        if verify(workspace, change).passed:
            return already

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
        runtime=evaluation.parity.runtime,
        source=candidate.source,
        data=candidate.data,
        evaluation=sha256(text),
        policy=sha256(git.show(base, "policy.yaml") or b""),
        rendering=rendered.rendering(),
        trust=candidate.trust,
        replaces=Replaces(model=champion, commit=entries[0].commit if entries else None),
        intent="hotfix" if hotfix else "promote",
        reason=reason,
    )
    files = {"model.yaml": record.write().encode(), "evaluation.json": text}
    files |= rendered.files(record, evaluation, scored, policy)
    title = f"Promote {short(digest)} to {environment}{' (hotfix)' if hotfix else ''}"
    draft = git.commit_folder(base, folder(environment), files, title)
    verification = verify(workspace, Change(environment, draft, base, now))
    details = report.Promotion(
        environment=environment,
        version=record.version,
        trust=record.trust,
        replaces=current.version if current else None,
        checks=verification.checks,
        merge=workspace.pull_requests.how_to_merge(branch),
        reason=reason,
        hotfix=hotfix,
        issue=issue,
    )
    if not verification.passed:
        lines = "\n".join(f"  {f.name}: {f.message}" for f in verification.failed)
        raise RefusedError(f"{title}: refused\n{lines}")
    return Proposal(
        kind="promote",
        environment=environment,
        branch=branch,
        title=title,
        message=report.headline(evaluation),
        body=report.render(evaluation, verification.rules, details),
        base=base,
        files=files,
    )


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


def _refuse_again(workspace: Workspace, branch: str, base: str) -> None:
    """A pull request that a person closed is a decision: only a person's reason reopens it."""
    if workspace.pull_requests.refused(branch, base):
        raise RefusedError(
            f"{branch} was closed without merging, which is a decision;"
            ' say --reason "..." to propose it again'
        )
