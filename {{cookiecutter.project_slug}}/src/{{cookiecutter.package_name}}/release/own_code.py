"""The program of a release: the package as it is at the record's source commit, in a folder of its
own, so that a rollback runs the code that made the model and nobody's work tree is needed."""

import hashlib
import io
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import RefusedError
from ..files import canonical_json, read_json
from ..pipeline.artifact import replace_directory
from . import archive
from .driver import alone
from .git import Git, GitError
from .libraries import needed, python
from .record import Record

KEPT = 5  # the programs that were used last; others go when nothing runs them
STAMP = "digest.json"


@dataclass(frozen=True)
class Program:
    """What to run: `python -m PACKAGE.serving.app`, with `source` first on the path."""

    python: Path
    source: Path
    package: str

    def environment(self) -> dict[str, str]:
        """The variables of the process. PYTHONPATH goes before an editable installation."""
        path = [str(self.source)]
        if self.python == Path(sys.executable):  # what it has belongs to what is installed here
            path += filter(None, [os.environ.get("PYTHONPATH")])
        return os.environ | {"PYTHONPATH": os.pathsep.join(path)}


def prepare(git: Git, record: Record, folder: Path) -> Program:
    """The program of a record, from `folder/code/<commit>`: extracted once for all environments.

    Raises:
        RefusedError: The commit is not in this repository, or holds no service that could run.
        LibrariesError: It needs other libraries than are installed, and they cannot be had.
    """
    commit = record.source.commit
    place = folder / "code" / commit
    with alone(place.parent):
        if not _whole(place):
            temporary = place.with_name(f".{commit}")
            shutil.rmtree(temporary, ignore_errors=True)
            _extract(git, commit, temporary)
            replace_directory(temporary, place)
        (place / STAMP).touch()
        _forget(folder)
    package = package_of(place / "src", commit)
    requirements = needed(place / "pyproject.toml", record.runtime, commit)
    return Program(python(requirements, folder / "libraries", commit), place / "src", package)


def _extract(git: Git, commit: str, directory: Path) -> None:
    try:
        tar = git.output("archive", "--format=tar", commit, "src", "pyproject.toml")
    except GitError as error:
        raise RefusedError(f"the code of source commit {commit[:7]} cannot run: {error}") from None
    archive.unpack(io.BytesIO(tar), directory, f"source commit {commit[:7]}", folders=True)
    (directory / STAMP).write_text(canonical_json(_digest(directory)))


def _whole(place: Path) -> bool:
    """Whether all is there as it was extracted: a disk that was full, or a hand, may have been
    here."""
    stamp = place / STAMP
    return stamp.exists() and read_json(stamp) == _digest(place)


def _digest(place: Path) -> str:
    """Of all files except Python's bytecode, which a service writes beside them."""
    digest = hashlib.sha256()
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place)
        if path.is_file() and name != Path(STAMP) and "__pycache__" not in name.parts:
            digest.update(f"{name.as_posix()}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def package_of(source: Path, commit: str) -> str:
    """The package's name at that commit, which need not be today's."""
    found = [path.parts[-3] for path in source.glob("*/serving/app.py")]
    if len(found) != 1:
        raise RefusedError(
            f"the code of source commit {commit[:7]} cannot run: it holds {len(found)} files"
            " src/*/serving/app.py, not one"
        )
    return found[0]


def _forget(folder: Path) -> None:
    """Remove programs that nothing runs, except the last few that were used."""
    stamps = sorted(folder.glob(f"code/*/{STAMP}"), key=lambda p: p.stat().st_mtime_ns)
    for place in [stamp.parent for stamp in stamps[:-KEPT]]:
        if not any(folder.glob(f"*/process-*-{place.name}.*")):
            shutil.rmtree(place, ignore_errors=True)
