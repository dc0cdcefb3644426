"""What decides a trained model: params.yaml, the rows, the code and the libraries. What is known to
decide nothing is named here; all else is an input, so that nothing new can be forgotten."""

import json
import platform
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution, requires
from pathlib import Path
from typing import TYPE_CHECKING

from mlrelease.errors import InputError
from mlrelease.files import canonical_json, sha256
from mlrelease.params import Params
from mlrelease.source_files import MADE_BY_TOOLS, SOURCE

if TYPE_CHECKING:
    from packaging.requirements import Requirement

ENGINE = Path(__file__).parents[1]
# Rooms of the engine that decide nothing: a change of what serves needs no training.
ASIDE = (
    "automation", "cli", "deployment", "github", "monitoring", "packages", "predicting", "programs",
    "promotion", "records", "rehearsal", "serving", "settings", "storage", "verification",
)  # fmt: skip

# What the engine fits, describes and converts a model with.
LIBRARIES = (
    "numpy", "onnx", "onnxruntime", "pandas", "pandera", "protobuf", "pyarrow", "scikit-learn",
    "scipy", "skl2onnx", "skops",
)  # fmt: skip


def input_key(params: Params, root: Path, python: str | None = None) -> str:
    """The digest of everything that decides the model: equal keys, equal models. `python` is the
    version that trains, if it is another than this one."""
    from mlrelease import project  # the user's code: whoever writes to main loads none of it

    with project.faults(root):
        rows = project.find(root).fingerprint(params, root)
    facts = {
        "params": params.model_dump(mode="json", exclude={"slices": True, "data": {"public"}}),
        "data": rows,
        "code": {name: sha256(path.read_bytes()) for name, path in sources(root).items()},
        "engine": engine(),
        "libraries": libraries(root) | ({"python": python} if python else {}),
    }
    return sha256(canonical_json(facts).encode())


def sources(root: Path) -> dict[str, Path]:
    """Every file of the project that training may import or read as part of the code, by its path
    in the repository: of the package that runs, and of all else below `root/src`.

    Raises:
        InputError: A folder there is a link: what it holds cannot be told.
    """
    from mlrelease import project

    own = project.folder(root)
    found = {
        f"{SOURCE}/{own.name}/{path.relative_to(own).as_posix()}": path for path in files_below(own)
    }
    for path in files_below(root / SOURCE):
        if path.relative_to(root / SOURCE).parts[0] != own.name:
            found[path.relative_to(root).as_posix()] = path
    for name, path in found.items():
        if not path.is_file() or not name.isprintable():
            shown = ascii(name)[1:-1]
            raise InputError(f"{shown}: is no file with a plain name; put one there, or a folder")
    return found


def engine(place: Path = ENGINE) -> str:
    """The digest of the engine at a place, but for the rooms that decide nothing about a model."""
    names = {path.relative_to(place).as_posix(): path for path in files_below(place)}
    facts = {n: sha256(p.read_bytes()) for n, p in names.items() if n.split("/")[0] not in ASIDE}
    return sha256(canonical_json(facts).encode())


def files_below(folder: Path) -> Iterator[Path]:
    """Everything below a folder except folders, and except what tools write there. A link to a
    folder is not followed."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if any(fnmatch(path.name, pattern) for pattern in MADE_BY_TOOLS):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from files_below(path)
        else:
            yield path


def libraries(root: Path) -> dict[str, str]:
    """The versions that decide what a fit gives: Python, those of the engine, and what the
    project's pyproject.toml asks for, with all that it needs."""
    from packaging.utils import canonicalize_name

    found = {"python": platform.python_version()} | {name: _installed(name) for name in LIBRARIES}
    waiting, seen = _declared(root), set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        asked = (name, *sorted(requirement.extras))
        if name in LIBRARIES or name == "mlrelease" or asked in seen:
            continue
        seen.add(asked)
        found[name] = _installed(name)
        waiting += _needed(requirement)
    return found


def _declared(root: Path) -> "list[Requirement]":
    """What pyproject.toml asks for: the dependencies, and the extra `training`."""
    from packaging.requirements import Requirement

    path = root / "pyproject.toml"
    if not path.exists():
        return []
    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
        lines = [
            *project.get("dependencies", ()),
            *project.get("optional-dependencies", {}).get("training", ()),
        ]
        found = [Requirement(line) for line in lines]
    except (ValueError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(f"pyproject.toml: does not say what training needs: {why}") from None
    return [r for r in found if r.marker is None or r.marker.evaluate()]


def _needed(requirement: "Requirement") -> "Iterator[Requirement]":
    """What an installed distribution asks for, with the extras that are wanted of it."""
    from packaging.requirements import Requirement

    try:
        lines = requires(requirement.name) or ()
    except PackageNotFoundError:
        return
    for line in lines:
        needed = Requirement(line)
        extras = ("", *requirement.extras)
        if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
            yield needed


def _installed(name: str) -> str:
    """The installed version; of one from an address, also what was fetched there: its version may
    stay the same."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return "not installed"
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    fetched = origin.get("vcs_info", {}).get("commit_id") or origin.get("archive_info", {}).get(
        "hash"
    )
    return f"{found.version} ({fetched})" if fetched else found.version
