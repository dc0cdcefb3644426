"""The body of a request, refused as early as it can be: by its headers, then while it arrives."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from mlrelease.scoring.request_rows import MAX_BYTES, RequestError, overloaded
from mlrelease.serving.tables import KINDS

JSON = "application/json"
READ_SECONDS = 30.0  # that a body may take to arrive
MAX_HELD = 200_000_000  # bytes of all bodies that are not whole yet
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


def content_type(headers: Mapping[bytes, bytes]) -> str:
    """The media type of a body that this service reads.

    Raises:
        RequestError: 415 for another, or for one that is encoded.
    """
    kind = headers.get(b"content-type")
    if (kind is None or kind == b"application/json") and b"content-encoding" not in headers:
        return JSON
    name = (kind or b"").decode("latin-1").partition(";")[0].strip().lower()
    if b"content-encoding" in headers or name not in (JSON, *KINDS):
        message = f"send plain {JSON}, {', '.join(KINDS)}, without a content encoding"
        raise RequestError(message, None, 415, "not_accepted")
    return name


class Reader:
    """Reads bodies, and cuts off those that take too long: one look a second at all of them costs
    less than a timer for each. `held` is what all of them have brought so far."""

    def __init__(self, seconds: float = READ_SECONDS) -> None:
        self.seconds = seconds
        self.reading: dict[asyncio.Task[Any], float] = {}
        self.cut: set[asyncio.Task[Any]] = set()
        self.held = 0

    async def read(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        """The whole body.

        Raises:
            RequestError: 400 if the caller hangs up, 408 if it is slow, 413 if it is too large, 503
                if too much of other bodies is held.
        """
        length = headers.get(b"content-length", b"")
        if len(length) > 18 or (length.isdigit() and int(length) > MAX_BYTES):
            raise _too_large()
        task: asyncio.Task[Any] = asyncio.current_task()  # type: ignore[assignment]
        self.reading[task] = time.monotonic()
        body = bytearray()
        try:
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body"):
                return _whole(message.get("body", b""))
            while True:
                if message["type"] == "http.disconnect":
                    raise RequestError("the body ended early", None, 400, "not_parsed")
                self._hold(body, message.get("body", b""))
                if len(body) > MAX_BYTES:
                    raise _too_large()
                if not message.get("more_body"):
                    return bytes(body)
                message = await receive()
        except asyncio.CancelledError:
            if task not in self.cut:
                raise
            task.uncancel()
            text = f"the body did not arrive within {self.seconds:g} seconds"
            raise RequestError(text, None, 408, "too_slow") from None
        finally:
            self.held -= len(body)
            self.reading.pop(task, None)
            self.cut.discard(task)

    def _hold(self, body: bytearray, part: bytes) -> None:
        if self.held + len(part) > MAX_HELD:
            raise overloaded()
        body += part
        self.held += len(part)

    def sweep(self) -> None:
        """Cut off what has taken too long."""
        limit = time.monotonic() - self.seconds
        for task, since in list(self.reading.items()):
            if since < limit and task not in self.cut:
                self.cut.add(task)
                task.cancel()


def _whole(body: bytes) -> bytes:
    if len(body) > MAX_BYTES:
        raise _too_large()
    return body


def _too_large() -> RequestError:
    return RequestError(f"the body is larger than {MAX_BYTES} bytes", None, 413)
