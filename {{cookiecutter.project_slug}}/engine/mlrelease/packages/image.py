"""The container image of a candidate: built from its source commit, tried, and pushed by digest."""

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

from mlrelease.errors import RefusedError
from mlrelease.files import last_words
from mlrelease.packages.docker_cli import bridge, docker, logged_in
from mlrelease.records.git import Git
from mlrelease.records.record import Provenance
from mlrelease.scoring.artifact import read_card
from mlrelease.scoring.contents import Contents
from mlrelease.serving import golden
from mlrelease.storage.registry import Registry

SOURCES = (
    *(".dockerignore", ".python-version", "Dockerfile"),
    *("LICENSE", "README.md", "pyproject.toml", "src"),
)
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
STATE = "{{.State.Status}} {{.State.Health.Status}}"
MODEL_LABEL, COMMIT_LABEL = "model.digest", "org.opencontainers.image.revision"
BUILD_SECONDS, PUSH_SECONDS, HEALTHY_SECONDS = 1800, 900, 90
USER, LOG, MODELS = "65532:65532", "/log", "/models"  # as in the Dockerfile
PIDS, MEMORY = 256, "2g"
LIMITS = (
    *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"),  # noqa: S108 - in the container
    *("--security-opt", "no-new-privileges", "--pids-limit", str(PIDS), "--memory", MEMORY),
)


def build(
    root: Path, model: Contents, provenance: Provenance, base_image: str | None = None
) -> str:
    """Build the image of a model from its source commit; the image's id.

    Dockerfile and code are those of the commit, not those of the work tree. BASE_IMAGE in the
    environment stands in for python:<version>-slim, as `base_image` does.

    Raises:
        DockerError: It does not build; the message is the line that says why.
    """
    with tempfile.TemporaryDirectory(prefix="image-") as name:
        context = Path(name)
        sources = context / "sources.tar"
        commit = provenance.source.commit
        git = Git(root)
        names = [*SOURCES, "engine"] if git.tree(commit, "engine") else SOURCES
        sources.write_bytes(git.output("archive", "--format=tar", commit, "--", *names))
        shutil.unpack_archive(sources, context, filter="data")
        sources.unlink()
        model.write(context / "candidate" / "model")
        python = (context / ".python-version").read_text().strip()
        arguments = {"PYTHON": python, "MODEL_DIGEST": provenance.model}
        arguments["MODEL_VERSION"] = provenance.version
        arguments["RUNTIME"] = read_card(model).runtime
        if base := base_image or os.environ.get("BASE_IMAGE"):
            arguments["BASE_IMAGE"] = base
        options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        labels = _labels(context / "pyproject.toml", provenance)
        options += [f"--label={key}={value}" for key, value in labels.items()]
        if (bridge() or {}).get(MASQUERADE) != "true":
            options.append("--network=host")  # no other leads to a package index
        # A plain log; and one manifest, where newer Dockers would push a list with a statement.
        plain = {"BUILDKIT_PROGRESS": "plain", "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
        found = context.with_suffix(".id")
        try:
            options.append(f"--iidfile={found}")
            docker("build", *options, str(context), seconds=BUILD_SECONDS, variables=plain)
            return found.read_text().strip()
        finally:
            found.unlink(missing_ok=True)


def smoke_test(reference: str, requests: list[dict[str, Any]], digest: str) -> None:
    """Run an image as production would, and ask the golden requests. It gets no variable of this
    process and no file of this machine, so no token either.

    Raises:
        RefusedError: It does not start, or does not answer as the model did when it was trained.
    """
    publish = ["--publish", "127.0.0.1::8000"]
    if bridge() is None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        publish = ["--network", "host", "--env", f"MODEL_PORT={port}"]
        publish += ["--env", "MODEL_HOST=127.0.0.1"]
    container = docker(
        "run", "--detach", *LIMITS, "--health-interval=1s", *publish, reference,
    )  # fmt: skip
    try:
        _wait_until_healthy(container)
        if publish[0] == "--publish":
            port = int(docker("port", container, "8000/tcp").splitlines()[0].rpartition(":")[2])
        if faults := golden.check(f"http://127.0.0.1:{port}", requests, digest):
            raise RefusedError(f"the image does not answer as its model did: {faults[0]}")
    finally:
        docker("rm", "--force", "--volumes", container)


def push(image: str, repository: Registry, tag: str) -> str:
    """Push an image; its reference by digest, as the registry has it.

    Raises:
        DockerError: The registry or Docker refused.
        RefusedError: The tag names another image afterwards: somebody else pushed, too.
    """
    docker("tag", image, f"{repository}:{tag}")
    with logged_in(repository.host) as variables:
        pushed = ("push", "--quiet", f"{repository}:{tag}")
        docker(*pushed, seconds=PUSH_SECONDS, variables=variables)
    reference = f"{repository}@{repository.digest(tag, write=True)}"
    known = json.loads(docker("inspect", "--format", "{{json .RepoDigests}}", image))
    if reference not in known:
        raise RefusedError(f"{repository}:{tag} is {reference} now, not what was pushed; try again")
    return reference


def published(provenance: Provenance, repository: Registry) -> str | None:
    """The image of a candidate that an earlier run pushed, brought here; by digest, if any.

    Raises:
        RefusedError: The tag names an image of something else.
    """
    digest = repository.digest(tag(provenance), write=True)
    if digest is None:
        return None
    reference = f"{repository}@{digest}"
    with logged_in(repository.host) as variables:
        docker("pull", "--quiet", reference, seconds=PUSH_SECONDS, variables=variables)
    labels = json.loads(docker("inspect", "--format", "{{json .Config.Labels}}", reference)) or {}
    found = (labels.get(MODEL_LABEL), labels.get(COMMIT_LABEL))
    if found != (provenance.model, provenance.source.commit):
        raise RefusedError(
            f"{repository}:{tag(provenance)} holds model {found[0]} of commit {found[1]}, expected"
            f" {provenance.model} of {provenance.source.commit}; delete that tag"
        )
    return reference


def tag(provenance: Provenance) -> str:
    """One tag for each image that a record may name, so that no tidying up deletes it."""
    model, commit = provenance.model.removeprefix("sha256:"), provenance.source.commit
    return f"image-{model[:12]}-{commit[:12]}"


def _wait_until_healthy(container: str) -> None:
    end = time.monotonic() + HEALTHY_SECONDS
    state = ""
    while time.monotonic() < end:
        state = docker("inspect", "--format", STATE, container)
        if state == "running healthy":
            return
        if not state.startswith(("created", "running")) or state.endswith("unhealthy"):
            break
        time.sleep(0.2)
    last = last_words(docker("logs", "--tail", "5", container, errors=subprocess.STDOUT))
    raise RefusedError(f"the image does not get healthy ({state.strip()}): {last}")


def _labels(pyproject: Path, provenance: Provenance) -> dict[str, str]:
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    server, repository = (os.environ.get(f"GITHUB_{x}") for x in ("SERVER_URL", "REPOSITORY"))
    source = project.get("urls", {}).get("Repository", "")
    standard = {
        "title": project["name"],
        "description": project.get("description", ""),
        "version": provenance.version,
        "licenses": str(project.get("license", "")),
        "source": f"{server}/{repository}" if server and repository else source,
    }
    named = {f"org.opencontainers.image.{key}": value for key, value in standard.items()}
    return named | {MODEL_LABEL: provenance.model, COMMIT_LABEL: provenance.source.commit}
