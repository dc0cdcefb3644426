"""What a store says of its directories: small files, or artefacts of a registry by tag."""

import io
from pathlib import Path
from typing import TypeVar

from mlrelease.documents import read_bytes
from mlrelease.errors import RefusedError
from mlrelease.files import write_atomically
from mlrelease.objects import parse
from mlrelease.records.record import Erased, Provenance
from mlrelease.storage.registry import Registry

NOTE = "application/vnd.model.note.v1+json"
MAX_NOTE = 1_000_000  # bytes

Note = TypeVar("Note", Provenance, Erased)


class Notes:
    """Notes by kind and digest: in the registry where there is one, else in the folder."""

    def __init__(self, root: Path, registry: Registry | None) -> None:
        self.root, self.registry = root, registry

    def write(self, kind: str, digest: str, text: str) -> None:
        """Keep a note, in the place of an earlier one."""
        if self.registry:
            self.registry.push(tag(kind, digest), NOTE, io.BytesIO(text.encode()))
        else:
            write_atomically(self._path(kind, digest), text)

    def read(self, kind: str, digest: str, told: type[Note]) -> Note | None:
        """A note, if there is one."""
        if self.registry is None:
            path = self._path(kind, digest)
            if not path.is_file():
                return None
            return parse(read_bytes(path, MAX_NOTE), told, str(path))
        name, note = tag(kind, digest), io.BytesIO()
        if not self.registry.pull(name, NOTE, note, MAX_NOTE):
            return None
        return parse(note.getvalue(), told, f"{self.registry}:{name}")

    def provenance(self, kind: str, digest: str) -> Provenance | None:
        """A note on a candidate, by its model or its inputs; one on another is not believed."""
        found = self.read(kind, digest, Provenance)
        if not found:
            return None
        if digest != (found.model if kind == "candidate" else found.key):
            where = f"{self.registry or self.root}:{tag(kind, digest)}"
            raise RefusedError(f"{where}: is about {found.model}; not believed")
        return found

    def candidates(self) -> list[str]:
        """The packaged candidates, in hex."""
        if self.registry is None:
            return sorted(path.stem for path in (self.root / "candidates").glob("*.json"))
        tags = [name.partition("-") for name in self.registry.tags()]
        return sorted(name for kind, _, name in tags if kind == "candidate")

    def _path(self, kind: str, digest: str) -> Path:
        folder = {"candidate": "candidates"}.get(kind, kind)
        return self.root / folder / f"{digest.removeprefix('sha256:')}.json"


def tag(kind: str, digest: str) -> str:
    """Tags, so that whoever deletes untagged artefacts deletes none of these."""
    return f"{kind}-{digest.removeprefix('sha256:')}"
