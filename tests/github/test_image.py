"""A baked project's own tests of its container image, with the engines that they need."""

import sys
from pathlib import Path

import pytest

from ..conftest import Baker, run
from .engines import base_image, docker_engine, missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=missing() or "all engines are here"),
]


def test_the_image_is_built_pushed_pulled_and_answers(template: Path, tmp_path: Path) -> None:
    version = f"3.{min(sys.version_info[1], 14)}"
    project = Baker(template, tmp_path).bake(python_version=version)
    venv = tmp_path / "venv"
    place = (f"VENV={venv}", f"PYTHON={sys.executable}")
    run("make", "setup", *place, cwd=project.path, MAKEFLAGS="", MAKELEVEL="")
    with docker_engine(tmp_path) as engine, base_image(engine) as base:
        printed = run(
            str(venv / "bin" / "pytest"), "-rs", "tests/release/test_image.py",
            cwd=project.path, DOCKER_HOST=engine, BASE_IMAGE=base,
        ).stdout  # fmt: skip

    assert " passed" in printed
    assert "SKIPPED" not in printed
