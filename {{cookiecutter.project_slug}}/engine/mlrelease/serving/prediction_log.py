"""Which rows were answered, and how: JSON lines. No request waits for its log, or fails with it.

A line holds one request: `row` and `answer`, or `rows` and `answers` where a caller sent many. A
thread writes what has come every 0.2 s, or sooner if it is much; each write holds whole lines, so
that several processes can share a file.
A file that has grown too large becomes `NAME.1`, that one `NAME.2`, and so on.
"""

import datetime as dt
import fcntl
import os
import random
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from mlrelease.errors import InputError
from mlrelease.output import begins, claim

if TYPE_CHECKING:
    import pandas as pd

FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT
SECONDS = 0.2  # between two writes
QUEUE_BYTES = 8_000_000  # that may wait to be written
HURRY_BYTES, WRITE_LINES = 500_000, 512  # that are not kept waiting; lines of one write at most
FILE_BYTES, FILES = 100_000_000, 3  # before a file is moved away, and how many of those are kept


class PredictionLog:
    """Appends to a file that processes may share; counts the rows that it had to drop.

    Of all requests the part `sample` is to be logged, whole ones: ask `wanted` first.
    """

    def __init__(
        self, path: Path, digest: str, sample: float = 1.0, file_bytes: int = FILE_BYTES
    ) -> None:
        self.path, self.sample, self.file_bytes = path, sample, file_bytes
        self.model = msgspec.json.encode(digest)
        self.waiting: deque[tuple[int, bytes]] = deque()
        self.lock = threading.Lock()  # of those who append
        self.put, self.taken = 0, 0  # bytes; `taken` is written by the thread that writes the file
        self.overflowed, self.lost = 0, 0  # rows; `lost` likewise
        self.filled, self.hurry = threading.Event(), threading.Event()
        self.closing = False
        self.thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """How many rows are missing in the file."""
        return self.overflowed + self.lost

    def wanted(self) -> bool:
        """Whether a request is to be logged, by chance."""
        return self.sample >= 1 or random.random() < self.sample  # noqa: S311 - no secret

    def append(self, request_id: bytes, rows: int, many: bool, sent: bytes, answers: bytes) -> None:
        """Log one request: so many rows as JSON, and their answers as JSON."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")
        row, answer = (b"rows", b"answers") if many else (b"row", b"answer")
        line = b'{"time":"%b","model":%b,"request_id":"%b","%b":%b,"%b":%b}\n' % (
            now.encode(), self.model, request_id, row, one_line(sent), answer, answers,
        )  # fmt: skip
        with self.lock:
            waiting = self.put - self.taken
            if waiting and waiting + len(line) > QUEUE_BYTES:  # alone, even the largest gets in
                self.overflowed += rows
                return
            self.put += len(line)
            self.waiting.append((rows, line))
            self._wake()

    def _wake(self) -> None:
        if self.put - self.taken > HURRY_BYTES:
            self.hurry.set()
        if not self.filled.is_set():
            self.filled.set()
            if self.thread is None:  # not before a fork
                self.thread = threading.Thread(target=self._write_all, daemon=True)
                self.thread.start()

    def close(self) -> None:
        """Write what waits, and stop."""
        self.closing = True
        self.hurry.set()
        self.filled.set()
        if self.thread is not None:
            self.thread.join(10)

    def _write_all(self) -> None:
        while True:
            self.filled.wait()
            self.hurry.wait(SECONDS)
            last = self.closing
            self.hurry.clear()
            self.filled.clear()
            while count := min(len(self.waiting), WRITE_LINES):
                lines = [self.waiting.popleft() for _ in range(count)]
                self.lost += _write(self.path, lines, self.file_bytes)
                self.taken += sum(len(line) for _, line in lines)
            if last:
                return


def _write(path: Path, lines: list[tuple[int, bytes]], file_bytes: int) -> int:
    """Append all lines in one write, so that no other process cuts in; returns the rows lost."""
    written = -1
    try:  # opened each time: the file may have been moved, or its disk mended
        with os.fdopen(os.open(path, FLAGS, 0o600), "rb") as f:
            size = os.fstat(f.fileno()).st_size
            torn = size > 0 and os.pread(f.fileno(), 1, size - 1) != b"\n"
            parts = [b"\n" * torn, *(line for _, line in lines)]
            written = os.writev(f.fileno(), parts) - torn
            if size + written > file_bytes:
                _rotate(path, f.fileno())
    except OSError:
        pass  # it is counted
    lost = 0
    for rows, line in lines:
        written -= len(line)
        lost += rows if written < 0 else 0
    return lost


def _rotate(path: Path, file: int) -> None:
    """Move the file away; by one process, although all see how large it is."""
    fcntl.flock(file, fcntl.LOCK_EX)
    if os.path.samestat(os.fstat(file), path.stat()):
        for number in range(FILES - 1, 0, -1):
            if (older := _moved(path, number)).exists():
                older.replace(_moved(path, number + 1))
        path.replace(_moved(path, 1))


def refuse_strangers(path: Path) -> None:
    """Neither append to a file that is no such log, nor let the rotation replace one.

    Raises:
        RefusedError: One is there.
    """
    for place in (path, *(_moved(path, number) for number in range(1, FILES + 1))):
        if place.is_file() or place.is_dir() or not place.exists():  # not a pipe or a terminal
            claim(place, begins('{"time":"', '\n{"time":"'))


def _moved(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def one_line(sent: bytes) -> bytes:
    """The same JSON without a line break."""
    return msgspec.json.format(sent, indent=-1) if b"\n" in sent else sent


def read(path: Path, model: str | None = None) -> "pd.DataFrame":
    """Logged rows, as they were sent, with their `score`: P(positive class) or the value. All
    models, or the one with this digest; `attrs["skipped"]` counts lines that a crash cut short.

    Raises:
        InputError: The file cannot be read.
    """
    import pandas as pd

    files = [*(_moved(path, number) for number in range(FILES, 0, -1)), path]
    rows: list[dict[str, Any]] = []
    skipped = 0
    try:
        for file in [file for file in files if file.exists()] or [path]:
            with file.open("rb") as lines:
                for line in filter(bytes.strip, lines):
                    try:
                        rows += _rows(line, model)
                    except (ValueError, KeyError, TypeError):
                        skipped += 1
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    frame = pd.DataFrame(rows)
    frame.attrs["skipped"] = skipped
    return frame


def _rows(line: bytes, model: str | None) -> list[dict[str, Any]]:
    entry = msgspec.json.decode(line)
    if "rows" in entry:
        pairs: Iterator[Any] = zip(entry["rows"], entry["answers"], strict=True)
    else:
        pairs = iter([(entry["row"], entry["answer"])])
    if model not in (None, entry["model"]):
        return []
    return [
        {"score": answer["value"] if "value" in answer else answer["probability"], **row}
        for row, answer in pairs
    ]
