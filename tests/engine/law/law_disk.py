"""A disk that is full for a while: of what a machine keeps, and of its clone."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlrelease.records import git

FULL = os.strerror(errno.ENOSPC)
WRITES = {
    "hash-object", "mktree", "commit-tree", "update-ref", "push", "fetch", "read-tree",
    "update-index", "write-tree",
}  # fmt: skip


class Disk:
    """Every write below the folder of a world, but origin's: `room` is how many of them still
    work, or None. The one that does not leaves half of its content."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.room: int | None = None

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let writes fail where there is no room."""
        for name in ("write_bytes", "write_text"):
            patch.setattr(Path, name, self._writing(getattr(Path, name)))
        real = git.Git.output

        def output(here: git.Git, *arguments: str, **more: Any) -> bytes:
            if WRITES & set(arguments[:3]) and self._is_full():
                raise git.GitError(f"git {arguments[0]}: fatal: cannot write: {FULL}")
            return real(here, *arguments, **more)

        patch.setattr(git.Git, "output", output)

    def _writing(self, real: Callable[..., int]) -> Callable[..., int]:
        def write(path: Path, content: Any, **more: Any) -> int:
            ours = path.is_relative_to(self.root) and "origin.git" not in path.parts
            if ours and self._is_full():
                real(path, content[: len(content) // 2], **more)
                raise OSError(errno.ENOSPC, FULL, str(path))
            return real(path, content, **more)

        return write

    def _is_full(self) -> bool:
        if self.room is None:
            return False
        if self.room == 0:
            return True
        self.room -= 1
        return False
