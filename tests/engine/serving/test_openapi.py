"""The description is of this model, and tells the truth about what the service takes."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from mlrelease.scoring import features, request_rows as serving_requests
from mlrelease.serving import metrics as serving_metrics, openapi, tables as serving_tables
from tests.engine.trained import Ask, Trained

Column = features.Column
CATEGORIES = ("1", "1.0", "1.50", "2.5", "True", "inf", "left", "nan", "007", "1e3")
SIGNATURE = features.Signature(
    "regression",
    (
        Column("age", "number"),
        Column("mean radius", "number", nullable=True),
        Column("code", "category", categories=CATEGORIES),
        Column("side", "category", nullable=True, categories=("left",)),
    ),
    "price",
)
EDGES = [s * edge for s in (1, -1) for edge in (features.FLOAT32_MAX, 3.4028235e38, 10**39)]
ROW: dict[str, Any] = {"age": 1, "mean radius": None, "code": "left", "side": None}


def described(column: str) -> dict[str, Any]:
    schemas = openapi.document(SIGNATURE, "1")["components"]["schemas"]
    return dict(schemas["Row"]["properties"][column])


def accepted(row: dict[str, Any]) -> bool:
    try:
        serving_requests.decode(json.dumps(row).encode(), SIGNATURE)
    except serving_requests.RequestError:
        return False
    return True


def test_it_is_served_and_names_the_columns_of_the_model(ask: Ask, trained: Trained) -> None:
    document = ask("GET", "/openapi.json").json()
    row = document["components"]["schemas"]["Row"]
    assert document["openapi"] == "3.1.0"
    assert row["required"] == list(trained.rows[0])
    assert row["additionalProperties"] is False
    assert row["properties"]["mean radius"]["type"] == "number"
    assert row["properties"]["mean texture"]["type"] == ["number", "null"]
    assert row["properties"]["side"]["enum"] == ["left", "right", "", None]
    assert row["properties"]["ward"]["enum"] == ["1", 1, "2", 2, "3", 3, "", None]
    assert row["properties"]["smoker"]["enum"] == ["False", False, "True", True]
    predict = document["paths"]["/predict"]["post"]
    assert set(predict["responses"]) == {
        "200", "400", "408", "413", "415", "422", "500", "503",
    }  # fmt: skip
    assert set(predict["requestBody"]["content"]) == {"application/json", *serving_tables.KINDS}
    assert set(document["paths"]) == set(serving_metrics.PATHS) - {"other"}


def test_every_reference_leads_somewhere(ask: Ask) -> None:
    document = ask("GET", "/openapi.json").json()
    names = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert names == set(document["components"]["schemas"]) == {"Row", "Answer", "Error"}


def test_where_a_token_is_asked_for_it_says_so() -> None:
    document = openapi.document(SIGNATURE, "1", token=True)
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    operations = {path: next(iter(told.values())) for path, told in document["paths"].items()}
    secured = {path for path, told in operations.items() if told["security"]}
    assert secured == {"/predict", "/model", "/openapi.json", "/docs"}
    assert secured == {path for path, told in operations.items() if "401" in told["responses"]}


def test_an_answer_has_the_form_that_is_described(ask: Ask, trained: Trained) -> None:
    answer = ask("GET", "/openapi.json").json()["components"]["schemas"]["Answer"]
    given = ask(json=trained.rows[0]).json()
    assert set(answer["required"]) == set(given)
    assert given["label"] in answer["properties"]["label"]["enum"]
    regression = openapi.document(SIGNATURE, "1")["components"]["schemas"]["Answer"]
    assert regression["required"] == ["value"]


@pytest.mark.parametrize("column", ["code", "side"])
def test_every_listed_spelling_of_a_category_is_accepted(column: str) -> None:
    assert all(accepted({**ROW, column: value}) for value in described(column)["enum"])
    json.dumps(described(column), allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from((*CATEGORIES, None)) | st.booleans() | st.integers(0, 3) | st.floats(0, 3))
def test_a_category_is_accepted_exactly_when_it_is_listed(value: Any) -> None:
    listed = described("code")["enum"]
    same = [v for v in listed if v == value and (type(v) is bool) == (type(value) is bool)]
    assert accepted({**ROW, "code": value}) == bool(same)


@settings(max_examples=100, deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.sampled_from(EDGES))
def test_a_number_is_accepted_exactly_when_it_is_in_the_described_range(value: float) -> None:
    limits = described("age")
    assert accepted({**ROW, "age": value}) == (limits["minimum"] <= value <= limits["maximum"])
