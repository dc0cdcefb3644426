"""`model status`: what main says and what runs, side by side."""

from dataclasses import dataclass

from ..config import ENVIRONMENTS, Environment
from .driver import DriverName, driver
from .history import held, history, live, live_since
from .record import short
from .workspace import Workspace


@dataclass(frozen=True)
class Status:
    """One environment. `advice` is what to do next; empty when main and the world agree."""

    environment: Environment
    named: str | None
    version: str | None
    since: str | None
    running: str | None
    url: str | None
    open_promotions: tuple[str, ...]
    held: tuple[str, ...]
    advice: str


def status(workspace: Workspace, by: DriverName = "process") -> tuple[Status, ...]:
    """The state of every environment; changes nothing."""
    base = workspace.git.base()
    return tuple(_status(workspace, base, environment, by) for environment in ENVIRONMENTS)


def _status(workspace: Workspace, base: str, environment: Environment, by: DriverName) -> Status:
    entries = history(workspace.git, base, environment)
    record, since = live(entries), live_since(entries)
    running = url = None
    for service in driver(workspace, environment, by).running():
        port = service.public_port()
        if port is not None:
            running, url = service.digest, f"http://127.0.0.1:{port}"
    requests = workspace.pull_requests.list(environment, base)
    named = record.model if record else None
    if entries and record is None:
        advice = f"the record on main is not valid: {entries[0].fault}"
    elif named != running:
        advice = f"run `model deploy {environment}`"
    else:
        advice = "" if named else f"run `model promote {environment}`"
    return Status(
        environment=environment,
        named=named,
        version=record.version if record else None,
        since=since.isoformat() if since else None,
        running=running,
        url=url,
        open_promotions=tuple(p.branch for p in requests),
        held=tuple(short(digest) for digest in held(entries)),
        advice=advice,
    )
