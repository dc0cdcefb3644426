"""Output where a person wants it: what is there already and was not written by us stays as it is.

A single file is known by how its content begins, a folder by the list that we left in it.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from mlrelease.errors import InputError, RefusedError
from mlrelease.files import canonical_json, sha256, write_atomically

WRITTEN = ".written.json"  # the files of a folder that we wrote, with the digests they may have
HEAD = 65_536  # bytes of a file that tell whose it is


def claim(path: Path, ours: Callable[[bytes], bool]) -> Path:
    """Where to write `path`, links followed: nothing is there, or an empty file, or one of ours.

    Raises:
        RefusedError: Something else is there.
        InputError: It cannot be looked at.
    """
    try:
        place = path.resolve()
        if place.is_dir():
            raise InputError(f"{path}: is a folder; name a file")
        for parent in place.parents:
            if parent.exists() and not parent.is_dir():
                raise InputError(f"{path}: {parent.name} is not a folder; name another place")
        if not os.path.lexists(place):
            return place
        if not place.is_file():
            raise RefusedError(f"{path}: is not a plain file, and is not replaced; name a file")
        with place.open("rb") as file:
            head = file.read(HEAD)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = getattr(error, "strerror", None) or "its links go in a circle"
        raise InputError(f"{path}: cannot be written: {reason}") from None
    if head and not ours(head):
        raise RefusedError(
            f"{path}: is there already and was not written by this command; move it away"
        )
    return place


def write(path: Path, content: str | bytes, ours: Callable[[bytes], bool]) -> None:
    """Write a file that a person named, whole or not at all; never over somebody else's.

    Raises:
        RefusedError: Something else is there.
        InputError: It cannot be written.
    """
    place = claim(path, ours)
    try:
        write_atomically(place, content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def begins(*starts: str) -> Callable[[bytes], bool]:
    """Whether content starts in one of these ways."""
    return lambda head: head.startswith(tuple(start.encode() for start in starts))


class Folder:
    """A folder that a person named. It may hold other things; they are neither replaced nor
    removed, and what we wrote earlier is ours only as long as nobody changed it."""

    def __init__(self, root: Path, names: str) -> None:
        """Look at it before there is anything to lose. `names` is a pattern of all that we write
        there: the list of an earlier time may be anybody's.

        Raises:
            InputError: It is a file, or cannot be read.
        """
        self.root = root
        claim(root / WRITTEN, begins("{"))
        try:
            known = json.loads((root / WRITTEN).read_bytes())
        except FileNotFoundError:
            known = {}
        except (OSError, ValueError, RecursionError):
            raise InputError(f"{root / WRITTEN}: cannot be read; remove it") from None
        given = known if isinstance(known, dict) else {}
        self.known = {
            n: d for n, d in given.items() if re.fullmatch(names, n) and isinstance(d, list)
        }

    def check(self, names: Mapping[str, object] | tuple[str, ...]) -> None:
        """Whether these names are free, or ours.

        Raises:
            RefusedError: One belongs to somebody else.
        """
        for name in names:
            path = self.root / name
            for parent in path.parents:
                if parent != self.root and self.root in parent.parents and parent.is_symlink():
                    raise RefusedError(f"{parent}: is a link, and is not followed; move it away")
            if os.path.lexists(path) and not self._ours(name):
                raise RefusedError(
                    f"{path}: is there already and was not written by this command; move it away"
                )

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write these files, and remove those of an earlier time that are not among them.

        Raises:
            RefusedError: One belongs to somebody else; nothing was written.
        """
        self.check(files)
        written = {name: [sha256(content)] for name, content in files.items()}
        stale = [name for name in self.known if name not in files and self._ours(name)]
        try:  # both are known while it goes on: a run that is killed can be repeated
            both = {n: [*self.known.get(n, []), *written.get(n, [])] for n in {*stale, *files}}
            write_atomically(self.root / WRITTEN, canonical_json(both))
            for name, content in files.items():
                write_atomically(self.root / name, content)
            for name in stale:
                (self.root / name).unlink()
                self._tidy((self.root / name).parent)
            write_atomically(self.root / WRITTEN, canonical_json(written))
        except OSError as error:
            raise InputError(f"{self.root}: cannot be written: {error.strerror}") from None
        self.known = written

    def _ours(self, name: str) -> bool:
        path = self.root / name
        above = [parent for parent in path.parents if self.root in parent.parents]
        linked = any(place.is_symlink() for place in (path, *above))
        plain = ".." not in Path(name).parts and path.is_file() and not linked
        return plain and name in self.known and sha256(path.read_bytes()) in self.known[name]

    def _tidy(self, folder: Path) -> None:
        """Remove folders of ours that are empty now."""
        while folder != self.root and self.root in folder.parents and not any(folder.iterdir()):
            folder.rmdir()
            folder = folder.parent
