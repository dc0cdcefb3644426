"""Typed columns: one meaning for a value, wherever it comes from."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from mlrelease.scoring import features

AGE = features.Column("age", "number", nullable=True)
SEX = features.Column("sex", "category", nullable=True, categories=("1", "2"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (np.float64(1), "1"),
        ("1", "1"),
        (True, "True"),
        (None, ""),
        (1.5, "1.5"),
    ],
)
def test_a_category_has_one_text(value: object, text: str) -> None:
    assert features.category_text(value) == text


@given(st.lists(st.one_of(st.none(), st.integers(-9, 9), st.text(max_size=3)), min_size=1))
def test_many_categories_are_each_alone(values: list[object]) -> None:
    alone = [features.category_text(value) for value in values]
    assert features.category_texts(values).tolist() == alone


def test_rows_from_json_and_from_pandas_become_the_same_frame() -> None:
    table: dict[str, list[object]] = {"sex": [1, None, "2"], "age": [1, 2.5, None]}
    frame = pd.DataFrame({"age": [1.0, 2.5, np.nan], "sex": [1.0, np.nan, 2.0], "more": 0})
    once = features.to_frame(table, (AGE, SEX))
    pd.testing.assert_frame_equal(once, features.to_frame(frame, (AGE, SEX)))
    assert once["age"].dtype == np.float32
    assert once.columns.tolist() == ["age", "sex"]


def test_each_value_that_is_no_number_is_named() -> None:
    with pytest.raises(features.InvalidRowsError) as refusal:
        features.to_frame({"age": [1, "old", 1e39], "sex": ["1"] * 3}, (AGE, SEX))
    assert [(f.row, f.column) for f in refusal.value.faults] == [(1, "age"), (2, "age")]


def test_a_missing_column_is_named() -> None:
    with pytest.raises(features.InvalidRowsError) as refusal:
        features.to_frame({"age": [1]}, (AGE, SEX))
    assert [(f.row, f.column) for f in refusal.value.faults] == [(None, "sex")]


def test_true_is_not_one() -> None:
    assert features.category_texts([1, True, 1.0, np.True_]).tolist() == ["1", "True", "1", "True"]


KINDS = ("float64", "float32", "int64", "Int64", "bool", "boolean", "string", "str", "category")


@pytest.mark.parametrize("kind", KINDS)
def test_a_typed_column_has_the_text_of_its_values(kind: Any) -> None:
    values = [1, 0, 1] if kind not in ("string", "str", "category") else ["1.0", "b", "1.0"]
    series = pd.Series(pd.array(values, dtype=kind))
    alone = [features.category_text(value) for value in series.tolist()]
    assert features.category_texts(series).tolist() == alone
    if kind not in ("int64", "bool"):
        series = pd.concat([series, pd.Series([None], dtype=kind)])
        assert features.category_texts(series).tolist() == [*alone, ""]


def test_a_missing_time_is_no_number() -> None:
    times = pd.Series(["2026-01-01", ""], dtype="datetime64[ns]")
    assert np.isnan(features.numbers(times, "seen")).tolist() == [False, True]


def test_a_long_text_costs_no_memory_for_each_row() -> None:
    told = features.Signature("regression", (SEX,), "y")
    frame = pd.DataFrame({"sex": pd.Series(["1"] * 50_000 + ["x" * 100_000], dtype=object)})
    assert [fault.row for fault in features.refused(frame, told)] == [50_000]
