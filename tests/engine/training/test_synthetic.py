"""Golden requests are of nobody: drawn from the profile, and no row of the training data."""

from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from mlrelease import errors
from mlrelease.scoring import features
from mlrelease.training import profiles as profile, split, synthetic

COLUMNS = (
    features.Column("age", "number", nullable=True),
    features.Column("children", "number"),
    features.Column("port", "category", nullable=True, categories=("C", "Q", "S")),
)
TOLD = features.Signature("regression", COLUMNS, "fare")


class Sums:
    """A model that adds the numbers; `broken` has no finite answer."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def scores(self, inputs: features.Inputs) -> np.ndarray:
        if self.broken:
            return np.full(len(inputs.numbers), np.inf)
        return np.asarray(np.nansum(inputs.numbers, axis=1), dtype=np.float64)

    def thresholds(self) -> list[tuple[int, float]]:
        return []


def drawn(
    table: dict[str, Any], told: features.Signature = TOLD, seed: int = 0, broken: bool = False
) -> tuple[list[dict[str, Any]], pd.DataFrame]:
    """The golden requests for a table, and its typed rows."""
    rows = features.to_frame(table, told.columns)
    facts = profile.profile(rows, told.columns, np.zeros(len(rows)))
    known = msgspec.convert(facts, profile.Profile)
    return synthetic.golden_requests(told, Sums(broken), known, rows, seed), rows


def people(rows: int = 300, seed: int = 1) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    age = random.normal(40, 10, rows).round(1)
    age[::10] = np.nan
    port = random.choice(["C", "Q", "S", ""], rows)
    return {"age": age, "children": random.integers(0, 4, rows), "port": port}


def known_of(golden: list[dict[str, Any]], rows: pd.DataFrame, told: features.Signature) -> int:
    """How many golden requests are rows of the data."""
    table = {c.name: [one["row"][c.name] for one in golden] for c in told.columns}
    ours = split.row_hashes(features.to_frame(table, told.columns))
    return int(np.isin(ours, split.row_hashes(rows)).sum())


@settings(max_examples=40, deadline=None)
@given(st.integers(20, 400), st.integers(0, 2**32 - 1))
def test_no_golden_request_is_a_row_of_the_data(rows: int, seed: int) -> None:
    golden, typed = drawn(people(rows, seed), seed=seed)
    assert len(golden) == synthetic.ROWS + 1
    assert known_of(golden[:-1], typed, TOLD) == 0


def test_equal_seeds_draw_equal_rows() -> None:
    assert drawn(people(), seed=3)[0] == drawn(people(), seed=3)[0]
    assert drawn(people(), seed=3)[0] != drawn(people(), seed=4)[0]


def test_they_look_like_the_data() -> None:
    golden, typed = drawn(people())
    for row in (one["row"] for one in golden):
        assert row["age"] is None or typed["age"].min() <= row["age"] <= typed["age"].max()
        assert row["children"] in (0.0, 1.0, 2.0, 3.0), "whole numbers stay whole"
        assert row["port"] in ("C", "Q", "S", None)
    assert [golden[-1]["row"][name] for name in ("age", "port")] == [None, None]
    assert golden[-1]["row"]["children"] is not None


def test_an_only_person_with_a_value_is_not_drawn_at_the_ends() -> None:
    """The oldest of many is in the profile rounded, and in no request."""
    table = people(1000) | {"age": np.append(np.linspace(20, 60, 999), 107.3)}
    rows = features.to_frame(table, COLUMNS)
    points = profile.describe(rows["age"].to_numpy(), "number").quantiles
    assert points[-1] == 110
    assert max(points[:-1]) < 61
    for seed in range(20):
        assert all((one["row"]["age"] or 0) < 61 for one in drawn(table, seed=seed)[0])


def test_where_every_row_that_can_be_drawn_is_there_the_most_common_are_taken() -> None:
    """Three towns and nothing else: a request cannot but be one of them, so it is nobody's own."""
    column = features.Column("town", "category", categories=("A", "B", "Z"))
    told = features.Signature("regression", (column,), "fare")
    golden, _ = drawn({"town": ["A"] * 30 + ["B"] * 9 + ["Z"]}, told)
    assert {one["row"]["town"] for one in golden} == {"A"}


def test_the_bare_row_is_of_nobody_where_it_can_be() -> None:
    table = {"age": [None, None, 3.5] * 5, "children": [0, 1, 2] * 5, "port": ["", "", "S"] * 5}
    golden, typed = drawn(table, seed=5)
    assert golden[-1]["row"]["children"] == 2.0  # with 0 and 1 somebody has nothing else
    assert known_of(golden, typed, TOLD) == 0


def test_a_model_without_a_finite_answer_is_refused() -> None:
    with pytest.raises(errors.InputError, match="no finite answer"):
        drawn(people(), broken=True)
