"""What a person reads after the bake."""

from collections.abc import Callable

import pytest

from .conftest import BakedProject


def test_the_next_steps_fit_a_terminal_and_name_targets_that_exist(
    bake: Callable[..., BakedProject], capfd: pytest.CaptureFixture[str]
) -> None:
    project = bake(project_slug="churn-model")

    printed = capfd.readouterr().out
    makefile = project.read("Makefile")
    named = [line.split()[1] for line in printed.splitlines() if line.strip().startswith("make ")]

    assert "cd churn-model" in printed
    assert named == ["setup", "rehearse", "check"]
    assert [name for name in named if f"\n{name}:" not in makefile] == []
    assert max(map(len, printed.splitlines())) <= 80
    assert printed.isascii()
