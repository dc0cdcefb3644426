"""What was logged can be read back, whatever happened to the file in between."""

import datetime as dt
import json
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest

from ..package import errors, prediction_log

TIME = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
ROWS: list[dict[str, Any]] = [{"age": 1, "side": "left"}, {"age": None, "side": ""}]
ANSWERS = [{"label": "yes", "probability": 0.75}, {"label": "no", "probability": 0.25}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


def test_rows_come_back_with_their_scores(path: Path) -> None:
    prediction_log.PredictionLog(path, "sha256:a").append(TIME, "r-1", ROWS, ANSWERS)
    frame = prediction_log.read(path)
    assert frame["score"].tolist() == [0.75, 0.25]
    assert frame["side"].tolist() == ["left", ""]
    assert frame["age"].isna().tolist() == [False, True]
    assert frame.attrs["skipped"] == 0


def test_a_line_says_when_which_model_and_which_request(path: Path) -> None:
    prediction_log.PredictionLog(path, "sha256:a").append(TIME, "r-1", ROWS[:1], [{"value": 2.5}])
    assert json.loads(path.read_text()) == {
        "time": "2026-01-02T03:04:05+00:00",
        "model": "sha256:a",
        "request_id": "r-1",
        "row": ROWS[0],
        "answer": {"value": 2.5},
    }
    assert prediction_log.read(path)["score"].tolist() == [2.5]


def test_the_rows_of_one_model_can_be_read_alone(path: Path) -> None:
    for model, answer in zip(("sha256:a", "sha256:b"), ANSWERS, strict=True):
        prediction_log.PredictionLog(path, model).append(TIME, "r", ROWS[:1], [answer])
    assert prediction_log.read(path, "sha256:b")["score"].tolist() == [0.25]


def test_an_input_column_called_score_keeps_its_values(path: Path) -> None:
    prediction_log.PredictionLog(path, "m").append(TIME, "r", [{"score": 7}], ANSWERS[:1])
    assert prediction_log.read(path)["score"].tolist() == [7]


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_line_cut_short_is_skipped_and_spoils_no_later_one(path: Path, cut: int) -> None:
    log = prediction_log.PredictionLog(path, "m")
    log.append(TIME, "r-1", ROWS, ANSWERS)
    path.write_bytes(path.read_bytes()[:-cut])
    log.append(TIME, "r-2", ROWS, ANSWERS)
    frame = prediction_log.read(path)
    whole = cut == 1  # only the end of the line was lost
    assert frame["score"].tolist() == [0.75, *([0.25] if whole else []), 0.75, 0.25]
    assert frame.attrs["skipped"] == (0 if whole else 1)


@pytest.mark.parametrize("line", ["3", "[]", '{"answer": 1}', '{"answer": {"value": 1}, "row": 2}'])
def test_a_foreign_line_is_skipped(path: Path, line: str) -> None:
    path.write_text(f"{line}\n")
    assert prediction_log.read(path).attrs["skipped"] == 1


def test_a_file_that_cannot_be_written_costs_rows_but_no_error(tmp_path: Path) -> None:
    log = prediction_log.PredictionLog(tmp_path, "m")
    log.append(TIME, "r", ROWS, ANSWERS)
    assert log.dropped == 2


def test_a_rotated_file_is_made_anew(path: Path) -> None:
    log = prediction_log.PredictionLog(path, "m")
    log.append(TIME, "r", ROWS, ANSWERS)
    path.rename(path.with_suffix(".1"))
    log.append(TIME, "r", ROWS, ANSWERS)
    assert len(prediction_log.read(path)) == 2


def test_a_missing_file_is_one_clear_line(path: Path) -> None:
    with pytest.raises(errors.InputError, match="cannot be read: No such file"):
        prediction_log.read(path)


def write(path: Path, name: str) -> None:
    log = prediction_log.PredictionLog(path, name)
    rows = [{"text": name * 500}] * 20
    for number in range(50):
        log.append(TIME, str(number), rows, [{"value": number}] * 20)


def test_two_processes_do_not_cut_into_each_other(path: Path, forks: ForkServerContext) -> None:
    writers = [forks.Process(target=write, args=(path, name)) for name in "ab"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    frame = prediction_log.read(path)
    assert (len(frame), frame.attrs["skipped"]) == (2000, 0)
    assert set(frame["text"]) == {"a" * 500, "b" * 500}
