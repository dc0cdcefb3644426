"""Log lines on stderr: JSON with the names of the Elastic Common Schema, so that Elastic reads them
as they are; plain lines on a terminal."""

import asyncio
import datetime as dt
import logging
import os
import sys
import time
from typing import Any

import msgspec

from mlrelease.project import package

ECS_VERSION = "8.17.0"
LINES_A_SECOND = 10  # about refused requests
events = logging.getLogger("mlrelease.service")


class EcsFormatter(logging.Formatter):
    """One JSON object a line; `extra={"ecs": {...}}` adds fields."""

    def __init__(self, **fields: Any) -> None:
        super().__init__()
        self.fields = {"service.name": package(), **fields}

    def format(self, record: logging.LogRecord) -> str:
        time = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line = {
            "@timestamp": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "log.level": record.levelname.lower(),
            "message": record.getMessage(),
            "ecs.version": ECS_VERSION,
            "log.logger": record.name,
            **self.fields,
            "process.pid": os.getpid(),
            **getattr(record, "ecs", {}),
        }
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            line["error.type"], line["error.message"] = type(error).__name__, str(error)
            line["error.stack_trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class PlainFormatter(logging.Formatter):
    """For the person at the terminal."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(message)s", "%H:%M:%S")


def configure(**fields: Any) -> None:
    """Write the lines of this process to stderr, with these fields of every line."""
    handler = logging.StreamHandler()
    handler.setFormatter(PlainFormatter() if sys.stderr.isatty() else EcsFormatter(**fields))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    events.setLevel(logging.INFO)
    # Its warnings are about what callers send: as many lines as they like.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)


class RequestLog:
    """One line for each request that was refused or failed, but at most so many a second: then one
    more line says how many there were. With `every`, a line for the others too."""

    def __init__(self, every: bool = False) -> None:
        self.every = every
        self.second, self.lines, self.left_out = 0, 0, 0

    def answered(
        self,
        request: bytes,
        method: str,
        path: str,
        status: int,
        nanoseconds: int,
        error: str,
    ) -> None:
        """Say so about a request, if it is worth a line."""
        if status < 400 and not self.every:
            return
        if status in range(400, 500) or status == 503:
            second = int(time.monotonic())
            if second != self.second:
                self.second, self.lines = second, 0
            self.lines += 1
            if self.lines > LINES_A_SECOND:
                if not self.left_out:
                    asyncio.get_running_loop().call_later(1.0, self._tell)
                self.left_out += 1
                return
        fields: dict[str, Any] = {
            "http.request.id": request.decode(),
            "http.request.method": method,
            "url.path": path[:1000],
            "http.response.status_code": status,
            "event.duration": nanoseconds,
        }
        if error:
            fields["error.message"] = error
        level = logging.ERROR if status == 500 else logging.INFO
        text = f"{method} {path[:100]!a} {status}" + (f": {error}" if error else "")
        events.log(level, "%s", text, extra={"ecs": fields})

    def _tell(self) -> None:
        count, self.left_out = self.left_out, 0
        text = "%d more requests were refused, too many for a line each"
        events.info(text, count, extra={"ecs": {"labels.left_out": str(count)}})


def failed(error: Exception) -> None:
    """Say in the last line of a process why it ends."""
    text = str(error)
    if not sys.stderr.isatty():
        record = events.makeRecord(events.name, logging.ERROR, "", 0, text, (), None)
        text = EcsFormatter().format(record)
    sys.stderr.write(f"{text}\n")
