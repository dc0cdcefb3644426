"""Bad input is refused by name; good input is the same input that the model was trained on."""

import json
import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mlrelease.scoring import decoder, features, request_rows as serving_requests

Column = features.Column
SIGNATURE = features.Signature(
    "classification",
    (
        Column("age", "number"),
        Column("mean radius", "number", nullable=True),
        Column("side", "category", nullable=True, categories=("left", "right")),
        Column("ward", "category", categories=("1", "2.5", "False", "True")),
    ),
    "diagnosis",
    ("no", "yes"),
)
ROW: dict[str, Any] = {"age": 50, "mean radius": 14.2, "side": "left", "ward": "1"}


def decode(content: Any) -> serving_requests.Batch:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return decoder.Decoder(SIGNATURE)(body)


def refusal(content: Any) -> tuple[int, str | None, str]:
    with pytest.raises(serving_requests.RequestError) as caught:
        decode(content)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return caught.value.status, caught.value.field, str(caught.value)


def test_a_row_becomes_typed_columns_in_the_order_of_the_signature() -> None:
    batch = decode(dict(reversed(ROW.items())))
    assert not batch.many
    assert batch.inputs.numbers.dtype == np.float32
    assert batch.inputs.numbers.tolist() == [[50, float(np.float32(14.2))]]
    assert batch.inputs.categories.tolist() == [["left", "1"]]


def test_an_array_keeps_its_order() -> None:
    batch = decode([{**ROW, "age": age} for age in (3, 1, 2)])
    assert batch.many
    assert batch.inputs.numbers[:, 0].tolist() == [3, 1, 2]


@pytest.mark.parametrize("value", ["1", 1, 1.0])
def test_a_whole_number_and_its_text_are_one_category(value: object) -> None:
    assert decode({**ROW, "ward": value}).inputs.categories[0, 1] == "1"


def test_a_boolean_beside_a_one_stays_a_boolean() -> None:
    batch = decode([{**ROW, "ward": value} for value in (1, True, 1.0, False, 2.5)])
    assert batch.inputs.categories[:, 1].tolist() == ["1", "True", "1", "False", "2.5"]


@pytest.mark.parametrize("missing", [None, ""])
def test_a_missing_category_is_empty_text(missing: object) -> None:
    assert decode({**ROW, "side": missing}).inputs.categories[0, 0] == ""


def test_a_missing_number_is_nan() -> None:
    assert np.isnan(decode({**ROW, "mean radius": None}).inputs.numbers[0, 1])


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"age": "50"}, "age", "must be a number, not text"),
        ({"age": True}, "age", "must be a number, not a boolean"),
        ({"age": [1]}, "age", "must be a number, not an array"),
        ({"age": {}}, "age", "must be a number, not an object"),
        ({"age": None}, "age", "must not be missing"),
        ({"age": 3.5e38}, "age", "beyond the range of float32"),
        ({"age": -(10**400)}, "age", "beyond the range of float32"),
        ({"age": math.nan}, "age", "must be a number, not NaN"),
        ({"mean radius": math.inf}, "mean radius", "beyond the range of float32"),
        ({"ward": None}, "ward", "must not be missing"),
        ({"ward": ""}, "ward", "must not be missing"),
        ({"ward": 2}, "ward", "unknown category '2'; known: '1', '2.5', 'False', 'True'"),
        ({"ward": "1.0"}, "ward", "unknown category '1.0'"),
        ({"ward": [1]}, "ward", "must be a category, not an array"),
        ({"side": math.nan}, "side", "must be a category, not NaN"),
        ({"side": 1e300}, "side", "unknown category '1000"),
        ({"side": "l" * 10_000}, "side", "...'; known: 'left', 'right'"),
        ({"Mean radius": 1}, "Mean radius", "did you mean `mean radius`?"),
        ({"x" * 10_000: 1}, "x" * 57 + "...", "is not a column of this model"),
    ],
)
def test_a_bad_value_is_refused_by_its_column(
    change: dict[str, Any], field: str, words: str
) -> None:
    status, found, message = refusal({**ROW, **change})
    assert (status, found) == (422, field)
    assert words in message


def test_in_an_array_the_row_is_named_too() -> None:
    assert refusal([ROW, ROW, {**ROW, "age": "x"}])[1] == "rows[2].age"


def test_the_first_bad_row_is_the_one_reported() -> None:
    bad = [ROW, {**ROW, "ward": "9"}, {**ROW, "age": "x"}]
    assert refusal(bad)[1] == "rows[1].ward"


def test_a_missing_column_is_named() -> None:
    row = {name: value for name, value in ROW.items() if name != "side"}
    assert refusal([row])[1:] == ("rows[0].side", "rows[0].side: is missing")


def test_a_misspelt_column_is_reported_before_the_one_that_it_leaves_missing() -> None:
    row = {"agee" if name == "age" else name: value for name, value in ROW.items()}
    assert refusal(row)[1:] == (
        "agee",
        "agee: is not a column of this model; did you mean `age`?",
    )


@pytest.mark.parametrize("row", [1, "x", None, True, [ROW], 1.5])
def test_a_row_that_is_no_object_is_refused(row: object) -> None:
    status, field, message = refusal([ROW, row])
    assert (status, field) == (422, "rows[1]")
    assert "must be an object" in message


def test_at_most_ten_categories_are_listed() -> None:
    column = Column("code", "category", categories=tuple(f"c{n:02}" for n in range(25)))
    signature = features.Signature("regression", (column,), "y")
    with pytest.raises(serving_requests.RequestError, match="'c09' and 15 more"):
        serving_requests.decode(b'{"code": "x"}', signature)


def test_a_column_given_twice_is_refused() -> None:
    body = json.dumps(ROW).replace('"side"', '"age"').encode()
    assert refusal(body)[1:] == ("age", "age: is given twice in one object")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b" \n ", "empty"),
        (b'{"age": 50,\n "ward" 1}', "line 2 column 9"),
        (b'{"age": 50', "line 1 column 11"),
        (b'{"age": 50} {}', "Extra data: line 1 column 13"),
        (b'{"age": "\xff"}', "position 9"),
        (b"\xef\xbb\xbf{}", "UTF-8 BOM"),
        (b'{"age":' * 200_000, "recursion"),
        (b'{"age": ' + b"9" * 5000 + b"}", "limit (4300 digits)"),
        (json.dumps(ROW).encode("utf-16"), "utf-8"),
        (b"age=50", "line 1 column 1"),
    ],
)
def test_what_is_not_json_is_refused_with_the_place(body: bytes, words: str) -> None:
    status, field, message = refusal(body)
    assert (status, field) == (400, None)
    assert words in message


def test_no_rows_and_too_many_rows_are_refused() -> None:
    assert refusal([])[0] == 422
    assert refusal([1] * 10_001)[0] == 413
    assert refusal([ROW] * 10_001)[0] == 413
    assert refusal(b"[" * 200_000)[0] == 413
    assert len(decode([ROW] * 10_000).inputs.numbers) == 10_000


@pytest.mark.parametrize("item", [b"{}", b"[]", b"[[[]]]", b'{"a":[{}]}'])
def test_a_small_body_that_would_become_large_is_refused_before(item: bytes) -> None:
    body = b"[" + b",".join([item] * (9_000_000 // (len(item) + 1))) + b"]"
    tracemalloc.start()
    status, _, message = refusal(body)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (status, message) == (413, "more than 10000 rows; send at most that many")
    assert peak < 1_000_000


@pytest.mark.parametrize("escape", ["\\ud800", "\\n", "\\u202e"])
def test_a_name_that_cannot_be_printed_is_escaped(escape: str) -> None:
    assert refusal(f'{{"{escape}": 1}}'.encode())[:2] == (422, escape)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
NUMBERS = st.integers(-(10**38), 10**38) | st.floats(-1e38, 1e38)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.fixed_dictionaries(dict.fromkeys(ROW, VALUES)), min_size=1, max_size=5))
def test_a_row_is_judged_and_typed_alone_as_it_is_among_others(rows: list[dict[str, Any]]) -> None:
    alone = [judged([row]) for row in rows]
    refused = [(n, verdict) for n, verdict in enumerate(alone) if isinstance(verdict, str)]
    if refused:
        first, verdict = refused[0]
        assert judged(rows) == verdict.replace("rows[0]", f"rows[{first}]")
    else:
        assert judged(rows) == [row for verdict in alone for row in verdict]


def judged(rows: list[dict[str, Any]]) -> Any:
    """The typed rows, or the refusal."""
    try:
        inputs = decode(rows).inputs
        return [(a.tobytes(), list(b)) for a, b in zip(*inputs, strict=True)]
    except serving_requests.RequestError as error:
        return str(error)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.none() | NUMBERS, min_size=1, max_size=5))
def test_numbers_arrive_as_the_float32_that_training_saw(values: list[float | None]) -> None:
    served = decode([{**ROW, "mean radius": value} for value in values]).inputs.numbers[:, 1]
    floats = [math.nan if value is None else float(value) for value in values]
    offline = features.to_frame({"x": floats}, [Column("x", "number", nullable=True)])["x"]
    assert served.tobytes() == offline.to_numpy().tobytes()
