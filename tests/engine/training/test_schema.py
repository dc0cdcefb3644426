"""What a valid row is: each fault by row and column, nothing written."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from dummy import data
from mlrelease import errors
from mlrelease.params import Params
from mlrelease.training import schema
from tests.engine.conftest import PARAMS

ROWS = pd.DataFrame(
    {
        "id": range(8),
        "age": [30, 41, 52, 23, 64, 35, 46, 57],
        "sex": ["f", "m"] * 4,
        "sick": ["yes", "no", "no", "yes", "no", "yes", "no", "no"],
    }
)


def params(**changes: object) -> Params:
    content = {
        "task": "classification",
        "data": {
            "source": "rows.csv",
            "target": "sick",
            "positive": "yes",
            "key": ["id"],
            "columns": {
                "age": {"type": "number", "min": 0, "max": 120, "missing": 0.2},
                "sex": {"values": ["f", "m"]},
            },
        },
        "model": {"estimator": "logistic_regression"},
    }
    content["data"] = content["data"] | changes  # type: ignore[operator]  # both are mappings
    return Params.model_validate(content)


def faults(frame: pd.DataFrame, **changes: object) -> list[tuple[int | None, str]]:
    return [(f.row, f.column) for f in schema.check(frame, params(**changes))]


def changed(column: str, row: int, value: object) -> pd.DataFrame:
    return ROWS.astype(object).assign(
        **{column: ROWS[column].astype(object).mask(ROWS.index == row, value)}
    )


def test_valid_rows_have_no_fault() -> None:
    assert faults(ROWS) == []


@pytest.mark.parametrize(
    ("column", "row", "value"),
    [
        ("age", 3, -1),
        ("age", 3, 121),
        ("age", 3, "old"),
        ("age", 3, 1e39),
        ("sex", 2, "x"),
        ("id", 5, 4),
    ],
)
def test_a_bad_value_is_named_by_row_and_column(column: str, row: int, value: object) -> None:
    assert faults(changed(column, row, value)) == [(row, column)]


def test_too_many_missing_values_are_a_fault_of_the_column() -> None:
    frame = changed("age", 1, None)
    assert faults(frame) == []
    assert faults(ROWS.assign(age=pd.Series([None] * 4 + [30] * 4))) == [(None, "age")]


def test_a_missing_column_is_named() -> None:
    assert (None, "age") in faults(ROWS.drop(columns="age"))


def test_a_missing_target_is_named_by_row() -> None:
    assert (2, "sick") in faults(changed("sick", 2, None))


def test_three_classes_are_refused() -> None:
    assert (None, "sick") in faults(changed("sick", 2, "perhaps"))


def test_a_positive_class_that_never_occurs_is_refused() -> None:
    assert faults(ROWS, positive="ill") == [(None, "sick")]


def test_a_date_or_identifier_is_not_taken_for_a_category() -> None:
    many = pd.concat([ROWS] * 20, ignore_index=True).assign(id=range(160))
    frame = many.assign(day=[f"2026-01-{i}" for i in range(160)])
    assert faults(frame) == [(None, "day")]
    assert faults(frame, drop=["day"]) == []


def test_ten_faults_are_shown_and_the_rest_counted() -> None:
    frame = pd.concat([ROWS] * 4, ignore_index=True).assign(id=range(32), age=-1)
    shown = schema.describe(schema.check(frame, params())).splitlines()
    assert len(shown) == 12
    assert "32 faults" in shown[0]
    assert "22 more" in shown[-1]


def test_training_on_bad_rows_writes_nothing(tmp_path: Path) -> None:
    changed("age", 3, -1).to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(errors.RefusedError, match="row 3, column 'age'"):
        schema.checked(params(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["rows.csv"]


def test_a_category_reads_the_same_from_csv_and_parquet(tmp_path: Path) -> None:
    frame = ROWS.assign(
        code=pd.Series([1.0, 2.0, None, 1.0, 2.0, 1.0, 2.0, 1.0]), flag=[True, False] * 4
    )
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    columns = {"code": {"type": "category"}}
    read = [
        schema.checked(params(columns=columns, source=name), tmp_path)
        for name in ("rows.csv", "rows.parquet")
    ]
    pd.testing.assert_frame_equal(read[0], read[1])
    assert set(read[0]["code"]) == {"1", "2", ""}
    assert set(read[0]["flag"]) == {"True", "False"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("gone.csv", None),
        ("empty.csv", b""),
        ("header.csv", b"a,b\n"),
        ("binary.csv", b"\xff\xfe\x00\x01\x80"),
        ("ragged.csv", b"a,b\n1,2\n1,2,3\n"),
        ("broken.parquet", b"PAR1nonsense"),
        ("rows.xlsx", b"x"),
    ],
)
def test_a_damaged_source_is_one_clear_line(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(errors.InputError, match=name.replace(".", r"\.")) as refusal:
        data.load(params(source=name), tmp_path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_the_built_in_sources_are_valid(task: str, tmp_path: Path) -> None:
    content = yaml.safe_load(PARAMS)
    if task == "regression":
        content |= {"task": task, "slices": [], "model": {"estimator": "ridge"}}
        content["data"] = {"source": "sklearn:diabetes", "target": "progression"}
    checked = schema.checked(Params.model_validate(content), tmp_path)
    assert len(checked) > 400


@pytest.mark.parametrize("unread", ["drop", "key"])
def test_a_column_that_the_model_does_not_see_may_hold_anything(
    tmp_path: Path, unread: str
) -> None:
    """Such as numbers of people, and the name of one."""
    patients: Any = [100, 101, 102, 103, 104, 105, 106, "A12"]
    ROWS.assign(patient=patients).to_csv(tmp_path / "rows.csv", index=False)
    checked = schema.checked(params(**{unread: ["patient"]}), tmp_path)
    assert checked["patient"].iloc[7] == "A12"
