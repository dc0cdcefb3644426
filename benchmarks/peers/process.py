"""A server: started, asked until it answers, measured, and stopped with all its children."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS, STOP_SECONDS = 90.0, 15.0


class BenchmarkError(Exception):
    """Why something could not be measured; the message is one line."""


@dataclass(frozen=True)
class Running:
    """A server that answers; `seconds` from its start to its first answer."""

    pid: int
    port: int
    seconds: float

    def resident_mb(self) -> float:
        """What all its processes have in memory: of their own, and once the files they map."""
        own, files = [0], [0]
        for pid in family(self.pid):
            with contextlib.suppress(OSError, KeyError):  # it just ended
                lines = Path(f"/proc/{pid}/status").read_text().splitlines()
                kib = {
                    name: int(value.split()[0])
                    for name, _, value in (line.partition(":") for line in lines)
                    if name.startswith("Rss")
                }
                own.append(kib["RssAnon"])
                files.append(kib["RssFile"] + kib["RssShmem"])
        return (sum(own) + max(files)) * 1024 / 1e6


@contextlib.contextmanager
def running(
    command: list[str], port: int, env: Mapping[str, str], log: Path, path: str, body: str
) -> Iterator[Running]:
    """A server that has answered `body`; however the block is left, none of its processes stays.

    Raises:
        BenchmarkError: It ended, or gave no answer in time.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env=env, cwd=log.parent, stdin=subprocess.DEVNULL, stdout=stream,
            stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        while status(port, path, body) != 200:
            if process.poll() is not None or time.perf_counter() - start > START_SECONDS:
                words = " ".join(log.read_text(errors="replace").split())
                raise BenchmarkError(f"it did not start: {words[-300:] or 'without a word'}")
            time.sleep(0.002)
        yield Running(process.pid, port, time.perf_counter() - start)
    finally:
        stop(process)


def status(port: int, path: str, body: str) -> int | None:
    """The status that a POST is answered with; None: no answer."""
    content = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as connection:
            connection.sendall(head.encode() + content)
            return int(connection.recv(64).split(b" ")[1])
    except (OSError, IndexError, ValueError):
        return None


def stop(process: subprocess.Popen[Any]) -> None:
    """SIGTERM to the server; SIGKILL to what is left of its family after a while."""
    members = family(process.pid)  # also those that have a session of their own
    try:
        with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(STOP_SECONDS)
    finally:
        for pid, (_, started) in members.items():
            with contextlib.suppress(ProcessLookupError):
                if stat(pid)[1] == started:  # the pid is not another's by now
                    os.kill(pid, signal.SIGKILL)
        process.wait()


def family(pid: int) -> dict[int, tuple[int, int]]:
    """A process and all its descendants: what `stat` says of each."""
    everything = {int(p.name): stat(int(p.name)) for p in Path("/proc").glob("[0-9]*")}
    found = [pid]
    for member in found:
        found += [child for child, (parent, _) in everything.items() if parent == member]
    return {member: everything[member] for member in found if member in everything}


def stat(pid: int) -> tuple[int, int]:
    """A process' parent, and when it started, in ticks; zeros when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0
    return int(fields[1]), int(fields[19])


def watched(port: int) -> tuple[float, float]:
    """What the metrics of our service say: predictions answered, and rows missing in the log.

    Raises:
        BenchmarkError: They are not on.
    """
    address = f"http://127.0.0.1:{port}/metrics"
    try:
        with urllib.request.urlopen(address, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
    except OSError as error:
        raise BenchmarkError(f"/metrics: {error}") from None
    answered = dropped = 0.0
    for name, _, value in (line.rpartition(" ") for line in lines):
        if name.startswith("model_requests_total{") and '"/predict"' in name and '"200"' in name:
            answered += float(value)
        elif name.startswith("model_log_dropped_rows_total"):
            dropped += float(value)
    return answered, dropped


def free_port() -> int:
    """A port of this machine that nobody has at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def other_work(seconds: float = 0.5) -> float:
    """The share of all cores that is busy while nothing of ours runs."""

    def ticks() -> tuple[int, int]:
        first = Path("/proc/stat").read_text().splitlines()[0]
        times = [int(word) for word in first.split()[1:9]]
        return sum(times), times[3] + times[4]  # idle, and waiting for a disk

    total, idle = ticks()
    time.sleep(seconds)
    total_now, idle_now = ticks()
    return 1 - (idle_now - idle) / max(1, total_now - total)


def call(
    command: list[str],
    env: Mapping[str, str],
    limit: float,
    cwd: Path | None = None,
    given: str | None = None,
) -> str:
    """What a command prints; however this is left, none of its processes stays.

    Raises:
        BenchmarkError: It fails, or takes more than `limit` seconds.
    """
    name = " ".join(Path(word).name for word in command[:2])
    try:
        process = subprocess.Popen(
            command, env=env, cwd=cwd, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        raise BenchmarkError(f"{name}: {error}") from None
    try:
        output, errors = process.communicate(given, limit)
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{name}: did not end within {limit:.0f} s") from None
    finally:
        if process.poll() is None:
            stop(process)
    if process.returncode:
        raise BenchmarkError(f"{name}: {' '.join((errors or output).split())[-400:]}")
    return output


def ask(python: Path, env: Mapping[str, str], job: dict[str, Any]) -> dict[str, Any]:
    """Run the load generator.

    Raises:
        BenchmarkError: It failed, or requests did.
    """
    limit = job.get("seconds", 0) + job.get("warmup", 0) + 90
    script = str(Path(__file__).with_name("load.py"))
    output = call([str(python), script], env, limit, given=json.dumps(job))
    result: dict[str, Any] = json.loads(output)
    if result["failed"]:
        raise BenchmarkError(f"{result['failed']} requests failed, the first: {result['failure']}")
    return result
