"""Verbs that put a model into the store, make it run, and show what ran."""

import time
from typing import TYPE_CHECKING, Annotated

import typer

from .app import Environment, Json, app, emit, workspace

if TYPE_CHECKING:
    from ..release.workspace import Workspace

Where = Annotated[Environment, typer.Argument(help="The environment.")]


@app.command("package")
def package_verb(
    image: Annotated[
        str | None, typer.Option(help="Also build, try and push an image: a repository's name.")
    ] = None,
    run: Annotated[str | None, typer.Option(help="The CI run that built it, to record.")] = None,
    as_json: Json = False,
) -> None:
    """Put the candidate into the store, with its source commit.

    Example: model package --image ghcr.io/acme/churn
    """
    from ..files import write_atomically
    from ..release.github_api import run_address
    from ..release.package import package
    from .progress import working

    here = workspace()
    with working("building the image" if image else "packaging"):
        made = package(here, run or run_address(), image)
    facts = made.model_dump(mode="json")
    text = f"packaged {made.model}\nversion {made.version}, built from {made.source.commit[:7]}"
    if made.image:
        name, _, digest = made.image.partition("@")
        facts |= {"name": name, "digest": digest}
        text += f"\nimage {made.image}"
    if image and made.image:
        from ..release.sbom import sbom

        write_atomically(here.candidate / "sbom.json", sbom(made.image, name, made.version))
    emit(as_json, facts, text)


@app.command("deploy")
def deploy_verb(
    environment: Annotated[
        Environment | None, typer.Argument(help="One environment; default: all.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Keep converging until stopped.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 10.0,
    down: Annotated[bool, typer.Option("--down", help="Stop what runs.")] = False,
    revert: Annotated[bool, typer.Option(help="Propose a revert after a failed test.")] = True,
    as_json: Json = False,
) -> None:
    """Make what runs equal to main, after verifying and testing it.

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
    failed = _converge(here, chosen, revert, as_json)
    while watch:
        time.sleep(interval)
        _converge(here, chosen, revert, as_json, quiet=True)
    raise typer.Exit(1 if failed else 0)


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
    here: "Workspace",
    chosen: tuple[Environment, ...],
    revert: bool,
    as_json: bool,
    quiet: bool = False,
) -> bool:
    """Deploy each environment; one that fails does not hold up the others. Whether any failed."""
    from ..release.deploy import attempt
    from ..release.record import short

    failed = False
    for name in chosen:
        done = attempt(here, name, revert)
        failed = failed or done.error is not None
        if quiet and done.action == "unchanged":
            continue
        text = {
            "nothing": f"{name}: main names no model yet",
            "unchanged": f"{name}: {short(done.model)} runs already at {done.url}",
            "deployed": f"{name}: {short(done.model)} is live at {done.url}",
        }.get(done.action, f"failed: {done.error}")
        emit(as_json, done, text)
    return failed
