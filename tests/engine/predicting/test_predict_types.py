"""A cell means what training read in it, whatever stands in the rows around it."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st

from mlrelease import read_table
from mlrelease.predicting import rows, sized
from mlrelease.scoring import batch, cells, features
from mlrelease.scoring.batch import DamagedError

AGE = features.Column("age", "number", nullable=True)
TASK: Any = "regression"
SPELLINGS = [
    *("", "NA", "nan", "NAN", "inf", "1", "01", "1.0", "1.", "+1", "-1", "1e0", "2.5", ".5", "0x1"),
    *("1_0", "１", "1e39", "1e400", "True", "true", "tRue", "abc", "None", "0.1", "-0.0", "1,5"),
    *("9007199254740993", "18446744073709551617", "1;5"),
]
CELLS = st.sampled_from([*SPELLINGS, " 1", "1 ", "x y", " true", '"'])
PLAIN = {  # columns of one kind, as a person or a program writes them
    "integers": st.sampled_from(["", "1", "2", "007", "-3", "+4"]),
    "decimals": st.sampled_from(["NA", "1.0", "1", "2.50", "1e3", " 7"]),
    "booleans": st.sampled_from(["", "True", "true", "FALSE"]),
    "texts": st.sampled_from(["", "a", "1.0", "007", "true", "x,y", 'q"', "null"]),
}


def signature(*columns: features.Column) -> features.Signature:
    return features.Signature(TASK, columns, "y")


def write(path: Path, cells: list[str], name: str) -> Path:
    pd.DataFrame({"row": range(len(cells)), name: cells}).to_csv(path, index=False)
    return path


def read(path: Path, told: features.Signature, rows_each: int) -> list[tuple[Any, ...]]:
    """Of each row: the number or text, and the reasons to refuse it."""
    source = rows.Rows(path)
    source.rows_each = rows_each
    found: list[tuple[Any, ...]] = []
    for chunk in source.chunks():
        inputs, refused = batch.typed(chunk.table, told, csv=source.csv)
        values = (inputs.numbers if inputs.numbers.size else inputs.categories)[:, 0]
        masks = [(refusal.reason, refusal.rows.tolist()) for refusal in refused]
        found += [
            (str(value), [reason for reason, mask in masks if mask[place]])
            for place, value in enumerate(values)
        ]
    return found


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(CELLS, min_size=1, max_size=20), st.integers(1, 21), st.booleans())
def test_a_cell_hangs_on_no_other_row(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str], size: int, number: bool
) -> None:
    kind = AGE if number else features.Column("age", "category", True, ("1", "True", "2.5", "01"))
    path = write(tmp_path_factory.mktemp("cells") / "in.csv", cells, "age")
    assert read(path, signature(kind), size) == read(path, signature(kind), len(cells))


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(drawn=st.data())
@pytest.mark.parametrize("kind", PLAIN)
def test_the_rows_of_training_mean_what_they_meant_in_training(
    tmp_path_factory: pytest.TempPathFactory, kind: str, drawn: st.DataObject
) -> None:
    cells = drawn.draw(st.lists(PLAIN[kind], min_size=1, max_size=20))
    path = write(tmp_path_factory.mktemp("training") / "in.csv", cells, "x")
    texts = features.category_texts(read_table(path)["x"])
    known = tuple(sorted(set(texts) - {""}))
    column = features.Column("x", "category", True, known)
    assert read(path, signature(column), 7) == [(text, []) for text in texts]


@settings(deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(CELLS, st.floats().map(str)), min_size=1, max_size=20))
def test_a_number_is_what_training_takes_it_for(
    tmp_path_factory: pytest.TempPathFactory, cells: list[str]
) -> None:
    path = write(tmp_path_factory.mktemp("numbers") / "in.csv", cells, "age")
    found = read(path, signature(AGE), 7)
    for cell, (value, reasons) in zip(cells, found, strict=True):
        alone = read_table(write(path, [cell], "age"))["age"]
        numbers, bad = features.parsed_numbers(alone)
        assert (value, reasons) == (str(numbers[0]), ["is not a number"] if bad[0] else [])


@pytest.mark.parametrize(
    ("cell", "known", "text"),
    [
        ("1.0", {"1"}, "1"),
        ("1.0", {"1", "1.0"}, "1.0"),
        ("007", {"7"}, "7"),
        ("007", {"007", "7"}, "007"),
        ("true", {"True"}, "True"),
        ("2.50", {"2.5"}, "2.5"),
        ("9007199254740993", {"9007199254740993"}, "9007199254740993"),
        ("1_0", {"10"}, "1_0"),
        ("1" * 5000, {"1"}, "1" * 5000),
        ("basic ", {"basic"}, "basic "),
        ("NA", {"1"}, ""),
        ("NA", {"NA"}, "NA"),
    ],
)
def test_a_cell_names_the_category_that_it_spells(cell: str, known: set[str], text: str) -> None:
    assert cells.category(cell, frozenset(known)) == text


def test_missing_cells_are_those_of_pandas() -> None:
    parsers = importlib.import_module("pandas._libs.parsers")
    assert cells.MISSING == parsers.STR_NA_VALUES


VALUES = st.one_of(
    st.tuples(st.just(pa.int64()), st.integers(-(2**53), 2**53)),
    st.tuples(st.just(pa.float64()), st.floats(allow_nan=False)),
    st.tuples(st.just(pa.float32()), st.floats(width=32, allow_nan=False)),
    st.tuples(st.just(pa.bool_()), st.booleans()),
    st.tuples(st.just(pa.string()), st.text(max_size=3)),
)


@settings(deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=1), st.data())
def test_a_typed_column_is_read_as_pandas_reads_it(
    first: list[tuple[pa.DataType, Any]], drawn: st.DataObject
) -> None:
    kind = first[0][0]
    same = VALUES.filter(lambda pair: pair[0] == kind).map(lambda pair: pair[1])
    values = drawn.draw(st.lists(st.one_of(st.none(), same), min_size=1, max_size=6))
    table = pa.table({"x": pa.array(values, kind)})
    alone = [features.category_text(value) for value in table.to_pydict()["x"]]
    column = features.Column("x", "category", True, ())
    inputs, _ = batch.typed(table, signature(column), csv=False)
    assert inputs.categories[:, 0].tolist() == alone
    coded = pa.table({"x": table["x"].combine_chunks().dictionary_encode()})
    again, _ = batch.typed(coded, signature(column), csv=False)
    assert again.categories[:, 0].tolist() == alone
    assert features.category_texts(table["x"].to_pandas()).tolist() == alone


def test_rows_count_from_zero_in_whatever_pieces_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of the parser end anywhere; rows of a wrong length stand at their ends too."""
    lines = ["a,b", *(f"{n},x" if n % 3 else f"{n}" for n in range(200)), "200", "201"]
    (tmp_path / "in.csv").write_text("\n".join(lines) + "\n")
    for block in (24, 100, 1 << 20):
        monkeypatch.setattr(rows, "BLOCK", block)
        for size, start in ((1, 0), (7, 3), (64, 199), (500, 0), (9, 201), (9, 202)):
            source = rows.Rows(tmp_path / "in.csv")
            source.rows_each = size
            place = start
            for chunk in source.chunks(start):
                assert chunk.start == place
                for number, row in enumerate(chunk.table.to_pylist()):
                    wrong = (place + number) % 3 == 0 or place + number >= 200
                    assert row["a"] == (None if wrong else str(place + number))
                    assert (number in chunk.malformed) == wrong
                place += len(chunk.table)
            assert place == 202


@pytest.mark.parametrize("group", [50, 64, 1000])
def test_a_parquet_file_is_read_from_any_row_on(tmp_path: Path, group: int) -> None:
    path = tmp_path / "in.parquet"
    pd.DataFrame({"a": np.arange(500)}).to_parquet(path, row_group_size=group)
    for start in (0, 1, 49, 50, 64, 499, 500):
        source = rows.Rows(path)
        source.rows_each = 64
        chunks = list(source.chunks(start))
        found = [value for chunk in chunks for value in chunk.table["a"].to_pylist()]
        assert found == list(range(start, 500))
        assert {len(chunk.table) for chunk in chunks[:-1]} <= {64}


@settings(deadline=None)
@given(st.text('ab,"\n', max_size=30), st.sampled_from([24, 1 << 20]), st.sampled_from(["", "\r"]))
@example('1,"x\n6,2\n', 1 << 20, "")
@example('1,"a""', 1 << 20, "")
def test_a_file_ends_inside_a_quoted_cell_where_pandas_says_so(
    tmp_path_factory: pytest.TempPathFactory, text: str, block: int, turn: str
) -> None:
    path = tmp_path_factory.mktemp("quotes") / "in.csv"
    path.write_bytes(f"a,b\nx,y\n{text}".replace("\n", f"{turn}\n").encode())
    expected = found = ""
    try:
        pd.read_csv(path, on_bad_lines="skip", index_col=False)
    except pd.errors.ParserError as error:
        expected = str(error)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "BLOCK", block)
        try:
            list(rows.Rows(path).chunks())
        except DamagedError as error:
            found = str(error)
    if block > 24 or "is a quoted cell not closed" not in found:
        assert ("ends inside a quoted cell" in found) == ("EOF inside string" in expected)


@pytest.mark.parametrize(
    "cells_", ['5" disk,1', '"5"" disk",1', '"5" disk,1', 'a"b"c,"1"', '"two\nlines",1', '"",""']
)
def test_a_quote_that_is_closed_or_inside_a_cell_means_what_pandas_reads(
    tmp_path: Path, cells_: str
) -> None:
    path = tmp_path / "in.csv"
    for text in (f"a,b\n{cells_}", f"a,b\n{cells_}\n", f"a,b\n{cells_}\nx,y\n"):
        path.write_text(text)
        (chunk,) = rows.Rows(path).chunks()
        alone = pd.read_csv(path, dtype=str, keep_default_na=False)
        assert chunk.table.to_pylist() == alone.to_dict("records")
        assert not chunk.malformed


@pytest.mark.parametrize("header", ["a", "a,b", "a,b,c"])
@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n7,7\n"])
def test_the_row_of_a_cell_that_never_ends_is_named(tmp_path: Path, header: str, end: str) -> None:
    """Whether the row has as many fields as the header or not."""
    fields = header.count(",")
    good, first = ",2" * fields, "5," * (fields > 0)
    lines = [header, f"1{good}", "", "1,2,3,4", f"3{good}", f'{first}"6']
    (tmp_path / "in.csv").write_text("\n".join(lines) + end)
    for start in range(4):
        with pytest.raises(DamagedError, match="quoted cell, which opens in row 3$"):
            list(rows.Rows(tmp_path / "in.csv").chunks(start))


def test_a_row_that_is_too_long_may_have_an_open_quote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "BLOCK", 1 << 10)
    (tmp_path / "in.csv").write_text('a,b\n0,0\n1,"2\n' + "3,4\n" * 1000)
    with pytest.raises(DamagedError, match="from row 0 on: .* quoted cell not closed"):
        list(rows.Rows(tmp_path / "in.csv").chunks())


LONG = ["", "x" * 999, "é" * 500, "y" * 20, "z" * 3000]  # bytes: at most 3000


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_a_chunk_ends_with_the_row_that_fills_it_from_wherever_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    frame = pd.DataFrame({"row": range(300), "text": [LONG[n * n % 7 % 5] for n in range(300)]})
    path = tmp_path / f"in{kind}"
    if kind == ".csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_parquet(path, index=False, row_group_size=77)
    monkeypatch.setattr(rows, "BYTES", 5000)
    monkeypatch.setattr(rows, "BLOCK", 1 << 13)
    whole = list(rows.Rows(path).chunks())
    assert [row for c in whole for row in c.table["row"].to_pylist()] == [
        str(n) if kind == ".csv" else n for n in range(300)
    ]
    for chunk in whole[:-1]:
        size = sum(len(text.encode()) for text in chunk.table["text"].to_pylist())
        assert 4000 < size < 8100
    for place, chunk in enumerate(whole):
        again = list(rows.Rows(path).chunks(chunk.start))
        assert [(c.start, c.table) for c in again] == [(c.start, c.table) for c in whole[place:]]


def test_the_text_of_malformed_rows_fills_a_chunk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.csv").write_text("a,b\n" + ("x" * 1000 + "\n") * 50)
    monkeypatch.setattr(rows, "BYTES", 5000)
    chunks = list(rows.Rows(tmp_path / "in.csv").chunks())
    assert {len(chunk.malformed) for chunk in chunks} == {5}
    assert sum(len(chunk.table) for chunk in chunks) == 50


def test_long_rows_of_a_parquet_file_are_not_unpacked_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the file is small, where one long text stands in every row."""
    path = tmp_path / "in.parquet"
    pd.DataFrame({"text": ["x" * 1000] * 2000}).to_parquet(path)
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(rows, "BYTES", 50_000)
    seen: list[int] = []
    real = sized.widths

    def noting(part: pa.RecordBatch) -> np.ndarray:
        seen.append(len(part))
        return real(part)

    monkeypatch.setattr(sized, "widths", noting)
    assert sum(len(chunk.table) for chunk in rows.Rows(path).chunks()) == 2000
    assert max(seen) <= 50


NESTED = pa.struct([("a", pa.list_(pa.string())), ("b", pa.map_(pa.string(), pa.int32()))])
WIDE = {
    "text": (pa.array(["abc", None, ""]), [3, 0, 0]),
    "code": (pa.array(["abc", None, "d"]).dictionary_encode(), [3, 0, 1]),
    "bytes": (pa.array([b"ab", b"", None], pa.large_binary()), [2, 0, 0]),
    "digest": (pa.array([b"ab", b"cd", None], pa.binary(2)), [2, 2, 2]),
    "number": (pa.array([1, None, 3], pa.int16()), [2, 2, 2]),
    "truth": (pa.array([True, None, False]), [1, 1, 1]),
    "nothing": (pa.nulls(3), [0, 0, 0]),
    "list": (pa.array([["ab", "c"], None, []]), [3, 0, 0]),
    "view": (pa.array([["ab", "c"], None, ["d"]], pa.list_view(pa.string())), [3, 0, 1]),
    "pair": (pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int32(), 2)), [8, 8, 8]),
    "nested": (pa.array([{"a": ["x"], "b": [("k", 1)]}, None, {"b": []}], NESTED), [6, 0, 0]),
    "tensor": (
        pa.ExtensionArray.from_storage(
            pa.fixed_shape_tensor(pa.int8(), [2]),
            pa.array([[1, 2]] * 3, pa.list_(pa.int8(), 2)),
        ),
        [2, 2, 2],
    ),
}


@pytest.mark.parametrize("name", WIDE)
def test_the_bytes_of_a_row_hang_on_no_other_row(name: str) -> None:
    values, expected = WIDE[name]
    batch_ = pa.record_batch({"x": values})
    assert sized.widths(batch_).tolist() == expected
    assert [sized.widths(batch_.slice(n, 1)).tolist() for n in range(3)] == [[e] for e in expected]
