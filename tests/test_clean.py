"""`make demo` and `make clean` remove what they made, and nothing that somebody else put there."""

import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import FOLDER, ROOT


def make(folder: Path, goal: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", goal, *more]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The template's Makefile, and a demo as `make demo` leaves it."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    demo = tmp_path / "build" / "my-model"
    demo.mkdir(parents=True)
    (demo / "params.yaml").write_text("seed: 7\n")
    recipe = (ROOT / "Makefile").read_text().split("\ndemo: ", 1)[1].split("\n\n", 1)[0]
    note = next(line for line in recipe.splitlines() if line.endswith("> build/.demo"))
    (tmp_path / "noted.mk").write_text(f"include Makefile\nnote:\n{note}\n")
    assert make(tmp_path, "note", "-f", "noted.mk").returncode == 0
    return tmp_path


def test_a_demo_that_nobody_changed_goes(here: Path) -> None:
    assert make(here, "clean").returncode == 0
    assert not (here / "build").exists()


@pytest.mark.parametrize("goal", ["demo", "clean"])
@pytest.mark.parametrize("name", ["params.yaml", "notes.md"])
def test_a_demo_that_somebody_worked_in_stays(here: Path, goal: str, name: str) -> None:
    mine = here / "build" / "my-model" / name
    mine.write_text("mine\n")
    done = make(here, goal, "setup=", "-o", "setup")  # nothing is installed for it
    assert done.returncode != 0
    assert "build/my-model was changed since it was made" in done.stderr
    assert mine.read_text() == "mine\n"


@pytest.mark.parametrize("name", ["build/notes.md", "shared/bin/python"])
def test_what_lies_beside_the_demo_stays(here: Path, name: str) -> None:
    mine = here / name
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_text("mine\n")
    assert make(here, "clean", f"VENV={here / 'shared'}").returncode == 0
    assert mine.read_text() == "mine\n"


def test_a_project_removes_only_what_it_makes(tmp_path: Path) -> None:
    shutil.copy(ROOT / FOLDER / "Makefile", tmp_path)
    (tmp_path / ".python-version").write_text("3.11\n")
    ours = (
        "candidate/model/model.json", "candidate/holdout/holdout.parquet", "candidate/report.md",
        "candidate/fitted/fitted.parquet", "candidate/plots/roc.png",
        "candidate/plots/.written.json",
        "rehearsal/.written.json", "rehearsal/report.md", "rehearsal/plots/0/roc.png",
    )  # fmt: skip
    theirs = (
        "candidate/model/notes.md", "candidate/mine.csv", "rehearsal/notes.md", "build/mine",
        "shared/bin/python",
    )  # fmt: skip
    for name in (*ours, *theirs):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine\n")
    assert make(tmp_path, "clean", f"VENV={tmp_path / 'shared'}").returncode == 0
    left = [n for n in (*ours, *theirs) if (tmp_path / n).exists()]
    assert left == list(theirs)
