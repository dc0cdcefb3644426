"""Verbs that propose which model runs, and check what was proposed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlrelease.cli.app import Environment, Json, app, echo, emit, markdown, workspace

if TYPE_CHECKING:
    from mlrelease.promotion.proposal import Opened, Proposal
    from mlrelease.records.change import Change
    from mlrelease.workspace import Workspace

Where = Annotated[Environment, typer.Argument(help="The environment.")]
Reason = Annotated[str | None, typer.Option(help="Why a person overrules an earlier decision.")]
Output = Annotated[
    Path | None, typer.Option(help="Write the proposal here, for `model propose`; open nothing.")
]


@app.command("promote")
def promote_verb(
    environment: Where,
    model: Annotated[
        str | None,
        typer.Option(help="A digest, or its start; default: the candidate, or what staging runs."),
    ] = None,
    reason: Reason = None,
    hotfix: Annotated[bool, typer.Option("--hotfix", help="Skip soak time and freezes.")] = False,
    anchor: Annotated[
        bool, typer.Option("--anchor", help="Begin again: main was rewritten, or the ledger lost.")
    ] = False,
    issue: Annotated[int | None, typer.Option(help="The issue that asks for it.")] = None,
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Open the pull request after which an environment runs a model.

    Example: model promote staging
    """
    from mlrelease.cli.progress import working
    from mlrelease.errors import InputError
    from mlrelease.output import claim
    from mlrelease.promotion.promote import prepare
    from mlrelease.promotion.proposal import OURS
    from mlrelease.verification.pending import RunsAlreadyError

    here = workspace()
    if output:  # now, rather than after the evaluation
        claim(output, OURS)
    if hotfix and anchor:
        raise InputError("--hotfix and --anchor exclude each other")
    try:
        with working("evaluating against what runs"):
            prepared = prepare(
                here, environment, model=model or None, reason=reason or None,
                intent="hotfix" if hotfix else "anchor" if anchor else "promote", issue=issue,
            )  # fmt: skip
    except RunsAlreadyError as done:
        if output is None:
            raise
        emit(as_json, {"prepared": False}, str(done))  # a job that runs twice has done its work
    else:
        _propose(here, prepared, output, as_json)


@app.command("propose")
def propose_verb(
    proposal: Annotated[Path, typer.Argument(help="A file that --output wrote.")],
    as_json: Json = False,
) -> None:
    """Open the pull request that another job prepared.

    It loads no model: the file is data, which may have been forged.

    Example: model propose proposal.json
    """
    from mlrelease.promotion.proposal import Proposal

    _propose(workspace(), Proposal.read(proposal), None, as_json)


@app.command("verify")
def verify_verb(
    environment: Annotated[
        Environment | None, typer.Argument(help="Default: each that --ref changes.")
    ] = None,
    ref: Annotated[
        str | None, typer.Option(help="A promotion branch; default: what main says.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute what a promotion, or the record on main, claims.

    Exit code 1 when a check fails.

    Example: model verify production --ref promote/production/3f2a90c1d4e5
    """
    from mlrelease.environments import ENVIRONMENTS
    from mlrelease.verification.verify import verify

    here = workspace()
    findings, passed = [], True
    for name in (environment,) if environment else ENVIRONMENTS:
        change = _change(here, name, ref, bool(environment))
        if change is None:
            continue
        outcome = verify(here, change)
        passed = passed and outcome.passed
        findings += [*outcome.checks, *outcome.rules]
    lines = [f"{'ok    ' if f.passed else 'FAILED'} {f.name}: {f.message}" for f in findings]
    text = "\n".join(lines) or "no record changes"
    emit(as_json, {"passed": passed, "findings": findings}, text)
    raise typer.Exit(0 if passed else 1)


@app.command("rollback")
def rollback_verb(
    environment: Where,
    to: Annotated[
        str | None, typer.Option(help="An earlier model; default: the one before.")
    ] = None,
    reason: Annotated[
        str, typer.Option(help="Why; it stands in the commit.")
    ] = "Asked for by hand.",
    output: Output = None,
    as_json: Json = False,
) -> None:
    """Open the pull request that goes back to an earlier model.

    Example: model rollback production --reason "complaints since noon"
    """
    from mlrelease.output import claim
    from mlrelease.promotion.proposal import OURS
    from mlrelease.promotion.rollback import prepare

    here = workspace()
    if output:
        claim(output, OURS)
    prepared = prepare(here, environment, to=to or None, reason=reason or "Asked for by hand.")
    _propose(here, prepared, output, as_json)


def _propose(
    here: "Workspace", prepared: "Proposal | Opened", output: Path | None, as_json: bool
) -> None:
    """Open what was prepared, or write it for another job; and show it."""
    from mlrelease.evaluation.report import summary
    from mlrelease.promotion.proposal import Opened, publish

    if output and not isinstance(prepared, Opened):
        prepared.write(output)
        emit(as_json, {"prepared": True, "branch": prepared.branch}, summary(prepared.body))
        return
    done = prepared if isinstance(prepared, Opened) else publish(here, prepared)
    request = done.pull_request
    facts = {"prepared": False, "opened": done.new, "superseded": done.superseded}
    if as_json or output:
        emit(as_json, facts | request.__dict__, f"already open: {request.address}")
        return
    markdown(summary(request.body))
    echo(f"{'opened' if done.new else 'already open'}: {request.branch}", err=True)
    echo(f"body:   {request.address}\nmerge:  {done.merge}", err=True)


def _change(
    here: "Workspace", environment: Environment, ref: str | None, named: bool
) -> "Change | None":
    """What --ref, or main, changes in an environment; None where it does not."""
    from mlrelease.errors import InputError, RefusedError
    from mlrelease.promotion import release
    from mlrelease.records import main_line
    from mlrelease.records.record import folder
    from mlrelease.verification.confirm import settled

    base = here.git.base()
    if ref is None:
        said = main_line.named(here.git, base, environment)
        if said is None and named:
            raise RefusedError(f"{environment} has no record on main yet")
        ledgers = settled(here, base)
        return release.on_main(here, environment, said.commit, ledgers) if said else None
    head = here.git.resolve(ref)
    if head is None:
        raise InputError(f"no branch or commit {ref!r}")
    change = release.proposed(here, environment, head, base)
    touched = here.git.changed(change.fork or base, head)
    changes = any(name.startswith(f"{folder(environment)}/") for name in touched)
    return change if named or changes else None
