"""Signs of life: a bar on a terminal, lines elsewhere, nothing for what is quick."""

import os
import pty
import subprocess
import sys

import pytest

from mlrelease.cli import progress
from tests.engine.conftest import PYTHONPATH

CODE = f"""
import sys
from {progress.__name__} import bar
with bar(float(sys.argv[1]), float(sys.argv[2])) as show:
    show("scoring", 0.25, 1000)
    show("writing", 0.5, 2000)
"""
ENV = {
    "PYTHONPATH": PYTHONPATH,
    "TERM": "xterm-256color",
    "COLUMNS": "100",
}


def on_a_terminal(quiet_seconds: float) -> str:
    near, far = pty.openpty()
    command = [sys.executable, "-c", CODE, str(quiet_seconds), "0"]
    with subprocess.Popen(command, stderr=far, env=ENV):
        os.close(far)
        seen = b""
        try:
            while piece := os.read(near, 1024):
                seen += piece
        except OSError:  # how Linux says that the terminal has no other end any more
            pass
    os.close(near)
    return seen.decode()


def test_long_work_on_a_terminal_has_a_bar() -> None:
    seen = on_a_terminal(0)
    assert "writing, 2,000 rows" in seen
    assert "50%" in seen
    assert "\r" in seen


def test_quick_work_on_a_terminal_has_none() -> None:
    assert "rows" not in on_a_terminal(60)


@pytest.mark.parametrize(
    ("every", "lines"), [(0, ["scoring: 25%, 1,000 rows", "writing: 50%, 2,000 rows"]), (60, [])]
)
def test_elsewhere_there_are_lines(every: float, lines: list[str]) -> None:
    command = [sys.executable, "-c", CODE, "0", str(every)]
    done = subprocess.run(command, env=ENV, capture_output=True, text=True, check=True)
    assert done.stderr.splitlines() == lines
    assert done.stdout == ""
