"""The same rows are the same rows, from CSV and from Parquet, in every unit and type: they are
split alike, have the same hashes, and no seen row passes for a new one."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

from mlrelease import errors
from mlrelease.evaluation import fitted
from mlrelease.params import ColumnRule, Params
from mlrelease.scoring.times import plain_time
from mlrelease.training import schema, split

ROWS = 60
UNITS = ("ns", "us", "ms", "s")
Form = Callable[[pd.Series], Any]


def text(form: str) -> Form:
    return lambda times: times.dt.strftime(form)


def unit(name: str, zone: str | None = None) -> Form:
    return lambda times: times.astype(np.dtype(f"datetime64[{name}]")).dt.tz_localize(zone)


def elsewhere(times: pd.Series) -> Any:
    return times.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")


# Of each way the kinds of file that can hold it.
TIMES: dict[str, tuple[Form, tuple[str, ...]]] = {
    "with T and Z": (text("%Y-%m-%dT%H:%M:%SZ"), ("csv", "parquet")),
    "with milliseconds": (text("%Y-%m-%d %H:%M:%S.000"), ("csv", "parquet")),
    "with an offset": (lambda times: elsewhere(times).map(str), ("csv", "parquet")),
    "without seconds": (text("%Y-%m-%d %H:%M"), ("csv", "parquet")),
    "as pandas writes it": (unit("us"), ("csv",)),
    "of another zone": (elsewhere, ("csv", "parquet")),
    "as objects": (lambda times: times.astype(object), ("csv",)),
    **{name: (unit(name), ("parquet",)) for name in UNITS},
    **{f"{name}, UTC": (unit(name, "UTC"), ("parquet",)) for name in UNITS},
}
DAYS: dict[str, tuple[Form, tuple[str, ...]]] = TIMES | {
    "as a day": (text("%Y-%m-%d"), ("csv", "parquet")),
    "date32": (lambda times: times.map(lambda time: time.date()), ("parquet",)),
}
IDS: dict[str, Form] = {
    "whole numbers": lambda ids: ids.astype("int64"),
    "texts": lambda ids: ids.astype("int64").astype(str),
}
KINDS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "row": ({"by": "row", "holdout": 0.4}, []),
    "key": ({"by": "row", "holdout": 0.4}, ["id"]),
    "key and time": ({"by": "row", "holdout": 0.4}, ["id", "t"]),
    "group of ids": ({"by": "group", "column": "id", "holdout": 0.4}, []),
    "group of times": ({"by": "group", "column": "t", "holdout": 0.4}, []),
    "time": ({"by": "time", "column": "t", "holdout_from": "2026-01-10"}, []),
}


def params(source: str, kind: str, category: bool) -> Params:
    by, key = KINDS[kind]
    columns = {"t": {"type": "category"}} | ({"id": {"type": "category"}} if category else {})
    return Params.model_validate(
        {
            "task": "regression",
            "data": {"source": source, "target": "y", "key": key, "columns": columns},
            "split": by,
            "model": {"estimator": "ridge"},
        }
    )


def rows(hours: int, first: int) -> pd.DataFrame:
    at = np.arange(ROWS)
    times = pd.Series(pd.date_range("2026-01-01", periods=ROWS, freq=f"{hours}h", unit="us"))
    return pd.DataFrame({"id": first + at, "t": times, "x": at / 4, "y": at * 1.0})


def written(frame: pd.DataFrame, folder: Path, kind: str) -> str:
    path = folder / f"rows.{kind}"
    if kind == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return path.name


FIRST = st.sampled_from([1, 2**24 - 9, 2**53 - 9, 202401010000100000])


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(sorted(KINDS)), st.sampled_from([7, 24]), FIRST)
def test_the_same_rows_are_split_alike_and_have_the_same_hashes(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject, kind: str, hours: int, first: int,
) -> None:  # fmt: skip
    folder, found = tmp_path_factory.mktemp("rows"), list[Any]()
    by_id = "id" in KINDS[kind][1] or KINDS[kind][0].get("column") == "id"
    for _ in range(2):
        form, files = data.draw(st.sampled_from([*(DAYS if hours == 24 else TIMES).values()]))
        ids = IDS[data.draw(st.sampled_from(sorted(IDS)))]
        frame = rows(hours, first)
        frame = frame.assign(t=form(frame["t"]), id=ids(frame["id"]))
        source = written(frame, folder, data.draw(st.sampled_from(files)))
        category = by_id and data.draw(st.booleans())
        told = params(source, kind, category)
        read = schema.checked(told, folder)
        names = fitted.columns(read, told)
        mask = split.holdout_mask(read, told)
        assert 0 < mask.sum() < ROWS
        if by_id:  # none is taken for its neighbour
            hashes = fitted.hashed(read, ["id"], fitted.naming(split.facts(told)))
            assert hashes["id"].is_unique
        if found and found[0][0] != category:  # declared as text, it splits as text
            mask = found[0][1]
        found.append((category, mask, fitted.hashed(read, names, fitted.naming(split.facts(told)))))
    assert found[0][1].tolist() == found[1][1].tolist()
    pd.testing.assert_frame_equal(found[0][2], found[1][2])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-3e38, 3e38) | st.integers(-(2**60), 2**60), min_size=1, max_size=20))
def test_a_column_that_became_float32_hides_no_row(values: list[float]) -> None:
    """Also where it holds whole numbers beyond those that float32 has."""
    wide = pd.DataFrame({"x": np.array(values, dtype=np.float64)})
    narrow = wide.astype("float32").astype("float64")
    for before, after in ((wide, narrow), (narrow, wide)):
        assert fitted.among(after, fitted.hashed(before, ["x"]), ["x"]).all()


@given(st.datetimes(dt.datetime(2, 1, 1), dt.datetime(9998, 1, 1)), st.integers(-1439, 1439))
def test_a_time_is_spelled_in_one_way(time: dt.datetime, minutes: int) -> None:
    plain = plain_time(time.isoformat())
    assert plain_time(plain) == plain
    assert plain_time(f"{time.isoformat(sep=' ')}Z") == plain
    assert dt.datetime.fromisoformat(plain) == time
    zone = dt.timezone(dt.timedelta(minutes=minutes))
    there = time.replace(tzinfo=dt.UTC).astimezone(zone)
    assert plain_time(there.isoformat()) == plain


@pytest.mark.parametrize(
    "words", ["", "2026", "2026-05", "20260501", "on 2026-05-01", "2026-05-01T25:00:00+01:00", "²"]
)
def test_what_is_no_time_stays_as_it_is(words: str) -> None:
    assert plain_time(words) == words


def test_a_time_is_no_number_of_nanoseconds(tmp_path: Path) -> None:
    """Neither is a duration. As an input it was a large number; now it is text, as in a CSV."""
    times = rows(24, 1)["t"]
    for name in UNITS:
        lasted = (times - times[0]).astype(np.dtype(f"timedelta64[{name}]"))
        frame = rows(24, 1).assign(t=times.astype(np.dtype(f"datetime64[{name}]")), lasted=lasted)
        told = params(written(frame, tmp_path, "parquet"), "row", category=False)
        read = schema.checked(told, tmp_path)
        assert read["t"].tolist()[:2] == ["2026-01-01", "2026-01-02"]
        assert read["lasted"].tolist()[:2] == ["0 days 00:00:00", "1 days 00:00:00"]
        assert [c.type for c in schema.columns(read, told)] == [
            "number", "category", "number", "category",
        ]  # fmt: skip
        declared = told.model_copy(
            update={
                "data": told.data.model_copy(update={"columns": {"t": ColumnRule(type="number")}})
            }
        )
        faults = schema.check(frame, declared)
        assert {(fault.column, fault.message) for fault in faults} == {("t", "is not a number")}


def test_a_missing_time_is_named_and_days_as_numbers_are_days(tmp_path: Path) -> None:
    days = rows(24, 1).assign(t=lambda f: f["t"].dt.strftime("%Y%m%d").astype(int))
    told = params(written(days, tmp_path, "csv"), "time", category=False)
    assert split.holdout_mask(schema.checked(told, tmp_path), told).sum() == ROWS - 9
    times = rows(24, 1)["t"].mask(np.arange(ROWS) == 4).astype("datetime64[us]")
    told = params(written(rows(24, 1).assign(t=times), tmp_path, "parquet"), "time", False)
    with pytest.raises(errors.InputError, match="row 4, column 't': cannot be read as a date"):
        split.holdout_mask(schema.checked(told, tmp_path), told)
