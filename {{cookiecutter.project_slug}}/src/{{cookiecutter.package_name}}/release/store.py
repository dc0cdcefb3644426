"""Where artefacts are kept: a content-addressed folder. The only module that knows."""

import os
import shutil
import tempfile
from pathlib import Path

from ..config import parse
from ..errors import InputError, RefusedError
from ..files import canonical_json, write_atomically
from ..pipeline.artifact import check_digest, digest_of
from .record import Provenance, short


class Store:
    """Directories by digest, and what is known of each packaged candidate."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, directory: Path) -> str:
        """Keep a copy of a directory under the digest of its content; again is no fault."""
        digest = digest_of(directory)
        target = self._path(digest)
        if target.exists() and digest_of(target) == digest:
            return digest
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=".put-"))
        shutil.copytree(directory, temporary / "content")
        shutil.rmtree(target, ignore_errors=True)  # only a damaged copy can be there
        try:
            os.replace(temporary / "content", target)
        except OSError:  # another process put the same content first
            check_digest(target, digest)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return digest

    def fetch(self, digest: str) -> Path:
        """The directory with this digest, checked byte for byte.

        Raises:
            RefusedError: It is not there, or somebody changed it.
        """
        path = self._path(digest)
        if not path.exists():
            raise RefusedError(
                f"{digest} is not in the store {self.root}: it was deleted, or packaged elsewhere;"
                " run `model train` and `model package` at its source commit"
            )
        return check_digest(path, digest)

    def save(self, provenance: Provenance) -> None:
        """Remember how a candidate was made, and that these inputs give this model."""
        text = canonical_json(provenance.model_dump(mode="json"))
        write_atomically(self._note("candidates", provenance.model), text)
        write_atomically(self._note("inputs", provenance.key), text)

    def provenance(self, digest: str) -> Provenance:
        """How a packaged candidate was made.

        Raises:
            RefusedError: It was never packaged here.
        """
        found = self._read("candidates", digest)
        if found is None:
            raise RefusedError(f"{digest} was never packaged here: run `model package`")
        return found

    def find(self, key: str) -> Provenance | None:
        """The candidate that these inputs gave, when its artefacts are still whole."""
        found = self._read("inputs", key)
        if found is None or not self._path(found.data.holdout).exists():
            return None
        path = self._path(found.model)
        return found if path.exists() and digest_of(path) == found.model else None

    def complete(self, prefix: str) -> str:
        """The digest of the packaged candidate that starts with `prefix` (hex, or `sha256:`...).

        Raises:
            InputError: None, or several do.
        """
        start = prefix.removeprefix("sha256:")
        names = sorted(path.stem for path in (self.root / "candidates").glob("*.json"))
        found = [name for name in names if start and name.startswith(start)]
        if len(found) != 1:
            what = "several candidates start" if found else "no packaged candidate starts"
            known = ", ".join(short(name) for name in names[-5:]) or "none; run `model package`"
            raise InputError(f"{what} with {prefix!r}; packaged: {known}")
        return f"sha256:{found[0]}"

    def _path(self, digest: str) -> Path:
        return self.root / "sha256" / digest.removeprefix("sha256:")

    def _note(self, kind: str, digest: str) -> Path:
        return self.root / kind / f"{digest.removeprefix('sha256:')}.json"

    def _read(self, kind: str, digest: str) -> Provenance | None:
        path = self._note(kind, digest)
        return parse(path.read_bytes(), Provenance, str(path)) if path.exists() else None
