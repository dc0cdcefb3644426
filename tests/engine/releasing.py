"""Plots and latency take most of the time of a promotion, and few rules tested here need both."""

import hashlib
import pickle
from collections.abc import Iterator
from dataclasses import astuple

import pytest

from mlrelease.evaluation import evaluate, evaluation, metrics, plots
from mlrelease.storage import connection
from tests.engine.storage import registry_server

DRAW = plots.draw
ROOMS = (
    "automation", "deployment", "github", "law", "packages", "programs", "promotion", "records",
    "settings", "storage", "verification",
)  # fmt: skip
DRAWN: dict[bytes, dict[str, bytes]] = {}


def draw_once(scored: metrics.Scored, found: evaluation.Evaluation) -> dict[str, bytes]:
    """What `plots.draw` gives, drawn once for the same figures: tests promote few models often."""
    shown = found.model_dump_json(include={"task", "metrics", "slices"})
    key = hashlib.sha256(pickle.dumps((shown, astuple(scored)))).digest()
    if key not in DRAWN:
        DRAWN[key] = DRAW(scored, found)
    return DRAWN[key]


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw once, time few rows, where models are released by the dozen."""
    if request.path.parent.name not in ROOMS:
        return
    monkeypatch.setattr(plots, "draw", draw_once)
    monkeypatch.setattr(evaluate, "LATENCY_ROWS", 3)
    monkeypatch.setattr(connection, "PAUSES", (0.01, 0.01))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registry_server.Server]:
    """A real registry, shared: each test takes a repository of its own."""
    if registry_server.PROGRAM is None:
        pytest.skip(registry_server.WHY_NOT)
    with registry_server.serving(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[registry_server.Server]:
    """A registry for `ann` with the password `right`, which gives strangers nothing."""
    if registry_server.PROGRAM is None:
        pytest.skip(registry_server.WHY_NOT)
    folder = tmp_path_factory.mktemp("closed")
    (folder / "users").write_text(f"ann:{registry_server.HASH}\n")
    auth = f"auth: {{htpasswd: {{realm: here, path: {folder / 'users'}}}}}\n"
    with registry_server.serving(folder, auth) as running:
        yield running
