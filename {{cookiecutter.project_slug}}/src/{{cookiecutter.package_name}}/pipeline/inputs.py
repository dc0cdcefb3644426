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

from ..config import Params
from ..errors import InputError
from ..files import canonical_json, sha256

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = Path(__file__).parents[1]
SOURCE = "src"
# Folders of the package that decide nothing: a change of what serves needs no training.
ASIDE = ("cli", "monitoring", "release", "serving")
MADE_BY_TOOLS = ("__pycache__", "*.egg-info", ".*_cache", ".ipynb_checkpoints", ".DS_Store")

# Recorded of every model, whatever pyproject.toml says.
LIBRARIES = (
    "numpy", "onnx", "onnxruntime", "pandas", "pandera", "protobuf", "pyarrow", "scikit-learn",
    "scipy", "skl2onnx", "skops",
)  # fmt: skip
# Declared by the template for what serves, releases or shows. Their weekly updates change no model.
SHOWN_OR_SERVED = frozenset({
    "arro3-core", "arro3-io", "docker", "httptools", "httpx", "markdown-it-py", "matplotlib",
    "msgspec", "packaging", "pillow", "prometheus-client", "pydantic", "pyyaml", "requests", "rich",
    "typer", "uvicorn", "uvloop",
})  # fmt: skip


def input_key(params: Params, root: Path) -> str:
    """The digest of everything that decides the model: equal keys, equal models."""
    from ..data import fingerprint  # the user's code: whoever writes to main loads none of it

    facts = {
        "params": params.model_dump(mode="json", exclude={"slices": True, "data": {"public"}}),
        "data": fingerprint(params, root),
        "code": {name: sha256(path.read_bytes()) for name, path in sources(root).items()},
        "libraries": libraries(root),
    }
    return sha256(canonical_json(facts).encode())


def sources(root: Path) -> dict[str, Path]:
    """Every file that training may import or read as part of the code, by its path in the
    repository: of the package that runs, and of all else below `root/src`.

    Raises:
        InputError: A folder there is a link: what it holds cannot be told.
    """
    found = {
        f"{SOURCE}/{PACKAGE.name}/{path.relative_to(PACKAGE).as_posix()}": path
        for path in files_below(PACKAGE)
        if path.relative_to(PACKAGE).parts[0] not in ASIDE
    }
    for path in files_below(root / SOURCE):
        if path.relative_to(root / SOURCE).parts[0] != PACKAGE.name:
            found[path.relative_to(root).as_posix()] = path
    for name, path in found.items():
        if not path.is_file() or not name.isprintable():
            shown = ascii(name)[1:-1]
            raise InputError(f"{shown}: is no file with a plain name; put one there, or a folder")
    return found


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
    """The versions that decide what a fit gives: Python, ours, and what the project's
    pyproject.toml adds, with all that it needs."""
    from packaging.utils import canonicalize_name

    found = {"python": platform.python_version()} | {name: _installed(name) for name in LIBRARIES}
    waiting, seen = _declared(root), set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        asked = (name, *sorted(requirement.extras))
        if name in LIBRARIES or name in SHOWN_OR_SERVED or asked in seen:
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
