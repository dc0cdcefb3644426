"""The program of a release: the code as it is at the record's source commit, in a folder of its
own, so that a rollback runs the code that made the model and nobody's work tree is needed."""

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mlrelease import project
from mlrelease.errors import InputError, RefusedError
from mlrelease.files import alone, canonical_json, read_json
from mlrelease.programs.commit_files import write_files
from mlrelease.programs.libraries import depends, needed, python
from mlrelease.programs.variables import SERVICE, WORKERS, kept
from mlrelease.records.git import Git, GitError
from mlrelease.records.large_files import MAX_POINTER, pointed
from mlrelease.records.record import Record
from mlrelease.scoring.artifact import replace_directory
from mlrelease.source_files import made_by_tools

KEPT = 5  # the programs that were used last; others go when nothing runs them
STAMP = "digest.json"
CODE = ("src", "pyproject.toml")
ENGINE = project.GROUP


@dataclass(frozen=True)
class Program:
    """What to run: `python -m ENGINE.serving.app`, with the folders of `code` first on the path."""

    python: Path
    code: tuple[Path, ...]
    engine: str
    entry: str | None  # the entry point of the project at that commit

    def environment(self) -> dict[str, str]:
        """The variables of the process: no token of whoever deploys. PYTHONPATH goes before an
        editable installation."""
        path = [str(place) for place in self.code]
        if self.python == Path(sys.executable):  # what it has belongs to what is installed here
            path += filter(None, [os.environ.get("PYTHONPATH")])
        given = {project.VARIABLE: self.entry} if self.entry else {}
        given |= {"PYTHONPATH": os.pathsep.join(path)}
        given["PYTHONDONTWRITEBYTECODE"] = "1"  # `prepare` takes code with bytecode for damaged
        return kept((*SERVICE, WORKERS)) | given


def prepare(git: Git, record: Record, folder: Path) -> Program:
    """The program of a record, from `folder/code/<commit>`: extracted once for all environments.

    Raises:
        RefusedError: The commit is not in this repository, or holds no service that could run.
        LibrariesError: It needs other libraries than are installed, and they cannot be had.
    """
    commit = record.source.commit
    place = folder / "code" / commit
    with alone(place.parent):
        if not _whole(git, commit, place):
            temporary = place.with_name(f".{commit}")
            shutil.rmtree(temporary, ignore_errors=True)
            _extract(git, commit, temporary)
            replace_directory(temporary, place)
        (place / STAMP).touch()
        _forget(folder)
    engine = engine_of(place, commit)
    interpreter = python(needed(place, record.runtime, commit), folder / "libraries", commit)
    return Program(interpreter, code_of(place), engine, entry_of(place))


def _extract(git: Git, commit: str, directory: Path) -> None:
    what = f"the code of source commit {commit[:7]}"
    try:
        write_files(git, commit, git.tree(commit, *CODE, "engine"), directory)
    except GitError as error:
        raise RefusedError(f"{what} cannot run: {error}") from None
    for name in CODE:
        if not (directory / name).exists():
            raise RefusedError(f"{what} cannot run: it has no {name}")
    (directory / STAMP).write_text(canonical_json(_digest(directory)))


def _whole(git: Git, commit: str, place: Path) -> bool:
    """Whether all is there as the commit holds it: a disk that was full, or a hand, may have been
    here. Where git does not know the commit any more, it is as it was extracted."""
    stamp = place / STAMP
    if not stamp.exists():
        return False
    try:
        known = git.tree(commit, *CODE, "engine")
    except GitError:
        return bool(read_json(stamp) == _digest(place))
    algorithm = "sha256" if len(commit) == 64 else "sha1"
    wanted = {n: facts.split()[2] for n, facts in known.items() if not made_by_tools(n)}
    here = dict(_files(place))
    others = [
        name
        for name, content in here.items()
        if hashlib.new(algorithm, b"blob %d\0%b" % (len(content), content)).hexdigest()
        != wanted.get(name)
    ]
    if here.keys() != wanted.keys():
        return False
    pointers = git.objects([wanted[name] for name in others], MAX_POINTER)
    return all(
        pointer.content and pointed(pointer.content) == hashlib.sha256(here[name]).hexdigest()
        for name, pointer in zip(others, pointers, strict=True)
    )


def _files(place: Path) -> Iterator[tuple[str, bytes]]:
    """All files; Python's bytecode would run instead of its source, and is none of them."""
    for path in sorted(place.rglob("*")):
        name = path.relative_to(place)
        if path.is_file() and name != Path(STAMP):
            yield name.as_posix(), path.read_bytes()


def _digest(place: Path) -> str:
    digest = hashlib.sha256()
    for name, content in _files(place):
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def code_of(place: Path) -> tuple[Path, ...]:
    """Where Python finds the code of a commit that was put there: the engine's first."""
    return tuple(place / name for name in ("engine", "src") if (place / name).is_dir())


def engine_of(place: Path, commit: str) -> str:
    """The name of the package that is the engine at that commit. Before it had a folder of its own,
    it was the project's package; a project may also depend on it.

    Raises:
        RefusedError: There is none.
    """
    if (place / "engine" / ENGINE).is_dir() or depends(place, ENGINE):
        return ENGINE
    found = [path.parts[-3] for path in (place / "src").glob("*/serving/app.py")]
    if len(found) != 1:
        raise RefusedError(f"the code of source commit {commit[:7]} cannot run: it has no engine")
    return found[0]


def entry_of(place: Path) -> str | None:
    """The entry point of the project, where its pyproject.toml names one."""
    try:
        return project.entry(place)
    except InputError:
        return None


def _forget(folder: Path) -> None:
    """Remove programs that nothing runs, except the last few that were used."""
    stamps = sorted(folder.glob(f"code/*/{STAMP}"), key=lambda p: p.stat().st_mtime_ns)
    for place in [stamp.parent for stamp in stamps[:-KEPT]]:
        if not any(folder.glob(f"*/process-*-{place.name}.*")):
            shutil.rmtree(place, ignore_errors=True)
