"""One connection, with limits on what its caller may send ahead and leave unread.

uvicorn keeps the head of a request in memory until it is whole, and the answers until they are
read, however much that is. Both come before the service sees the caller, or asks for a token.

A caller who asks for another protocol is answered in HTTP/1.1: a server may ignore Upgrade.
"""

import contextlib
import fcntl
import struct
import termios
from array import array
from typing import Any, NoReturn

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD = 65536  # bytes of one request's address and headers
HEADER_COST = 100  # bytes that a header takes beside its text
MAX_PIPELINED = 8  # requests that may wait behind the one that is answered
TOO_LARGE = "the head of the request is too large"
FRAMING = (b"connection", b"content-length", b"transfer-encoding")  # where a request ends


class Parser(httptools.HttpRequestParser):
    """httptools', which takes no notice of Upgrade.

    Its own stops at the end of such a head, as if the request had no body. Fed with what follows,
    it reads the body as the next request.
    """

    def __init__(self, protocol: "Protocol") -> None:
        super().__init__(protocol)
        self.protocol = protocol
        self.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does

    def feed_data(self, data: "bytes | bytearray | memoryview | array[int]") -> None:
        try:
            super().feed_data(data)
        except httptools.HttpParserUpgrade as stopped:
            self.protocol.ignore_upgrade(bytes(data[stopped.args[0] :]))


class Protocol(HttpToolsProtocol):
    """uvicorn's, which counts. Over a limit the answer is 400, and the connection closes."""

    head, untold = 0, 0  # bytes of the head; bytes that the parser has not told of yet
    unsent, stuck = 0, 0
    fault = ""
    running: RequestResponseCycle | None = None
    repeated = False  # a head that was read before is read again

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.parser = Parser(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.running:  # uvicorn tells only the last that was sent
            self.running.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.untold += len(data)
        super().data_received(data)
        if self.untold > MAX_HEAD and not self.transport.is_closing():  # one header without end
            self.send_400_response(TOO_LARGE)

    def ignore_upgrade(self, rest: bytes) -> None:
        """Read on after a head with Upgrade: another parser finds the end of the request in the
        same head without it."""
        head = [f"POST / HTTP/{self.parser.get_http_version()}".encode()]
        head += [name + b": " + value for name, value in self.headers if name in FRAMING]
        self.parser = Parser(self)
        self.repeated = True
        self.parser.feed_data(b"\r\n".join([*head, b"", b""]))
        if rest:
            self.parser.feed_data(rest)

    def on_message_begin(self) -> None:
        if not self.repeated:
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if self.repeated:
            return
        self.untold = 0
        self.head += len(url)
        if self.head > MAX_HEAD:
            self._refuse(TOO_LARGE)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.repeated:
            return
        self.untold = 0
        self.head += len(name) + len(value) + HEADER_COST
        if self.head > MAX_HEAD:
            self._refuse(TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.repeated:
            self.repeated = False
            return
        self.head = 0
        if self.parser.get_method() == b"CONNECT":  # what follows may be of any protocol
            self._refuse("CONNECT is for proxies")
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refuse(f"more than {MAX_PIPELINED} requests wait on one connection")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.untold = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():  # else the body is still to come
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        super().send_400_response(self.fault or msg)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def look(self) -> int:
        """For how many looks in a row, with this one, nothing of a waiting answer has left."""
        before, self.unsent = self.unsent, self.transport.get_write_buffer_size()
        if self.unsent:
            self.unsent += self._unsent_by_kernel()
        self.stuck = self.stuck + 1 if 0 < before <= self.unsent else 0
        return self.stuck

    def _unsent_by_kernel(self) -> int:
        """It holds megabytes, and asks for more only when a third of that has left."""
        with contextlib.suppress(OSError, ValueError):  # not Linux, or closed
            file = self.transport.get_extra_info("socket").fileno()
            return int(*struct.unpack("i", fcntl.ioctl(file, termios.TIOCOUTQ, bytes(4))))
        return 0

    def _refuse(self, fault: str) -> NoReturn:
        """Stop the parser; uvicorn then calls `send_400_response`."""
        self.fault = fault
        raise ValueError(fault)
