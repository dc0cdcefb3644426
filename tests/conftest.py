"""Bake the template, in this process, from a copy that holds no caches."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cookiecutter.exceptions import FailedHookException
from cookiecutter.main import cookiecutter

from .github.engines import base_image, docker_engine, docker_registry, missing

ROOT = Path(__file__).parents[1]
FOLDER = "{{cookiecutter.project_slug}}"
TASKS = ("classification", "regression")
PYTHON_VERSION = f"3.{min(sys.version_info[1], 14)}"  # a question's choice that runs here
LICENSES = ("MIT", "BSD-3-Clause", "Apache-2.0", "Proprietary")

# No answer of these is a default: what still reads like a default has leaked.
OTHER_ANSWERS = {
    "project_name": "Harbour Tides",
    "project_slug": "harbour-tides",
    "package_name": "tidewater",
    "description": "Predicts the water level at the pier.",
    "author_name": "Ann Lee",
    "author_email": "ann.lee@example.org",
    "github_owner": "pier-authority",
    "task": "regression",
    "python_version": "3.13",
    "license": "BSD-3-Clause",
}


@dataclass(frozen=True)
class BakedProject:
    """A generated repository on disk."""

    path: Path

    def files(self) -> list[str]:
        """Every file, as a path relative to the project with `/`."""
        found = (path for path in self.path.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.path).as_posix() for path in found)

    def has(self, name: str) -> bool:
        return (self.path / name).exists()

    def read(self, name: str) -> str:
        return (self.path / name).read_text(encoding="utf-8")

    @property
    def code(self) -> str:
        """PYTHONPATH for the project's own code and the engine's, where they lie."""
        return os.pathsep.join(str(self.path / name) for name in ("engine", "src"))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project; it must succeed."""
        return run(*command, cwd=self.path)


def run(*command: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command, also one of this environment's; it must succeed, or shows what it printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = os.environ | {"PATH": path} | environment
    result = subprocess.run(
        command, cwd=cwd, env=variables, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result


@dataclass(frozen=True)
class Baker:
    """Bakes into one folder; keeps cookiecutter's own notes there too, out of the home folder."""

    template: Path
    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def config(self) -> Path:
        """A cookiecutter configuration that remembers nothing outside the folder."""
        path = self.folder / "cookiecutter.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"cookiecutters_dir: {self.folder / 'clones'}\nreplay_dir: {self.folder / 'replay'}\n"
        )
        return path

    def bake(self, **answers: str) -> BakedProject:
        self.output.mkdir(parents=True, exist_ok=True)
        result = cookiecutter(
            str(self.template),
            no_input=True,
            extra_context=answers,
            output_dir=str(self.output),
            config_file=str(self.config),
        )
        return BakedProject(Path(result))

    def left_behind(self) -> list[Path]:
        """What lies on disk after a refusal, besides cookiecutter's own notes."""
        inside = list(self.output.iterdir()) if self.output.exists() else []
        mine = {"output", "cookiecutter.yaml", "replay", "clones"}
        return inside + [path for path in self.folder.iterdir() if path.name not in mine]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The template as a clone would hold it: without environments, bakes and caches."""
    copy = tmp_path_factory.mktemp("template") / "template"
    away = shutil.ignore_patterns(
        ".git", ".venv", "build", "__pycache__", ".*_cache", ".hypothesis"
    )
    shutil.copytree(ROOT, copy, ignore=away)
    return copy


@pytest.fixture
def baker(template: Path, tmp_path: Path) -> Baker:
    return Baker(template, tmp_path / "baker")


@pytest.fixture
def bake(baker: Baker) -> Callable[..., BakedProject]:
    return baker.bake


@pytest.fixture
def refuse(baker: Baker, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Bake what must be refused, check that nothing is left, and return the message."""

    def refuse(**answers: str) -> str:
        with pytest.raises(FailedHookException) as failure:
            baker.bake(**answers)
        assert baker.left_behind() == []
        return f"{capfd.readouterr().err}\n{failure.value}"

    return refuse


@pytest.fixture(scope="session")
def baked(template: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, BakedProject]:
    """One bake for each task, to be read and not changed, with answers that are no defaults."""
    folder = tmp_path_factory.mktemp("baked")
    return {
        task: Baker(template, folder / task).bake(**OTHER_ANSWERS | {"task": task})
        for task in TASKS
    }


@pytest.fixture(params=TASKS)
def project(request: pytest.FixtureRequest, baked: dict[str, BakedProject]) -> BakedProject:
    """Each task's bake in turn, to be read and not changed."""
    task: str = request.param
    return baked[task]


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where baked projects install themselves; they have the same dependencies."""
    return tmp_path_factory.mktemp("environment") / "venv"


@pytest.fixture(scope="session")
def installed(template: Path, venv: Path, tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    """A bake with the default answers for this Python, whose dependencies `venv` holds. Its own
    code is imported from where it lies: `venv` knows only the project that came last."""
    folder = tmp_path_factory.mktemp("installed")
    project = Baker(template, folder).bake(python_version=PYTHON_VERSION, github_owner="acme")
    make(project, venv, "setup")
    return project


@dataclass(frozen=True)
class Engines:
    """What containers need on this machine, while the tests run."""

    registry: str
    docker_host: str
    base_image: str

    def environment(self) -> dict[str, str]:
        return {"DOCKER_HOST": self.docker_host, "BASE_IMAGE": self.base_image}


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """A registry and a Docker engine, for all tests: what one has built, the next one need not."""
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("engines")
    with (
        docker_registry(folder) as registry,
        docker_engine(folder) as host,
        base_image(host) as base,
    ):
        yield Engines(registry, host, base)


def make(project: BakedProject, venv: Path, *arguments: str, **environment: str) -> str:
    """Run the project's own Makefile; a `make` around these tests lends it nothing."""
    command = ("make", *arguments, f"VENV={venv}", f"PYTHON={sys.executable}")
    return run(*command, cwd=project.path, MAKEFLAGS="", MAKELEVEL="", **environment).stdout
