"""Rows are recognised by the hashes of their cells, whatever type a column is read as."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from mlrelease import errors
from mlrelease.evaluation import fitted

NUMBERS = st.floats(allow_nan=True, allow_infinity=False) | st.integers(-(2**53), 2**53).map(float)
TEXTS = st.text(max_size=5) | st.sampled_from(["", "1", "1.5", "nan", "NA", "True", "-0"])


def cells(values: object, exact: tuple[str, ...] = ()) -> list[int]:
    table = fitted.hashed(pd.DataFrame({"x": values}), ["x"], exact)
    assert table["x"].dtype == np.uint32
    return [int(value) for value in table["x"]]


def test_hashes_are_the_same_on_every_machine_and_for_good() -> None:
    assert cells([0.5, 1.0, -3.25, np.nan]) == [71368268, 706792832, 3307792094, 1184625372]
    assert cells(["a", "b", "", "7"]) == [3248069189, 2954169079, 1184625372, 920961232]


def test_one_value_has_one_hash_whatever_it_is_read_as() -> None:
    numbers = cells([1.0, 17.99, np.nan, -0.0])
    assert cells(pd.Series(["1", "17.99", "", "0"], dtype=object)) == numbers
    assert cells(pd.Series([1, "17.99", None, 0], dtype=object)) == numbers
    assert cells(pd.Series([1.0, 17.99, np.nan, 0.0], dtype="float32")) == numbers
    assert cells(pd.Series([1, 0], dtype="int64")) == [numbers[0], numbers[3]]


def test_names_that_stand_side_by_side_are_told_apart() -> None:
    """As the numbers of orders or customers are, beyond what float32 holds; as text, also beyond
    what float64 holds."""
    names = np.arange(123_456_000, 123_466_000)
    assert len(set(cells(names, ("x",)))) > 9_990
    assert cells(names.astype(str), ("x",)) == cells(names, ("x",))
    assert len(set(cells([f"20240101{name}" for name in names], ("x",)))) > 9_990
    assert len(set(cells([f"order {name}" for name in names]))) > 9_990


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS, max_size=20) | st.lists(TEXTS, max_size=20), st.data())
def test_neither_order_nor_company_changes_a_hash(
    values: list[object], data: st.DataObject
) -> None:
    kind = "float64" if values and isinstance(values[0], float) else object
    places = data.draw(st.permutations(range(len(values))))
    expected = cells(pd.Series(values, dtype=kind))
    moved = cells(pd.Series([values[place] for place in places], dtype=kind))
    assert moved == [expected[place] for place in places]


def test_a_row_is_found_by_the_columns_that_are_asked_for() -> None:
    rows = pd.DataFrame({"x": [1.0, 1.0, 2.0], "y": ["a", "b", "a"]})
    known = fitted.hashed(rows.head(1), ["x", "y"])
    assert fitted.among(rows, known, ["x"]).tolist() == [True, True, False]
    assert fitted.among(rows, known, ["x", "y"]).tolist() == [True, False, False]
    assert fitted.among(rows, known.head(0), ["x"]).tolist() == [False] * 3


def test_rows_that_look_alike_are_told_apart_by_a_value_of_their_own() -> None:
    """Copies of one row tell as one does; rows with the same few values tell nothing."""
    rows = pd.DataFrame({"x": [7.5, 7.5, 1, 1, 1, 2], "y": list("aaaabb")})
    known = fitted.hashed(rows, ["x", "y"])
    told = fitted.among(rows, known, ["x", "y"], telling=True)
    assert told.tolist() == [True, True, False, False, True, True]
    assert fitted.among(rows, known, ["x", "y"]).all()
    few = fitted.among(rows, known, ["y"], telling=True)
    assert not few.any()


def test_copies_of_a_row_that_is_like_no_other_are_told_apart() -> None:
    """Each of its values is somewhere else too."""
    rows = pd.DataFrame({"x": [1, 1, 1, 2, 3], "y": [5, 5, 6, 5, 7], "z": [8, 8, 9, 9, 8]})
    known = fitted.hashed(rows, ["x", "y", "z"])
    assert fitted.among(rows, known, ["x", "y", "z"], telling=True).all()
    near = pd.concat([rows, pd.DataFrame({"x": [1], "y": [5], "z": [9]})], ignore_index=True)
    told = fitted.among(near, fitted.hashed(near, ["x", "y", "z"]), ["x", "y", "z"], telling=True)
    assert told.tolist() == [False, False, True, True, True, True]


def test_what_stands_in_other_columns_is_another_row() -> None:
    rows = pd.DataFrame({"x": [1.0, 2.0], "y": [2.0, 1.0]})
    known = fitted.hashed(rows.head(1), ["x", "y"])
    assert fitted.among(rows, known, ["x", "y"]).tolist() == [True, False]


@pytest.mark.parametrize("content", [None, b"PAR1nonsense", b"", "text", "wide"])
def test_a_damaged_file_is_one_clear_line(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / fitted.FILE
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content:
        table = pd.DataFrame({"x": ["a"] if content == "text" else [1]})
        table.to_parquet(path)
    kind = errors.RefusedError if content is None else errors.InputError
    with pytest.raises(kind, match="is empty" if content is None else fitted.FILE) as refusal:
        fitted.read_fitted(tmp_path)
    assert "\n" not in str(refusal.value)
