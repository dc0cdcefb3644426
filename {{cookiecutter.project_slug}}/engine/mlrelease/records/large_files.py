"""Files in Git LFS: a commit holds a pointer that names the content by its SHA-256."""

import hashlib
import re
import shutil
from pathlib import Path

from mlrelease.records.git import Git

POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-.*\n)*oid sha256:([0-9a-f]{64})\n"
    rb"size \d+\n"
)
MAX_POINTER = 1024


def pointed(content: bytes) -> str | None:
    """The SHA-256 of the content that a pointer names; None of any other file."""
    found = POINTER.fullmatch(content) if len(content) <= MAX_POINTER else None
    return found[1].decode() if found else None


def write(git: Git, name: str, oid: str, target: Path) -> bool:
    """Write the content that a pointer at `name` names: from git's folder or the work tree,
    wherever it is there with this digest. Whether it was."""
    common = git.root / git.run("rev-parse", "--git-common-dir")
    storage = common / (git.run("config", "--default", "lfs", "lfs.storage") or "lfs")
    for source in (storage / "objects" / oid[:2] / oid[2:4] / oid, git.root / name):
        if not source.is_file():
            continue
        shutil.copyfile(source, target)  # then checked: somebody may write into the other
        with target.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() == oid:
                return True
    return False
