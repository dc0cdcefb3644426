"""The engine's tests that need a Docker engine and a registry, with real ones."""

import sys

import pytest

from .conftest import ROOT, Engines, run

pytestmark = pytest.mark.slow
ABOUT_CONTAINERS = ("packages/test_image.py", "deployment/test_docker_driver.py")


def test_images_and_the_agent_that_follows_the_ledger(engines: Engines) -> None:
    files = [f"tests/engine/{name}" for name in ABOUT_CONTAINERS]
    command = (sys.executable, "-m", "pytest", "-q", "-rs", "--durations=5", *files)
    printed = run(*command, cwd=ROOT, **engines.environment()).stdout

    assert " passed" in printed
    assert "skipped" not in printed, printed
