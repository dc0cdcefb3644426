"""The load generator: keep-alive connections, each with one request under way.

    PYTHON load.py < job.json > result.json        # PYTHON has uvloop and httptools

A job: `port`, `path`, `bodies` (sent in turn), `connections`, and `seconds` after `warmup` seconds,
or `once` to send each body one time. The result has the rate, latencies in milliseconds, the first
answer to each body, how many later answers to it differed, and how many requests were answered,
those of the warm-up included.
"""

import asyncio
import json
import sys
import time
from typing import Any

import httptools
import uvloop

PATIENCE = 60.0  # seconds for all of `once`, or for answers enough
ENOUGH = 40  # a server that is slower is waited for


class Load:
    """What all connections share."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.requests = [
            f"POST {job['path']} HTTP/1.1\r\nhost: 127.0.0.1:{job['port']}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body.encode())}\r\n\r\n"
            f"{body}".encode()
            for body in job["bodies"]
        ]
        self.port = job["port"]
        self.answers: list[bytes | None] = [None] * len(self.requests)
        self.once = job.get("once", False)
        self.next = self.answered = self.failed = self.changed = 0
        self.latencies: list[float] = []
        self.failure = ""
        self.done = asyncio.get_running_loop().create_future()
        self.over = False

    def place(self) -> int | None:
        """Which request is next, if any."""
        if self.over or (self.once and self.next == len(self.requests)):
            return None
        place, self.next = self.next % len(self.requests), self.next + 1
        return place

    def end(self) -> None:
        """Send nothing more."""
        self.over = True
        if not self.done.done():
            self.done.set_result(None)

    def fail(self, why: str) -> None:
        """Count what was no answer, and keep the first reason; a server that fails only is left."""
        self.failed += 1
        self.failure = self.failure or why
        if self.failed > 100:
            self.end()


class Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last one is complete."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.parser = httptools.HttpResponseParser(self)
        self.body = b""
        self.waiting: int | None = None

    def connection_made(self, transport: Any) -> None:
        """Ask at once."""
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        """Send the next request, or close when there is none."""
        self.waiting = self.load.place()
        if self.waiting is None:
            self.transport.close()
            if self.load.once:
                self.load.end()
            return
        self.body = b""
        self.start = time.perf_counter()
        self.transport.write(self.load.requests[self.waiting])

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        """Bytes of its body."""
        self.body += body

    def on_message_complete(self) -> None:
        """Count it, compare it, ask the next."""
        load, place = self.load, self.waiting
        load.latencies.append(time.perf_counter() - self.start)
        if self.parser.get_status_code() != 200:
            load.fail(f"{self.parser.get_status_code()}: {self.body[:300]!r}")
        else:
            load.answered += 1
            if load.answers[place] is None:
                load.answers[place] = self.body
            elif load.answers[place] != self.body:
                load.changed += 1
        self.ask()

    def connection_lost(self, _: Exception | None) -> None:
        """A server that closes in the middle is counted, and the run goes on if another can."""
        if self.waiting is not None and not self.load.over:
            self.load.fail("the server closed the connection")
            self.again = asyncio.ensure_future(connect(self.load))


async def connect(load: Load) -> None:
    """One more connection."""
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(lambda: Connection(load), "127.0.0.1", load.port)
    except OSError as error:
        load.fail(f"cannot connect: {error}")
        load.end()


async def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do the job."""
    load = Load(job)
    await asyncio.gather(*(connect(load) for _ in range(job["connections"])))
    seconds = 0.0
    if load.once:
        await asyncio.wait_for(load.done, PATIENCE)
    else:
        await asyncio.wait([load.done], timeout=job["warmup"])
        load.latencies.clear()
        start = time.perf_counter()
        await asyncio.wait([load.done], timeout=job["seconds"])
        while len(load.latencies) < ENOUGH and time.perf_counter() - start < PATIENCE:
            await asyncio.wait([load.done], timeout=0.1)
            if load.over:
                break
        seconds = time.perf_counter() - start
    load.end()
    times = sorted(load.latencies)
    if not times:
        sys.exit(f"no answer in time; {load.failure}")
    return {
        "answered": load.answered,
        "rate": len(times) / seconds if seconds else None,
        "p50": 1000 * times[len(times) // 2],
        "p99": 1000 * times[min(len(times) - 1, int(0.99 * len(times)))],
        "failed": load.failed,
        "failure": load.failure,
        "changed": load.changed,
        "answers": [answer and answer.decode() for answer in load.answers],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(run(json.load(sys.stdin)))))
