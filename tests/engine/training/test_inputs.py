"""What decides a model is in its key; what does not decide it is not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mlrelease import errors
from mlrelease.params import Params
from mlrelease.rehearsal import sandbox
from mlrelease.training import inputs
from tests.engine.conftest import PARAMS, add_code

PACKAGE = "dummy"


@pytest.fixture
def package(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the project's package, as the one that runs."""
    add_code(project)
    here = project / "src" / PACKAGE
    monkeypatch.setattr("mlrelease.project.folder", lambda _: here)
    return here


def key(package: Path) -> str:
    params = Params.model_validate(yaml.safe_load(PARAMS))
    return inputs.input_key(params, package.parents[1])


@pytest.mark.parametrize(
    "name",
    ["lags.py", "lags/__init__.py", "cli/lags.py", "codes.json", "tables/codes.csv",
     "../ours/lags.py", "../lags.py", "fast.so"],
)  # fmt: skip
def test_a_new_file_is_an_input(package: Path, name: str) -> None:
    before = key(package)
    path = package / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    new = key(package)
    path.write_text(" ")
    assert len({before, new, key(package)}) == 3


@pytest.mark.parametrize("name", ["data.py", "model.py", "project.py"])
def test_a_change_of_the_project_is_an_input(package: Path, name: str) -> None:
    before = key(package)
    with (package / name).open("a") as stream:
        stream.write("# more\n")
    assert key(package) != before


@pytest.fixture
def engine(package: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the engine, as the one that runs."""
    here = package.parents[1] / "engine" / "mlrelease"
    monkeypatch.setattr(inputs.engine, "__defaults__", (here,))
    return here


@pytest.mark.parametrize("name", ["params.py", "training/train.py", "scoring/a_new_module.py"])
def test_what_trains_in_the_engine_is_an_input(package: Path, engine: Path, name: str) -> None:
    before = key(package)
    with (engine / name).open("a") as stream:
        stream.write("# more\n")
    assert key(package) != before


@pytest.mark.parametrize("room", inputs.ASIDE)
def test_what_serves_releases_or_shows_is_no_input(package: Path, engine: Path, room: str) -> None:
    before, paths = key(package), list((engine / room).glob("*.py"))
    for path in paths:
        path.write_text("# a comment\n" + path.read_text())
    assert paths
    assert key(package) == before


def test_training_imports_no_room_that_decides_nothing() -> None:
    """Else what decides a model would be left out of its key."""
    program = (
        "import sys; import dummy.project; from mlrelease.training import again; "
        "from mlrelease.evaluation import evaluate, plots, report; "
        "print(*(n.split('.')[1] for n in sys.modules if n.startswith('mlrelease.')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not set(done.stdout.split()) & set(inputs.ASIDE)


def test_what_tools_write_is_no_input(package: Path) -> None:
    before = key(package)
    for name in ("__pycache__/x.pyc", "../x.egg-info/PKG-INFO", ".ruff_cache/x"):
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).write_text("")
    assert key(package) == before


def test_a_link_to_a_folder_of_code_is_refused(package: Path, tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    (package / "ours").symlink_to(tmp_path / "ours")
    with pytest.raises(errors.InputError, match=f"src/{PACKAGE}/ours: is no file"):
        key(package)


def distribution(folder: Path, name: str, version: str, *needs: str, origin: str = "") -> None:
    """What an installation leaves on the path."""
    for old in folder.glob(f"{name}-*.dist-info"):
        shutil.rmtree(old)
    place = folder / f"{name}-{version}.dist-info"
    place.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Provides-Extra: {extra}" for extra in ("fast",)]
    lines += [f"Requires-Dist: {need}" for need in needs]
    (place / "METADATA").write_text("\n".join(lines) + "\n")
    if origin:
        (place / "direct_url.json").write_text(origin)


def test_an_added_library_is_an_input_with_all_that_it_needs(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, installed = package.parents[1], tmp_path / "site"
    installed.mkdir()
    monkeypatch.syspath_prepend(str(installed))
    path = root / "pyproject.toml"
    dependencies = "dependencies = ["
    assert dependencies in path.read_text()
    path.write_text(path.read_text().replace(dependencies, dependencies + '"Acme_Lags[fast]",', 1))
    assert inputs.libraries(root)["acme-lags"] == "not installed"
    distribution(
        installed, "acme_lags", "1", "acme_core", "acme_blas; extra == 'fast'",
        "acme_docs; extra == 'docs'", "acme_old; python_version < '3'",
    )  # fmt: skip
    distribution(installed, "acme_core", "3", "acme_lags")  # a circle
    distribution(installed, "acme_blas", "4")
    found, before = inputs.libraries(root), key(package)
    ours = {name: version for name, version in found.items() if name.startswith("acme")}
    assert ours == {"acme-lags": "1", "acme-core": "3", "acme-blas": "4"}
    assert set(inputs.LIBRARIES) < set(found)
    distribution(installed, "acme_core", "3.1", "acme_lags")
    assert key(package) != before


def test_a_library_from_a_commit_is_known_by_that_commit(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (package.parents[1] / "pyproject.toml").write_text(
        '[project.optional-dependencies]\ntraining = ["lags @ git+https://example.org/lags@main"]\n'
    )
    for commit in ("a" * 40, "b" * 40):
        origin = {"url": "https://example.org/lags", "vcs_info": {"vcs": "git"}}
        origin["vcs_info"]["commit_id"] = commit  # type: ignore[index]  # of a dict
        distribution(tmp_path, "lags", "1", origin=json.dumps(origin))
        assert inputs.libraries(package.parents[1])["lags"] == f"1 ({commit})"


@pytest.mark.parametrize("text", ["[project", "[project]\ndependencies = [1]", "project = 1"])
def test_a_pyproject_that_does_not_say_is_one_clear_line(package: Path, text: str) -> None:
    (package.parents[1] / "pyproject.toml").write_text(text)
    with pytest.raises(errors.InputError, match=r"pyproject\.toml: does not say") as refusal:
        inputs.libraries(package.parents[1])
    assert "\n" not in str(refusal.value)


def test_what_the_engine_needs_is_not_the_projects_own(package: Path) -> None:
    found = inputs.libraries(package.parents[1])
    assert set(found) == {"python", *inputs.LIBRARIES}


def test_only_a_change_that_decides_a_model_makes_training_necessary(
    world: sandbox.Sandbox,
) -> None:
    engine, source = world.here.root / "engine", world.here.root / "src"
    path = os.pathsep.join([str(engine), str(source)])

    def says() -> str:
        return subprocess.run(
            [sys.executable, "-m", "mlrelease", "train"], cwd=world.here.root, check=True,
            capture_output=True, text=True,
            env=os.environ | {"PYTHONPATH": path, "MODEL_STATE": str(world.here.state)},
        ).stdout  # fmt: skip

    assert "inputs unchanged" in says()
    with (engine / "mlrelease" / "serving" / "service.py").open("a") as stream:
        stream.write("# a comment\n")
    assert "inputs unchanged" in says()
    (source / PACKAGE / "lags.py").write_text("DAYS = 7\n")
    with (source / PACKAGE / "data.py").open("a") as stream:
        stream.write("from .lags import DAYS as DAYS\n")
    assert "trained" in says()
    (source / PACKAGE / "lags.py").write_text("DAYS = 8\n")
    assert "trained" in says()
