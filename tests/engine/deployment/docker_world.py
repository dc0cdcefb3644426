"""A repository whose production ran two models in containers."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import yaml

from mlrelease import files, workspace
from mlrelease.deployment import containers as docker_driver, deploy
from mlrelease.packages import docker_cli as docker, package
from mlrelease.promotion import promote, rollback
from mlrelease.records import record
from mlrelease.rehearsal import sandbox
from mlrelease.training import train
from tests.engine.serving.callers import Callers
from tests.engine.storage.registry_server import Server


@dataclass
class World:
    """A repository whose production ran two models, each in an image of its own."""

    scene: sandbox.Sandbox
    server: Server

    @property
    def here(self) -> workspace.Workspace:
        return self.scene.here

    @property
    def named(self) -> record.Record:
        path = record.record_path("production")
        return record.Record.read(self.here.git.show(self.here.git.base(), path) or b"", path)

    def release(self, changes: dict[str, Any]) -> None:
        """Train, build an image, and merge its promotion."""
        content = yaml.safe_load((self.here.root / "params.yaml").read_text()) | changes
        self.scene.commit("params.yaml", yaml.safe_dump(content))
        train.train(self.here.params, self.here.root, self.here.candidate)
        package.package(self.here, image=self.server.name)
        branch = promote.promote(self.here, "production").pull_request.branch
        self.scene.merge(branch)
        self.scene.release("production")

    def flip(self) -> record.Record:
        """Release the other one: go back to it, or bring it back. Its image is pulled again."""
        ledger = self.here.ledger("production", self.here.git.base())
        other = next(e for e in reversed(ledger.entries) if e.model != self.named.model)
        if other in ledger.earlier():
            opened = rollback.rollback(self.here, "production", reason="Flip.")
        else:
            opened = promote.promote(self.here, "production", model=other.model, reason="Flip.")
        self.scene.merge(opened.pull_request.branch)
        wanted = self.named
        docker.docker("rmi", "--force", str(wanted.image))  # before an agent can be told of it
        self.scene.release("production")
        return wanted

    def deploy(self) -> deploy.Deployment:
        return deploy.deploy(self.here, "production", True, "docker")

    def driver(self) -> docker_driver.Containers:
        return docker_driver.Containers(self.here.state / "environments" / "production")

    def containers(self) -> tuple[docker_driver.Container, ...]:
        """Dead ones, too."""
        return self.driver().running()


def forget(repository: str) -> None:
    """Take this repository's names from the engine's images. Not the images by their ids: equal
    inputs give equal images, and another process of the tests may need them."""
    form = "{{.Repository}}:{{.Tag}} {{.Repository}}@{{.Digest}}"
    listed = docker.docker("images", "--digests", "--format", form, repository).split()
    if names := [name for name in listed if "<none>" not in name]:
        docker.docker("rmi", "--force", *names)


def remove(image: str) -> None:
    """Remove an image by its id, unless somebody needs it under a name."""
    with suppress(docker.DockerError):
        docker.docker("rmi", image)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def load(world: World, done: deploy.Deployment) -> Callers:
    requests = files.read_json(world.here.store.fetch(str(done.model)) / "golden.json")
    return Callers(str(done.url).removeprefix("http://"), requests[0]["row"])
