"""A directory as one tar: the same bytes for the same content, and safe to take apart again."""

import io
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from mlrelease.errors import FULL, RefusedError
from mlrelease.scoring.contents import Contents

MAX_BYTES = 2_000_000_000  # of an archive, and so of what it holds: it is not compressed
MAX_FILES = 10_000


def pack(files: Contents, stream: BinaryIO) -> None:
    """Write a directory's files, sorted, without times and owners. Not compressed: another version
    of a compressor would give other bytes, and a bomb could hide in it."""
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in sorted(files.files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def unpack(stream: BinaryIO, directory: Path, name: str, folders: bool = False) -> None:
    """Write an archive's files below a new directory; `name` is for messages. `folders`: it names
    them too, as git does; files bring theirs along.

    Raises:
        RefusedError: It is damaged, too large, or holds anything but files that belong below.
    """
    left = MAX_BYTES
    directory.mkdir(parents=True)
    try:
        with tarfile.open(fileobj=stream, mode="r:") as archive:
            for number, member in enumerate(archive):
                left -= member.size
                if left < 0 or number >= MAX_FILES:
                    limits = f"{MAX_BYTES:,} bytes in {MAX_FILES:,} files"
                    raise RefusedError(f"{name}: holds more than {limits}; nothing was kept")
                if folders and member.isdir():
                    continue
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or member.issparse() or not below(member.name):
                    shown = ascii(member.name)[:100]
                    raise RefusedError(f"{name}: holds {shown}, not a plain file; nothing was kept")
                path = directory / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    shutil.copyfileobj(content, file)
    except (tarfile.TarError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in FULL:  # that is not the archive's fault
            raise
        raise RefusedError(f"{name}: cannot be unpacked: {error}; nothing was kept") from None


def below(name: str) -> bool:
    """Whether a member's name leads below the folder it is put in, on every system."""
    path = PurePosixPath(name)
    plain = path.as_posix() == name and not path.is_absolute() and ".." not in path.parts
    return plain and name != "." and (os.sep == "/" or not set(name) & set("\\:"))
