"""Typed columns: one meaning for a value, wherever it comes from."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

from .package import features

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
