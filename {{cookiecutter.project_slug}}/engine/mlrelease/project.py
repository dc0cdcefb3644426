"""The seam: what a project gives to the engine, and how the engine finds it."""

import importlib
import importlib.util
import os
import tomllib
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlrelease.errors import InputError, ModelError

if TYPE_CHECKING:
    import pandas as pd

    from mlrelease.params import Params
    from mlrelease.scoring.features import Column

GROUP = "mlrelease"
VARIABLE = "MLRELEASE_PROJECT"
EXAMPLE = f'[project.entry-points.{GROUP}] project = "PACKAGE.project:project"'


@dataclass(frozen=True)
class Project:
    """What the engine asks a project for. Errors that the functions raise name their file and line.

    `load` gives all rows, index 0..n-1. `fingerprint` changes whenever they do, and is cheap.
    `build` gives the unfitted scikit-learn estimator for the columns of the model. `trusted` names
    types of other libraries that a model file may hold; those of the project's own package may.
    """

    load: "Callable[[Params, Path], pd.DataFrame]"
    fingerprint: "Callable[[Params, Path], str]"
    build: "Callable[[Params, Sequence[Column]], Any]"
    trusted: tuple[str, ...] = ()


def find(root: Path) -> Project:
    """The project of a repository: the entry point in its pyproject.toml names it, or else
    MLRELEASE_PROJECT does.

    Raises:
        InputError: Neither does, or what they name cannot be imported.
    """
    named = entry(root)
    module, _, name = named.partition(":")
    try:
        with faults(root):
            found = getattr(importlib.import_module(module), name or "project")
    except (ImportError, AttributeError) as error:
        raise InputError(f"the entry point {named!r}: {error}; run `make setup`") from None
    if not isinstance(found, Project):
        raise InputError(f"the entry point {named!r}: is a {type(found).__name__}, not a Project")
    return found


def package(root: Path | None = None) -> str:
    """The name of the project's package; of what is installed, where no repository is given."""
    if root:
        return _top(entry(root))
    found = _installed()
    return _top(found[0]) if found else GROUP


def folder(root: Path) -> Path:
    """Where the project's package lies that runs here; it is not imported."""
    name = package(root)
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"the package {name!r} is not installed; run `make setup`")
    return Path(next(iter(spec.submodule_search_locations)))


def trusted(kinds: set[str]) -> set[str]:
    """Which of these types the project that is installed here lets a model file hold."""
    found = set()
    for named in _installed():
        found |= {kind for kind in kinds if kind.startswith(f"{_top(named)}.")}
        if kinds - found:
            module, _, name = named.partition(":")
            try:
                project = getattr(importlib.import_module(module), name or "project")
            except ImportError:
                continue  # a service may have nothing of what training needs
            found |= kinds & set(getattr(project, "trusted", ()))
    return found


@contextmanager
def faults(root: Path) -> Iterator[None]:
    """Errors of the project's own code, by the file and the line where they came from. Their words
    may quote a row: MODEL_DEBUG=1 shows them."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        own = folder(root)
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if Path(frame.filename).is_relative_to(own)]
        if not ours:
            raise
        place = f"src/{own.name}/{Path(ours[-1].filename).relative_to(own).as_posix()}"
        said = f": {error}" if isinstance(error, ImportError) else ""  # it quotes no row
        raise InputError(
            f"{place}, line {ours[-1].lineno}: {type(error).__name__}{said}"
            " (MODEL_DEBUG=1 shows all of it)"
        ) from error


def entry(root: Path) -> str:
    """The entry point of a repository's project, `module:object`."""
    path = root / "pyproject.toml"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return str(content["project"]["entry-points"][GROUP]["project"])
    except (OSError, ValueError, KeyError, TypeError):
        if given := os.environ.get(VARIABLE):
            return given
        raise InputError(f"{path}: names no project; add {EXAMPLE}") from None


def _top(named: str) -> str:
    """The package of an entry point."""
    return named.partition(":")[0].partition(".")[0]


def _installed() -> list[str]:
    if given := os.environ.get(VARIABLE):
        return [given]
    return [point.value for point in entry_points(group=GROUP) if point.name == "project"]
