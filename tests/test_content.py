"""What the files of a bake hold: answers where they belong, and the template's bytes elsewhere."""

import ast
import fnmatch
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from .conftest import FOLDER, OTHER_ANSWERS, ROOT, BakedProject, Baker, run

RENDERED = {
    ".python-version",
    "CODEOWNERS",
    "LICENSE.BSD-3-Clause",
    "LICENSE.MIT",
    "LICENSE.Proprietary",
    "README.md",
    "pyproject.toml",
}
CONTEXT = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
DEFAULTS = ["My Model", "my-model", "my_model", "Your Name", "you@example.com", "your-organisation"]


def template_files(template: Path) -> dict[str, Path]:
    """Each file of the template, by its path in the template folder."""
    folder = template / FOLDER
    return {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}


def test_exactly_the_listed_files_are_rendered(template: Path) -> None:
    patterns = CONTEXT["_copy_without_render"]
    rendered = {
        name
        for name in template_files(template)
        if not any(
            fnmatch.fnmatch(str(part), pattern)
            for pattern in patterns
            for part in [Path(name), *Path(name).parents]
        )
    }

    assert rendered == RENDERED


def test_every_pattern_of_verbatim_files_is_about_something_that_runs(template: Path) -> None:
    """A pattern that matches nothing belongs to a part that comes later, and is named here."""
    later = {"Dockerfile", "compose.yaml", "deploy/*", ".github/*"}
    names = template_files(template)
    unused = {
        pattern
        for pattern in CONTEXT["_copy_without_render"]
        if not any(fnmatch.fnmatch(name, pattern) for name in names)
    }

    assert unused <= later


def test_everything_else_has_the_templates_bytes(template: Path, project: BakedProject) -> None:
    verbatim = {
        name.replace("{{cookiecutter.package_name}}", OTHER_ANSWERS["package_name"]): path
        for name, path in template_files(template).items()
        if name not in RENDERED
    }
    baked = [name for name in verbatim if project.has(name)]

    assert len(baked) > 40
    for name in baked:
        assert (project.path / name).read_bytes() == verbatim[name].read_bytes(), name


def test_verbatim_files_hold_no_template_expression(template: Path) -> None:
    for name, path in template_files(template).items():
        if name not in RENDERED:
            assert b"cookiecutter" not in path.read_bytes(), name


def test_no_delimiter_is_left_in_a_rendered_file(project: BakedProject) -> None:
    for name in {*RENDERED, "LICENSE"} & set(project.files()):
        assert not re.search(r"\{\{|\}\}|\{%|%\}|\{#|cookiecutter\.", project.read(name)), name


def test_every_structured_file_parses(project: BakedProject) -> None:
    readers: dict[str, Callable[[str], object]] = {
        ".toml": tomllib.loads,
        ".yaml": yaml.safe_load,
        ".yml": yaml.safe_load,
        ".json": json.loads,
        ".py": ast.parse,
    }
    kinds = set()
    for name in project.files():
        if reader := readers.get(Path(name).suffix):
            kinds.add(Path(name).suffix)
            assert reader(project.read(name)) is not None, name

    assert {".toml", ".yaml", ".json", ".py"} <= kinds


def test_text_files_end_with_one_newline_and_hold_no_carriage_return(project: BakedProject) -> None:
    for name in project.files():
        content = (project.path / name).read_bytes()
        assert b"\r" not in content, name
        assert content == b"" or (content.endswith(b"\n") and not content.endswith(b"\n\n")), name


def test_the_answers_arrive(baked: dict[str, BakedProject]) -> None:
    project = baked["regression"]
    metadata = tomllib.loads(project.read("pyproject.toml"))["project"]

    assert metadata["name"] == "harbour-tides"
    assert metadata["description"] == OTHER_ANSWERS["description"]
    assert metadata["authors"] == [{"name": "Ann Lee", "email": "ann.lee@example.org"}]
    assert metadata["requires-python"] == ">=3.13"
    assert metadata["license"] == "BSD-3-Clause"
    assert metadata["entry-points"]["mlrelease"] == {"project": "tidewater.project:project"}
    assert metadata["urls"] == {"Repository": "https://github.com/pier-authority/harbour-tides"}
    assert project.read(".python-version") == "3.13\n"
    assert project.read("README.md").startswith("# Harbour Tides\n\nPredicts the water level")
    assert "@pier-authority/model-approvers" in project.read("CODEOWNERS")
    assert project.has("src/tidewater/project.py")


def test_no_default_answer_leaks(project: BakedProject) -> None:
    for name in project.files():
        content = (project.path / name).read_bytes().decode("utf-8", errors="replace")
        for default in DEFAULTS:
            assert default not in content, f"{name} holds {default!r}"


def test_a_proprietary_licence_has_a_valid_expression(bake: Callable[..., BakedProject]) -> None:
    project = bake(license="Proprietary")

    metadata = tomllib.loads(project.read("pyproject.toml"))["project"]
    assert metadata["license"] == "LicenseRef-Proprietary"


def test_production_and_policy_have_their_own_owners(baked: dict[str, BakedProject]) -> None:
    lines = baked["regression"].read("CODEOWNERS").splitlines()
    owners = dict(line.split() for line in lines if line and not line.startswith("#"))

    assert owners["/deploy/production/"] == owners["/policy.yaml"]
    assert owners["/deploy/production/"] != owners["*"]
    assert next(iter(owners)) == "*"  # the last match wins on GitHub


def test_who_approves_models_approves_what_verifies_and_releases_them(
    baked: dict[str, BakedProject],
) -> None:
    project, package = baked["regression"], OTHER_ANSWERS["package_name"]
    lines = [line.split() for line in project.read("CODEOWNERS").splitlines() if "@" in line[1:]]
    rules = [line for line in lines if line[0] != "#"]

    def owner(path: str) -> str:
        fitting = [
            who for pattern, who in rules if pattern == "*" or f"/{path}".startswith(pattern)
        ]
        return fitting[-1].rpartition("-")[2]

    theirs = {name for name in project.files() if owner(name) == "developers"}
    assert {name for name in theirs if name.startswith("src/")} == {
        f"src/{package}/{name}.py" for name in ("data", "model")
    }
    assert not {name for name in theirs if name.startswith((".github/", "deploy/production/"))}
    assert not {"policy.yaml", "CODEOWNERS"} & theirs
    assert {"params.yaml", "README.md"} <= theirs


@pytest.mark.parametrize(
    ("package_name", "python_version"),
    [("a", "3.11"), ("tidewater", "3.12"), ("tidewater", "3.14"), ("z" * 40, "3.13")],
)
def test_a_fresh_bake_is_clean_for_ruff(
    bake: Callable[..., BakedProject], package_name: str, python_version: str
) -> None:
    """Whatever the package's name, which lengthens lines, and the Python, which adds rules."""
    project = bake(package_name=package_name, python_version=python_version)

    project.run("ruff", "check", "--no-cache")
    project.run("ruff", "format", "--check", "--no-cache")


def declared(project: BakedProject) -> list[str]:
    """What the service needs, and what else the command `model` needs."""
    metadata = tomllib.loads(project.read("engine/pyproject.toml"))["project"]
    return [*metadata["dependencies"], *metadata["optional-dependencies"]["training"]]


def test_exact_versions_are_pinned(project: BakedProject) -> None:
    """A model's digest holds only with the libraries that trained it."""
    settings = tomllib.loads(project.read("pyproject.toml"))
    pins = [*declared(project), *settings["dependency-groups"]["dev"]]

    assert len(pins) > 30
    assert [pin for pin in pins if not re.match(r"^[a-z0-9-]+(\[\w+\])?==[0-9.]+(;|$)", pin)] == []


def test_what_the_source_imports_is_a_declared_dependency(project: BakedProject) -> None:
    """And what is declared is imported, or has its reason here."""
    for_uvicorn = {"httptools", "uvloop"}  # it takes them when they are there
    for_pandas = {"pyarrow"}  # Parquet files
    for_onnx = {"protobuf"}  # a version that its converter works with
    names = {
        "arro3.core": "arro3-core",
        "arro3.io": "arro3-io",
        "markdown_it": "markdown-it-py",
        "prometheus_client": "prometheus-client",
        "PIL": "pillow",
        "sklearn": "scikit-learn",
        "yaml": "pyyaml",
    }
    imported = set()
    for name in project.files():
        if name.startswith("engine/") and name.endswith(".py"):
            for node in ast.walk(ast.parse(project.read(name))):
                if isinstance(node, ast.Import):
                    imported |= {alias.name for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    imported.add(str(node.module))
    imported = {name if name in names else name.split(".")[0] for name in imported}
    needed = {names.get(name, name) for name in imported - sys.stdlib_module_names}
    needed -= {"mlrelease"}
    needed |= for_uvicorn | for_pandas | for_onnx
    assert needed == {re.split(r"[\[=]", pin)[0] for pin in declared(project)}


def test_the_templates_tools_have_the_versions_of_the_projects(project: BakedProject) -> None:
    """`make demo` installs both into one environment."""
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    theirs = tomllib.loads(project.read("pyproject.toml"))
    pins = {*declared(project), *theirs["dependency-groups"]["dev"]}
    shared = {pin.split("==")[0] for pin in own} & {pin.split("==")[0] for pin in pins}

    assert shared >= {"ruff", "mypy", "pytest", "pyyaml"}
    assert {pin for pin in own if pin.split("==")[0] in shared} <= pins


def test_help_is_the_default_target_and_lists_every_target(project: BakedProject) -> None:
    for folder in (project.path, ROOT):
        makefile = (folder / "Makefile").read_text(encoding="utf-8")
        targets = re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE)
        printed = run("make", cwd=folder, MAKEFLAGS="", MAKELEVEL="").stdout

        assert re.findall(r"^  make (\S+)", printed, flags=re.MULTILINE) == targets
        assert max(map(len, printed.splitlines())) <= 100


def test_the_dashboard_is_what_grafana_reads(template: Path) -> None:
    """Grafana's own types keep every field of it, and change none."""
    path = template / FOLDER / "monitoring" / "grafana" / "dashboards" / "model.json"
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    register_default_plugins()

    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))

    assert len(kept["panels"]) == len(dashboard["panels"]) > 5
    assert dashboard == pruned(kept, dashboard)


def pruned(kept: Any, to: Any) -> Any:
    """Without what the types fill in where a dashboard says nothing."""
    if isinstance(to, dict) and isinstance(kept, dict):
        return {name: pruned(kept.get(name), value) for name, value in to.items()}
    if isinstance(to, list) and isinstance(kept, list):
        return [pruned(*pair) for pair in zip(kept, to, strict=False)]
    return kept


def test_what_tests_leave_in_the_engine_is_not_baked(template: Path, tmp_path: Path) -> None:
    """They run in place, where Python may keep its bytecode."""
    copy = tmp_path / "template"
    shutil.copytree(template, copy)
    cache = copy / FOLDER / "engine" / "mlrelease" / "cli" / "__pycache__"
    cache.mkdir()
    (cache / "app.cpython-311.pyc").write_bytes(b"old")

    project = Baker(copy, tmp_path / "baker").bake()

    assert [name for name in project.files() if "__pycache__" in name] == []
    assert "__pycache__" not in project.read("engine/SHA256SUMS")
