"""Pictures are small, the same bytes for the same figures, and readable whatever the names are."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from mlrelease.evaluation import evaluation, metrics, plots
from tests.engine.evaluation.models import HOLDOUT, PARITY

COLOURS = {"candidate": (0, 114, 178), "champion": (213, 94, 0)}
CLASSIFICATION = ["roc.png", "pr.png", "calibration.png", "confusion.png"]


class Drawn(NamedTuple):
    scored: metrics.Scored
    found: evaluation.Evaluation
    paths: list[Path]


def scores(task: metrics.Task, n: int = 300, champion: bool = True) -> metrics.Scored:
    rng = np.random.default_rng(0)
    y = rng.normal(size=n)
    one, two = y + rng.normal(size=n), y + 2 * rng.normal(size=n)
    if task == "classification":
        y, one, two = (y > 0).astype(np.float64), 1 / (1 + np.exp(-one)), 1 / (1 + np.exp(-two))
    names = ("no", "yes") if task == "classification" else ()
    return metrics.Scored(task, y, one, two if champion else None, classes=names)


def figures(
    scored: metrics.Scored, slices: tuple[evaluation.Slice, ...] = ()
) -> evaluation.Evaluation:
    return evaluation.Evaluation(
        task=scored.task,
        candidate=HOLDOUT,
        holdout=HOLDOUT,
        rows=len(scored.y),
        metrics=metrics.compare(scored, resamples=100),
        slices=slices,
        parity=evaluation.Parity.model_validate(PARITY),
        cost=evaluation.Cost(size_bytes=1, latency_p50_ms=1, latency_p99_ms=2),
    )


def some_slices(names: Sequence[str]) -> tuple[evaluation.Slice, ...]:
    return tuple(
        evaluation.Slice(
            column="clinic", value=name, rows=30 + at, metric="brier",
            candidate=None if at == 2 else at / 100, champion=None if at == 3 else 0.1,
        )
        for at, name in enumerate(names)
    )  # fmt: skip


@pytest.fixture(scope="module", params=["classification", "regression"])
def drawn(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    """The pictures of 20,000 rows and 34 slices."""
    scored = scores(request.param, 20_000)
    found = figures(scored, some_slices([f"a clinic with a long name {at}" for at in range(34)]))
    return Drawn(scored, found, plots.write(tmp_path_factory.mktemp("a") / "plots", scored, found))


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def has_colour(path: Path, model: str) -> bool:
    return bool((np.abs(pixels(path) - COLOURS[model]).max(axis=2) <= 8).any())


def test_each_task_has_its_pictures(drawn: Drawn) -> None:
    names = {"classification": CLASSIFICATION, "regression": ["predicted.png", "residuals.png"]}
    assert [path.name for path in drawn.paths] == [*names[drawn.scored.task], "slices.png"]
    assert sorted(drawn.paths[0].parent.glob("[!.]*")) == sorted(drawn.paths)


def test_every_picture_is_small_and_sharp(drawn: Drawn) -> None:
    for path in drawn.paths:
        assert path.stat().st_size <= 30_000, path.name
        assert pixels(path).shape == (720, 960, 3)


def test_both_models_are_seen_in_their_colours(drawn: Drawn) -> None:
    for path in drawn.paths:
        assert has_colour(path, "candidate"), path.name
        assert has_colour(path, "champion"), path.name


def test_a_picture_tells_neither_when_nor_by_what_it_was_made(drawn: Drawn) -> None:
    for path in drawn.paths:
        with Image.open(path) as image:
            assert image.info.keys() <= {"dpi"}
        assert b"atplotlib" not in path.read_bytes()


def test_the_same_figures_give_the_same_bytes_under_any_matplotlibrc(
    drawn: Drawn, tmp_path: Path
) -> None:
    with mpl.rc_context({"font.size": 30, "lines.color": "red", "axes.facecolor": "yellow"}):
        again = plots.write(tmp_path, drawn.scored, drawn.found)
    assert [a.read_bytes() for a in drawn.paths] == [b.read_bytes() for b in again]


def test_without_champion_and_slices_there_is_no_trace_of_them(tmp_path: Path) -> None:
    scored = scores("classification", champion=False)
    paths = plots.write(tmp_path, scored, figures(scored))
    assert [path.name for path in paths] == CLASSIFICATION
    assert all(has_colour(path, "candidate") for path in paths)
    assert not any(has_colour(path, "champion") for path in paths)


def test_no_name_breaks_a_picture(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    names = ["$\\frac{$", "a\nb", "病院" * 40, "x" * 500, "", "😀 ___ ^^^"]
    scored = replace(scores("classification", 40), classes=(names[0], names[2]))
    paths = plots.write(tmp_path, scored, figures(scored, some_slices(names)))
    assert {pixels(path).shape for path in paths} == {(720, 960, 3)}
    assert not recwarn.list


def test_pyplot_and_its_global_state_are_never_loaded() -> None:
    program = f"import sys, {plots.__name__}; sys.exit('matplotlib.pyplot' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
