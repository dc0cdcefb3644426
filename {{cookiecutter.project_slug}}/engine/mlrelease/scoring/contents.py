"""A directory's files by the digest of their content: what was hashed is what is loaded.

The digest is the SHA-256 of the sorted list of `path, sha256` pairs. To check a directory and then
to open its files again is to trust whoever can write to it in between, so whoever is given a digest
reads the files once, with `read`, and loads from these bytes.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from mlrelease.errors import InputError, RefusedError
from mlrelease.files import parse_json, sha256

MAX_BYTES = 2_000_000_000  # of a directory that is read


@dataclass(frozen=True)
class Contents:
    """The files of `directory` as they were read, by their path in it, and their digest."""

    directory: Path
    digest: str
    files: dict[str, bytes]

    def __getitem__(self, name: str) -> bytes:
        """The content of a file.

        Raises:
            InputError: There is no such file.
        """
        try:
            return self.files[name]
        except KeyError:
            raise InputError(f"{self.directory / name}: no such file") from None

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def json(self, name: str) -> Any:
        """A JSON file.

        Raises:
            InputError: It is missing or not JSON.
        """
        return parse_json(self[name], str(self.directory / name))

    def write(self, directory: Path) -> None:
        """Write the files below a new directory, for everybody to read."""
        directory.mkdir(parents=True)
        for name, content in self.files.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(0o644)

    def forget(self) -> None:
        """Let the files go, once what is needed of them was loaded."""
        self.files.clear()


def read(directory: Path, digest: str | None = None) -> Contents:
    """Read a directory's files into memory, each once; refuse other bytes than `digest` names.

    Raises:
        RefusedError: The files have another digest, or the directory is none that has one.
    """
    files, left = dict[str, bytes](), MAX_BYTES
    for name, path in _listed(directory):
        left -= path.lstat().st_size
        if left < 0:
            raise RefusedError(f"{directory}: holds more than {MAX_BYTES:,} bytes; not loaded")
        with _opened(path) as stream:  # no more than it holds now: it may grow without end
            files[name] = stream.read(os.fstat(stream.fileno()).st_size)
    found = _digest({name: hashlib.sha256(content).hexdigest() for name, content in files.items()})
    _refuse_other(directory, found, digest or found)
    return Contents(directory, found, files)


def digest_of(directory: Path) -> str:
    """The digest of a directory's content: independent of time, owner and order on disk.

    Raises:
        RefusedError: The directory is missing or empty, or holds anything but plain files.
    """
    files = {}
    for name, path in _listed(directory):
        with _opened(path) as stream:
            files[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return _digest(files)


def check_digest(directory: Path, digest: str) -> Path:
    """Return `directory` when its content has that digest. To load it, `read` it.

    Raises:
        RefusedError: It has not: somebody changed it after it was packaged.
    """
    _refuse_other(directory, digest_of(directory), digest)
    return directory


def refuse_strangers(damaged: Path, whole: Path) -> None:
    """A whole copy replaces a damaged one, and nothing else that lies in its place.

    Raises:
        RefusedError: Something lies there that the whole copy does not have.
    """
    names = {path.relative_to(whole) for path in whole.rglob("*")}
    strange = [damaged] * (damaged.is_symlink() or damaged.is_file())
    there = damaged.rglob("*")
    strange += [p for p in there if p.is_symlink() or p.relative_to(damaged) not in names]
    for path in strange[:1]:
        raise RefusedError(f"{path}: was not written by the store; move it away")


def _refuse_other(directory: Path, found: str, digest: str) -> None:
    if found != digest:
        raise RefusedError(f"{directory}: content is {found}, expected {digest}; not loaded")


def _digest(files: dict[str, str]) -> str:
    return sha256("\n".join(json.dumps(list(pair)) for pair in files.items()).encode())


def _listed(directory: Path) -> Iterator[tuple[str, Path]]:
    """Each file by its path in the directory, sorted."""
    if not directory.is_dir():
        raise RefusedError(f"{directory}: no such directory")
    empty = True
    for path in sorted(directory.rglob("*"), key=lambda p: p.relative_to(directory).as_posix()):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise _not_plain(path)
        if path.is_file():
            empty = False
            yield path.relative_to(directory).as_posix(), path
    if empty:
        raise RefusedError(f"{directory}: is empty")


@contextmanager
def _opened(path: Path) -> Iterator[BufferedReader]:
    """A file, open. One that became a link or a pipe after it was listed is not waited for."""
    flags = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(path, "rb", opener=lambda name, usual: os.open(name, usual | flags)) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise _not_plain(path)
            yield stream
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror}") from None


def _not_plain(path: Path) -> RefusedError:
    return RefusedError(f"{path}: neither a file nor a directory; links are refused")
