"""Many objects of a repository at once, in two processes however many they are."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Output(Protocol):
    """`Git.output`."""

    def __call__(self, *arguments: str, stdin: bytes = b"") -> bytes:
        """Run git and return its standard output as it is."""


class Object(NamedTuple):
    """A file in git's store; all is None where there is none."""

    oid: str | None
    size: int
    content: bytes | None = None


def read_objects(git: Output, names: Sequence[str], most: int) -> list[Object]:
    """What each name, such as `COMMIT:path`, stands for. Content is read of files only, and of
    none that is larger than `most` bytes (0: of none)."""
    found: list[Object] = []
    asked = "".join(f"{name}\n" for name in names).encode()
    for line in git("cat-file", "--batch-check", "--buffer", stdin=asked).decode().splitlines():
        oid, kind, *size = line.rsplit(" ", 2)
        if kind == "blob" and len(size) == 1:
            found.append(Object(oid, int(size[0])))
        else:  # missing, ambiguous, a folder, a submodule
            found.append(Object(None, 0))
    if not most:
        return found
    wanted = list(dict.fromkeys(o.oid for o in found if o.oid and 0 < o.size <= most))
    contents = _contents(git, wanted)
    return [
        Object(o.oid, o.size, contents.get(o.oid or "", b"" if o.oid and not o.size else None))
        for o in found
    ]


def _contents(git: Output, oids: Sequence[str]) -> dict[str, bytes]:
    if not oids:
        return {}
    asked = "\n".join(oids).encode() + b"\n"
    output = git("cat-file", "--batch", "--buffer", stdin=asked)
    contents, at = {}, 0
    for oid in oids:
        end = output.index(b"\n", at)
        size = int(output[at:end].rsplit(b" ", 1)[1])
        contents[oid] = output[end + 1 : end + 1 + size]
        at = end + 1 + size + 1
    return contents
