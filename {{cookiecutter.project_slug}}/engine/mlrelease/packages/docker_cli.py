"""The `docker` command: errors on one line, and credentials that stay nowhere."""

import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mlrelease.errors import InputError, ModelError
from mlrelease.storage.connection import Credentials

# What says that a step failed, or which one, and not why.
GENERIC = (
    *("failed to solve", "returned a non-zero code", "did not complete successfully"),
    *("executor failed running", ">>>", "> ["),
)


class DockerError(ModelError):
    """Docker said no; the message is what it said."""


def docker(
    *command: str,
    seconds: float = 60,
    variables: Mapping[str, str] | None = None,
    errors: int = subprocess.PIPE,
) -> str:
    """Run docker and return what it printed; also its `errors`, when they go to STDOUT.

    Raises:
        InputError: It is not installed.
        DockerError: It failed.
    """
    try:
        done = subprocess.run(
            ["docker", *command],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
            env={**os.environ, **(variables or {})},
        )
    except FileNotFoundError:
        raise InputError("docker is not installed, or not on PATH; an image needs it") from None
    except subprocess.TimeoutExpired:
        raise DockerError(f"docker {command[0]}: not done after {seconds:g} s") from None
    if done.returncode:
        raise DockerError(f"docker {command[0]}: {_reason(done.stdout, done.stderr or '')}")
    return done.stdout.strip()


def _reason(*outputs: str) -> str:
    """The line that says why: the last that speaks of an error, and not of a failed step only."""
    text = "\n".join(outputs)
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    telling = [
        line
        for line in lines
        if ("error" in line.lower() or "×" in line) and not any(x in line for x in GENERIC)
    ]
    return (telling or lines or ["it printed nothing"])[-1][:300]


def bridge() -> dict[str, str] | None:
    """The options of the network that containers usually get; None where there is none.

    Raises:
        DockerError: There is no daemon to ask.
    """
    names = docker("network", "ls", "--filter", "driver=bridge", "--format", "{{.Name}}").split()
    if "bridge" not in names:
        return None
    options: dict[str, str] = json.loads(
        docker("network", "inspect", "bridge", "--format", "{{json .Options}}")
    )
    return options


@contextmanager
def logged_in(host: str) -> Iterator[dict[str, str]]:
    """Variables that give docker our credentials for a registry, for the time of the block; none
    where we have none, so that a person's own `docker login` holds."""
    found = Credentials.find(host)
    if found is None:
        yield {}
        return
    # The configuration that we replace may have said where the daemon is.
    daemon = docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    secret = base64.b64encode(f"{found.username}:{found.password}".encode()).decode()
    with tempfile.TemporaryDirectory(prefix="docker-") as folder:  # only its owner may look in
        content = json.dumps({"auths": {host: {"auth": secret}}})
        (Path(folder) / "config.json").write_text(content)
        yield {"DOCKER_CONFIG": folder, "DOCKER_HOST": daemon}
