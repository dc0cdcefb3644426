"""What a caller may send ahead or leave unread is limited, before anybody asks for a token."""

import contextlib
import http.client
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mlrelease.serving import process as serving_process, protocol
from tests.engine.serving.test_process import Thread, constant, wait_for

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


H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
WEBSOCKET = (
    b"upgrade: websocket\r\nconnection: keep-alive, upgrade\r\nsec-websocket-version: 13\r\n"
)
LAST = b"GET /last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
HIDDEN = b"POST /hidden HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx"
LENGTH = b"content-length: %d\r\n" % len(HIDDEN)
CHUNKED = b"transfer-encoding: chunked\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers what was understood: the request's line, and the size of its body."""
    size, more = 0, True
    while more:
        message = await receive()
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    told = f"<{scope['method']} {scope['path']} {size}>".encode()
    headers = [(b"content-length", str(len(told)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": told})


Understood = Callable[..., list[str]]


@pytest.fixture(scope="module")
def echoing() -> Iterator[Thread]:
    with Thread(app=echo) as thread:
        yield thread


@pytest.fixture(scope="module")
def understood(echoing: Thread) -> Understood:
    """The requests that some parts are taken for; 400 where the connection ends with it."""

    def ask(*parts: bytes) -> list[str]:
        found = re.findall(r"<(.+?)>|(?<=HTTP/1.1 )(400)", answers(echoing, *parts).decode())
        return [line or status for line, status in found]

    return ask


def post(*headers: bytes) -> bytes:
    return b"".join([b"POST /first HTTP/1.1\r\nhost: x\r\n", *headers, b"\r\n"])


def chunks(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)


@pytest.mark.parametrize("upgrade", [H2C, WEBSOCKET, b""], ids=["h2c", "websocket", "none"])
@pytest.mark.parametrize("framing", [LENGTH, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_body_after_an_upgrade_is_a_body_however_it_arrives(
    understood: Understood, upgrade: bytes, framing: bytes, before: bool
) -> None:
    """One that looks like a request is never answered as one."""
    head = post(framing, upgrade) if before else post(upgrade, framing)
    body = HIDDEN if framing is LENGTH else chunks(HIDDEN)
    expected = [f"POST /first {len(HIDDEN)}", "GET /last 0"]
    whole = head + body + LAST
    assert understood(whole) == expected
    assert understood(head, body, LAST) == expected
    assert understood(head, body + LAST) == expected
    for cut in (len(head) - 1, len(head) + 1, len(head) + len(body) - 1, len(head) + len(body) + 9):
        assert understood(whole[:cut], whole[cut:]) == expected


def test_every_byte_of_an_upgrade_may_come_alone(echoing: Thread) -> None:
    with calling(echoing) as caller:
        for byte in post(H2C, LENGTH) + HIDDEN + LAST:
            caller.sendall(bytes([byte]))
        found = b"".join(iter(lambda: caller.recv(65536), b""))
    assert re.findall(b"<.+?>", found) == [b"<POST /first %d>" % len(HIDDEN), b"<GET /last 0>"]


def test_requests_behind_an_upgrade_are_answered_each_with_its_own_body(
    understood: Understood,
) -> None:
    one = post(H2C, b"content-length: 3\r\n") + b"abc"
    two = post(WEBSOCKET, CHUNKED) + chunks(b"defgh")
    three = post(H2C)
    expected = ["POST /first 3", "POST /first 5", "POST /first 0", "POST /first 3", "GET /last 0"]
    assert understood(one + two + three + one + LAST) == expected
    assert understood(one, two, three, one, LAST) == expected


def test_an_upgrade_counts_as_any_request_that_is_sent_ahead() -> None:
    with Thread() as thread:
        answer = answers(thread, post(H2C) * 1000)
    assert b"more than 8 requests wait on one connection" in answer


@pytest.mark.parametrize("close", [b"connection: close\r\n", b"connection: close, upgrade\r\n"])
def test_nothing_is_answered_behind_an_upgrade_that_closes(
    understood: Understood, close: bytes
) -> None:
    head = post(close, H2C, LENGTH)
    for parts in ([head + HIDDEN + LAST], [head, HIDDEN, LAST], [head, HIDDEN + LAST]):
        with contextlib.suppress(ConnectionResetError):
            assert understood(*parts) == [f"POST /first {len(HIDDEN)}"]


@pytest.mark.parametrize(
    "headers",
    [
        [LENGTH, CHUNKED],
        [LENGTH, b"content-length: 0\r\n"],
        [b"transfer-encoding: gzip\r\n"],
        [b"transfer-encoding: chunked, identity\r\n"],
        [b"transfer-encoding: chu\r\n nked\r\n"],
        [b"content-length: 1x\r\n"],
    ],
)
def test_a_request_whose_end_is_not_clear_is_refused_with_an_upgrade_as_without(
    understood: Understood,
    headers: list[bytes],
) -> None:
    for upgrade in ([], [H2C], [WEBSOCKET]):
        found = understood(post(*upgrade, *headers) + HIDDEN + LAST)
        assert found[-1:] == ["400"]
        assert not {"POST /hidden 1", "GET /last 0"} & set(found)


def test_an_upgrade_of_http_1_0_has_its_body_and_no_other_request(understood: Understood) -> None:
    head = post(H2C, LENGTH).replace(b"HTTP/1.1", b"HTTP/1.0")
    assert understood(head, HIDDEN + LAST) == [f"POST /first {len(HIDDEN)}"]


@pytest.mark.parametrize("address", [b"x:1", b"/", b"x"])
def test_a_tunnel_is_refused_and_nothing_in_it_is_a_request(
    understood: Understood, address: bytes
) -> None:
    head = b"CONNECT " + address + b" HTTP/1.1\r\nhost: x\r\n\r\n"
    for parts in ([head + HIDDEN + LAST], [head, HIDDEN, LAST]):
        with contextlib.suppress(ConnectionError):
            assert understood(*parts) == ["400"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_asks_for_http_2_and_gets_its_answer(echoing: Thread, tmp_path: Path) -> None:
    rows = tmp_path / "rows"
    rows.write_bytes(b"x" * 300_000)
    url = f"http://127.0.0.1:{echoing.private.getsockname()[1]}"
    for data, size in (("row=1", 5), (f"@{rows}", 300_000)):
        command = ["curl", "--silent", "--fail", "--http2", "--max-time", "20", "--noproxy", "*"]
        command += ["--data-binary", data, f"{url}/a", f"{url}/b"]
        found = subprocess.run(command, capture_output=True, check=True).stdout
        assert found == b"<POST /a %d><POST /b %d>" % (size, size)
