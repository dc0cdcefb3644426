"""The libraries of a release: those that are installed here, or an environment of their own."""

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from mlrelease.errors import ModelError, RefusedError
from mlrelease.files import alone
from mlrelease.programs.variables import not_ours
from mlrelease.records.git import Git

SECONDS = 600


class LibrariesError(ModelError):
    """They cannot be installed. That says nothing about the model: no revert is proposed."""


FILES = ("pyproject.toml", "engine/pyproject.toml")


def needed(
    place: Path, runtime: Literal["onnx", "scikit-learn"], commit: str
) -> tuple[Requirement, ...]:
    """What a service needs on this machine, as the image: more where the model is served by what
    trained it. `place` holds the files of the commit.

    Raises:
        RefusedError: pyproject.toml does not say.
    """
    try:
        texts = [(place / n).read_text(encoding="utf-8") for n in FILES if (place / n).exists()]
    except (OSError, ValueError) as error:
        raise _unsaid(commit, error) from None
    return parsed(texts, runtime, commit)


def depends(place: Path, name: str) -> bool:
    """Whether the project's pyproject.toml asks for a library of this name."""
    try:
        text = (place / FILES[0]).read_text(encoding="utf-8")
        return any(r.name == name for r in parsed([text], "onnx", "this commit"))
    except (OSError, ValueError, RefusedError):
        return False


def parsed(
    texts: Sequence[str], runtime: Literal["onnx", "scikit-learn"], commit: str
) -> tuple[Requirement, ...]:
    """The same, of the contents of the files."""
    lines: list[str] = []
    try:
        for text in texts:
            project = tomllib.loads(text)["project"]
            lines += project["dependencies"]
            if runtime == "scikit-learn":
                lines += project.get("optional-dependencies", {}).get("training", ())
        found = tuple(Requirement(line) for line in lines)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unsaid(commit, error) from None
    if not texts:
        raise _unsaid(commit, FileNotFoundError("there is none"))
    return tuple(r for r in found if r.marker is None or r.marker.evaluate())


def _unsaid(commit: str, error: Exception) -> RefusedError:
    why = " ".join(str(error).split())[:200]
    return RefusedError(
        f"the code of source commit {commit[:7]} cannot run: its pyproject.toml does not say"
        f" which libraries it needs: {why}"
    )


def pinned(git: Git, commit: str) -> tuple[Requirement, ...]:
    """What a commit pins for training.

    Raises:
        RefusedError: It does not say.
    """
    found = [git.show(commit, name) for name in FILES]
    texts = [content.decode(errors="replace") for content in found if content is not None]
    return parsed(texts, "scikit-learn", commit)


def lacking(git: Git, commit: str) -> list[str]:
    """What a commit pins for training, and is not installed here.

    Raises:
        RefusedError: It does not say.
    """
    return list(differing(pinned(git, commit)))


def python(requirements: Sequence[Requirement], folder: Path, commit: str) -> Path:
    """The interpreter that has them: this one, or that of `folder/<digest>`, made where there is
    none.

    Raises:
        LibrariesError: It cannot be made; offline, for example.
    """
    missing = list(differing(requirements))
    if not missing and not _job_owns_this():
        return Path(sys.executable)
    pins = sorted(map(str, requirements))
    key = "\n".join([platform.python_version(), platform.machine(), *pins])
    place = folder / hashlib.sha256(key.encode()).hexdigest()[:16]
    interpreter = place / "bin" / "python"
    with alone(folder):
        if not interpreter.exists():  # nor where the Python that it was made from is gone
            why = "; ".join(missing) or "the job's own are removed by the next job"
            _make(place, pins, f"the libraries of source commit {commit[:7]} ({why})")
    return interpreter


def differing(requirements: Sequence[Requirement]) -> Iterator[str]:
    """What is not installed here as it is pinned."""
    for requirement in requirements:
        try:
            found = version(requirement.name)
        except PackageNotFoundError:
            found = ""
        # From an address: no version says what it holds.
        fits = found and requirement.specifier.contains(found, prereleases=True)
        if requirement.url or not fits:
            yield f"{requirement}, not {found or 'missing'}"


def _job_owns_this() -> bool:
    """On a runner of one's own, a checkout removes what the last job left in its workspace; a
    service outlives its job."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    own = os.environ.get("RUNNER_ENVIRONMENT") == "self-hosted"
    return bool(own and workspace and Path(sys.prefix).is_relative_to(workspace))


def _make(place: Path, pins: Sequence[str], what: str) -> None:
    """A virtual environment, whole or not at all. It is moved, which only scripts in it mind."""
    new = place.with_name(f".{place.name}")
    shutil.rmtree(new, ignore_errors=True)
    interpreter = str(new / "bin" / "python")
    uv = _uv()
    if uv:
        make = [uv, "venv", "--quiet", "--python", sys.executable, str(new)]
        install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", interpreter]
    else:
        make = [sys.executable, "-m", "venv", str(new)]
        install = [interpreter, "-I", "-m", "pip", "install", "--quiet"]
    _run(what, *make)
    if pins:
        _run(what, *install, *pins)
    shutil.rmtree(place, ignore_errors=True)
    new.replace(place)


def _uv() -> str | None:
    """On the path, or where `make setup` put it."""
    return shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))


def _run(what: str, *command: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False,
            timeout=SECONDS, env=not_ours(),  # to build one may run its code
        )  # fmt: skip
        said = "" if done.returncode == 0 else done.stderr or done.stdout or "no message"
    except (OSError, subprocess.TimeoutExpired) as error:
        said = str(error)
    if said:
        shown = " ".join(said.split())[:300]
        raise LibrariesError(f"{what} cannot be installed; what ran before still runs: {shown}")
