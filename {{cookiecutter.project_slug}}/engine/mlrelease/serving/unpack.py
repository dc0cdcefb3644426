"""Arrow and Parquet bodies are read by a process of their own.

A small body can unpack to more memory than there is, and a damaged one can abort the reader: both
were seen. Here that ends the helper, and the caller hears that the body cannot be read. It starts
with the first such body, and ends with the service. A helper may also be ended by others, such as
the kernel when memory runs out: so a body is tried twice before it gets the blame.
"""

import contextlib
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import msgspec
import numpy as np

from mlrelease.scoring import cells
from mlrelease.scoring.features import Column, Inputs, Signature
from mlrelease.scoring.request_rows import Batch, Reason, RequestError, clip
from mlrelease.serving.tables import ARROW, Table

SECONDS, MEGABYTES = 10.0, 512  # that one body may take
READ_ROWS = 256  # unpacked at once


class Read(msgspec.Struct, tag=True, array_like=True):
    """Typed columns: float32 (n, k) in C order, and text (n, m)."""

    rows: int
    numbers: bytes
    categories: list[list[str]]


class Refused(msgspec.Struct, tag=True, array_like=True):
    """A `RequestError`."""

    message: str
    field: str | None
    status: int
    reason: Reason


class Unpacker:
    """Asks the helper; for one thread."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.process: subprocess.Popen[bytes] | None = None

    def decode(self, body: bytes, kind: str) -> Batch:
        """The rows of an Arrow stream or Parquet file, checked and typed.

        Raises:
            RequestError: 400 for what cannot be read, 413 for too many rows, 422 for wrong values.
        """
        answer, late = self._try(body, kind)
        if answer is None and not late:  # somebody may have ended the helper, and not this body
            answer, late = self._try(body, kind)
        if answer is None:
            message = f"the body is damaged, or takes more than {MEGABYTES} MB or {SECONDS:g} s"
            raise RequestError(f"{message} to read", None, 400, "not_parsed")
        if isinstance(answer, Refused):
            error = RequestError(answer.message, None, answer.status, answer.reason)
            error.field = answer.field
            raise error
        numbers = np.frombuffer(answer.numbers, np.float32).reshape(answer.rows, -1)
        categories = np.empty((answer.rows, len(self.signature.names()[1])), object)
        categories[:] = answer.categories
        return Batch(Inputs(numbers, categories), True)

    def close(self) -> None:
        """End the helper; another body starts another."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            with contextlib.suppress(OSError), process:  # closing a pipe that has broken
                pass

    def _try(self, body: bytes, kind: str) -> tuple[Read | Refused | None, bool]:
        """The answer; or None where the helper ended before it gave one, and whether it was ended
        because it took too long."""
        process = self.process = self.process or _start()
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(SECONDS, end)
        timer.start()
        try:
            return self._ask(process, body, kind), False
        except (OSError, EOFError):
            self.close()  # the next body starts another, whoever ended this one
            return None, late.is_set()
        finally:
            timer.cancel()

    def _ask(self, process: "subprocess.Popen[bytes]", body: bytes, kind: str) -> Read | Refused:
        asked, answered = process.stdin, process.stdout
        if asked is None or answered is None:
            raise EOFError
        for content in (kind.encode(), msgspec.json.encode(self.signature), body):
            _send(asked, content)
        return msgspec.msgpack.decode(_receive(answered), type=Read | Refused)


def _start() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # where the readers' panics go
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C is for the service
    )


def decode_arrow(body: bytes, kind: str, signature: Signature) -> Inputs:
    """What the helper does with one body.

    Raises:
        RequestError: As `Unpacker.decode`.
    """
    import arro3.io

    try:
        if kind == ARROW:
            reader = arro3.io.read_ipc_stream(body)
        else:
            reader = arro3.io.read_parquet(body, batch_size=READ_ROWS)
        table = Table(reader.schema.names, signature)
        for batch in reader:
            told = table.columns.items()
            values = {name: _values(batch.column(name), *column) for name, column in told}
            table.add(batch.num_rows, values)
    except RequestError:
        raise
    except BaseException as error:  # arro3's own derive from nothing narrower, some not even this
        reason = clip(" ".join(str(error).rpartition(" error: ")[2].split()))
        raise RequestError(f"the body is not valid: {reason}", None, 400, "not_parsed") from None
    return table.inputs()


def _values(array: Any, column: Column, known: frozenset[str]) -> Iterator[Any]:
    """NaN is how many programs write a missing value; a decimal is a number, or as a category what
    training has for it."""
    category = column.type == "category"
    for scalar in array:
        value = scalar.as_py()
        if type(value).__name__ == "Decimal":
            value = cells.category(str(value), known) if category else float(value)
        yield None if value != value else value


def _send(stream: IO[bytes], content: bytes) -> None:
    stream.write(struct.pack("<Q", len(content)) + content)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes:
    size = struct.unpack("<Q", _exactly(stream, 8))[0]
    return _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _limit_memory() -> None:
    import resource

    import arro3.core
    import arro3.io  # noqa: F401 - before it counts

    statm = Path("/proc/self/statm")
    if statm.exists():  # Linux
        used = int(statm.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        limit = used + MEGABYTES * 1_000_000
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> None:
    """Answer bodies on stdin, one after the other, until it closes."""
    _limit_memory()
    while True:
        try:
            kind, told, body = (_receive(sys.stdin.buffer) for _ in range(3))
        except EOFError:
            return
        signature = msgspec.json.decode(told, type=Signature)
        answer: Read | Refused
        try:
            inputs = decode_arrow(body, kind.decode(), signature)
            numbers = np.ascontiguousarray(inputs.numbers).tobytes()
            answer = Read(len(inputs.numbers), numbers, inputs.categories.tolist())
        except RequestError as error:
            answer = Refused(str(error), error.field, error.status, error.reason)
        _send(sys.stdout.buffer, msgspec.msgpack.encode(answer))


if __name__ == "__main__":
    main()
