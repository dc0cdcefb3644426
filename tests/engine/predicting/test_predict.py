"""`model predict`: files of rows get the answers of the service; what has none is told apart."""

import datetime as dt
import decimal
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from mlrelease import errors
from mlrelease.cli import app as cli_app
from mlrelease.predicting import outcome, predict, rows, sized
from mlrelease.scoring import artifact, batch, features
from tests.engine.predicting.scored import COLUMNS, fit, service_answer, table

NUMBERS = st.one_of(st.none(), st.integers(-99, 99).map(float), st.sampled_from([1e39, -3.5e38]))
ROW = st.fixed_dictionaries(
    {
        "age": NUMBERS,
        "income": NUMBERS,
        "plan": st.sampled_from([None, "", "basic", "plus", "Basic", "gold"]),
        "ward": st.sampled_from([None, "1", "2", "4", "1.0"]),
        "smoker": st.sampled_from([None, "True", "False", "true"]),
    }
)
SCHEMA = pa.schema([(c.name, pa.float64() if c.type == "number" else pa.string()) for c in COLUMNS])


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("predict") / "model")


@pytest.fixture(scope="session")
def regression(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its values overflow where the income is large."""
    return fit(tmp_path_factory.mktemp("predict") / "regression", "regression", scale=1e12)


def write(frame: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False)
    return path


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(ROW, min_size=1, max_size=12))
def test_a_file_gets_the_answers_of_the_service_and_the_same_refusals(
    model: Path, tmp_path_factory: pytest.TempPathFactory, given_rows: list[dict[str, Any]]
) -> None:
    place = tmp_path_factory.mktemp("rows")
    pq.write_table(pa.Table.from_pylist(given_rows, SCHEMA), place / "in.parquet")
    expected = [service_answer(model, row) for row in given_rows]
    refused = {number for number, answer in enumerate(expected) if isinstance(answer, str)}
    out = place / "out.parquet"
    found = predict.predict(model, place / "in.parquet", out, max_rejects=99)
    assert found.rejected == len(refused)
    answers = pq.read_table(out, columns=["label", "probability"]).to_pylist()
    assert answers == [answer for answer in expected if not isinstance(answer, str)]
    if refused:
        rejects = pd.read_csv(f"{out}.rejects.csv", dtype=str)
        assert set(rejects["rejected_row"].astype(int)) == refused
        for row, column in zip(rejects["rejected_row"], rejects["rejected_column"], strict=True):
            assert column in str(expected[int(row)])


@pytest.mark.parametrize("before", [".csv", ".parquet"])
@pytest.mark.parametrize("after", [".csv", ".parquet"])
def test_the_answers_stand_beside_the_columns_in_the_order_of_the_rows(
    model: Path, tmp_path: Path, before: str, after: str
) -> None:
    frame = table(300)
    out = tmp_path / f"out{after}"
    predict.predict(model, write(frame, tmp_path / f"in{before}"), out)
    found = read(out)
    assert found.columns.tolist() == [*frame.columns, "label", "probability"]
    assert found["id"].astype(int).tolist() == list(range(300))
    assert np.allclose(found["income"], frame["income"])
    expected = [service_answer(model, row) for row in frame.head(20).to_dict("records")]
    assert found[["label", "probability"]].head(20).to_dict("records") == expected


def test_a_regression_gets_values(regression: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    predict.predict(regression, write(table(20), tmp_path / "in.parquet"), out)
    expected = [service_answer(regression, row) for row in table(20).to_dict("records")]
    assert read(out)[["value"]].to_dict("records") == expected


def test_columns_that_the_model_does_not_know_keep_their_types(model: Path, tmp_path: Path) -> None:
    more = {
        "seen": pa.array([dt.datetime(2026, 1, 1)] * 3),
        "vector": pa.array([[1, 2], None, []]),
        "tag": pa.array(["a", "b", "a"]).dictionary_encode(),
        "exact": pa.array([2**62, None, 1]),
    }
    given_table = pa.Table.from_pandas(table(3))
    for name, values in more.items():
        given_table = given_table.append_column(name, values)
    pq.write_table(given_table, tmp_path / "in.parquet")
    predict.predict(model, tmp_path / "in.parquet", tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.select(given_table.column_names).equals(given_table)
    predict.predict(model, tmp_path / "in.parquet", tmp_path / "out.csv")
    assert read(tmp_path / "out.csv")["vector"].tolist()[0] == "[1, 2]"


NAN = float("nan")
KINDS: dict[str, tuple[pa.Array, list[Any]]] = {  # and how their texts look in a .csv file
    "UUID": (
        pa.array([bytes(range(16)), None], pa.binary(16)).cast(pa.uuid()),
        ["000102030405060708090a0b0c0d0e0f", ""],
    ),
    "JSON": (pa.ExtensionArray.from_storage(pa.json_(), pa.array(["[1]", None])), ["[1]", ""]),
    "bytes": (pa.array([b"\xff\x01", b"text"]), ["ff01", "74657874"]),
    "large bytes": (pa.array([b"\xff\x01", None], pa.large_binary()), ["ff01", ""]),
    "fixed bytes": (pa.array([b"\xff\x01", None], pa.binary(2)), ["ff01", ""]),
    "bytes view": (pa.array([b"\xff", None], pa.binary_view()), ["ff", ""]),
    "view": (pa.array(['a "b"', None], pa.string_view()), ['a "b"', ""]),
    "large text": (pa.array(["a,b", None], pa.large_string()), ["a,b", ""]),
    "no UTF-8": (pa.array([b"pl\xfcs", b"x"]).view(pa.string()), ["pl\ufffds", "x"]),
    "half": (pa.array([np.float16(1.5), np.float16(NAN)]), ["1.5", ""]),
    "wide decimal": (
        pa.array([decimal.Decimal(10) ** 60, None], pa.decimal256(76, 2)), [f"1{'0' * 60}.00", ""],
    ),
    "narrow decimal": (pa.array([decimal.Decimal(1), None], pa.decimal32(3, 1)), ["1.0", ""]),
    "duration": (pa.array([dt.timedelta(1), None], pa.duration("ms")), ["86400000", ""]),
    "late": (pa.array([2**31 - 1, None], pa.int32()).view(pa.date32()), []),
    "late time": (pa.array([2**62, None]).view(pa.timestamp("us")), []),
    "zone": (pa.array([dt.datetime(2026, 1, 1), None], pa.timestamp("us", "Europe/Berlin")), []),
    "time": (pa.array([1, None]).view(pa.time64("ns")), ["00:00:00.000000001", ""]),
    "tag": (pa.array(["a", None]).dictionary_encode(), ["a", ""]),
    "number": (pa.array([1, None]).dictionary_encode(), ["1", ""]),
    "nothing": (pa.nulls(2), ["", ""]),
    "list": (pa.array([["a"], None], pa.list_(pa.string_view())), ["['a']", ""]),
    "list view": (pa.array([[1], None], pa.list_view(pa.int64())), ["[1]", ""]),
    "view of views": (pa.array([["a"], None], pa.list_view(pa.string_view())), ["['a']", ""]),
    "struct": (pa.array([{"a": b"\xff"}, None]), ["{'a': b'\\xff'}", ""]),
    "map": (pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())), ["[('a', 1)]", ""]),
    "late list": (
        pa.ListArray.from_arrays([0, 1, 1], pa.array([2**62]).view(pa.timestamp("us"))), [],
    ),
    "no UTF-8 in a list": (
        pa.ListArray.from_arrays([0, 1, 1], pa.array([b"pl\xfcs"]).view(pa.string())), [],
    ),
    "tensor": (
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int8(), [2]), pa.array([[1, 2]] * 2, pa.list_(pa.int8(), 2))
        ), ["[1, 2]", "[1, 2]"],
    ),
}  # fmt: skip


def shown(values: pa.Array) -> Any:
    coded = pa.types.is_dictionary(values.type)
    return (values.dictionary_decode() if coded else values).to_string()


@pytest.mark.parametrize("name", KINDS)
def test_a_column_of_any_type_can_be_written_beside_answers_and_rejects(
    model: Path, tmp_path: Path, name: str
) -> None:
    """One row gets an answer, and one is rejected."""
    values, texts = KINDS[name]
    for order in ([0, 1], [1, 0]):
        frame = table(2).assign(income=np.where(np.array(order) == 0, 1.0, np.nan))
        source = tmp_path / "in.parquet"
        pq.write_table(pa.Table.from_pandas(frame).append_column("more", values), source)
        for kind in (".csv", ".parquet"):
            found = predict.predict(model, source, tmp_path / f"out{kind}", overwrite=True)
            assert (found.scored, found.rejected) == (1, 1)
        good, bad = order.index(0), order.index(1)
        typed = pq.read_table(tmp_path / "out.parquet")["more"].combine_chunks()
        written = pq.read_table(source)["more"].combine_chunks().slice(good, 1)
        assert typed.type == sized.without_views(written.type)
        assert shown(typed) == shown(written)
        for place, path in ((good, "out.csv"), (bad, "out.csv.rejects.csv")):
            options: Any = {"dtype": str, "keep_default_na": False, "encoding_errors": "replace"}
            cell = pd.read_csv(tmp_path / path, **options)["more"].item()
            assert not texts or cell == texts[place]


def test_a_column_that_cannot_be_written_is_told_before_the_scoring(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(*arguments: Any) -> None:
        raise pa.ArrowNotImplementedError("no such type")

    def never(*arguments: Any, **named: Any) -> None:
        raise AssertionError("was scored")

    monkeypatch.setattr(outcome, "_plain", refusing)
    monkeypatch.setattr(predict, "score", never)
    source = write(table(3), tmp_path / "in.parquet")
    message = r"column 'id' \(int64\) cannot be written; leave it out: no such type"
    with pytest.raises(errors.InputError, match=message) as refusal:
        predict.predict(model, source, tmp_path / "out.parquet")
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_a_class_may_be_called_as_a_missing_value_is_written(tmp_path: Path, kind: str) -> None:
    """Only the cells of the input are missing, not the answers."""
    odd = fit(tmp_path / "odd", classes=("N/A", "None"))
    source, out = write(table(50), tmp_path / "in.csv"), tmp_path / f"out{kind}"
    predict.predict(odd, source, out)
    labels = pq.read_table(out)["label"].to_pylist() if kind == ".parquet" else (
        pd.read_csv(out, keep_default_na=False)["label"].tolist()
    )  # fmt: skip
    assert set(labels) == {"N/A", "None"}


def test_cells_of_a_csv_stay_as_they_are(model: Path, tmp_path: Path) -> None:
    lines = [
        "id,age,income,plan,ward,smoker,note",
        "007,41.50,1e3,basic,1.0,true,plain",
        '008,NA,2000,,2,FALSE,"a ""quoted"", note"',
    ]
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    predict.predict(model, tmp_path / "in.csv", tmp_path / "out.csv")
    cells = pd.read_csv(tmp_path / "out.csv", dtype=str, keep_default_na=False)
    given_cells = pd.read_csv(tmp_path / "in.csv", dtype=str, keep_default_na=False)
    pd.testing.assert_frame_equal(cells[given_cells.columns], given_cells)
    predict.predict(model, tmp_path / "in.csv", tmp_path / "out.parquet")
    typed = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["id"], row["age"], row["income"]) for row in typed] == [
        ("007", 41.5, 1000.0),
        ("008", None, 2000.0),
    ]


BAD = {3: ("income", "is missing"), 5: ("ward", "is no known category")}


def with_faults(rows_: int = 10) -> pd.DataFrame:
    frame = table(rows_).astype({"ward": object})
    frame.loc[3, ["income", "ward"]] = [np.nan, 9]  # the first fault of a row counts
    frame.loc[5, "ward"] = 9
    return frame


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_bad_rows_go_to_a_file_with_the_reason_and_their_values(
    model: Path, tmp_path: Path, kind: str
) -> None:
    frame = with_faults().astype({"ward": "Int64"})
    source, out = write(frame, tmp_path / f"in{kind}"), tmp_path / f"out{kind}"
    found = predict.predict(model, source, out)
    assert (found.rows, found.scored, found.rejected) == (10, 8, 2)
    assert found.reasons == {"income: is missing": 1, "ward: is no known category": 1}
    assert read(out)["id"].astype(int).tolist() == [0, 1, 2, 4, 6, 7, 8, 9]
    rejects = pd.read_csv(str(found.rejects))
    assert rejects.columns.tolist() == [
        "rejected_row", "rejected_column", "rejected_reason", *frame.columns,
    ]  # fmt: skip
    told = rejects.set_index("rejected_row")[["rejected_column", "rejected_reason"]]
    assert dict(zip(told.index, map(tuple, told.to_numpy()), strict=True)) == BAD
    assert rejects["id"].tolist() == [3, 5]
    assert rejects["ward"].tolist() == [9, 9]


def test_mended_rejects_can_be_scored(model: Path, tmp_path: Path) -> None:
    found = predict.predict(model, write(with_faults(), tmp_path / "in.csv"), tmp_path / "out.csv")
    mended = pd.read_csv(str(found.rejects)).assign(income=1.0, ward=1)
    again = predict.predict(model, write(mended, tmp_path / "mended.csv"), tmp_path / "more.csv")
    assert again.scored == 2
    broken = write(mended.assign(income=[1.0, np.nan]), tmp_path / "broken.csv")
    more = predict.predict(model, broken, tmp_path / "more.csv", overwrite=True)
    assert pd.read_csv(str(more.rejects)).columns.tolist() == mended.columns.tolist()


def test_a_row_without_a_finite_score_is_rejected(regression: Path, tmp_path: Path) -> None:
    frame = table(4)
    frame.loc[2, "income"] = 3e38
    found = predict.predict(regression, write(frame, tmp_path / "i.parquet"), tmp_path / "o.csv")
    assert found.reasons == {"has no finite score": 1}
    assert pd.read_csv(str(found.rejects))["rejected_row"].tolist() == [2]


def test_a_row_of_another_length_is_rejected_with_its_text(model: Path, tmp_path: Path) -> None:
    lines = [
        "note,age,income,plan,ward,smoker",
        "0,40,1000,basic,1,True",
        "1,40,1000",
        "",
        '"2, on\ntwo lines",40,1000,basic,1,True',
        "3,40,1000,basic,1,True,more",
        "4,40,1000,basic,1,True",
        "5",
    ]
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    found = predict.predict(model, tmp_path / "in.csv", tmp_path / "out.csv")
    assert found.reasons == {
        "has 3 fields, not 6": 1, "has 7 fields, not 6": 1, "has 1 fields, not 6": 1,
    }  # fmt: skip
    rejects = pd.read_csv(str(found.rejects))
    assert rejects["rejected_row"].tolist() == [1, 3, 5]
    assert rejects["rejected_reason"][1] == "has 7 fields, not 6: 3,40,1000,basic,1,True,more"
    assert [note[0] for note in read(tmp_path / "out.csv")["note"]] == ["0", "2", "4"]


def test_without_rejects_an_older_file_of_them_goes_away(model: Path, tmp_path: Path) -> None:
    source, out = write(with_faults(), tmp_path / "in.csv"), tmp_path / "out.csv"
    old = Path(str(predict.predict(model, source, out).rejects))
    assert old.exists()
    again = predict.predict(model, write(table(3), source), out, overwrite=True)
    assert again.rejects is None
    assert not old.exists()


@pytest.mark.parametrize("header", ["time,sensor,value", "id,probability", "id,label,probability"])
def test_somebodys_csv_is_not_replaced_whatever_its_columns_are_called(
    model: Path, regression: Path, tmp_path: Path, header: str
) -> None:
    """Not even what looks like our answers: other programs have such columns too."""
    source, out = write(table(3), tmp_path / "in.csv"), tmp_path / "out.csv"
    for directory in (model, regression):
        out.write_text(f"{header}\n1,a,1\n")
        with pytest.raises(errors.RefusedError, match="already; replace it with --overwrite"):
            predict.predict(directory, source, out)
        assert out.read_text() == f"{header}\n1,a,1\n"
        assert predict.predict(directory, source, out, overwrite=True).scored == 3
        assert len(read(out)) == 3


def test_a_parquet_file_is_replaced_only_where_an_earlier_run_wrote_it(
    model: Path, tmp_path: Path
) -> None:
    source, out = write(table(3), tmp_path / "in.csv"), tmp_path / "out.parquet"
    theirs = table(2).assign(probability=0.5)
    theirs.to_parquet(out)
    with pytest.raises(errors.RefusedError, match="was not written by this command"):
        predict.predict(model, source, out)
    assert read(out).equals(theirs)
    for overwrite in (True, False):  # now it is ours
        assert predict.predict(model, source, out, overwrite=overwrite).scored == 3


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_answers_go_where_a_link_leads(model: Path, tmp_path: Path, kind: str) -> None:
    source, elsewhere = write(with_faults(), tmp_path / "in.csv"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    out, link = elsewhere / "scores", tmp_path / f"link{kind}"
    out.touch()
    link.symlink_to(out)
    found = predict.predict(model, source, link)
    assert link.readlink() == out
    kept = pq.read_table(out) if kind == ".parquet" else pd.read_csv(out)
    assert len(kept) == found.scored == 8
    assert found.rejects == f"{out}.rejects.csv"
    Path(found.rejects).rename(tmp_path / "theirs.csv")
    Path(found.rejects).symlink_to(tmp_path / "theirs.csv")
    with pytest.raises(errors.RefusedError, match=r"rejects\.csv: is a link"):
        predict.predict(model, source, link, overwrite=True)
    assert len(pd.read_csv(tmp_path / "theirs.csv")) == 2


def test_a_link_in_the_place_of_the_parts_is_not_followed(model: Path, tmp_path: Path) -> None:
    source, theirs = write(table(3), tmp_path / "in.csv"), tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "rejects").write_text("mine")
    (tmp_path / ".out.csv.work").symlink_to(theirs)
    with pytest.raises(errors.RefusedError, match=r"work: is a link"):
        predict.predict(model, source, tmp_path / "out.csv")
    assert (theirs / "rejects").read_text() == "mine"


@pytest.mark.parametrize(("limit", "fine"), [(0, False), (1, False), (2, True), (None, True)])
def test_more_rejects_than_allowed_are_refused(
    model: Path, tmp_path: Path, limit: int | None, fine: bool
) -> None:
    source, out = write(with_faults(), tmp_path / "in.csv"), tmp_path / "out.csv"
    out.write_text("of yesterday,probability\n1,0.5\n")
    if fine:
        found = predict.predict(model, source, out, max_rejects=limit, overwrite=True)
        assert found.rejected == 2
        return
    with pytest.raises(errors.RefusedError, match="2 of 10 rows read get no answer, more than"):
        predict.predict(model, source, out, max_rejects=limit, overwrite=True)
    assert out.read_text().startswith("of yesterday,")
    assert len(pd.read_csv(f"{out}.rejects.csv")) == 2
    assert not list(tmp_path.glob(".*"))


def test_a_file_without_a_single_good_row_is_refused(model: Path, tmp_path: Path) -> None:
    source = write(table(5).assign(income=None), tmp_path / "in.csv")
    with pytest.raises(errors.RefusedError, match="5 of 5 rows .* all: 5 income: is missing"):
        predict.predict(model, source, tmp_path / "out.csv")
    assert predict.predict(model, source, tmp_path / "out.csv", max_rejects=5).scored == 0
    assert read(tmp_path / "out.csv").columns.tolist()[-1] == "probability"


def test_the_output_says_which_model_answered(model: Path, tmp_path: Path) -> None:
    source, out = write(table(3), tmp_path / "in.parquet"), tmp_path / "out.parquet"
    digest = artifact.digest_of(model)
    predict.predict(model, source, out, digest=digest, version="2026.11.21+abc")
    facts = pq.read_schema(out).metadata
    assert facts[b"model_digest"].decode() == digest
    assert facts[b"model_version"] == b"2026.11.21+abc"
    assert pd.read_parquet(out)["label"].notna().all()


def test_another_digest_is_refused(model: Path, tmp_path: Path) -> None:
    source = write(table(3), tmp_path / "in.csv")
    with pytest.raises(errors.RefusedError, match="not loaded"):
        predict.predict(model, source, tmp_path / "out.csv", digest="sha256:" + "0" * 64)
    assert not (tmp_path / "out.csv").exists()


def damaged(path: Path) -> None:
    """A Parquet file whose second row group cannot be read."""
    pq.write_table(pa.Table.from_pandas(table(9000)), path, row_group_size=3000)
    column = pq.read_metadata(path).row_group(1).column(2)
    content = bytearray(path.read_bytes())
    start = column.data_page_offset
    content[start : start + 200] = b"\xff" * 200
    path.write_bytes(content)


def truncated(path: Path) -> None:
    write(table(9000), path)
    path.write_bytes(path.read_bytes()[:-100])


def no_utf8(path: Path) -> None:
    plans = pa.array([b"basic", b"pl\xfcs", None]).view(pa.string())
    pq.write_table(pa.Table.from_pandas(table(3)).set_column(3, "plan", plans), path)


def with_list() -> pa.Table:
    return pa.Table.from_pandas(table(3)).set_column(1, "age", pa.array([[1], [2], [3]]))


STRUCTURAL: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "no file": ("in.csv", Path.exists, "cannot be read: .*No such file"),
    "no such kind": ("in.txt", lambda path: path.write_text("a\n1\n"), "neither .csv nor"),
    "empty": ("in.csv", lambda path: path.write_text(""), "cannot be read"),
    "no rows": ("in.csv", lambda path: write(table(0), path), "holds no rows"),
    "nor here": ("in.parquet", lambda path: write(table(0), path), "holds no rows"),
    "no column": (
        "in.csv",
        lambda path: write(table(3).drop(columns=["ward", "plan"]), path),
        "has no column 'plan', 'ward'; has id, age",
    ),
    "no Parquet": ("in.parquet", lambda path: path.write_text("x" * 99), "cannot be read"),
    "damaged": ("in.parquet", damaged, "cannot be read from row 0 on"),
    "truncated": ("in.parquet", truncated, "cannot be read"),
    "an open quote": (
        "in.csv",
        lambda path: path.write_text(table(9).to_csv(index=False) + '9,"x,,,,\n9,x,,,,\n'),
        "ends inside a quoted cell, which opens in row 9$",
    ),
    "text of another code": (
        "in.csv",
        lambda path: path.write_bytes(table(3).to_csv(index=False).encode() + b"3,\xfc,,,,\n"),
        "UTF",
    ),
    "nor there": ("in.parquet", no_utf8, "column 'plan' cannot be read"),
    "a list": (
        "in.parquet",
        lambda path: pq.write_table(with_list(), path),
        "'age' is no number, but list",
    ),
    "an answer": (
        "in.csv",
        lambda path: write(table(3).assign(label="x"), path),
        "has a column 'label', as the answers have.*--prefix",
    ),
}


@pytest.mark.parametrize("case", STRUCTURAL)
def test_a_file_that_cannot_be_scored_is_one_line_and_leaves_nothing(
    model: Path, tmp_path: Path, case: str
) -> None:
    name, make, message = STRUCTURAL[case]
    make(tmp_path / name)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(errors.InputError, match=message) as refusal:
        predict.predict(model, tmp_path / name, tmp_path / "out.parquet")
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert refusal.value.exit_code == 2
    assert sorted(tmp_path.iterdir()) == before


def test_two_columns_of_one_name_are_refused(model: Path, tmp_path: Path) -> None:
    twice = pa.Table.from_pandas(table(3))
    twice = twice.rename_columns(["age", *twice.column_names[1:]])
    pq.write_table(twice, tmp_path / "in.parquet")
    with pytest.raises(errors.InputError, match="two columns 'age'"):
        predict.predict(model, tmp_path / "in.parquet", tmp_path / "out.csv")


@pytest.mark.parametrize("name", ["out.json", "folder.csv", "in.csv", "hard.csv", "soft.csv"])
def test_an_output_that_cannot_be_is_refused(model: Path, tmp_path: Path, name: str) -> None:
    source = write(table(3), tmp_path / "in.csv")
    content = source.read_bytes()
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "hard.csv").hardlink_to(source)
    (tmp_path / "soft.csv").symlink_to(source)
    with pytest.raises(errors.InputError, match="neither|is a folder|is the input"):
        predict.predict(model, source, tmp_path / name)
    assert source.read_bytes() == content


def test_rejects_never_replace_the_input(model: Path, tmp_path: Path) -> None:
    found = predict.predict(model, write(with_faults(), tmp_path / "in.csv"), tmp_path / "out.csv")
    rejects = Path(str(found.rejects))
    content = rejects.read_bytes()
    with pytest.raises(errors.InputError, match="is the input"):
        predict.predict(model, rejects, tmp_path / "out.csv")
    assert rejects.read_bytes() == content


def test_a_prefix_keeps_earlier_answers(model: Path, tmp_path: Path) -> None:
    once, twice = tmp_path / "once.csv", tmp_path / "twice.csv"
    predict.predict(model, write(with_faults(), tmp_path / "in.csv"), once)
    broken = pd.read_csv(once).assign(income=[np.nan, *[1.0] * 7])
    found = predict.predict(model, write(broken, once), twice, prefix="new_")
    assert read(twice).columns.tolist()[-4:] == [
        "label", "probability", "new_label", "new_probability",
    ]  # fmt: skip
    assert pd.read_csv(str(found.rejects)).columns.tolist()[-2:] == ["label", "probability"]


def test_a_file_that_changes_meanwhile_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(table(50), tmp_path / "in.csv")
    real = batch.score

    def touching(*arguments: Any, **named: Any) -> Any:
        os.utime(source, ns=(0, 1))
        return real(*arguments, **named)

    monkeypatch.setattr(predict, "score", touching)
    with pytest.raises(errors.InputError, match="changed while it was read"):
        predict.predict(model, source, tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


TIE = float(np.nextafter(np.float32(0.5), np.float32(0)))  # five trees of ten, as float32 adds them


@given(st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.5, TIE, np.nan])), max_size=9))
@example([TIE])
@pytest.mark.parametrize("classes", [("no", "yes"), ()])
def test_answers_are_those_of_the_signature(classes: tuple[str, ...], scores: list[float]) -> None:
    task: Any = "classification" if classes else "regression"
    told = features.Signature(task, (), "y", classes)
    columns = batch.answers(told, np.array(scores, dtype=np.float64))
    good = [score for score in scores if score == score]
    found = pa.table(columns).drop_null().to_pylist()
    assert found == told.answers(np.array(good, dtype=np.float64))
    assert all(column.null_count == len(scores) - len(good) for column in columns.values())


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["model", "predict", *map(str, arguments)])
    try:
        cli_app.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_the_command_says_what_became_of_the_rows(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = write(with_faults(), tmp_path / "in.csv"), tmp_path / "out.csv"
    assert command(monkeypatch, source, out, "--model", model) == 0
    told = capsys.readouterr().out
    assert "8 rows scored in" in told
    assert "rows/s" in told
    assert artifact.digest_of(model) in told
    assert f"2 rows rejected: {out}.rejects.csv" in told
    assert "1  income: is missing" in told
    again = (source, out, "--model", model, "--overwrite")
    assert command(monkeypatch, *again, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["reasons"] == {"income: is missing": 1, "ward: is no known category": 1}
    assert (facts["rows"], facts["scored"], facts["rejected"]) == (10, 8, 2)
    assert command(monkeypatch, *again, "--max-rejects", "1") == 1
    assert command(monkeypatch, source, source, "--model", model) == 2
    assert capsys.readouterr().err.count("\n") == 2


def test_a_column_of_the_header_is_called_what_training_calls_it(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text(',a,a,"b\nc"\n1,2,3,4\n')
    found = rows.Rows(tmp_path / "in.csv")
    assert found.schema.names == pd.read_csv(tmp_path / "in.csv").columns.tolist()
    assert next(found.chunks()).table.to_pylist()[0]["a.1"] == "3"
