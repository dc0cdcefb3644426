"""What deployment needs of whatever serves a model: processes of this machine, or containers.

A driver keeps nothing in its memory: each call looks at what runs, so that a deployment that was
killed at any point is finished by the next.
"""

import errno
import fcntl
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from mlrelease.environments import Environment
from mlrelease.errors import RefusedError
from mlrelease.files import alone, open_lock
from mlrelease.records.git import Git
from mlrelease.serving.golden import authorization
from mlrelease.workspace import Workspace

if TYPE_CHECKING:
    from mlrelease.records.record import Record

START_SECONDS = 60.0
STOP_SECONDS = 15.0

DriverName = Literal["process", "docker"]


@dataclass(frozen=True)
class Service:
    """One that runs: at a private port for checks, and at the public one once it took over."""

    port: int
    digest: str

    @property
    def url(self) -> str:
        """Its private address."""
        return f"http://127.0.0.1:{self.port}"

    def facts(self) -> dict[str, Any]:
        """What `/model` says; empty when it does not answer."""
        import http.client

        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/model", headers=authorization())
            answer = connection.getresponse()
            content = answer.read()
            return dict(json.loads(content)) if answer.status == 200 else {}
        except (OSError, http.client.HTTPException, ValueError):
            return {}
        finally:
            connection.close()

    def public_port(self) -> int | None:
        """The public port that it listens on."""
        found = self.facts().get("listening", {}).get("public")
        return found if isinstance(found, int) else None

    def may_listen(self, port: int) -> bool:
        """Whether it listens on the public port, or lives and does not say: it may hang."""
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        facts = self.facts()
        return not facts or facts.get("listening", {}).get("public") == port

    def wait_until_public(self, port: int) -> None:
        """Wait until it listens on the public port, which it was told to open.

        Raises:
            RefusedError: It cannot; for example because another program has the port.
        """
        deadline = time.monotonic() + STOP_SECONDS
        listening: dict[str, Any] = {}
        while time.monotonic() < deadline:
            listening = self.facts().get("listening", {})
            if listening.get("public") == port:
                return
            if listening.get("error"):
                break
            time.sleep(0.02)
        why = listening.get("error") or "it did not answer"
        raise RefusedError(f"port {port} cannot be taken over: {why}")

    def serves(self, record: "Record") -> bool:
        """Whether it is what the record names."""
        return self.digest == record.model


class Driver(Protocol):
    """The services of one environment on this machine."""

    def exclusive(self) -> AbstractContextManager[None]:
        """One deployment of an environment at a time.

        Raises:
            RefusedError: Another one is going on.
        """

    def recover(self) -> None:
        """Make public again what was public before something else than us started it anew."""

    def running(self) -> tuple[Service, ...]:
        """Those that were started and not stopped."""

    def public_port(self, wanted: int) -> int:
        """The port of the environment; 0: the one that it has, or any that is free."""

    def start(self, record: "Record", directory: Path, public_port: int) -> Service:
        """Start a service on a private port and wait until it listens there. `directory` holds the
        record's model.

        Raises:
            RefusedError: It ended, or did not listen in time; the message is its last line.
        """

    def take_over(self, service: Any, public_port: int) -> None:
        """Let a service listen on the public port as well.

        Raises:
            RefusedError: It cannot; for example because another program has the port.
        """

    def keep(self, service: Any) -> None:
        """See to it that what serves is started again where it dies: a deployment that was killed
        may have been about to stop it."""

    def stop(self, service: Any) -> None:
        """Let a service finish what it accepted, then end; kill it when it does not."""


def driver(workspace: Workspace, environment: Environment, name: DriverName) -> Driver:
    """The driver of this name.

    Raises:
        DockerError: There is no Docker to ask.
    """
    folder = workspace.state / "environments" / environment
    if name == "docker":
        from mlrelease.deployment.containers import Containers

        return Containers(folder)
    from mlrelease.deployment.processes import Processes

    return Processes(folder, Git(workspace.root))  # stopping needs no repository


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold the lock of an environment's folder.

    Raises:
        RefusedError: Another deployment does, or it is a link.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_lock(folder / "deploy.lock")) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RefusedError(f"another `model deploy {folder.name}` is going on") from None
        yield


@contextmanager
def taking_over(port: int, own: Iterable[Service]) -> Iterator[None]:
    """Hold, while a service opens its public port, what others wait for who would open it too.
    For a switch services share a port, and calls are spread over all that do: so nobody but the
    services of the same environment, `own`, may listen there.

    Raises:
        RefusedError: Somebody else does.
    """
    with alone(Path(tempfile.gettempdir()) / f"model-{os.getuid()}"):
        if _is_taken(port) and not any(service.may_listen(port) for service in own):
            raise RefusedError(
                f"port {port} cannot be taken over: something else listens there, such as a service"
                " of another environment or project; stop it, or set another `port` in policy.yaml"
            )
        yield


def _is_taken(port: int) -> bool:
    """Whether somebody listens there, who may share the port or not."""
    host = os.environ.get("MODEL_HOST") or "127.0.0.1"  # as the service reads it
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:  # what else is wrong, the service says
            return error.errno == errno.EADDRINUSE
    return False


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
