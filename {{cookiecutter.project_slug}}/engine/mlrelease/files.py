"""Reading and writing files so that nobody ever sees half of one."""

import errno
import fcntl
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mlrelease.errors import InputError, RefusedError

TABLES = (".csv", ".parquet")  # the files of rows that we read


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Let an error of a write, which names no file, name `path`."""
    try:
        yield
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place when the block ends well: readers see the
    old or the new, never a half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with writing_to(path):
            yield temporary
            os.fsync(descriptor)
            temporary.chmod(0o644)
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and a final newline: equal values give equal bytes."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: The file is missing, unreadable or not JSON.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from None
    return parse_json(content, str(path))


def parse_json(content: bytes, name: str) -> Any:
    """What a JSON file holds; `name` is for messages.

    Raises:
        InputError: It is not JSON.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise InputError(f"{name}: cannot be read as JSON: nested too deep") from None
    except ValueError as error:
        raise InputError(f"{name}: cannot be read as JSON: {error}") from None


def sha256(data: bytes) -> str:
    """The digest of some bytes, as `sha256:<64 hex digits>`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def short(digest: str | None) -> str:
    """A digest as people say it: its first twelve hex digits."""
    return digest.removeprefix("sha256:")[:12] if digest else "none"


def open_lock(path: Path) -> int:
    """Open a file for nothing but its lock: what it holds stays, and a link is not followed, since
    whoever placed one there may mean a file of somebody. The caller closes the descriptor.

    Raises:
        RefusedError: It is a link, or no plain file.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        lock = os.open(path, flags, 0o644)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EISDIR, errno.ENXIO):
            raise
    else:
        if stat.S_ISREG(os.fstat(lock).st_mode):
            return lock
        os.close(lock)
    raise RefusedError(f"{path}: is a link or no plain file, so it cannot be locked; remove it")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Wait until no other process works in this folder, which environments share."""
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_lock(folder / ".lock")) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def last_words(text: str) -> str:
    """The last line of a log; of one with fields, its message."""
    lines = text.strip().splitlines()
    last = lines[-1][:1000] if lines else "it said nothing"
    with suppress(ValueError, KeyError, TypeError):
        last = str(json.loads(last)["message"])
    return last[:300]
