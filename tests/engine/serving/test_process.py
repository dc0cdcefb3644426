"""A switch-over loses no request, and a process that dies takes its lock with it."""

import asyncio
import contextlib
import fcntl
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlrelease import errors, files
from mlrelease.serving import app as serving_app, golden, prediction_log, process as serving_process
from tests.engine.serving.callers import Callers
from tests.engine.trained import Trained

Start = Callable[..., tuple[BaseProcess, dict[str, Any]]]


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
    return found


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def listening(port: int) -> dict[str, Any]:
    return dict(httpx.get(f"http://127.0.0.1:{port}/model").json()["listening"])


@pytest.fixture
def start(trained: Trained, tmp_path: Path, forks: ForkServerContext) -> Iterator[Start]:
    """Start real service processes."""
    started: list[BaseProcess] = []

    def run(name: str = "a", **options: Any) -> tuple[BaseProcess, dict[str, Any]]:
        file = tmp_path / f"{name}.json"
        options = {"version": "1", "port": 0, "process_file": file, **options}
        process = forks.Process(
            target=serving_app.serve, args=(trained.directory, trained.digest), kwargs=options
        )
        process.start()
        started.append(process)
        wait_for(lambda: file.exists() or not process.is_alive())
        return process, files.read_json(file) if file.exists() else {}

    yield run
    for process in started:
        process.kill()
        process.join()


def test_a_switch_between_two_processes_under_load_fails_no_request(
    start: Start, trained: Trained
) -> None:
    public = free_port()
    old, before = start("old", public_port=public)
    new, facts = start("new", public_port=public)
    os.kill(old.pid or 0, signal.SIGUSR1)
    wait_for(lambda: listening(before["port"])["public"] == public)
    with Callers(f"127.0.0.1:{public}", trained.rows[0]) as load:
        wait_for(lambda: len(load.answers) > 20)
        os.kill(new.pid or 0, signal.SIGUSR1)
        wait_for(lambda: listening(facts["port"])["public"] == public)
        old.terminate()
        old.join(10)
        answered = len(load.answers)
        wait_for(lambda: len(load.answers) > answered + 20)
    assert old.exitcode == 0
    assert load.failures == []
    assert set(load.answers) == {trained.digest}


def test_it_is_private_until_told(start: Start) -> None:
    public = free_port()
    process, facts = start(public_port=public)
    assert facts["pid"] == process.pid
    assert facts["public_port"] == public
    assert listening(facts["port"]) == {"private": facts["port"], "public": None, "error": None}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", public))
    os.kill(process.pid or 0, signal.SIGUSR1)
    wait_for(lambda: listening(facts["port"])["public"] == public)
    assert listening(public) == {"private": facts["port"], "public": public, "error": None}


def test_kill_9_releases_the_lock_and_until_then_nobody_else_gets_it(
    start: Start, tmp_path: Path
) -> None:
    process, _ = start("a")
    refused, _ = start("b", process_file=tmp_path / "a.json")
    refused.join(10)
    assert refused.exitcode == 1
    with pytest.raises(errors.RefusedError, match="living process"):
        serving_process.lock(tmp_path / "a.json")
    process.kill()
    process.join()
    os.close(serving_process.lock(tmp_path / "a.json"))
    assert not (tmp_path / "a.json").exists()


def test_a_lock_file_that_is_tidied_away_before_it_is_locked_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flock = tmp_path / "a.lock", fcntl.flock
    others = iter([path.unlink])  # somebody comes between, once

    def late(file: int, operation: int) -> None:
        next(others, lambda: None)()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    file = serving_process.lock(tmp_path / "a.json")
    assert os.path.samestat(os.fstat(file), path.stat())
    os.close(file)


def test_a_request_under_way_is_finished_before_the_process_ends(
    start: Start, trained: Trained
) -> None:
    process, facts = start()
    body = json.dumps(trained.rows[0]).encode()
    with socket.create_connection(("127.0.0.1", facts["port"]), timeout=5) as caller:
        head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
        caller.sendall(head.encode() + body[:100])
        time.sleep(0.1)
        process.terminate()
        time.sleep(0.3)
        assert process.is_alive()
        caller.sendall(body[100:])
        answer = b"".join(iter(lambda: caller.recv(65536), b""))
    process.join(10)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer
    assert process.exitcode == 0


def test_a_body_of_50_mb_is_refused_and_takes_no_memory(start: Start) -> None:
    process, facts = start()
    status = Path(f"/proc/{process.pid}/status")
    before = _peak_memory(status)
    chunks = (b"[" * 65536 for _ in range(800))
    response = httpx.post(f"http://127.0.0.1:{facts['port']}/predict", content=chunks)
    assert response.status_code == 413
    assert _peak_memory(status) - before < 25_000_000
    assert httpx.get(f"http://127.0.0.1:{facts['port']}/healthz").status_code == 200


def _peak_memory(status: Path) -> int:
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


class Thread:
    """A server in a thread of the test, for what needs no process of its own."""

    def __init__(self, public: int = 0, app: Any = None) -> None:
        self.listening: dict[str, Any] = {"public": None, "error": None}
        self.started = threading.Event()
        self.private = serving_process.listen("127.0.0.1", 0)
        self.server = serving_process.Server(
            app or constant,
            self.listening,
            self.begin,
            lambda: serving_process.listen("127.0.0.1", public, shared=True),
        )
        self.thread = threading.Thread(target=self.server.run, args=([self.private],))

    def begin(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.started.set()

    def __enter__(self) -> "Thread":
        self.thread.start()
        assert self.started.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(10)


async def constant(_scope: Any, _receive: Any, send: Any) -> None:
    """The smallest application: the drain is the server's business."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


def test_a_taken_public_port_is_shown_and_tried_again_at_the_next_signal() -> None:
    with contextlib.closing(serving_process.listen("127.0.0.1", 0)) as foreign:
        port = foreign.getsockname()[1]
        with Thread(port) as thread:
            thread.server.open_public()
            wait_for(lambda: thread.listening["error"])
            assert thread.listening["public"] is None
            assert f"127.0.0.1:{port}: Address already in use" in thread.listening["error"]
            foreign.close()
            thread.server.open_public()
            wait_for(lambda: thread.listening["public"] == port)
            assert thread.listening["error"] is None


def test_another_signal_adds_no_other_listener() -> None:
    with Thread(free_port()) as thread:
        for _ in range(2):
            thread.server.open_public()
            wait_for(lambda: not thread.server.public_wanted and thread.listening["public"])
        assert len(thread.server.servers) == 2


def test_an_idle_connection_may_still_ask_once_while_the_server_drains() -> None:
    port = free_port()
    with Thread(port) as thread:
        thread.server.open_public()
        wait_for(lambda: thread.listening["public"])
        caller = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        caller.request("GET", "/")
        first = caller.getresponse()
        first.read()
        assert first.getheader("connection") is None
        thread.server.should_exit = True
        wait_for(lambda: _refused(port))
        caller.request("GET", "/")
        assert caller.getresponse().getheader("connection") == "close"
        caller.close()


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere connections cannot be steered")
@pytest.mark.parametrize("first_leaves", [True, False])
def test_a_listener_that_leaves_sends_new_connections_to_the_other(first_leaves: bool) -> None:
    port = free_port()
    with Thread(port) as first, Thread(port) as second:
        for thread in (first, second):
            thread.server.open_public()
            wait_for(lambda thread=thread: thread.listening["public"])  # type: ignore[misc]
        leaving, staying = (first, second) if first_leaves else (second, first)
        assert leaving.server.public
        steering = leaving.server._hand_over(leaving.server.public)
        asyncio.run_coroutine_threadsafe(steering, leaving.loop).result(5)
        with contextlib.ExitStack() as callers:
            for _ in range(30):
                callers.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            wait_for(lambda: len(staying.server.server_state.connections) == 30)
            assert not leaving.server.server_state.connections


@pytest.mark.parametrize(("host", "words"), [("127.0.0.1", "in use"), ("no.such.host.invalid", "")])
def test_a_port_that_cannot_be_had_is_one_clear_line(host: str, words: str) -> None:
    with (
        contextlib.closing(serving_process.listen("127.0.0.1", 0)) as taken,
        pytest.raises(errors.InputError, match=f"cannot listen on {host}:.*{words}"),
    ):
        serving_process.listen(host, taken.getsockname()[1])


@pytest.mark.slow
def test_the_entry_that_deployments_start_serves_and_ends_with_0(
    trained: Trained, tmp_path: Path
) -> None:
    file, log, port = tmp_path / "p.json", tmp_path / "log.jsonl", free_port()
    command = [sys.executable, "-m", serving_app.__name__, "--directory", str(trained.directory)]
    command += ["--digest", trained.digest, "--version", "1", "--port", "0"]
    command += ["--public-port", str(port), "--process-file", str(file), "--log", str(log)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(command, env=environment) as process:
        try:
            wait_for(lambda: file.exists() or process.poll() is not None, 60)
            url = f"http://127.0.0.1:{files.read_json(file)['port']}"
            expected = files.read_json(trained.directory / "golden.json")
            assert golden.check(url, expected, trained.digest) == []
            assert not log.exists()  # checks on the private port are no traffic
            process.send_signal(signal.SIGUSR1)
            public = f"http://127.0.0.1:{port}"
            wait_for(lambda: not golden.check(public, expected, trained.digest), 20)
            process.terminate()
            assert process.wait(20) == 0
            assert len(prediction_log.read(log)) == 2 * len(expected)
        finally:
            process.kill()
