"""Plots and latency take most of the time of a promotion, and no rule tested here looks at them."""

import pytest

from ..package import evaluate, plots


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, time few rows; the tests of the command line promote as it is."""
    monkeypatch.setattr(plots, "write", lambda *_: [])
    monkeypatch.setattr(evaluate, "LATENCY_ROWS", 3)
