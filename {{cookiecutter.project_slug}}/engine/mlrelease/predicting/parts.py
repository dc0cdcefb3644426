"""What a run has scored so far, kept beside its output, so that a killed run can go on.

`.<output>.work/` holds `key.json`, which says what the parts were made from, and `000000.arrow` and
so on, each whole or absent; at last `answers.json`, which tells the output from another's. A lock
on the folder ends with the process that has it.
"""

import contextlib
import fcntl
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from mlrelease.errors import RefusedError
from mlrelease.files import canonical_json, read_json, replacing, write_atomically

OWN = re.compile(
    r"key\.json|\d{6}\.arrow|rejects|answers\.\w+|\.((key|answers)\.json|\d{6}\.arrow)\.\w+"
)
NOTE = "answers.json"
CHUNKS_EACH = 16  # of a part: half a million rows or 128 MB; a kill costs some seconds of work


class Parts:
    """The finished parts of one output, in the order of the rows."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.arrow"

    def __len__(self) -> int:
        return next(n for n in itertools.count() if not self.path(n).exists())

    def __iter__(self) -> Iterator[pa.Table]:
        """One table each, whose values stay in the file until they are needed."""
        for number in range(len(self)):
            with pa.memory_map(str(self.path(number))) as file:
                yield pa.ipc.open_stream(file).read_all()

    @contextlib.contextmanager
    def writing(self, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
        """Takes the tables of the next part, which is there once the block has ended well."""
        with (
            replacing(self.path(len(self))) as path,
            pa.OSFile(str(path), "wb") as file,
            pa.ipc.new_stream(file, schema) as stream,
        ):
            yield stream.write_table

    def note(self, answers: Path) -> None:
        """Note which file takes the place of the output now: a run that is killed between then and
        its end may be started again."""
        write_atomically(self.folder / NOTE, canonical_json(_identity(answers)))


def published(target: Path) -> bool:
    """Whether the output is what a run wrote that was killed at its very end."""
    path = _folder(target) / NOTE
    return path.is_file() and read_json(path) == _identity(target)


@contextlib.contextmanager
def parts_of(target: Path, key: dict[str, Any], say: Callable[[str], None]) -> Iterator[Parts]:
    """The parts of `target` that an earlier run made from the same `key`, for this process alone.
    Without such parts it begins with none, and says which entries of the key are others.

    The caller removes the folder when it is done with it.

    Raises:
        RefusedError: Another process writes the same output, or the folder is not ours.
    """
    folder = _folder(target)
    lock = _lock(folder, target)
    try:
        _refuse_strangers(folder)
        path = folder / "key.json"
        earlier = read_json(path) if path.exists() else None
        parts = Parts(folder)
        if earlier == key:
            keep = {path, *map(parts.path, range(len(parts)))}  # not what a kill left half-written
        else:
            keep = set[Path]()
            if earlier is not None:
                others = " and ".join(name for name in key if earlier.get(name) != key[name])
                say(f"starting afresh: {others} changed since the run that did not end")
        for entry in set(folder.iterdir()) - keep - {folder / NOTE}:
            entry.unlink()
        if not keep:
            write_atomically(path, canonical_json(key))
        yield parts
    finally:
        os.close(lock)


def _folder(target: Path) -> Path:
    return target.with_name(f".{target.name}.work")


def _identity(path: Path) -> dict[str, int]:
    """What a file keeps when it is renamed, and loses when it is written."""
    facts = path.stat()
    return {"inode": facts.st_ino, "bytes": facts.st_size, "time": facts.st_mtime_ns}


def _refuse_strangers(folder: Path) -> None:
    for entry in folder.iterdir():
        if not OWN.fullmatch(entry.name) or entry.is_dir():
            raise RefusedError(f"{entry}: is not of an earlier run; move it away, then start again")


def _lock(folder: Path, target: Path) -> int:
    while True:
        if folder.is_symlink():  # what it names is cleared away below
            raise RefusedError(f"{folder}: is a link, and is not followed; remove it")
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # the run before removes it just now
            lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.samestat(os.fstat(lock), folder.stat()):
                    return lock
            except BlockingIOError:
                os.close(lock)
                raise RefusedError(f"{target}: another run is writing it") from None
            except FileNotFoundError:
                pass
            os.close(lock)
