"""What a ledger's commits hold, as this machine read it before: what a commit holds never changes.

To ask git for a thousand entries each time takes a third of `model status`.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from mlrelease.files import write_atomically
from mlrelease.records.git import Git
from mlrelease.records.git_objects import Object

ENOUGH = 64  # new ones that are worth writing all: fewer are asked of git again in no time
MOST = 32 * 2**20  # bytes of a file that is kept; of one that holds more, git is asked each time


class KnownObjects:
    """Files by `COMMIT:path`, with whole names of commits only; `path` keeps them."""

    def __init__(self, git: Git, path: Path) -> None:
        self.git, self.path = git, path
        self._known: dict[str, Object] = {}
        self._new = 0
        with suppress(OSError, msgspec.MsgspecError):  # none yet, or damaged
            if path.stat().st_size <= MOST:
                self._known = msgspec.msgpack.decode(path.read_bytes(), type=dict[str, Object])

    def read(self, names: Sequence[str], most: int) -> list[Object]:
        """As `Git.objects`, for names that never stand for something else."""
        keys = [f"{most} {name}" for name in names]
        asked = [name for name, key in zip(names, keys, strict=True) if key not in self._known]
        found = dict(zip(asked, self.git.objects(asked, most), strict=True)) if asked else {}
        for name, thing in found.items():
            if thing.oid:  # what is not here today may be fetched tomorrow
                self._known[f"{most} {name}"] = thing
                self._new += 1
        return [self._known.get(key) or found[n] for n, key in zip(names, keys, strict=True)]

    def save(self) -> None:
        """Keep what was read; a disk that is full keeps nothing, and stops nobody."""
        if self._new < ENOUGH:
            return
        self._new, content = 0, msgspec.msgpack.encode(self._known)
        if len(content) <= MOST:
            with suppress(OSError):
                write_atomically(self.path, content)
