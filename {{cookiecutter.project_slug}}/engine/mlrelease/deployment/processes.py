"""The processes that serve one environment on this machine, found by the locks that they hold."""

import fcntl
import functools
import os
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlrelease.deployment.drivers import (
    START_SECONDS,
    STOP_SECONDS,
    Service,
    exclusive,
    free_port,
    taking_over,
)
from mlrelease.errors import ModelError, RefusedError
from mlrelease.files import last_words, read_json, write_atomically
from mlrelease.records.git import Git

if TYPE_CHECKING:
    from mlrelease.records.record import Record


@dataclass(frozen=True)
class Process(Service):
    """A living service, which runs the code of the commit that its model comes from."""

    pid: int
    file: Path

    def serves(self, record: "Record") -> bool:
        """Also other code is something new. The name of its file says which it runs."""
        return super().serves(record) and self.file.stem.endswith(f"-{record.source.commit}")


class Processes:
    """Those of one environment, by the files in its folder. `git` has the code that they run."""

    def __init__(self, folder: Path, git: Git) -> None:
        self.folder, self.git = folder.absolute(), git
        self.exclusive = functools.partial(exclusive, folder)

    def recover(self) -> None:
        """Nothing: only `start` starts a process."""

    def running(self) -> tuple[Process, ...]:
        """Living processes that listen; the files of dead ones are removed."""
        found = []
        for lock in sorted(self.folder.glob("process-*.lock")):
            path = lock.with_suffix(".json")
            if _lives(path) and path.exists():  # else it is still starting
                found.append(_process(path))
        return tuple(found)

    def start(self, record: "Record", directory: Path, public_port: int) -> Process:
        from mlrelease.programs.own_code import prepare

        self.folder.mkdir(parents=True, exist_ok=True)
        program = prepare(self.git, record, self.folder.parent)
        path = self.folder / f"process-{time.time_ns()}-{record.source.commit}.json"
        with (self.folder / "service.log").open("ab") as log:
            child = subprocess.Popen(
                [
                    str(program.python), "-m", f"{program.engine}.serving.app",
                    "--directory", str(directory.absolute()), "--digest", record.model,
                    "--version", record.version,
                    "--port", "0", "--public-port", str(public_port),
                    "--process-file", str(path), "--log", str(self.folder / "predictions.jsonl"),
                ],
                cwd=self.folder, env=program.environment(),  # neither needs the work tree
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
        said = last_words((self.folder / "service.log").read_text(errors="replace"))
        raise RefusedError(f"the service did not start: {said}")

    def take_over(self, process: Process, public_port: int) -> None:
        with taking_over(public_port, self.running()):
            os.kill(process.pid, signal.SIGUSR1)
            process.wait_until_public(public_port)

    def keep(self, process: Process) -> None:
        """Nothing: only `start` starts a process."""

    def stop(self, process: Process) -> None:
        for name in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + STOP_SECONDS
            if _lives(process.file):
                with suppress(ProcessLookupError):
                    os.kill(process.pid, name)
            while _lives(process.file) and time.monotonic() < deadline:
                time.sleep(0.02)

    def public_port(self, wanted: int) -> int:
        path = self.folder / "port.json"  # kept: policy.yaml may be unreadable tomorrow
        if not path.exists() or (wanted and path.read_text() != str(wanted)):
            write_atomically(path, str(wanted or free_port()))
        port = read_json(path)
        if not isinstance(port, int):
            raise ModelError(f"{path}: holds no port; remove it")
        return port


def _process(path: Path) -> Process:
    facts = read_json(path)
    return Process(facts["port"], facts["digest"], facts["pid"], path)


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
