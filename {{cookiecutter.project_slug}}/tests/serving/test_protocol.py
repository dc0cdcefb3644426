"""What a caller may send ahead or leave unread is limited, before anybody asks for a token."""

import contextlib
import http.client
import socket
import time
from collections.abc import Iterable
from typing import Any

import pytest

from ..package import protocol, serving_process
from .test_process import Thread, constant, wait_for

ANSWER = b"x" * 20_000_000  # more than the sockets on both sides hold
START, END = b"GET / HTTP/1.1\r\nhost: x\r\n", b"\r\n"


@contextlib.contextmanager
def calling(thread: Thread, buffer: int = 65536) -> Any:
    with socket.socket() as caller:
        caller.settimeout(10)
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        caller.connect(thread.private.getsockname())
        yield caller


def answers(thread: Thread, *parts: bytes) -> bytes:
    """All that is answered to these parts, sent one after the other."""
    with calling(thread) as caller:
        for part in parts:
            caller.sendall(part)
            time.sleep(0.05)
        return b"".join(iter(lambda: caller.recv(65536), b""))


def refused_after(thread: Thread, parts: Iterable[bytes]) -> int:
    """How many bytes are taken until the connection ends."""
    sent = 0
    with calling(thread) as caller:
        try:
            for part in parts:
                caller.sendall(part)
                sent += len(part)
                time.sleep(0.001)
        except OSError:
            return sent
    raise AssertionError("it is never refused")


async def huge(_scope: Any, _receive: Any, send: Any) -> None:
    """An application whose answer leaves only as quickly as it is read."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": ANSWER})


@pytest.mark.parametrize(
    "head",
    [
        [START + b"".join(b"a%d: b\r\n" % n for n in range(400)), b"c: d\r\n" * 400 + END],
        [START + b"a: " + b"b" * 40_000 + b"\r\n", b"c: " + b"d" * 40_000 + b"\r\n" + END],
        [b"GET /" + b"x" * 40_000, b"x" * 40_000 + b" HTTP/1.1\r\nhost: x\r\n" + END],
    ],
    ids=["many headers", "long headers", "a long address"],
)
def test_a_head_that_is_too_large_is_refused(head: list[bytes]) -> None:
    with Thread() as thread:
        answer = answers(thread, *head)
    assert answer.startswith(b"HTTP/1.1 400")
    assert answer.endswith(b"the head of the request is too large")


@pytest.mark.parametrize(
    "start",
    [
        b"GET /",
        START + b"a: ",
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\na: ",
    ],
    ids=["an address", "a header", "a trailer"],
)
def test_what_never_ends_is_refused_before_it_takes_memory(start: bytes) -> None:
    with Thread() as thread:
        taken = refused_after(thread, [start, *[b"x" * 10_000] * 1000])
    assert taken < 1_000_000  # with what the sockets hold


def test_a_head_of_a_usual_size_is_read_in_any_parts() -> None:
    head = START + b"cookie: " + b"c" * 30_000 + b"\r\nconnection: close\r\n" + END
    parts = [head[at : at + 5000] for at in range(0, len(head), 5000)]
    with Thread() as thread:
        assert answers(thread, *parts).startswith(b"HTTP/1.1 204")


def test_a_large_body_is_no_head() -> None:
    async def reads(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await constant(scope, receive, send)

    with Thread(app=reads) as thread:
        connection = http.client.HTTPConnection("127.0.0.1", thread.private.getsockname()[1])
        for content in (b"x" * 3_000_000, (b"x" * 50_000 for _ in range(60))):
            connection.request("POST", "/", content)
            response = connection.getresponse()
            response.read()
            assert response.status == 204
        connection.close()


def test_a_few_requests_may_be_sent_ahead_and_are_answered() -> None:
    one = START + END
    last = START + b"connection: close\r\n" + END
    with Thread() as thread:
        answer = answers(thread, one * protocol.MAX_PIPELINED + last)
    assert answer.count(b"HTTP/1.1 204") == protocol.MAX_PIPELINED + 1


def test_more_requests_sent_ahead_are_refused() -> None:
    with Thread() as thread:
        answer = answers(thread, (START + END) * 1000)
    assert b"more than 8 requests wait on one connection" in answer


def test_a_connection_whose_answer_is_not_read_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_process, "HEAD_SECONDS", 1.0)
    with Thread(app=huge) as thread, calling(thread, 4096) as caller:
        caller.sendall(START + END)
        connections = thread.server.server_state.connections
        wait_for(lambda: connections)
        wait_for(lambda: not connections, 10)


def test_a_connection_that_ends_under_requests_sent_ahead_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serving_process, "HEAD_SECONDS", 1.0)
    with Thread(app=huge) as thread, calling(thread, 4096) as caller:
        caller.sendall((START + END) * 3)
        connections = thread.server.server_state.connections
        wait_for(lambda: connections)
        wait_for(lambda: not connections, 10)
    assert caplog.messages == []


def test_an_answer_that_is_read_slowly_leaves_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_process, "HEAD_SECONDS", 1.0)
    got = 0
    with Thread(app=huge) as thread, calling(thread) as caller:
        caller.sendall(START + b"connection: close\r\n" + END)
        for _ in range(40):
            got += len(caller.recv(100_000))
            time.sleep(0.1)
        while part := caller.recv(1_000_000):
            got += len(part)
    assert got > len(ANSWER)


def test_an_answer_that_is_not_read_holds_up_no_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_process, "BUSY_SECONDS", 4)
    with Thread(app=huge) as thread, calling(thread, 4096) as caller:
        caller.sendall(START + END)
        connections = thread.server.server_state.connections
        wait_for(lambda: any(getattr(connection, "stuck", 0) for connection in connections), 10)
        begun = time.monotonic()
        thread.server.should_exit = True
        thread.thread.join(10)
        assert time.monotonic() - begun < 3.5
