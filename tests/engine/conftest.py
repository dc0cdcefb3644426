"""A real repository with a bare origin and a model in production, made once and copied.

The engine's tests run in place, on the engine of the template's folder and on the dummy project,
which pyproject.toml makes importable here, and PYTHONPATH in every process that a test starts.
"""

import datetime as dt
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mlrelease import workspace
from mlrelease.records import git
from mlrelease.rehearsal import rehearse, sandbox
from tests.engine.releasing import closed, quick, server  # noqa: F401 - fixtures
from tests.engine.trained import ask, fallback, forks, impostor, service, trained  # noqa: F401

HERE = Path(__file__).parent
GENERATED = HERE.parents[1] / "{{cookiecutter.project_slug}}"
DUMMY = HERE / "project"
PYTHONPATH = os.pathsep.join([str(GENERATED / "engine"), str(DUMMY / "src")])
os.environ["PYTHONPATH"] = PYTHONPATH
os.environ["MLRELEASE_PROJECT"] = "dummy.project:project"
REAL_DATA = HERE.parents[2] / "shared" / "data"  # beside some checkouts
if REAL_DATA.is_dir():
    os.environ.setdefault("SHARED_DATA", str(REAL_DATA))

PARAMS = """\
task: classification
data:
  source: sklearn:breast_cancer
  target: diagnosis
  positive: malignant
split: {by: row, holdout: 0.3}
model: {estimator: random_forest, parameters: {n_estimators: 10, max_depth: 3}}
slices: [mean radius]
seed: 7
"""
POLICY = """\
metrics:
  roc_auc: {min: 0.95}
  calibration_error: {max: 0.12}
champion:
  roc_auc: {margin: 0.02}
  brier: {margin: 0.02}
slices: {metric: brier, max: 0.16, margin: 0.04, min_rows: 30}
budgets: {size_mb: 20, latency_ms: 2000}
environments:
  staging: {}
  production: {needs: staging, soak_hours: 24}
"""
SIMPLE = {"model": {"estimator": "random_forest", "parameters": rehearse.SIMPLE}, "seed": 7}
LINEAR = {"estimator": "logistic_regression", "parameters": {"max_iter": 1000}}
BETTER = {"model": LINEAR, "seed": 7}
WORSE = {"model": {"estimator": "random_forest", "parameters": rehearse.WORSE}, "seed": 7}


SLOW = ("checkouts", "export", "hostile_text", "libraries", "limits", "online", "protocol")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slow is whatever needs a whole repository or a running service, and what takes seconds."""
    for item in items:
        here = item.path.is_relative_to(HERE)
        asks = {"world", "start"} & set(getattr(item, "fixturenames", ()))
        if here and (asks or item.path.stem.removeprefix("test_") in SLOW):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """What CI, or a person, has set for the real project is not for the tests."""
    for name in [n for n in os.environ if n.startswith(("GITHUB_", "GH_", "MODEL_"))]:
        monkeypatch.delenv(name)
    for name in ("TRUST", "BASE_IMAGE", "REGISTRY_USERNAME", "REGISTRY_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The files that a person edits, without git."""
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path


def add_code(root: Path) -> None:
    """What a service is started from: the engine as it is here, and the dummy project."""
    away = shutil.ignore_patterns("__pycache__")
    shutil.copytree(GENERATED / "engine", root / "engine", ignore=away)
    shutil.copytree(DUMMY, root, ignore=away, dirs_exist_ok=True)


def add_image(root: Path) -> None:
    """What an image is built from: the code, the default settings, and what the Dockerfile asks."""
    add_code(root)
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(GENERATED / name, root)
    for name in ("params", "policy"):
        shutil.copy(GENERATED / f"{name}.classification.yaml", root / f"{name}.yaml")
    for name in ("LICENSE", "README.md"):
        (root / name).write_text("The dummy project.\n")
    (root / ".python-version").write_text(f"3.{sys.version_info[1]}\n")


def commit_all(root: Path) -> git.Git:
    """A repository whose one commit holds what is in this folder."""
    made = git.Git(root)
    made.run("init", "--quiet", "--initial-branch", "main")
    made.run("add", "--all")
    made.run("-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "-qm", "Start")
    return made


@pytest.fixture(scope="session")
def first_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simple model was promoted to staging and, a day later, to production."""
    root = tmp_path_factory.mktemp("first-release")
    add_code(root)
    (root / "params.yaml").write_text(PARAMS)
    (root / "policy.yaml").write_text(POLICY)
    kept = tmp_path_factory.mktemp("kept") / "world"
    with sandbox.sandbox(root) as play:
        play.clock -= dt.timedelta(days=30)  # other processes have the true clock
        play.candidate(SIMPLE)
        for environment in ("staging", "production"):
            play.merge(play.promote(environment).pull_request.branch)
            play.release(environment)
            play.clock += dt.timedelta(hours=25)
        shutil.copytree(play.here.root.parent, kept)
        (kept / "clock").write_text(play.clock.isoformat())
    return kept


@pytest.fixture
def world(first_release: Path, tmp_path: Path) -> sandbox.Sandbox:
    """A copy of that repository, with the hand of a person on it."""
    root = tmp_path / "world"
    shutil.copytree(first_release, root)
    project = root / "project"
    command = ["git", "-C", str(project), "remote", "set-url", "origin", str(root / "origin.git")]
    subprocess.run(command, check=True)
    here = workspace.Workspace(project, root / "state")
    clock = dt.datetime.fromisoformat((root / "clock").read_text())
    return sandbox.Sandbox(here, clock)
