"""A release shares the installed libraries while it pins the same, and else has its own."""

import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pytest
from packaging.requirements import Requirement

from mlrelease import errors
from mlrelease.programs import libraries

COMMIT = "1234567" + "0" * 33


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions of a library, in a folder that is all that uv and pip may look at."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    for number in ("1.0", "2.0"):
        info = f"trinket-{number}.dist-info"
        with zipfile.ZipFile(folder / f"trinket-{number}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("trinket.py", f"VERSION = '{number}'\n")
            metadata = f"Metadata-Version: 2.1\nName: trinket\nVersion: {number}\n"
            wheel.writestr(f"{info}/METADATA", metadata)
            tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            wheel.writestr(f"{info}/WHEEL", tags)
            wheel.writestr(f"{info}/RECORD", "")
    for tool in ("UV", "PIP"):
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(folder))
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
    return folder


def needed(
    tmp_path: Path, text: str, runtime: Literal["onnx", "scikit-learn"] = "onnx"
) -> list[str]:
    (tmp_path / "pyproject.toml").write_text(text)
    found = libraries.needed(tmp_path, runtime, COMMIT)
    return [requirement.name for requirement in found]


def python(folder: Path, *pins: str) -> Path:
    return libraries.python([Requirement(pin) for pin in pins], folder, COMMIT)


def trinket(interpreter: Path) -> str:
    command = [str(interpreter), "-c", "import trinket; print(trinket.VERSION)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_what_is_pinned_as_installed_runs_here(tmp_path: Path) -> None:
    pin = f"numpy=={version('numpy')}"
    assert python(tmp_path / "libraries", pin, "packaging") == Path(sys.executable)
    assert not (tmp_path / "libraries").exists()


def test_what_trains_counts_only_where_it_serves(tmp_path: Path) -> None:
    text = (
        '[project]\ndependencies = ["numpy==1"]\n'
        '[project.optional-dependencies]\ntraining = ["pandas==1"]\n'
    )
    assert needed(tmp_path, text) == ["numpy"]
    assert needed(tmp_path, text, "scikit-learn") == ["numpy", "pandas"]


def test_what_another_system_needs_is_not_asked_for(tmp_path: Path) -> None:
    text = """[project]\ndependencies = ["numpy==1", "nothing==1; sys_platform == 'other'"]\n"""
    assert needed(tmp_path, text) == ["numpy"]


@pytest.mark.parametrize(
    "text",
    [
        "not toml", "[tool]\n", "[project]\n", "[project]\ndependencies = 1\n",
        '[project]\ndependencies = ["--editable=x"]\n', "project = 1\n",
        "[project]\ndependencies = [1]\n",
    ],
)  # fmt: skip
def test_a_pyproject_that_does_not_say_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(errors.RefusedError, match="source commit 1234567 .* which libraries") as no:
        needed(tmp_path, text)
    assert len(str(no.value).splitlines()) == 1


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_other_pins_get_an_environment_once(
    wheels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    if tool == "pip":
        monkeypatch.setattr(libraries, "_uv", lambda: None)
    folder = tmp_path / "libraries"
    old, new = python(folder, "trinket==1.0"), python(folder, "trinket==2.0")
    assert (trinket(old), trinket(new)) == ("1.0", "2.0")
    for wheel in wheels.iterdir():
        wheel.unlink()
    assert python(folder, "trinket==1.0") == old  # offline, and as often as you like


def test_an_environment_whose_python_is_gone_is_made_again(wheels: Path, tmp_path: Path) -> None:
    found = python(tmp_path / "libraries", "trinket==1.0")
    found.unlink()
    found.symlink_to(tmp_path / "gone")
    assert trinket(python(tmp_path / "libraries", "trinket==1.0")) == "1.0"


def test_libraries_that_cannot_be_had_leave_nothing_and_say_which(
    wheels: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "libraries"
    python(folder, "trinket==1.0")
    before = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    message = r"source commit 1234567 \(trinket==3.0, not missing\) cannot be installed; what ran"
    for _ in range(2):
        with pytest.raises(libraries.LibrariesError, match=message) as refused:
            python(folder, "trinket==3.0")
        assert len(str(refused.value).splitlines()) == 1
    after = [path.name for path in folder.iterdir() if not path.name.startswith(".")]
    assert after == before


def test_a_version_that_differs_is_named(wheels: Path, tmp_path: Path) -> None:
    here = version("numpy")
    with pytest.raises(libraries.LibrariesError, match=rf"\(numpy==0.1, not {here}\)"):
        python(tmp_path / "libraries", "numpy==0.1")


def test_a_library_from_an_address_is_never_taken_for_the_installed_one(
    wheels: Path, tmp_path: Path
) -> None:
    wheel = wheels / "trinket-2.0-py3-none-any.whl"
    found = python(tmp_path / "libraries", f"trinket @ file://{wheel}")
    assert found != Path(sys.executable)
    assert trinket(found) == "2.0"


def test_on_a_runner_of_ones_own_a_service_does_not_use_what_the_next_job_removes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_WORKSPACE", str(Path(sys.prefix).parent))
    monkeypatch.setenv("RUNNER_ENVIRONMENT", "github-hosted")  # it ends with its job
    assert python(tmp_path / "libraries") == Path(sys.executable)
    monkeypatch.setenv("RUNNER_ENVIRONMENT", "self-hosted")
    own = python(tmp_path / "libraries")
    assert own.is_relative_to(tmp_path)
    command = [str(own), "-c", "import sys; print(sys.prefix)"]
    prefix = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert Path(prefix) == own.parents[1]
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path / "elsewhere"))
    assert python(tmp_path / "libraries") == Path(sys.executable)
