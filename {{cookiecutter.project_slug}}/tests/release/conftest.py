"""Plots take most of the time of a promotion, and no rule of a release looks at them."""

import pytest

from ..package import plots


@pytest.fixture(autouse=True)
def without_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing; `model promote` draws for real in the tests of the command line."""
    monkeypatch.setattr(plots, "write", lambda *_: [])
