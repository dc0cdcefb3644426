"""Plots and latency take most of the time of a promotion, and no rule tested here looks at them."""

from collections.abc import Iterator

import pytest

from ..package import connection, evaluate, plots
from . import registry_server


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing, time few rows; the tests of the command line promote as it is."""
    monkeypatch.setattr(plots, "write", lambda *_: [])
    monkeypatch.setattr(evaluate, "LATENCY_ROWS", 3)
    monkeypatch.setattr(connection, "PAUSES", (0.01, 0.01))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registry_server.Server]:
    """A real registry, shared: each test takes a repository of its own."""
    if registry_server.PROGRAM is None:
        pytest.skip(registry_server.WHY_NOT)
    with registry_server.serving(tmp_path_factory.mktemp("registry")) as running:
        yield running
