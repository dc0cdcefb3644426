"""Several processes share a port: one that dies is replaced, and all drain together."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlrelease.serving import app as serving_app
from tests.engine.scoring.swap import replace
from tests.engine.serving.callers import Callers
from tests.engine.serving.test_process import free_port, wait_for
from tests.engine.trained import Trained

pytestmark = pytest.mark.slow


class Started:
    """A parent with two workers, on a port of its own."""

    def __init__(self, trained: Trained, log: Path) -> None:
        self.port, self.log = free_port(), log
        command = [sys.executable, "-m", serving_app.__name__, "--version", "1", "--workers", "2"]
        command += ["--directory", str(trained.directory), "--port", str(self.port)]
        command += ["--digest", trained.digest] if trained.digest else []
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with log.open("wb") as stderr:
            self.process = subprocess.Popen(command, env=environment, stderr=stderr)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def pids(self) -> list[int]:
        return [line["process.pid"] for line in self.lines() if " runs in " in line["message"]]

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=5)


@contextlib.contextmanager
def serving(trained: Trained, folder: Path) -> Iterator[Started]:
    found = Started(trained, folder / "service.log")
    try:
        wait_for(lambda: len(found.pids()) == 2 or found.process.poll() is not None, 60)
        yield found
    finally:
        found.process.terminate()
        try:
            found.process.wait(30)
        finally:
            found.process.kill()


@pytest.fixture
def started(trained: Trained, tmp_path: Path) -> Iterator[Started]:
    with serving(trained, tmp_path) as found:
        yield found


def test_any_worker_shows_what_all_have_answered(started: Started, trained: Trained) -> None:
    url = f"http://127.0.0.1:{started.port}/predict"
    for _ in range(30):  # each on a connection of its own
        assert httpx.post(url, json=trained.rows[0], timeout=5).status_code == 200
    for _ in range(4):
        text = started.get("/metrics").text
        assert 'path="/predict",status="200"} 30.0' in text


def test_a_worker_that_is_killed_is_replaced(started: Started, trained: Trained) -> None:
    first, second = started.pids()
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: len(started.pids()) == 3, 60)
    told = next(line for line in started.lines() if line["log.level"] == "error")
    assert f"(process {first}) was ended by signal 9" in told["message"]
    assert started.process.poll() is None
    assert second in started.pids()
    assert started.get("/healthz").status_code == 200


def test_a_worker_that_is_replaced_serves_the_bytes_that_were_checked_at_the_start(
    trained: Trained, impostor: Trained, tmp_path: Path
) -> None:
    """Whoever can write to the model's folder waits for a worker to die, hours after the check."""
    directory = Path(shutil.copytree(trained.directory, tmp_path / "model"))
    with serving(Trained(directory, trained.digest, trained.rows), tmp_path) as found:
        url = f"http://127.0.0.1:{found.port}/predict"
        expected = httpx.post(url, json=trained.rows, timeout=30).json()
        first = found.pids()
        replace(directory, impostor.directory)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(found.pids()) == 4, 60)
        for _ in range(8):  # on a connection of its own each, so that both are asked
            answer = httpx.post(url, json=trained.rows, timeout=30)
            assert answer.headers["model-digest"] == trained.digest
            assert answer.json() == expected
        shutil.rmtree(directory)
        os.kill(found.pids()[-1], signal.SIGKILL)
        wait_for(lambda: len(found.pids()) == 5, 60)
        assert httpx.post(url, json=trained.rows, timeout=30).json() == expected


def test_all_drain_when_the_parent_is_told(started: Started, trained: Trained) -> None:
    with Callers(f"127.0.0.1:{started.port}", trained.rows[0]) as load:
        wait_for(lambda: len(load.answers) > 50)
        started.process.terminate()
        wait_for(lambda: started.process.poll() is not None, 30)
        load.stopped.set()
    assert started.process.returncode == 0
    assert set(load.answers) == {trained.digest}
    refused = {failure.partition("(")[0] for failure in load.failures}
    assert refused <= {"ConnectionRefusedError", "ConnectionResetError", "RemoteDisconnected"}
    for pid in started.pids():
        assert not Path(f"/proc/{pid}").exists()


def test_who_connects_while_all_drain_is_refused_at_once(started: Started) -> None:
    address = ("127.0.0.1", started.port)
    with socket.create_connection(address):  # the drain waits for its request
        time.sleep(0.1)
        started.process.terminate()
        time.sleep(0.5)
        assert started.process.poll() is None
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
    assert started.process.wait(30) == 0


def test_workers_end_when_their_parent_is_killed(started: Started) -> None:
    pids = started.pids()
    started.process.kill()
    started.process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 30)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", started.port))


def test_a_model_that_cannot_be_served_ends_all_with_its_code(
    trained: Trained, tmp_path: Path
) -> None:
    broken = tmp_path / "model"
    shutil.copytree(trained.directory, broken)
    (broken / "model.onnx").write_bytes(b"no graph")
    found = Started(Trained(broken, "", []), tmp_path / "service.log")
    assert found.process.wait(60) == 2
    assert "model.onnx" in found.lines()[-1]["message"]


def test_connections_are_spread_over_the_workers(started: Started, trained: Trained) -> None:
    """Not evenly; but neither is idle."""
    stop = time.monotonic() + 2

    def call() -> None:
        with httpx.Client() as client:
            while time.monotonic() < stop:
                url = f"http://127.0.0.1:{started.port}/predict"
                client.post(url, json=trained.rows[0], timeout=5)

    threads = [threading.Thread(target=call) for _ in range(16)]
    ticks = {pid: _ticks(pid) for pid in started.pids()}
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(_ticks(pid) > before for pid, before in ticks.items())


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
