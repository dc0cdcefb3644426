"""Verbs that put a model into the store, make it run, and show what ran."""

import dataclasses
import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .app import Environment, Json, app, emit, workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..release.deploy import Deployment
    from ..release.workspace import Workspace

DriverName = Literal["process", "docker"]  # release's, without importing it
Driver = Annotated[
    DriverName, typer.Option(envvar="MODEL_DRIVER", help="What serves: processes, or containers.")
]
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
    driver: Driver = "process",
    watch: Annotated[bool, typer.Option("--watch", help="Keep converging until stopped.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 10.0,
    down: Annotated[bool, typer.Option("--down", help="Stop what runs.")] = False,
    revert: Annotated[bool, typer.Option(help="Propose a revert after a failed test.")] = True,
    as_json: Json = False,
) -> None:
    """Make what runs equal to main, after verifying and testing it.

    Example: model deploy production --watch --driver docker
    """
    from ..config import ENVIRONMENTS
    from ..release.deploy import attempt, stop
    from ..release.watch import watch as keep_watching

    here = workspace()
    chosen = (environment,) if environment else ENVIRONMENTS
    if down:
        for name in chosen:
            count = stop(here, name, driver)
            text = f"{name}: {'stopped' if count else 'nothing ran'}"
            emit(as_json, {"environment": name, "stopped": count}, text)
    elif watch:
        keep_watching([_look(here, name, revert, driver, as_json) for name in chosen], every)
    else:
        found = []
        for name in chosen:  # one that fails does not hold up the others
            found.append(done := attempt(here, name, revert, driver))
            emit(as_json, done, _told(done))
        raise typer.Exit(1 if any(done.error for done in found) else 0)


@app.command("status")
def status_verb(driver: Driver = "process", as_json: Json = False) -> None:
    """Show what main says and what runs, side by side.

    Example: model status
    """
    from ..release.record import short
    from ..release.status import status
    from .tables import table

    found = status(workspace(), driver)
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


def _look(
    here: "Workspace", name: Environment, revert: bool, driver: DriverName, as_json: bool
) -> "Callable[[], bool]":
    """One look of an agent, which prints one line for each change; whether all was well."""
    from ..release.deploy import Deployment, attempt

    before: tuple[str | None, ...] = ()

    def look() -> bool:
        nonlocal before
        try:
            done = attempt(here, name, revert, driver)
        except Exception as error:  # an agent has to outlive what nobody thought of
            fault = f"unexpected {type(error).__name__}: {error}"
            done = Deployment(name, "refused", error=fault)
        now = (done.model, done.url, done.error)
        if done.action == "deployed" or now != before:
            line = "; ".join(part.strip() for part in _told(done).splitlines())
            typer.echo(json.dumps(dataclasses.asdict(done)) if as_json else line)
        before = now
        return done.error is None

    return look


def _told(done: "Deployment") -> str:
    """What a run found or did, for people."""
    from ..release.record import short

    return {
        "nothing": f"{done.environment}: main names no model yet",
        "unchanged": f"{done.environment}: {short(done.model)} runs already at {done.url}",
        "deployed": f"{done.environment}: {short(done.model)} is live at {done.url}",
    }.get(done.action, f"failed: {done.error}")
