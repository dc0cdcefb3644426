"""`model deploy`: release what main names, and bring what runs in line with the ledger.

Every run looks at what is there and does what is missing, so that a run that was killed at any
point loses nothing: the next one goes on from the state that it finds.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mlrelease.deployment.drivers import Driver, DriverName, Service, driver
from mlrelease.deployment.follow import Wanted, remember, wanted
from mlrelease.deployment.observe import observe
from mlrelease.deployment.pin import pinned
from mlrelease.environments import Environment
from mlrelease.errors import ModelError, RefusedError, unexpected
from mlrelease.promotion.release import release
from mlrelease.promotion.rollback import rollback
from mlrelease.records.checkout import refuse_tracked
from mlrelease.records.git import Git
from mlrelease.records.record import Record, short
from mlrelease.serving import golden
from mlrelease.verification.pending import asked
from mlrelease.workspace import Workspace


@dataclass(frozen=True)
class Deployment:
    """What a run found or did. `url` is the environment's public address, `entry` the release in
    the ledger, `commit` the commit of main that asked for it."""

    environment: Environment
    action: Literal["nothing", "unchanged", "deployed", "refused", "failed"]
    model: str | None = None
    entry: str | None = None
    commit: str | None = None
    url: str | None = None
    rollback: bool = False
    error: str | None = None
    warning: str | None = None  # why it is taken from memory: nobody could be asked


class SmokeTestError(RefusedError):
    """The golden requests of a release failed; the previous model still runs."""

    found: Wanted | None = None


def deploy(
    workspace: Workspace,
    environment: Environment,
    revert: bool = True,
    by: DriverName = "process",
    releases: bool = True,
) -> Deployment:
    """Verify and release what main names, then serve what the ledger says. Where `releases` is
    false, it only follows: nothing is appended, nothing proposed. `revert`: propose the release
    before, when this one does not answer as it did when it was trained.

    Raises:
        RefusedError: main names something that must not run; what ran before still does.
        SmokeTestError: It does not answer so.
    """
    refuse_tracked(Git(workspace.root), workspace.state)  # at each look: what is kept may run
    services = driver(workspace, environment, by)
    with services.exclusive():
        services.recover()  # first of all: it needs nothing but this machine
        refused = _release(workspace, environment) if releases else None
        found = wanted(workspace, environment)
        if found is None:
            if refused:
                raise refused
            return Deployment(environment, "nothing")
        try:
            done = _serve(workspace, services, found)
        except SmokeTestError as error:
            failed = _failed(workspace, found, error, releases, revert)
            failed.found = found
            raise failed from None
        if found.because is None:
            remember(workspace, found)
        if releases and found.because is None:
            observe(workspace, environment, found.entry, "live", f"model deploy, {by}")
    if refused is None:
        return done
    if pinned(workspace, environment):
        return replace(done, warning=f"{done.warning}; nothing new is released: {refused}")
    if found.because is None:
        raise refused
    raise ModelError(
        f"{refused}; {short(done.model)}, which this machine knows, runs at {done.url}"
    )


def attempt(
    workspace: Workspace,
    environment: Environment,
    revert: bool = True,
    by: DriverName = "process",
    releases: bool = True,
) -> Deployment:
    """`deploy`, with any failure as an outcome of this environment: `refused` before it ran, or
    `failed` its test. The others go on."""
    try:
        return deploy(workspace, environment, revert, by, releases)
    except Exception as error:  # a full disk too
        known = isinstance(error, ModelError)
        text = str(error) if known else unexpected(error)
        if isinstance(error, SmokeTestError) and error.found:
            found = error.found
            facts = (found.record.model, found.entry, found.main)
            return Deployment(environment, "failed", *facts, error=text)
        model, commit = asked(workspace, environment)
        return Deployment(environment, "refused", model, None, commit, error=text)


def stop(workspace: Workspace, environment: Environment, by: DriverName = "process") -> int:
    """End every service of an environment; how many there were."""
    services = driver(workspace, environment, by)
    with services.exclusive():
        running = services.running()
        for service in running:
            services.stop(service)
        return len(running)


def _release(workspace: Workspace, environment: Environment) -> ModelError | None:
    """Why what main names is not released, if it is not. What runs does not hang on it."""
    try:
        release(workspace, environment)
    except ModelError as error:
        return error
    except Exception as error:
        return ModelError(f"{environment}: {unexpected(error)}")
    return None


def _serve(workspace: Workspace, services: Driver, found: Wanted) -> Deployment:
    """Let a release run, unless it does."""
    record, place = found.record, found.record.environment
    rules = workspace.rules(place)
    port = services.public_port(rules.port if rules else 0)
    url = f"http://127.0.0.1:{port}"
    facts = (record.model, found.entry, found.main, url, found.rollback, None, found.because)
    serving = _serving(services, record, port)
    if serving and not _smoke_test(workspace, serving, record.model):
        services.keep(serving)
        _stop_others(services, serving)
        return Deployment(place, "unchanged", *facts)
    service = _start(workspace, services, record, port)
    try:
        services.take_over(service, port)
    except RefusedError:
        services.stop(service)  # an agent tries again and again
        raise
    _stop_others(services, service)
    return Deployment(place, "deployed", *facts)


def _failed(
    workspace: Workspace, found: Wanted, error: SmokeTestError, releases: bool, revert: bool
) -> SmokeTestError:
    """Note it in the ledger, so that nobody else starts it, and propose to undo it on main."""
    place = found.record.environment
    if not releases:
        return error
    try:
        observe(workspace, place, found.entry, "failed", "model deploy", str(error))
        if not revert:
            return error
        reason = f"The golden requests failed after deployment: {error}"
        proposed = rollback(workspace, place, reason=reason).pull_request
        return SmokeTestError(f"{error}; a revert is proposed: {proposed.branch}")
    except ModelError as fault:
        return SmokeTestError(f"{error}; no revert is proposed: {fault}")


def _serving(services: Driver, record: Record, port: int) -> Service | None:
    for service in services.running():
        if service.serves(record) and service.public_port() == port:
            return service
    return None


def _smoke_test(workspace: Workspace, service: Service, model: str) -> list[str]:
    requests = workspace.store.read(model).json("golden.json")
    return golden.check(service.url, requests, model)


def _start(workspace: Workspace, services: Driver, record: Record, port: int) -> Service:
    """A service with this model that passed the golden requests, before anybody is sent to it."""
    directory = workspace.store.fetch(record.model)
    name = f"{record.environment}: {short(record.model)}"
    try:
        service = services.start(record, directory, port)
    except RefusedError as error:  # it tries its golden requests itself before it listens
        if "golden row" not in str(error):  # a fault of this machine
            raise RefusedError(f"{name}: {error}; what ran before still runs") from None
        faults = [str(error)]
    else:
        faults = _smoke_test(workspace, service, record.model)
        if not faults:
            return service
        services.stop(service)
    raise SmokeTestError(
        f"{name} failed the golden requests: {faults[0]}; what ran before still runs"
    )


def _stop_others(services: Driver, keep: Service) -> None:
    for service in services.running():
        if service.url != keep.url:
            services.stop(service)


def prediction_log(workspace: Workspace, environment: Environment) -> Path:
    """Where the service of an environment writes what it was asked and what it answered."""
    return workspace.state / "environments" / environment / "predictions.jsonl"
