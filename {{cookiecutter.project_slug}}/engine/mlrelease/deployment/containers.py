"""The containers that serve one environment on this machine, found by their labels.

They share the host's network, so that two can listen on the public port during a switch, exactly as
two processes do (serving/process.py): one signal opens the port, and SIGTERM hands it over. Which
one passed its test is told by its restart policy: Docker starts those, and only those, again.
"""

import functools
import hashlib
import os
import secrets
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound
from docker.models.containers import Container as Engine
from docker.types import LogConfig
from requests.exceptions import RequestException

from mlrelease.deployment.drivers import (
    START_SECONDS,
    STOP_SECONDS,
    Service,
    exclusive,
    free_port,
    taking_over,
)
from mlrelease.errors import RefusedError
from mlrelease.files import last_words
from mlrelease.packages.docker_cli import DockerError
from mlrelease.packages.image import COMMIT_LABEL, LOG, MEMORY, MODEL_LABEL, MODELS, PIDS, USER
from mlrelease.programs.variables import SERVICE
from mlrelease.records.record import Record
from mlrelease.scoring.contents import digest_of
from mlrelease.storage import archive
from mlrelease.storage.connection import Credentials

# The folder of the environment, the image, and the ports.
OWNER, IMAGE, PORT, PUBLIC = (f"model.deployment{x}" for x in ("", ".image", ".port", ".public"))
# The restart policy of what passed its test. Not `unless-stopped`: to Docker any signal is a stop.
PASSED = "always"
LOG_LIMITS = {"max-size": "10m", "max-file": "3"}  # Docker itself sets none


@dataclass(frozen=True)
class Container(Service):
    """A container, by what its labels say. `passed`: it was let through to the public port."""

    image: str
    public: int
    passed: bool
    engine: Engine

    @classmethod
    def of(cls, engine: Engine) -> "Container":
        said = engine.labels
        policy = engine.attrs["HostConfig"]["RestartPolicy"]["Name"]
        numbers = (int(said[PORT]), int(said[PUBLIC]))
        return cls(numbers[0], said[MODEL_LABEL], said[IMAGE], numbers[1], policy == PASSED, engine)

    def serves(self, record: Record) -> bool:
        """Also a patched runtime is something new: another image around the same model."""
        return (self.digest, self.image) == (record.model, record.image)


@contextmanager
def _one_line() -> Iterator[None]:
    """What Docker says, as an error of ours."""
    try:
        yield
    except (DockerException, RequestException) as error:
        said = getattr(error, "explanation", None) or error
        raise DockerError(f"docker: {' '.join(str(said).split())[:300]}") from None


class Containers:
    """Those that were started for one folder, that of an environment on this machine.

    Raises:
        DockerError: There is no daemon to ask.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.owner = folder, str(folder.resolve())
        number = hashlib.sha256(self.owner.encode()).hexdigest()[:8]
        self.name = f"model-{folder.name}-{number}"  # also of the volume with the prediction log
        try:
            self.client = docker.from_env()
        except DockerException:
            where = os.environ.get("DOCKER_HOST", "its usual socket")
            raise DockerError(f"docker: no engine answers at {where}; is it running?") from None
        self.exclusive = functools.partial(exclusive, folder)

    @_one_line()
    def recover(self) -> None:
        for container in self.running():
            if container.passed:
                self._open_again(container)

    @_one_line()
    def running(self) -> tuple[Container, ...]:
        """Also those that ended: of a deployment that was killed, or somebody stopped them."""
        wanted = {"label": f"{OWNER}={self.owner}"}
        found = self.client.containers.list(all=True, filters=wanted, ignore_removed=True)
        return tuple(Container.of(engine) for engine in found)

    @_one_line()
    def public_port(self, wanted: int) -> int:
        return wanted or next((c.public for c in self.running()), 0) or free_port()

    @_one_line()
    def start(self, record: Record, directory: Path, public_port: int) -> Container:  # noqa: ARG002
        image, port = self._image(record), free_port()
        settings = {
            "MODEL_DIGEST": record.model,
            "MODEL_VERSION": record.version,
            "MODEL_HOST": "127.0.0.1",
            "MODEL_PORT": str(port),
            "MODEL_PUBLIC_PORT": str(public_port),
            "MODEL_LOG": f"{LOG}/predictions.jsonl",
        } | {name: os.environ[name] for name in SERVICE if os.environ.get(name)}
        labels = {OWNER: self.owner, IMAGE: record.image, PORT: str(port), PUBLIC: str(public_port)}
        engine = self.client.containers.create(
            image,
            name=f"{self.name}-{secrets.token_hex(3)}",
            labels=labels,
            environment=settings,
            network_mode="host",
            stop_signal="SIGTERM",  # left out, Docker starts nothing again that ever got a signal
            user=USER,
            read_only=True,
            tmpfs={"/tmp": ""},  # noqa: S108 - in the container
            volumes={self.name: {"bind": LOG, "mode": "rw"}},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            pids_limit=PIDS,
            mem_limit=MEMORY,
            log_config=LogConfig(type=LogConfig.types.JSON, config=LOG_LIMITS),
        )
        try:
            self._check_model(engine, record)
        except RefusedError:
            engine.remove(force=True)
            raise
        engine.start()
        container = Container.of(engine)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            engine.reload()
            if engine.status != "running":
                break
            if container.facts().get("digest") == record.model:
                return container
            time.sleep(0.05)
        said = last_words(engine.logs(tail=5).decode(errors="replace"))
        self._remove(container)
        raise RefusedError(f"the service did not start: {said}")

    @_one_line()
    def take_over(self, container: Container, public_port: int) -> None:
        with taking_over(public_port, self.running()):
            self.keep(container)
            container.engine.kill(signal=signal.SIGUSR1)
            container.wait_until_public(public_port)

    @_one_line()
    def keep(self, container: Container) -> None:
        if not container.passed:
            container.engine.update(restart_policy={"Name": PASSED})

    @_one_line()
    def stop(self, container: Container) -> None:
        with suppress(NotFound):
            # First, so that it is stopped for ever, whoever is killed now.
            container.engine.update(restart_policy={"Name": "no"})
            container.engine.stop(timeout=int(STOP_SECONDS))
        self._remove(container)

    def _remove(self, container: Container) -> None:
        with suppress(NotFound):
            container.engine.remove(force=True)

    def _open_again(self, container: Container) -> None:
        """Docker started it anew, after a crash or with the machine: it knows its private port."""
        deadline = time.monotonic() + STOP_SECONDS
        while not container.facts() and time.monotonic() < deadline:
            container.engine.reload()
            if container.engine.status not in ("running", "restarting"):
                return
            time.sleep(0.05)
        if container.public_port() is None:
            own = self.running()
            with suppress(RefusedError, APIError), taking_over(container.public, own):
                container.engine.kill(signal=signal.SIGUSR1)  # if it cannot, it will be replaced
                container.wait_until_public(container.public)

    def _image(self, record: Record) -> Any:
        """The record's image, by digest; one that says itself what the record says of it."""
        if record.image is None:
            raise RefusedError(
                f"{record.environment}: the record names no image; promote a candidate that was"
                " packaged with `model package --image NAME`, or use --driver process"
            )
        try:
            image = self.client.images.get(record.image)
        except ImageNotFound:
            self._pull(record.image)
            image = self.client.images.get(record.image)
        said = (image.labels.get(MODEL_LABEL), image.labels.get(COMMIT_LABEL))
        if said != (record.model, record.source.commit):
            raise RefusedError(
                f"{record.image} says that it holds model {said[0]} of commit {said[1]}; the record"
                f" names {record.model} of {record.source.commit}"
            )
        return image

    def _check_model(self, engine: Engine, record: Record) -> None:
        """See that the image holds the record's model: its labels are words of whoever built it."""
        with tempfile.TemporaryDirectory(prefix="image-") as name, tempfile.TemporaryFile() as tar:
            for chunk in engine.get_archive(MODELS)[0]:
                tar.write(chunk)
            tar.seek(0)
            content = Path(name) / "content"
            archive.unpack(tar, content, str(record.image), folders=True)
            found = digest_of(content / Path(MODELS).name)
        if found != record.model:
            raise RefusedError(f"{record.image} holds {found}, not {record.model}")

    def _pull(self, reference: str) -> None:
        name, _, digest = reference.partition("@")
        ours = Credentials.find(name.partition("/")[0])  # else what `docker login` left
        auth = {"username": ours.username, "password": ours.password} if ours else None
        for line in self.client.api.pull(
            name, tag=digest, stream=True, decode=True, auth_config=auth
        ):
            if "error" in line:
                raise DockerError(f"docker pull {reference}: {' '.join(line['error'].split())}")
