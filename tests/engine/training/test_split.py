"""Splits: laws that hold for any rows."""

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from mlrelease import errors
from mlrelease.params import Params
from mlrelease.training import split

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40)


def params(by: str = "row", column: str | None = None, **more: object) -> Params:
    content = {
        "task": "regression",
        "data": {"source": "x.csv", "target": "y", "key": more.pop("key", [])},
        "split": {"by": by, "column": column} | more,
        "model": {"estimator": "ridge"},
    }
    return Params.model_validate(content)


def frame(values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"x": values, "c": [f"c{i % 3}" for i in range(len(values))], "y": 0.0})


@given(NUMBERS, NUMBERS)
@settings(max_examples=50, deadline=None)
def test_new_rows_move_no_old_row(old: list[float], new: list[float]) -> None:
    before = split.holdout_mask(frame(old), params())
    grown = pd.concat([frame(old), frame(new)], ignore_index=True)
    after = split.holdout_mask(grown, params())
    assert (after[: len(old)] == before).all()


@given(NUMBERS)
@settings(max_examples=50, deadline=None)
def test_the_order_of_rows_does_not_matter(values: list[float]) -> None:
    rows = frame(values)
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = rows.iloc[order].reset_index(drop=True)
    assert (
        split.holdout_mask(rows, params())[order] == split.holdout_mask(shuffled, params())
    ).all()


@given(NUMBERS)
@settings(max_examples=30, deadline=None)
def test_a_duplicate_never_leaks_to_the_other_side(values: list[float]) -> None:
    rows = frame(values)
    mask = split.holdout_mask(pd.concat([rows, rows], ignore_index=True), params())
    assert (mask[: len(rows)] == mask[len(rows) :]).all()


def test_integers_and_floats_with_the_same_values_split_alike() -> None:
    whole = pd.DataFrame({"x": range(100), "y": 0.0})
    mixed = whole.astype({"x": float}).assign(x=lambda f: f["x"].where(f["x"] != 5, -0.0 + 5))
    assert (split.holdout_mask(whole, params()) == split.holdout_mask(mixed, params())).all()


def test_the_share_is_what_was_asked_for() -> None:
    rows = pd.DataFrame({"x": np.arange(20_000), "y": 0.0})
    for share in (0.1, 0.3, 0.5):
        assert split.holdout_mask(rows, params(holdout=share)).mean() == pytest.approx(
            share, abs=0.01
        )


def test_the_same_row_lands_on_the_same_side_on_every_machine() -> None:
    rows = pd.DataFrame({"x": [0.5, 1.5, 2.5, 3.5, 4.5], "c": list("abcde"), "y": 0.0})
    assert split.row_hashes(rows).tolist() == [
        4643178860023420854,
        8814512227791565582,
        12328756104110806138,
        6269472141127045686,
        7401120530140378270,
    ]


def test_a_key_decides_alone() -> None:
    rows = frame(list(range(50))).assign(id=range(50))
    moved = rows.assign(x=rows["x"] + 1)
    keyed = params(key=["id"])
    assert (split.holdout_mask(rows, keyed) == split.holdout_mask(moved, keyed)).all()


def test_a_group_stays_together() -> None:
    rows = frame(list(range(300))).assign(c=[f"g{i % 30}" for i in range(300)])
    mask = split.holdout_mask(rows, params("group", "c"))
    assert pd.Series(mask).groupby(rows["c"]).nunique().eq(1).all()
    assert 0 < mask.sum() < 300


def test_time_holds_out_from_a_day_on() -> None:
    days = pd.date_range("2026-01-01", periods=10).astype(str)
    rows = pd.DataFrame({"day": days, "x": range(10), "y": 0.0})
    mask = split.holdout_mask(rows, params("time", "day", holdout_from=dt.date(2026, 1, 8)))
    assert mask.tolist() == [False] * 7 + [True] * 3


def test_a_day_that_is_none_is_named() -> None:
    rows = pd.DataFrame({"day": ["2026-01-01", "soon"], "x": [1, 2], "y": 0.0})
    with pytest.raises(errors.InputError, match="row 1, column 'day'"):
        split.holdout_mask(rows, params("time", "day", holdout_from=dt.date(2026, 1, 8)))
