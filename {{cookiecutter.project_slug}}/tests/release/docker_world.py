"""A repository whose production ran two models in containers."""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import yaml

from ..package import (
    deploy,
    docker,
    docker_driver,
    files,
    package,
    promote,
    record,
    sandbox,
    train,
    workspace,
)
from ..serving.callers import Callers
from .registry_server import Server


@dataclass
class World:
    """A repository whose production ran two models, each in an image of its own."""

    scene: sandbox.Sandbox
    server: Server
    commits: dict[str, str] = field(default_factory=dict)  # by model: what made main name it

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
        self.commits[self.named.model] = self.here.git.base()

    def flip(self) -> record.Record:
        """Let main name the other one, as a revert would; its image has to be pulled again."""
        (commit,) = [commit for model, commit in self.commits.items() if model != self.named.model]
        self.scene.git("checkout", "--quiet", commit, "--", "deploy/production")
        self.scene.git("commit", "--quiet", "--all", "--message", "Flip")
        path = self.here.root / record.record_path("production")
        wanted = record.Record.read(path.read_bytes(), path.name)
        docker.docker("rmi", "--force", str(wanted.image))  # before an agent can be told of it
        self.scene.git("push", "--quiet", "origin", "main")
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
