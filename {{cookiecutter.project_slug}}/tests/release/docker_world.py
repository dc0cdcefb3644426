"""A repository whose production ran two models in containers, and callers who never stop."""

import http.client
import json
import threading
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
    history,
    package,
    promote,
    record,
    sandbox,
    train,
    workspace,
)
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
        here = self.here
        found = history.live(history.history(here.git, here.git.base(), "production"))
        assert found
        return found

    def release(self, changes: dict[str, Any]) -> None:
        """Train, build an image, and merge its promotion."""
        content = yaml.safe_load((self.here.root / "params.yaml").read_text()) | changes
        self.scene.commit("params.yaml", yaml.safe_dump(content))
        train.train(self.here.params, self.here.root, self.here.candidate)
        package.package(self.here, image=self.server.name)
        branch = promote.promote(self.here, "production", now=self.scene.clock).pull_request.branch
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


class Load:
    """Callers that keep their connections, and callers that make a new one for each request."""

    def __init__(self, url: str | None, row: dict[str, Any]) -> None:
        self.host, self.body = str(url).removeprefix("http://"), json.dumps(row)
        self.failures: list[str] = []
        self.digests: list[str] = []
        self.stopped = threading.Event()
        self.threads = [threading.Thread(target=self.call, args=[keep]) for keep in (1, 0, 0)]

    def call(self, keep: int) -> None:
        connection = http.client.HTTPConnection(self.host, timeout=30)
        while not self.stopped.is_set():
            try:
                connection.request("POST", "/predict", self.body)
                response = connection.getresponse()
                response.read()
                self.digests.append(str(response.headers["model-digest"]))
                if response.status != 200:
                    self.failures.append(str(response.status))
            except OSError as error:
                self.failures.append(repr(error))
                connection.close()
            if not keep:
                connection.close()
            time.sleep(0.005)
        connection.close()

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join()


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def load(world: World, done: deploy.Deployment) -> Load:
    requests = files.read_json(world.here.store.fetch(str(done.model)) / "golden.json")
    return Load(done.url, requests[0]["row"])
