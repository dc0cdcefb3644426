"""`model status`: what was released and what runs, side by side."""

from dataclasses import dataclass

from mlrelease.deployment.drivers import DriverName, driver
from mlrelease.deployment.pin import pinned
from mlrelease.environments import ENVIRONMENTS, Environment
from mlrelease.errors import ModelError
from mlrelease.files import short
from mlrelease.records import main_line
from mlrelease.records.ledger import Ledger
from mlrelease.records.pull_request import PullRequest
from mlrelease.verification.pending import broken, pending
from mlrelease.workspace import Workspace

SHOWN = 5  # holds


@dataclass(frozen=True)
class Status:
    """One environment. `waiting` is what main asks for and the ledger does not have; `advice` is
    what to do next, empty when all agree. `held` are the newest holds, of `holds`. `verified`: this
    machine verified what is released, or nothing is; followers leave out what does not verify."""

    environment: Environment
    released: str | None
    version: str | None
    since: str | None
    running: str | None
    url: str | None
    waiting: str | None
    open_promotions: tuple[str, ...]
    held: tuple[str, ...]
    holds: int
    skipped: tuple[str, ...]
    pinned: str | None
    advice: str
    verified: bool


def status(workspace: Workspace, by: DriverName = "process") -> tuple[Status, ...]:
    """The state of every environment, as recorded; changes nothing. A fault of one is its own."""
    base, away = workspace.known_main()
    return tuple(_status(workspace, base, away, environment, by) for environment in ENVIRONMENTS)


def _status(
    workspace: Workspace, base: str, away: str, environment: Environment, by: DriverName
) -> Status:
    ledger, waiting, pin, fault = Ledger(environment), None, None, ""
    requests: tuple[PullRequest, ...] = ()
    try:
        pin = pinned(workspace, environment)
        ledger = workspace.ledger(environment, base)
        waiting = pending(workspace, ledger)
        if ledger.tip is None or ledger.adrift:
            said = main_line.named(workspace.git, base, environment)
            fault = broken(workspace.git, ledger, f"{said.commit}^1" if said else base)
        requests = tuple(workspace.pull_requests.list(environment, base)) if not away else ()
    except ModelError as error:
        fault = str(error)
    running = url = None
    for service in driver(workspace, environment, by).running():
        port = service.public_port()
        if port is not None:
            running, url = service.digest, f"http://127.0.0.1:{port}"
    entry, since = ledger.effective, ledger.since()
    held = [short(model) for model in ledger.held()]
    released = entry.model if entry else None
    verified = entry is None or workspace.remembers(environment, entry.commit)
    return Status(
        environment=environment,
        released=released,
        version=entry.released.version if entry else None,
        since=since.isoformat() if since else None,
        running=running,
        url=url,
        waiting=waiting,
        open_promotions=tuple(p.branch for p in requests),
        held=tuple(held[:SHOWN]),
        holds=len(held),
        skipped=ledger.skipped,
        pinned=pin[1] if pin else None,
        advice=_advice(ledger, released, running, waiting, fault or away, verified),
        verified=verified,
    )


def _advice(
    ledger: Ledger, released: str | None, running: str | None, waiting: str | None, fault: str,
    verified: bool,
) -> str:  # fmt: skip
    name = ledger.environment
    if fault:
        return fault
    if waiting:
        return f"main asks for more in {waiting[:7]}: run `model deploy {name}`"
    if released != running:
        unsure = "" if verified else f"{short(released)} is not verified here and may not count: "
        return f"{unsure}run `model deploy {name}`"
    return "" if released else f"run `model promote {name}`"
