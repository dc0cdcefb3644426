"""Where artefacts are kept: a content-addressed folder, which an OCI registry may stand behind."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mlrelease.errors import InputError, ModelError, RefusedError
from mlrelease.files import canonical_json, writing_to
from mlrelease.records.record import Erased, Provenance, short
from mlrelease.scoring import contents
from mlrelease.scoring.artifact import FITTED_FILES, HOLDOUT_FILES, whole
from mlrelease.scoring.contents import Contents, check_digest, digest_of
from mlrelease.storage import archive, privacy
from mlrelease.storage.connection import DeniedError
from mlrelease.storage.notes import NOTE as NOTE, Notes, tag as _tag
from mlrelease.storage.registry import Registry

DIRECTORY = "application/vnd.model.directory.v1.tar"


class MissingError(RefusedError):
    """An artefact is not there; it may come back."""


class ErasedError(RefusedError):
    """Rows were erased on purpose; they do not come back."""

    def __init__(self, note: Erased) -> None:
        super().__init__(f"{note}; `model promote` needs rows that are there")
        self.note = note


class Store:
    """Directories by digest, and what is known of each packaged candidate.

    A registry is the store of record where there is one: the folder then keeps copies of its
    directories, and nothing else. Rows that not everybody may see have a registry of their own.
    """

    def __init__(
        self, root: Path, registry: Registry | None = None, rows: Registry | None = None
    ) -> None:
        self.root, self.registry = root, registry
        self.rows = rows if registry else None  # a folder is nobody else's
        self.notes = Notes(root, registry)

    @property
    def places(self) -> tuple[Registry, ...]:
        """Every registry that may hold a directory."""
        return tuple(place for place in (self.registry, self.rows) if place)

    def put(self, directory: Path) -> str:
        """Keep a copy of a model under the digest of its content; again is no fault."""
        return self.keep(contents.read(directory))

    def keep(self, files: Contents) -> str:
        """The same for what was read of a directory: what is kept has the digest that it had."""
        return self._put(files, self.registry)

    def put_rows(self, directory: Path, public: bool) -> str:
        """As `keep_rows`, of a directory."""
        return self.keep_rows(contents.read(directory), public)

    def keep_rows(self, files: Contents, public: bool) -> str:
        """The same for what holds rows, or hashes of them. Others can read it only if it is
        `public`.

        Raises:
            RefusedError: They could, or the rows were erased; nothing was pushed.
        """
        with suppress(DeniedError):  # so answers ghcr.io for a repository nobody pushed to yet
            if note := self.erased(files.digest):
                raise RefusedError(f"{note}; take these rows out of the data, and train again")
        if self.registry and not self.rows and not public:
            raise privacy.refuse_unnamed(self.registry)
        if self.rows and not public:
            privacy.refuse_readable(self.rows)
        return self._put(files, self.rows or self.registry)

    def fetch(self, digest: str) -> Path:
        """The directory with this digest, checked byte for byte. Who loads it reads these bytes
        with the digest again, or calls `read`: the folder may change meanwhile.

        Raises:
            RefusedError: It is not there, or somebody changed it.
        """
        return check_digest(self._present(digest), digest)

    def read(self, digest: str) -> Contents:
        """The files of the directory with this digest, read once; refused as by `fetch`."""
        return contents.read(self._present(digest), digest)

    def _present(self, digest: str) -> Path:
        path = self._path(digest)
        found = path.exists()
        if self.registry and not self._has(digest):
            found = any(self._pull(place, digest) for place in self.places)
        if not found:
            if note := self.erased(digest):
                raise ErasedError(note)
            where = " and ".join(map(str, self.places or [self.root]))
            raise MissingError(
                f"{digest} is not in the store {where}: it was deleted, or packaged elsewhere; run"
                " `model train` and `model package` at its source commit"
            )
        return path

    def save(self, provenance: Provenance) -> None:
        """Remember how a candidate was made, and that these inputs give this model."""
        text = canonical_json(provenance.model_dump(mode="json"))
        for kind, digest in (("candidate", provenance.model), ("inputs", provenance.key)):
            self.notes.write(kind, digest, text)

    def erased(self, digest: str) -> Erased | None:
        """The note of rows that were erased on purpose."""
        found = self.notes.read("erased", digest, Erased)
        return found if found and found.rows == digest else None

    def erase(self, note: Erased) -> None:
        """Delete rows here and in each registry, then note it; again is no fault.

        Raises:
            RefusedError: It is no directory of rows, whatever somebody noted; or a registry does
                not delete. Nothing was noted.
        """
        with suppress(MissingError, ErasedError):
            files = set(self.read(note.rows).files)
            if not files <= {*HOLDOUT_FILES, *FITTED_FILES}:
                raise RefusedError(
                    f"{note.rows}: holds {min(files)[:80]!a}, which are no rows; nothing was erased"
                )
        for place in self.places:
            place.delete(_tag("dir", note.rows))
        shutil.rmtree(self._path(note.rows), ignore_errors=True)
        self.notes.write("erased", note.rows, canonical_json(note.model_dump(mode="json")))

    def size(self, digest: str) -> int | None:
        """The bytes of a directory; None where it is not in the store."""
        path, tag = self._path(digest), _tag("dir", digest)
        if path.exists():
            return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        return next((size for place in self.places if (size := place.size(tag)) is not None), None)

    def candidates(self) -> list[Provenance]:
        """Every candidate that was packaged here, by its digest."""
        return [self.provenance(f"sha256:{name}") for name in self.notes.candidates()]

    def provenance(self, digest: str) -> Provenance:
        """How a packaged candidate was made.

        Raises:
            RefusedError: It was never packaged here.
        """
        found = self.notes.provenance("candidate", digest)
        if found is None:
            raise RefusedError(f"{digest} was never packaged here: run `model package`")
        return found

    def find(self, key: str) -> Provenance | None:
        """The candidate that these inputs gave, when its artefacts are still whole."""
        if self.registry:
            return self._find(key)
        found = self.notes.provenance("inputs", key)
        return found if found and self._whole(found) else None

    def complete(self, prefix: str) -> str:
        """The digest of the packaged candidate that starts with `prefix` (hex, or `sha256:`...).

        Raises:
            InputError: None, or several do.
        """
        start = prefix.removeprefix("sha256:")
        names = self.notes.candidates()
        found = [name for name in names if start and name.startswith(start)]
        if len(found) != 1:
            what = "several candidates start" if found else "no packaged candidate starts"
            known = ", ".join(short(name) for name in names[-5:]) or "none; run `model package`"
            raise InputError(f"{what} with {prefix!r}; packaged: {known}")
        return f"sha256:{found[0]}"

    def _find(self, key: str) -> Provenance | None:
        try:
            found = self.notes.provenance("inputs", key)
        except DeniedError:  # so answers ghcr.io for a repository that nobody pushed to yet
            return None
        for digest in found.artefacts if found else ():
            if not any(place.digest(_tag("dir", digest)) for place in self.places):
                return None
        return found

    def _put(self, files: Contents, place: Registry | None) -> str:
        if not self._has(files.digest):
            with self._temporary() as temporary:
                files.write(temporary / "content")
                self._keep(temporary / "content", files.digest)
        if place:
            with tempfile.TemporaryFile(dir=self.root) as tar, writing_to(self.root):
                archive.pack(files, tar)
                place.push(_tag("dir", files.digest), DIRECTORY, tar)
        return files.digest

    def _pull(self, registry: Registry, digest: str) -> bool:
        """Bring a directory from the registry; it is not visible before it was checked."""
        tag = _tag("dir", digest)
        with self._temporary() as temporary, (temporary / "tar").open("w+b") as tar:
            if not registry.pull(tag, DIRECTORY, tar, archive.MAX_BYTES):
                return False
            content = temporary / "content"
            archive.unpack(tar, content, f"{registry}:{tag}")
            if (found := digest_of(content)) != digest:
                raise RefusedError(f"{registry}:{tag}: holds {found}; nothing was kept")
            self._keep(content, digest)
        return True

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        folder = self.root / "sha256"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".put-") as name, writing_to(folder):
            yield Path(name)

    def _keep(self, content: Path, digest: str) -> None:
        target = self._path(digest)
        if not self._has(digest):  # nor where another process put the same content meanwhile
            contents.refuse_strangers(target, content)
            shutil.rmtree(target, ignore_errors=True)  # only a damaged copy is there
        try:
            os.replace(content, target)
        except OSError:
            check_digest(target, digest)

    def _has(self, digest: str) -> bool:
        try:
            return digest_of(self._path(digest)) == digest
        except RefusedError:
            return False

    def _whole(self, found: Provenance) -> bool:
        try:
            whole(contents.read(self._path(found.model), found.model))
        except ModelError:
            return False
        return all(map(self._has, found.artefacts))

    def _path(self, digest: str) -> Path:
        return self.root / "sha256" / digest.removeprefix("sha256:")
