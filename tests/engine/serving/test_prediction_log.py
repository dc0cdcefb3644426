"""What was logged can be read back, whatever happened to the file in between."""

import datetime as dt
import json
import os
import threading
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from mlrelease import errors
from mlrelease.serving import prediction_log

ROWS: list[dict[str, Any]] = [{"age": 1, "side": "left"}, {"age": None, "side": ""}]
ANSWERS = [{"label": "yes", "probability": 0.75}, {"label": "no", "probability": 0.25}]
MILLISECOND = dt.timedelta(milliseconds=1)
Log = prediction_log.PredictionLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def add(log: Log, rows: Any = ROWS, answers: Any = ANSWERS, name: str = "r-1") -> None:
    """Log one request: a list of rows, or one row."""
    many = isinstance(rows, list)
    sent = json.dumps(rows).encode()
    if log.wanted():
        told = json.dumps(answers).encode()
        log.append(name.encode(), len(rows) if many else 1, many, sent, told)


def write(path: Path, *requests: tuple[Any, Any], model: str = "sha256:a", **options: Any) -> Log:
    log = Log(path, model, **options)
    for rows, answers in requests or [(ROWS, ANSWERS)]:
        add(log, rows, answers)
    log.close()
    return log


def test_rows_come_back_with_their_scores(path: Path) -> None:
    write(path)
    frame = prediction_log.read(path)
    assert frame["score"].tolist() == [0.75, 0.25]
    assert frame["side"].tolist() == ["left", ""]
    assert frame["age"].isna().tolist() == [False, True]
    assert frame.attrs["skipped"] == 0


def test_a_line_says_when_which_model_and_which_request(path: Path) -> None:
    begun = dt.datetime.now(dt.UTC)
    write(path, (ROWS[0], {"value": 2.5}))
    line = json.loads(path.read_text())
    assert (
        begun - MILLISECOND
        <= dt.datetime.fromisoformat(line.pop("time"))
        <= dt.datetime.now(dt.UTC)
    )
    expected = {"model": "sha256:a", "request_id": "r-1", "row": ROWS[0], "answer": {"value": 2.5}}
    assert line == expected
    assert prediction_log.read(path)["score"].tolist() == [2.5]


def test_a_line_of_an_older_version_is_read_as_well(path: Path) -> None:
    write(path)
    line = {"time": "2026-01-02", "model": "sha256:a", "row": {"age": 7}, "answer": {"value": 1}}
    path.write_text(json.dumps(line) + "\n" + path.read_text())
    assert prediction_log.read(path)["score"].tolist() == [1, 0.75, 0.25]


def test_a_body_with_line_breaks_is_one_line(path: Path) -> None:
    log = Log(path, "m")
    log.append(b"r", 1, False, json.dumps(ROWS[0], indent=1).encode(), b'{"value":1}')
    log.close()
    (line,) = path.read_text().splitlines()
    assert json.loads(line)["row"] == ROWS[0]


def test_the_rows_of_one_model_can_be_read_alone(path: Path) -> None:
    for model, answer in zip(("sha256:a", "sha256:b"), ANSWERS, strict=True):
        write(path, (ROWS[0], answer), model=model)
    assert prediction_log.read(path, "sha256:b")["score"].tolist() == [0.25]


def test_an_input_column_called_score_keeps_its_values(path: Path) -> None:
    write(path, ([{"score": 7}], ANSWERS[:1]))
    assert prediction_log.read(path)["score"].tolist() == [7]


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_short_is_skipped_and_spoils_no_later_one(path: Path, cut: int) -> None:
    pairs = list(zip(ROWS, ANSWERS, strict=True))
    write(path, *pairs)
    path.write_bytes(path.read_bytes()[:-cut])
    write(path, *pairs)
    frame = prediction_log.read(path)
    whole = cut == 1  # only the end of the line was lost
    assert frame["score"].tolist() == [0.75, *([0.25] if whole else []), 0.75, 0.25]
    assert frame.attrs["skipped"] == (0 if whole else 1)


@pytest.mark.parametrize(
    "line",
    [
        "3", "[]", '{"answer": 1}', '{"answer": {"value": 1}, "row": 2}',
        '{"model": "m", "rows": [{}, {}], "answers": [{"value": 1}]}',
    ],
)  # fmt: skip
def test_a_foreign_line_is_skipped(path: Path, line: str) -> None:
    path.write_text(f"{line}\n")
    assert prediction_log.read(path).attrs["skipped"] == 1


def test_a_file_that_cannot_be_written_costs_rows_but_no_error(tmp_path: Path) -> None:
    assert write(tmp_path).dropped == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_full_disk_costs_rows_but_no_error() -> None:
    assert write(Path("/dev/full")).dropped == 2


def test_a_file_that_was_moved_is_made_anew(path: Path) -> None:
    log = write(path)
    path.rename(path.with_suffix(".old"))
    assert len(prediction_log.read(write(log.path).path)) == 2


def test_a_slow_disk_fills_a_bounded_queue_and_what_is_left_out_is_counted(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mended = threading.Event()
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda *given: mended.wait(20) and writev(*given))
    log = Log(path, "m")
    large = [{"text": "x" * 100_000}]
    for _ in range(300):
        add(log, large, ANSWERS[:1])
    held = sum(len(line) for _, line in log.waiting)
    mended.set()
    log.close()
    assert held <= prediction_log.QUEUE_BYTES
    assert log.dropped > 200
    assert len(prediction_log.read(path)) + log.dropped == 300


def test_a_request_larger_than_the_queue_is_logged_when_it_comes_alone(path: Path) -> None:
    log = write(path, ([{"text": "x" * 2 * prediction_log.QUEUE_BYTES}], ANSWERS[:1]))
    assert log.dropped == 0
    assert len(prediction_log.read(path)) == 1


def test_a_part_of_the_requests_can_be_logged_whole(path: Path) -> None:
    write(path, *[(ROWS, ANSWERS)] * 1000, sample=0.1)
    frame = prediction_log.read(path)
    assert 100 < len(frame) < 320  # 200 are expected, with a deviation of 19
    assert frame["score"].tolist() == [0.75, 0.25] * (len(frame) // 2)


def test_a_large_file_moves_away_and_a_few_are_kept(path: Path) -> None:
    for _ in range(9):
        write(path, file_bytes=150)
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["log.jsonl.1", "log.jsonl.2", "log.jsonl.3"]
    assert len(prediction_log.read(path)) == 2 * prediction_log.FILES


def test_rows_are_read_in_the_order_in_which_they_came(path: Path) -> None:
    for value in range(3):
        write(path, (ROWS[0], {"value": value}), file_bytes=150 if value < 2 else 10**9)
    assert prediction_log.read(path)["score"].tolist() == [0, 1, 2]


def test_a_missing_file_is_one_clear_line(path: Path) -> None:
    with pytest.raises(errors.InputError, match="cannot be read: No such file"):
        prediction_log.read(path)


def write_many(path: Path, name: str, file_bytes: int) -> None:
    log = Log(path, name, file_bytes=file_bytes)
    for number in range(50):
        add(log, [{"text": name * 500}] * 20, [{"value": number}] * 20)
        if number % 10 == 0:
            log.hurry.set()
    log.close()


@pytest.mark.parametrize("file_bytes", [10**9, 400_000])
def test_two_processes_do_not_cut_into_each_other(
    path: Path, forks: ForkServerContext, file_bytes: int
) -> None:
    writers = [forks.Process(target=write_many, args=(path, name, file_bytes)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    frame = prediction_log.read(path)
    assert (len(frame), frame.attrs["skipped"]) == (2000, 0)
    assert set(frame["text"]) == {"a" * 500, "b" * 500}
