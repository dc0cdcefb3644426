"""`model promote`: propose that an environment runs a model, as a pull request."""

from typing import Literal

from mlrelease.environments import Environment
from mlrelease.errors import RefusedError
from mlrelease.evaluation import report
from mlrelease.files import sha256
from mlrelease.plain import message
from mlrelease.policy import Policy
from mlrelease.programs import limits
from mlrelease.promotion.proposal import Opened, Proposal, find_open, publish
from mlrelease.promotion.release import proposed
from mlrelease.records.change import Ledgers
from mlrelease.records.record import Provenance, Record, Replaces, folder, short
from mlrelease.training.train import Candidate
from mlrelease.verification import rendered
from mlrelease.verification.confirm import settled
from mlrelease.verification.figures import measured
from mlrelease.verification.pending import RunsAlreadyError, refuse_pending
from mlrelease.verification.verify import verify
from mlrelease.workspace import Workspace

Intent = Literal["promote", "hotfix", "anchor"]
TITLES = {"promote": "", "hotfix": " (hotfix)", "anchor": " (anchor)"}


def promote(
    workspace: Workspace,
    environment: Environment,
    *,
    model: str | None = None,
    reason: str | None = None,
    intent: Intent = "promote",
    issue: int | None = None,
) -> Opened:
    """Evaluate against what the environment runs, verify the outcome, open the pull request.

    Without `model`: what `needs` of policy.yaml runs, or else the candidate of this work tree.
    `reason` is what a person says to overrule a hold, an earlier "no", (as a `hotfix`) the soak
    time, the environment before and a freeze, or (as an `anchor`) a ledger that main does not fit.

    Raises:
        RefusedError: A rule of policy.yaml or of promotion does not hold; nothing was changed.
    """
    prepared = prepare(
        workspace, environment, model=model, reason=reason, intent=intent, issue=issue
    )
    return prepared if isinstance(prepared, Opened) else publish(workspace, prepared)


def prepare(
    workspace: Workspace,
    environment: Environment,
    *,
    model: str | None = None,
    reason: str | None = None,
    intent: Intent = "promote",
    issue: int | None = None,
) -> Proposal | Opened:
    """What `promote` would open, or the same one that is open already and still holds."""
    if intent != "promote" and not reason:
        hotfix, anchor = "a hotfix skips the soak time", "an anchor starts the ledger again"
        what = hotfix if intent == "hotfix" else anchor
        raise RefusedError(f'{what}, so it needs a reason: --reason "..."')
    limits.start()
    git = workspace.git
    base = git.base()
    policy = workspace.policy_at(base)
    ledgers = settled(workspace, base)
    ledger = ledgers(environment)
    current = ledger.effective
    candidate = _choose(workspace, ledgers, environment, policy, model)
    digest = candidate.model
    if intent != "anchor":
        refuse_pending(workspace, ledger, digest)
    if current is not None and current.model == digest and intent != "anchor":
        raise RunsAlreadyError(f"{environment} runs {short(digest)} already; nothing to promote")
    branch = f"promote/{environment}/{short(digest)}"
    if digest not in {entry.model for entry in ledger.entries} and not reason:
        _refuse_again(workspace, branch, base)
    already = find_open(workspace, environment, branch, base)
    if already is not None and intent != "anchor":
        change = proposed(workspace, environment, already.pull_request.head, base)
        if verify(workspace, change).passed:
            return already

    champion = current.model if current else None
    fitted = workspace.recorded(current).data.fitted if current else None
    replaces = Replaces(
        model=champion, entry=current.commit if current else None, tip=ledger.tip, fitted=fitted
    )
    found = measured(workspace, digest, replaces, candidate.data, candidate.source.commit, policy)
    evaluation, scored = found.evaluation, found.scored
    text = evaluation.write().encode()
    record = Record(
        environment=environment,
        model=digest,
        image=candidate.image,
        version=candidate.version,
        runtime=evaluation.parity.runtime,
        source=candidate.source,
        data=candidate.data,
        key=candidate.key,
        evaluation=sha256(text),
        policy=sha256(git.show(base, "policy.yaml") or b""),
        rendering=rendered.rendering(),
        trust=candidate.trust,
        replaces=replaces,
        intent=intent,
        reason=reason,
        requested_by=git.person(),
    )
    files = {"model.yaml": record.write().encode(), "evaluation.json": text}
    files |= rendered.files(record, evaluation, scored, policy)
    title = f"Promote {short(digest)} to {environment}{TITLES[intent]}"
    draft = git.commit_folder(base, folder(environment), files, title)
    verification = verify(workspace, proposed(workspace, environment, draft, base))
    details = report.Promotion(
        environment=environment,
        version=record.version,
        trust=record.trust,
        replaces=current.released.version if current else None,
        checks=verification.checks,
        merge=workspace.pull_requests.how_to_merge(branch),
        reason=reason,
        hotfix=intent == "hotfix",
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
        message=report.headline(evaluation, message),
        body=report.render(evaluation, verification.rules, details),
        base=base,
        files=files,
    )


def _choose(
    workspace: Workspace, ledgers: Ledgers, environment: Environment, policy: Policy,
    model: str | None,
) -> Provenance:  # fmt: skip
    needs = policy.environments[environment].needs
    if model is not None:
        return workspace.store.provenance(workspace.store.complete(model))
    if needs is None:
        return workspace.store.provenance(Candidate.read(workspace.candidate).model)
    source = ledgers(needs).effective
    if source is None:
        raise RefusedError(
            f"{needs} runs nothing yet: run `model promote {needs}`, merge it, and `model deploy"
            f" {needs}` first"
        )
    return workspace.store.provenance(source.model)


def _refuse_again(workspace: Workspace, branch: str, base: str) -> None:
    """A pull request that a person closed is a decision: only a person's reason reopens it."""
    if workspace.pull_requests.refused(branch, base):
        raise RefusedError(
            f"{branch} was closed without merging, which is a decision;"
            ' say --reason "..." to propose it again'
        )
