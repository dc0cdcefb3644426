"""One connection, with limits on what its caller may send ahead and leave unread.

uvicorn keeps the head of a request in memory until it is whole, and the answers until they are
read, however much that is. Both come before the service sees the caller, or asks for a token.
"""

import contextlib
import fcntl
import struct
import termios
from typing import Any, NoReturn

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD = 65536  # bytes of one request's address and headers
HEADER_COST = 100  # bytes that a header takes beside its text
MAX_PIPELINED = 8  # requests that may wait behind the one that is answered
TOO_LARGE = "the head of the request is too large"


class Protocol(HttpToolsProtocol):
    """uvicorn's, which counts. Over a limit the answer is 400, and the connection closes."""

    head, untold = 0, 0  # bytes of the head; bytes that the parser has not told of yet
    unsent, stuck = 0, 0
    fault = ""
    running: RequestResponseCycle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self.running:  # uvicorn tells only the last that was sent
            self.running.disconnected = True
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self.untold += len(data)
        super().data_received(data)
        if self.untold > MAX_HEAD and not self.transport.is_closing():  # one header without end
            self.send_400_response(TOO_LARGE)

    def on_url(self, url: bytes) -> None:
        self.untold = 0
        self.head += len(url)
        if self.head > MAX_HEAD:
            self._refuse(TOO_LARGE)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.untold = 0
        self.head += len(name) + len(value) + HEADER_COST
        if self.head > MAX_HEAD:
            self._refuse(TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self.head = 0
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refuse(f"more than {MAX_PIPELINED} requests wait on one connection")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.untold = 0
        super().on_body(body)

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
