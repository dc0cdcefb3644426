"""Verbs that turn a candidate into a running model, through git."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from .app import Environment, Json, app, emit, markdown, workspace

if TYPE_CHECKING:
    from ..release.workspace import Workspace

Where = Annotated[Environment, typer.Argument(help="The environment.")]
Reason = Annotated[str | None, typer.Option(help="Why a person overrules an earlier decision.")]


@app.command("package")
def package_verb(
    run: Annotated[str | None, typer.Option(help="The CI run that built it, to record.")] = None,
    as_json: Json = False,
) -> None:
    """Put the candidate into the store, with the commit it was built from.

    Example: model package
    """
    from ..release.package import package

    made = package(workspace(), run)
    text = f"packaged {made.model}\nversion {made.version}, built from {made.source.commit[:7]}"
    emit(as_json, made, text)


@app.command("promote")
def promote_verb(
    environment: Where,
    model: Annotated[
        str | None,
        typer.Option(help="A digest, or its start; default: the candidate, or what staging runs."),
    ] = None,
    reason: Reason = None,
    as_json: Json = False,
) -> None:
    """Propose that an environment runs a model: opens a pull request.

    Example: model promote staging
    """
    from ..pipeline.report import summary
    from ..release.deploy import now
    from ..release.promote import promote
    from .progress import working

    with working("evaluating against what runs"):
        proposal = promote(workspace(), environment, model=model, reason=reason, now=now())
    request = proposal.pull_request
    if as_json:
        facts = {"opened": proposal.opened, "superseded": proposal.superseded}
        emit(True, request.__dict__ | facts, "")
        return
    markdown(summary(proposal.body))
    typer.echo(f"{'opened' if proposal.opened else 'already open'}: {request.branch}", err=True)
    typer.echo(f"body:   {request.body_file}\nmerge:  {proposal.merge}", err=True)


@app.command("verify")
def verify_verb(
    environment: Where,
    ref: Annotated[
        str | None, typer.Option(help="A promotion branch; default: what main says.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a promotion, or the record on main, by recomputing what it claims; exit 1 if it fails.

    Example: model verify production --ref promote/production/3f2a90c1d4e5
    """
    from ..errors import InputError, RefusedError
    from ..release.deploy import now
    from ..release.history import history
    from ..release.verify import Change, verify

    here = workspace()
    base = here.git.base()
    if ref is not None:
        head = here.git.resolve(ref)
        if head is None:
            raise InputError(f"no branch or commit {ref!r}")
        change = Change.proposed(here.git, environment, head, base, now())
    else:
        entries = history(here.git, base, environment)
        if not entries:
            raise RefusedError(f"{environment} has no record on main yet")
        change = Change.merged(here.git, environment, entries[0])
    outcome = verify(here, change)
    findings = (*outcome.checks, *outcome.rules)
    lines = [f"{'ok    ' if f.passed else 'FAILED'} {f.name}: {f.message}" for f in findings]
    facts = {"passed": outcome.passed, "findings": findings}
    emit(as_json, facts, "\n".join(lines))
    raise typer.Exit(0 if outcome.passed else 1)


@app.command("deploy")
def deploy_verb(
    environment: Annotated[
        Environment | None, typer.Argument(help="One environment; default: all.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep converging until stopped.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 10.0,
    down: Annotated[bool, typer.Option("--down", help="Stop what runs.")] = False,
    as_json: Json = False,
) -> None:
    """Make what runs equal to main: verify again, start, test, switch over, stop the old.

    Example: model deploy production --watch
    """
    from ..config import ENVIRONMENTS
    from ..release.deploy import stop

    here = workspace()
    chosen = (environment,) if environment else ENVIRONMENTS
    if down:
        for name in chosen:
            count = stop(here, name)
            text = f"{name}: {'stopped' if count else 'nothing ran'}"
            emit(as_json, {"environment": name, "stopped": count}, text)
        return
    failed = _converge(here, chosen, as_json)
    while watch:
        time.sleep(interval)
        _converge(here, chosen, as_json, quiet=True)
    raise typer.Exit(1 if failed else 0)


@app.command("rollback")
def rollback_verb(
    environment: Where,
    to: Annotated[
        str | None, typer.Option(help="An earlier model; default: the one before.")
    ] = None,
    reason: Annotated[
        str, typer.Option(help="Why; it stands in the commit.")
    ] = "Asked for by hand.",
    as_json: Json = False,
) -> None:
    """Propose that an environment runs again what it ran before: opens a pull request.

    Example: model rollback production --reason "complaints since noon"
    """
    from ..release.rollback import rollback

    made = rollback(workspace(), environment, to=to, reason=reason)
    request = made.pull_request
    if as_json:
        emit(True, request.__dict__ | {"replaces": made.replaces}, "")
        return
    markdown(made.body)
    typer.echo(f"opened: {request.branch}\nmerge:  {made.merge}", err=True)


@app.command("status")
def status_verb(as_json: Json = False) -> None:
    """Show what main says and what runs, side by side.

    Example: model status
    """
    from ..release.record import short
    from ..release.status import status
    from .tables import table

    found = status(workspace())
    rows = [
        (s.environment, short(s.named), short(s.running), s.url or "-", s.advice or "in step")
        for s in found
    ]
    text = table(("environment", "main says", "running", "address", ""), rows)
    for state in found:
        text += "".join(f"\nopen: {branch}" for branch in state.open_promotions)
        if state.held:
            text += f"\nheld in {state.environment}: {', '.join(state.held)}"
    emit(as_json, found, text)


@app.command("history")
def history_verb(environment: Where, as_json: Json = False) -> None:
    """List what an environment ran, newest first.

    Example: model history production
    """
    from ..release.history import history
    from ..release.record import short
    from .tables import table

    here = workspace()
    entries = history(here.git, here.git.base(), environment)
    rows = [
        (
            f"{e.time:%Y-%m-%d %H:%M}",
            e.commit[:7],
            short(e.record.model) if e.record else "invalid",
            "rollback" if e.rollback else "",
            e.subject,
        )
        for e in entries
    ]
    text = table(("since (UTC)", "commit", "model", "", "change"), rows)
    emit(as_json, entries, text if rows else f"{environment} has run nothing yet")


def _converge(
    here: "Workspace", chosen: tuple[Environment, ...], as_json: bool, quiet: bool = False
) -> bool:
    """Deploy each environment; one that fails does not hold up the others. Whether any failed."""
    from ..errors import ModelError
    from ..release.deploy import deploy
    from ..release.record import short

    failed = False
    for name in chosen:
        try:
            done = deploy(here, name)
        except ModelError as error:
            failed = True
            emit(as_json, {"environment": name, "error": str(error)}, f"failed: {error}")
            continue
        if quiet and done.action == "unchanged":
            continue
        text = {
            "nothing": f"{name}: main names no model yet",
            "unchanged": f"{name}: {short(done.model)} runs already at {done.url}",
            "deployed": f"{name}: {short(done.model)} is live at {done.url}",
        }[done.action]
        emit(as_json, done, text)
    return failed
