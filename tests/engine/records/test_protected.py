"""What decides whether a model is released, and what runs in the jobs that decide, is protected."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlrelease.records import git, main_line
from tests.engine.conftest import GENERATED, commit_all

INSTALLS = (
    "setup.py", "setup.cfg", "hatch.toml", "hatch_build.py", "uv.toml", "uv.lock", "pip.conf",
    ".python-version", ".python-versions", ".venv/bin/python", "GNUmakefile", "makefile",
)  # fmt: skip
RUNS = (
    "policy.yaml", "CODEOWNERS", ".github/workflows/deploy.yml", "engine/mlrelease/cli/app.py",
    "engine/hatch.toml", "src/sitecustomize.py", "src/usercustomize.py", "src/shop/project.py",
    "src/shop/data/__init__.py", "src/evil.pth", "pyproject.toml", "Makefile", "Dockerfile",
    ".dockerignore", ".gitattributes", ".model/rebuilt/a.json",
)  # fmt: skip
YOURS = ("params.yaml", "README.md", "data/rows.csv", "src/shop/data.py", "src/shop/model.py")


@pytest.fixture
def shop(tmp_path: Path) -> git.Git:
    (tmp_path / "policy.yaml").write_text("before\n")
    return commit_all(tmp_path)


def commit(shop: git.Git, name: str) -> str:
    (shop.root / name).parent.mkdir(parents=True, exist_ok=True)
    (shop.root / name).write_text("after\n")
    shop.run("add", "--force", "--all")
    shop.run("-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "-qm", name)
    return shop.run("rev-parse", "HEAD")


@pytest.mark.parametrize("name", [*INSTALLS, *RUNS])
def test_a_change_of_what_decides_is_seen(shop: git.Git, name: str) -> None:
    start = shop.run("rev-parse", "HEAD")
    head = commit(shop, name)
    before, after = (main_line.deciding(shop, one) for one in (start, head))
    assert before.get(name) != after[name]
    assert main_line.protected(shop, head, start) == (head,)


@pytest.mark.parametrize("name", YOURS)
def test_a_change_of_what_is_the_user_s_decides_nothing(shop: git.Git, name: str) -> None:
    before = main_line.deciding(shop, shop.run("rev-parse", "HEAD"))
    assert main_line.deciding(shop, commit(shop, name)) == before


def test_what_could_decide_what_is_installed_has_the_owners_of_what_releases() -> None:
    lines = (GENERATED / "CODEOWNERS").read_text().splitlines()
    approvers = {line.split()[0] for line in lines if line.endswith("model-approvers")}
    asked = {f"/{name.partition('/bin')[0]}" for name in INSTALLS}
    assert asked - approvers == {"/uv.lock", "/.python-versions"}  # nothing here reads them


def test_no_module_of_the_project_s_folder_runs_in_place_of_python_s(tmp_path: Path) -> None:
    (tmp_path / "venv.py").write_text("raise SystemExit('a module of the folder ran')\n")
    text = (GENERATED / "Makefile").read_text()
    called = re.findall(r'(?:python"|\$\(PYTHON\)) (-\w )?-m (\w+)', text)
    assert called == [("-I ", "venv"), ("-I ", "pip")]
    command = [sys.executable, *called[0][0].split(), "-m", "venv", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
