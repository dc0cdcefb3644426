"""`model deploy`: make what runs equal to main, as often as you like.

Every run looks at what is there and does what is missing, so that a run that was killed at any
point loses nothing: the next one goes on from the state that it finds.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..config import Environment
from ..errors import ModelError, RefusedError
from ..files import read_json
from ..serving import golden
from .driver import Driver, DriverName, Service, driver
from .git import BRANCH
from .history import Entry, history
from .record import Record, short
from .rollback import rollback
from .verify import Change, verify
from .workspace import Workspace


@dataclass(frozen=True)
class Deployment:
    """What a run found or did. `url` is the environment's public address."""

    environment: Environment
    action: Literal["nothing", "unchanged", "deployed", "refused", "failed"]
    model: str | None = None
    commit: str | None = None
    url: str | None = None
    rollback: bool = False
    error: str | None = None


class SmokeTestError(RefusedError):
    """The golden requests failed; the previous model still runs."""


def deploy(
    workspace: Workspace,
    environment: Environment,
    revert: bool = True,
    by: DriverName = "process",
) -> Deployment:
    """Serve what main names, after verifying it again. `revert`: propose the model before, when
    this one does not answer as it did when it was trained.

    Raises:
        RefusedError: main names something that must not run; what ran before still does.
        SmokeTestError: It does not answer so.
    """
    services = driver(workspace, environment, by)
    with services.exclusive():
        services.recover()  # first of all: it needs nothing but this machine
        base = workspace.git.base()
        entries = history(workspace.git, base, environment)
        if not entries:
            return Deployment(environment, "nothing")
        wanted = entries[0]
        if wanted.record is None:
            raise RefusedError(f"{environment}: {wanted.fault}; what ran before still runs")
        model = wanted.record.model
        rules = workspace.policy_at(base).environments[environment]
        port = services.public_port(rules.port)
        url = f"http://127.0.0.1:{port}"
        serving = _serving(services, wanted.record, port)
        if serving and not _smoke_test(workspace, serving, model):
            services.keep(serving)
            _stop_others(services, serving)
            return Deployment(environment, "unchanged", model, wanted.commit, url)
        was_rollback = _verified(workspace, environment, wanted)
        service = _start(workspace, services, wanted.record, port, revert)
        services.take_over(service, port)
        _stop_others(services, service)
        return Deployment(environment, "deployed", model, wanted.commit, url, was_rollback)


def attempt(
    workspace: Workspace,
    environment: Environment,
    revert: bool = True,
    by: DriverName = "process",
) -> Deployment:
    """`deploy`, with a failure as an outcome: `refused` before it ran, or `failed` its test."""
    try:
        return deploy(workspace, environment, revert, by)
    except ModelError as error:
        named = _named(workspace, environment)
        record = named.record if named else None
        return Deployment(
            environment,
            "failed" if isinstance(error, SmokeTestError) else "refused",
            record.model if record else None,
            named.commit if named else None,
            error=str(error),
        )


def stop(workspace: Workspace, environment: Environment, by: DriverName = "process") -> int:
    """End every service of an environment; how many there were."""
    services = driver(workspace, environment, by)
    with services.exclusive():
        running = services.running()
        for service in running:
            services.stop(service)
        return len(running)


def _named(workspace: Workspace, environment: Environment) -> Entry | None:
    """What main names, as far as this clone knows: the failure may be that origin is away."""
    try:
        main = workspace.git.resolve(BRANCH)
        entries = history(workspace.git, main, environment) if main else ()
    except ModelError:
        return None
    return entries[0] if entries else None


def _serving(services: Driver, record: Record, port: int) -> Service | None:
    for service in services.running():
        if service.serves(record) and service.public_port() == port:
            return service
    return None


def _smoke_test(workspace: Workspace, service: Service, model: str) -> list[str]:
    requests = read_json(workspace.store.fetch(model) / "golden.json")
    return golden.check(service.url, requests, model)


def _verified(workspace: Workspace, environment: Environment, wanted: Entry) -> bool:
    """Verify the change that made main name this model; whether it was a rollback."""
    outcome = verify(workspace, Change.on_main(workspace.git, environment, wanted))
    if not outcome.passed:
        lines = "\n".join(f"  {f.name}: {f.message}" for f in outcome.failed)
        raise RefusedError(
            f"{environment}: {wanted.commit[:7]} is refused; what ran before still runs\n{lines}"
        )
    return outcome.rollback


def _start(
    workspace: Workspace, services: Driver, record: Record, port: int, revert: bool
) -> Service:
    """A service with this model that passed the golden requests, before anybody is sent to it."""
    directory = workspace.store.fetch(record.model)
    try:
        service = services.start(record, directory, port)
    except RefusedError as error:  # it tries its golden requests itself before it listens
        faults = [str(error)]
    else:
        faults = _smoke_test(workspace, service, record.model)
        if not faults:
            return service
        services.stop(service)
    message = f"{record.environment}: {short(record.model)} failed the golden requests: {faults[0]}"
    message += "; what ran before still runs"
    if not revert:
        raise SmokeTestError(message)
    try:
        reason = f"The golden requests failed after deployment: {faults[0]}"
        proposed = rollback(workspace, record.environment, reason=reason).pull_request
        proposal = f"; a revert is proposed: {proposed.branch}"
    except ModelError as error:
        proposal = f"; no revert is proposed: {error}"
    raise SmokeTestError(message + proposal)


def _stop_others(services: Driver, keep: Service) -> None:
    for service in services.running():
        if service.url != keep.url:
            services.stop(service)


def prediction_log(workspace: Workspace, environment: Environment) -> Path:
    """Where the service of an environment writes what it was asked and what it answered."""
    return workspace.state / "environments" / environment / "predictions.jsonl"


def now() -> dt.datetime:
    """The present, for the rules that depend on it."""
    return dt.datetime.now(dt.UTC)
