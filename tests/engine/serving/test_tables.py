"""CSV, Arrow and Parquet are judged as JSON is, and no small body becomes a large table."""

import contextlib
import datetime as dt
import decimal
import io
import json
import math
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st

from mlrelease.scoring import features, request_rows as serving_requests
from mlrelease.serving import service as serving_service, tables as serving_tables, unpack
from tests.engine.trained import Ask, Trained

CSV, ARROW, PARQUET = serving_tables.KINDS
Column = features.Column
SIGNATURE = features.Signature(
    "regression",
    (
        Column("age", "number"),
        Column("size, cm", "number", nullable=True),
        Column("side", "category", nullable=True, categories=("left", "right")),
        Column("ward", "category", categories=("007", "1", "2.5", "False", "True")),
    ),
    "price",
)
ROWS: list[dict[str, Any]] = [
    {"age": 50, "size, cm": 1.5, "side": "left", "ward": "1"},
    {"age": 1, "size, cm": None, "side": None, "ward": "007"},
]


def written(rows: Any, kind: str, **options: Any) -> bytes:
    """Rows as a body of that kind, as pandas and pyarrow write it."""
    table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows)
    out = io.BytesIO()
    if kind == CSV:
        table.to_pandas().to_csv(out, index=False)
    elif kind == PARQUET:
        pq.write_table(table, out, **options)
    else:
        ipc = pa.ipc.IpcWriteOptions(**options)
        with pa.ipc.new_stream(out, table.schema, options=ipc) as stream:
            stream.write_table(table)
    return out.getvalue()


UNPACKER = unpack.Unpacker(SIGNATURE)


@pytest.fixture(scope="module", autouse=True)
def end() -> Iterator[None]:
    yield
    UNPACKER.close()


def decode(body: bytes, kind: str) -> Any:
    if kind == CSV:
        batch = serving_tables.decode_csv(body, SIGNATURE)
    else:
        batch = UNPACKER.decode(body, kind)
    assert batch.many
    return batch.inputs.numbers.tobytes(), batch.inputs.categories.tolist()


def refusal(body: bytes, kind: str) -> tuple[int, str | None, str]:
    with pytest.raises(serving_requests.RequestError) as caught:
        decode(body, kind)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    return caught.value.status, caught.value.field, str(caught.value)


def as_json(rows: list[dict[str, Any]]) -> Any:
    batch = serving_requests.decode(json.dumps(rows).encode(), SIGNATURE)
    return batch.inputs.numbers.tobytes(), batch.inputs.categories.tolist()


@pytest.mark.parametrize("kind", serving_tables.KINDS)
def test_a_table_becomes_what_its_rows_become_as_json(kind: str) -> None:
    assert decode(written(ROWS, kind), kind) == as_json(ROWS)
    turned = [dict(reversed(row.items())) for row in ROWS]
    assert decode(written(turned, kind), kind) == as_json(ROWS)


@pytest.mark.parametrize("kind", serving_tables.KINDS)
def test_the_service_answers_a_table_as_it_answers_the_rows(
    ask: Ask, trained: Trained, kind: str
) -> None:
    rows = trained.rows[:30]
    body = written(pa.Table.from_pandas(pd.DataFrame(rows), preserve_index=False), kind)
    response = ask(content=body, headers={"content-type": kind})
    assert response.status_code == 200
    expected = [answer["probability"] for answer in ask(json=rows).json()]
    assert [a["probability"] for a in response.json()] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", serving_tables.KINDS)
@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"age": None}, "rows[1].age", "must not be missing"),
        ({"age": 3.5e38}, "rows[1].age", "beyond the range of float32"),
        ({"side": "up"}, "rows[1].side", "unknown category 'up'; known: 'left', 'right'"),
        ({"ward": "7"}, "rows[1].ward", "unknown category '7'"),
        ({"ward": ""}, "rows[1].ward", "must not be missing"),
    ],
)
def test_a_bad_value_is_refused_by_row_and_column(
    kind: str, change: dict[str, Any], field: str, words: str
) -> None:
    status, found, message = refusal(written([ROWS[0], {**ROWS[1], **change}], kind), kind)
    assert (status, found) == (422, field)
    assert words in message


@pytest.mark.parametrize("kind", serving_tables.KINDS)
def test_columns_are_found_by_name(kind: str) -> None:
    without = [{name: row[name] for name in row if name != "age"} for row in ROWS]
    assert refusal(written(without, kind), kind)[1:] == ("age", "age: is missing")
    more = [{**row, "agee": 1} for row in ROWS]
    assert "did you mean `age`?" in refusal(written(more, kind), kind)[2]
    table = pa.Table.from_pylist(ROWS)
    twice = table.append_column("age", table.column("age"))
    if kind != CSV:  # pandas writes no such file
        assert refusal(written(twice, kind), kind)[1:] == ("age", "age: is given twice")
    assert refusal(b"age,side,age\n1,left,1\n", CSV)[2] == "age: is given twice"


@pytest.mark.parametrize("kind", serving_tables.KINDS)
def test_no_rows_and_too_many_rows_are_refused(kind: str) -> None:
    assert refusal(written(pa.Table.from_pylist(ROWS).slice(0, 0), kind), kind)[0] == 422
    assert refusal(written(ROWS * 5001, kind), kind)[0] == 413
    decode(written(ROWS * 5000, kind), kind)


@pytest.mark.parametrize(
    ("text", "value"),
    [("50", 50), (" 50", 50), ("5e1", 50), ("+50.0", 50), ("-.5", -0.5), ("1e-50", 0)],
)
def test_a_number_in_a_csv_file_is_read_as_programs_write_it(text: str, value: float) -> None:
    row = {**ROWS[0], "age": value}
    body = f'ward,age,"size, cm",side\n1,{text},1.5,left\n'.encode()
    assert decode(body, CSV) == as_json([row])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nan", "must not be missing"), ("inf", "not text"), ("1_0", "not text"), ("x", "not text"),
        ("0x10", "not text"), ('"a\nb"', "not text"), ("1e999", "beyond the range"),
    ],
)  # fmt: skip
def test_what_is_no_number_in_a_csv_file_is_refused(text: str, words: str) -> None:
    body = f'ward,age,"size, cm",side\n1,{text},1.5,left\n'.encode()
    assert words in refusal(body, CSV)[2]


@pytest.mark.parametrize(
    ("text", "category"),
    [
        ("007", "007"),
        ("1", "1"),
        ("1.0", "1"),
        ("2.50", "2.5"),
        ("true", "True"),
        ("FALSE", "False"),
    ],
)
def test_a_category_in_a_csv_file_is_its_text_or_what_it_spells(text: str, category: str) -> None:
    body = f'ward,age,"size, cm",side\n{text},1,,\n'.encode()
    assert decode(body, CSV)[1] == [["", category]]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "is empty"),
        (b"\n", 400, "is empty"),
        (b"age,side\n1\n", 422, "is missing"),
        (b'age,"size, cm",side,ward\n1,2\n', 400, "rows[0]: has 2 fields, and the header 4"),
        (b'age,"size, cm",side,ward\n1,2,left,1,1\n', 400, "rows[0]: has 5 fields"),
        (b'age,"size, cm",side,ward\n1,2,\xff,1\n', 400, "position 29"),
        (b'age,"size, cm",side,ward\n1,2,"lef', 400, "unexpected end"),
        (b'age,"size, cm",side,ward\n1,"2"3,left,1', 400, "expected after"),
        (b"\x00" * 100, 422, "is not a column"),
        (b"x" * 200_000, 400, "field larger"),
    ],
)
def test_what_is_no_csv_file_is_refused(body: bytes, status: int, words: str) -> None:
    found, _, message = refusal(body, CSV)
    assert found == status
    assert words in message


def test_a_byte_order_mark_before_a_csv_file_is_no_part_of_the_first_name() -> None:
    body = b"\xef\xbb\xbf" + written(ROWS, CSV)
    assert decode(body, CSV) == as_json(ROWS)


@pytest.mark.parametrize("kind", [ARROW, PARQUET])
def test_every_arrow_type_that_holds_such_values_is_taken(kind: str) -> None:
    types = {
        "age": [pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(5, 1)],
        "side": [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())],
    }
    for name, kinds in types.items():
        for other in kinds:
            table = pa.Table.from_pylist(ROWS)
            place = table.column_names.index(name)
            typed = pa.array([decimal.Decimal(50), decimal.Decimal(1)], other) if (
                pa.types.is_decimal(other)
            ) else pa.array([row[name] for row in ROWS]).cast(other)  # fmt: skip
            assert decode(written(table.set_column(place, name, typed), kind), kind) == as_json(
                ROWS
            )


@pytest.mark.parametrize("kind", [ARROW, PARQUET])
def test_nan_in_a_table_is_a_missing_value(kind: str) -> None:
    frame = pd.DataFrame(ROWS)
    assert math.isnan(frame.loc[1, "size, cm"])  # type: ignore[arg-type]
    table = pa.Table.from_pandas(frame, preserve_index=False)
    column = pa.array(frame["size, cm"].to_numpy(), from_pandas=False)
    place = table.column_names.index("size, cm")
    table = table.set_column(place, "size, cm", column)
    assert decode(written(table, kind), kind) == as_json(ROWS)


@pytest.mark.parametrize("kind", [ARROW, PARQUET])
@pytest.mark.parametrize("value", [dt.datetime(2026, 1, 1), b"left", [1], {"a": 1}, True])
def test_a_value_of_another_type_is_refused_by_its_column(kind: str, value: Any) -> None:
    status, field, message = refusal(written([{**ROWS[0], "age": value}], kind), kind)
    assert (status, field) == (422, "rows[0].age")
    assert "must be a number, not" in message


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "zstd"])
def test_compressed_tables_are_read(compression: str) -> None:
    assert decode(written(ROWS, PARQUET, compression=compression), PARQUET) == as_json(ROWS)
    if compression == "zstd":
        assert decode(written(ROWS, ARROW, compression="zstd"), ARROW) == as_json(ROWS)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ARROW, PARQUET])
def test_one_long_text_in_every_row_takes_no_memory(kind: str) -> None:
    """Nine megabytes, which a dictionary repeats in ten thousand rows: ninety gigabytes."""
    rows = 10_000
    side = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int8), ["x" * 9_000_000])
    plain = {"age": pa.array(np.ones(rows)), "size, cm": pa.array(np.ones(rows))}
    ward = pa.DictionaryArray.from_arrays(np.zeros(rows, np.int8), ["1"])
    table = pa.table({**plain, "side": side, "ward": ward})
    body = written(table, kind, compression="zstd") if kind == PARQUET else written(table, kind)
    assert len(body) < serving_requests.MAX_BYTES
    before = _peak_memory()
    assert refusal(body, kind)[0] in (400, 422)
    assert _peak_memory() - before < 100_000_000
    assert decode(written(ROWS, kind), kind) == as_json(ROWS)


def _peak_memory() -> int:
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


@pytest.mark.slow
def test_a_body_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    decode(written(ROWS, PARQUET), PARQUET)
    monkeypatch.setattr(unpack, "SECONDS", 0.01)
    assert UNPACKER.process
    os.kill(UNPACKER.process.pid, signal.SIGSTOP)
    assert "takes more than" in refusal(written(ROWS, PARQUET), PARQUET)[2]
    assert UNPACKER.process is None  # it was not tried again
    monkeypatch.undo()
    assert decode(written(ROWS, PARQUET), PARQUET) == as_json(ROWS)


def helper() -> int:
    assert UNPACKER.process
    return UNPACKER.process.pid


@pytest.mark.parametrize("kind", [ARROW, PARQUET])
def test_a_helper_that_was_killed_between_two_bodies_is_replaced_unnoticed(kind: str) -> None:
    decode(written(ROWS, kind), kind)
    killed = helper()
    os.kill(killed, signal.SIGKILL)
    assert decode(written(ROWS, kind), kind) == as_json(ROWS)
    assert helper() != killed


def test_a_helper_that_is_killed_while_it_reads_is_replaced_unnoticed() -> None:
    decode(written(ROWS, PARQUET), PARQUET)
    killed = helper()
    os.kill(killed, signal.SIGSTOP)
    large = written(ROWS * 5000, PARQUET, compression="none", use_dictionary=False)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(decode, large, PARQUET)
        time.sleep(0.3)
        assert not waiting.done()
        os.kill(killed, signal.SIGKILL)
        assert waiting.result(30) == as_json(ROWS * 5000)
    assert helper() != killed


@pytest.mark.slow
def test_a_body_that_kills_its_helper_is_refused_and_the_next_one_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """13 kB that unpack to 400 MB of text, more than the helper may take."""
    side = pa.DictionaryArray.from_arrays(np.zeros(10, np.int8), ["x" * 400_000_000])
    plain = {"age": np.ones(10), "size, cm": np.ones(10), "ward": ["1"] * 10}
    bomb = written(pa.table({**plain, "side": side}), PARQUET, compression="zstd")
    decode(written(ROWS, PARQUET), PARQUET)
    started, start = list[int](), unpack._start

    def counted() -> Any:
        process = start()
        started.append(process.pid)
        return process

    monkeypatch.setattr(unpack, "_start", counted)
    for number in (1, 2):
        status, _, message = refusal(bomb, PARQUET)
        assert (status, len(started)) == (400, 2 * number - 1)  # it was tried twice, no more
        assert "takes more than 512 MB" in message
        assert decode(written(ROWS, PARQUET), PARQUET) == as_json(ROWS)
        assert len(started) == 2 * number


def test_the_service_answers_the_body_after_its_helper_was_killed(
    ask: Ask, service: serving_service.Service, trained: Trained
) -> None:
    table = pa.Table.from_pandas(pd.DataFrame(trained.rows[:30]), preserve_index=False)
    sent = {"content": written(table, PARQUET), "headers": {"content-type": PARQUET}}
    expected = ask(**sent).json()
    for _ in range(3):
        assert service.unpacker.process
        os.kill(service.unpacker.process.pid, signal.SIGKILL)
        response = ask(**sent)
        assert (response.status_code, response.json()) == (200, expected)


BODIES = {kind: written(ROWS * 3, kind) for kind in serving_tables.KINDS}


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(serving_tables.KINDS),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    st.none() | st.integers(0, 10**6),
    st.none() | st.binary(max_size=200),
)
def test_no_damaged_table_is_more_than_a_refusal(
    kind: str, flips: list[tuple[int, int]], cut: int | None, other: bytes | None
) -> None:
    body = bytearray(BODIES[kind] if other is None else other)
    for place, value in flips:
        if body:
            body[place % len(body)] = value
    if cut is not None and body:
        del body[cut % len(body) :]
    with contextlib.suppress(serving_requests.RequestError):
        decode(bytes(body), kind)


def test_typed_rows_are_logged_as_a_caller_would_send_them() -> None:
    batch = serving_requests.decode(json.dumps(ROWS).encode(), SIGNATURE)
    assert json.loads(serving_tables.to_json(batch.inputs, SIGNATURE)) == ROWS
