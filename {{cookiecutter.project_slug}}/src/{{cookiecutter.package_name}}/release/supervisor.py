"""The processes that serve one environment on this machine, found by the locks that they hold."""

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from ..errors import ModelError, RefusedError
from ..files import read_json, write_atomically

START_SECONDS = 60.0
STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Process:
    """A living service: its private address for checks, and the public one once it took over."""

    pid: int
    port: int
    digest: str
    file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def facts(self) -> dict[str, Any]:
        """What `/model` says; empty when it does not answer."""
        try:
            answer = httpx.get(f"{self.url}/model", timeout=5, trust_env=False)
            return dict(answer.json()) if answer.status_code == 200 else {}
        except (httpx.HTTPError, ValueError):
            return {}

    def public_port(self) -> int | None:
        """The public port that it listens on."""
        found = self.facts().get("listening", {}).get("public")
        return found if isinstance(found, int) else None


class Processes:
    """Those of one environment, by the files in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One deployment of an environment at a time.

        Raises:
            RefusedError: Another one is going on.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "deploy.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RefusedError(
                    f"another `model deploy {self.folder.name}` is going on"
                ) from None
            yield

    def running(self) -> tuple[Process, ...]:
        """Living processes that listen; the files of dead ones are removed."""
        found = []
        for lock in sorted(self.folder.glob("process-*.lock")):
            path = lock.with_suffix(".json")
            if _lives(path) and path.exists():  # else it is still starting
                found.append(_process(path))
        return tuple(found)

    def start(self, directory: Path, digest: str, version: str, public_port: int) -> Process:
        """Start a service on a private port and wait until it listens there.

        Raises:
            RefusedError: It ended, or did not listen in time; the message is its last line.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"process-{time.time_ns()}.json"
        with (self.folder / "service.log").open("ab") as log:
            child = subprocess.Popen(
                [
                    sys.executable, "-m", f"{__package__.split('.')[0]}.serving.app",
                    "--directory", str(directory), "--digest", digest, "--version", version,
                    "--port", "0", "--public-port", str(public_port),
                    "--process-file", str(path), "--log", str(self.folder / "predictions.jsonl"),
                ],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and child.poll() is None:
            if path.exists():
                return _process(path)
            time.sleep(0.02)
        child.kill()
        child.wait()
        _lives(path)
        raise RefusedError(f"the service did not start: {_last_line(self.folder / 'service.log')}")

    def take_over(self, process: Process, public_port: int) -> None:
        """Let a process listen on the public port as well.

        Raises:
            RefusedError: It cannot; for example because another program has the port.
        """
        os.kill(process.pid, signal.SIGUSR1)
        deadline = time.monotonic() + STOP_SECONDS
        listening: dict[str, Any] = {}
        while time.monotonic() < deadline:
            listening = process.facts().get("listening", {})
            if listening.get("public") == public_port:
                return
            if listening.get("error"):
                break
            time.sleep(0.02)
        why = listening.get("error") or "it did not answer"
        raise RefusedError(f"port {public_port} cannot be taken over: {why}")

    def stop(self, process: Process) -> None:
        """Let a process finish what it accepted, then end; kill it when it does not."""
        for name in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + STOP_SECONDS
            if _lives(process.file):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, name)
            while _lives(process.file) and time.monotonic() < deadline:
                time.sleep(0.02)

    def public_port(self, wanted: int) -> int:
        """The port of the environment; 0 picks a free one once and remembers it."""
        if wanted:
            return wanted
        path = self.folder / "port.json"
        if not path.exists():
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                write_atomically(path, str(probe.getsockname()[1]))
        port = read_json(path)
        if not isinstance(port, int):
            raise ModelError(f"{path}: holds no port; remove it")
        return port


def _process(path: Path) -> Process:
    facts = read_json(path)
    return Process(facts["pid"], facts["port"], facts["digest"], path)


def _lives(path: Path) -> bool:
    """Whether the process that this file is about still holds its lock; a dead one's files go, and
    while nobody else can take the lock, so that a process that starts is never forgotten."""
    lock = path.with_suffix(".lock")
    try:
        with lock.open() as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
