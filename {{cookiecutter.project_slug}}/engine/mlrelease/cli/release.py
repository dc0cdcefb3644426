"""Verbs that put a model into the store, make it run, and show what ran."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mlrelease.cli.app import Environment, Json, app, echo, emit, workspace

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlrelease.deployment.deploy import Deployment
    from mlrelease.workspace import Workspace

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
    from mlrelease.cli.progress import working
    from mlrelease.github.api import run_address
    from mlrelease.output import claim, write
    from mlrelease.packages import sbom
    from mlrelease.packages.package import package

    here = workspace()
    bill = here.candidate / "sbom.json"
    if image:
        claim(bill, sbom.OURS)
    with working("building the image" if image else "packaging"):
        made = package(here, run or run_address(), image)
    facts = made.model_dump(mode="json")
    text = f"packaged {made.model}\nversion {made.version}, built from {made.source.commit[:7]}"
    if made.image:
        name, _, digest = made.image.partition("@")
        facts |= {"name": name, "digest": digest}
        text += f"\nimage {made.image}"
    if image and made.image:
        write(bill, sbom.sbom(made.image, name, made.version), sbom.OURS)
    emit(as_json, facts, text)


@app.command("deploy")
def deploy_verb(
    environment: Annotated[
        Environment | None, typer.Argument(help="One environment; default: all.")
    ] = None,
    driver: Driver = "process",
    follow: Annotated[
        bool, typer.Option("--follow", help="Only run what was released; release nothing.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Keep following until stopped.")] = False,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 10.0,
    down: Annotated[bool, typer.Option("--down", help="Stop what runs.")] = False,
    pin: Annotated[
        str | None, typer.Option(help="Run this earlier release, and ask nobody: a digest.")
    ] = None,
    unpin: Annotated[bool, typer.Option("--unpin", help="Follow the ledger again.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why it is pinned.")] = None,
    revert: Annotated[bool, typer.Option(help="Propose a revert after a failed test.")] = True,
    as_json: Json = False,
) -> None:
    """Verify and release what main names; run what was released.

    Example: model deploy production --watch --driver docker
    """
    from mlrelease.deployment.deploy import attempt, stop
    from mlrelease.deployment.watch import watch as keep_watching
    from mlrelease.environments import ENVIRONMENTS

    here = workspace()
    chosen = (environment,) if environment else ENVIRONMENTS
    if pin or unpin:
        echo(_pin(here, environment, pin, reason), err=True)
    if down:
        for name in chosen:
            count = stop(here, name, driver)
            text = f"{name}: {'stopped' if count else 'nothing ran'}"
            emit(as_json, {"environment": name, "stopped": count}, text)
    elif watch:
        keep_watching([_look(here, name, driver, as_json) for name in chosen], every)
    else:
        found = []
        for name in chosen:  # one that fails does not hold up the others
            found.append(done := attempt(here, name, revert, driver, releases=not follow))
            emit(as_json, done, _told(done))
        raise typer.Exit(1 if any(done.error for done in found) else 0)


@app.command("release")
def release_verb(
    environment: Annotated[
        Environment | None, typer.Argument(help="One environment; default: all.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write drafts to this folder, for `model ledger append`; append nothing."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify what main names, and append it to the ledger.

    `model deploy` does it too, and runs it.

    Example: model release production
    """
    from mlrelease.cli.progress import working
    from mlrelease.environments import ENVIRONMENTS
    from mlrelease.promotion.release import attempt

    here, failed, count = workspace(), False, 0
    results = []
    for name in (environment,) if environment else ENVIRONMENTS:
        with working(f"verifying {name}"):
            done = attempt(here, name, output)
        results.append(done)
        failed, count = failed or bool(done.error), count + (done.action == "prepared")
        if not as_json:
            echo(done.text)
    if as_json:
        emit(True, {"prepared": count > 0, "results": results}, "")
    elif output:
        emit(False, {"prepared": count > 0}, f"{count} to append")
    raise typer.Exit(1 if failed else 0)


def _pin(
    here: "Workspace", environment: Environment | None, model: str | None, reason: str | None
) -> str:
    """Pin this machine to a release, or end that."""
    from mlrelease.deployment.pin import pin, unpin
    from mlrelease.errors import InputError
    from mlrelease.records.record import short

    if environment is None or (model and not reason):
        raise InputError('name the environment, and with --pin say --reason "..."')
    if model is None or reason is None:
        return f"{environment}: {'follows' if unpin(here, environment) else 'followed'} its ledger"
    entry = pin(here, environment, model, reason)
    back = f"merge `model rollback {environment} --to {short(entry.model)}` as soon as you can"
    return f"{environment}: this machine is pinned to {short(entry.model)}; {back}"


def _look(
    here: "Workspace", name: Environment, driver: DriverName, as_json: bool
) -> "Callable[[], bool]":
    """One look of an agent, which prints one line for each change; whether all was well."""
    from mlrelease.deployment.deploy import Deployment, attempt
    from mlrelease.errors import unexpected

    before: tuple[str | None, ...] = ()

    def look() -> bool:
        nonlocal before
        try:
            done = attempt(here, name, by=driver, releases=False)
        except Exception as error:  # an agent has to outlive what nobody thought of
            done = Deployment(name, "refused", error=unexpected(error))
        now = (done.model, done.url, done.error, done.warning)
        if done.action == "deployed" or now != before:
            line = "; ".join(part.strip() for part in _told(done).splitlines())
            echo(json.dumps(dataclasses.asdict(done)) if as_json else line)
        before = now
        return done.error is None and done.warning is None

    return look


def _told(done: "Deployment") -> str:
    """What a run found or did, for people."""
    from mlrelease.records.record import short

    if done.error:
        return f"failed: {done.error}"
    known = f"\nwarning: {done.warning}; this machine knows it" if done.warning else ""
    return {
        "nothing": f"{done.environment}: nothing was released yet",
        "unchanged": f"{done.environment}: {short(done.model)} runs already at {done.url}",
        "deployed": f"{done.environment}: {short(done.model)} is live at {done.url}",
    }[done.action] + known
