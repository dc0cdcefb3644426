"""What a caller gets, whatever a caller sends."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from ..package import (
    artifact,
    errors,
    features,
    serving_app,
    serving_process,
    serving_requests,
)
from .conftest import NEVER_MISSING, Ask, Trained, send


def offline(model: artifact.Model, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    table = {c.name: [row[c.name] for row in rows] for c in model.signature.columns}
    frame = features.to_frame(table, model.signature.columns)
    return model.answers(model.scores(frame))


def assert_same(answers: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    """Equal but for the last bits, which BLAS rounds by the shape of its input."""
    assert [a["label"] for a in answers] == [e["label"] for e in expected]
    probabilities = [e["probability"] for e in expected]
    assert [a["probability"] for a in answers] == pytest.approx(probabilities, rel=1e-12)


async def exchange(service: serving_app.Service, messages: Iterator[dict[str, Any]]) -> list[Any]:
    """Speak ASGI to the service, one message at a time."""
    answers: list[Any] = []

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def answer(message: Any) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
    try:
        await service.app({**scope, "query_string": b""}, receive, answer)
    except AttributeError:
        answers.append("raised")
    return answers


def test_one_row_gets_one_answer_and_the_digest(ask: Ask, trained: Trained) -> None:
    response = ask(json=trained.rows[0])
    assert response.status_code == 200
    assert response.headers["model-digest"] == trained.digest
    assert_same([response.json()], offline(trained.load(), trained.rows[:1]))


def test_many_rows_get_the_answers_that_each_gets_alone(ask: Ask, trained: Trained) -> None:
    rows = trained.rows[:20]
    together = ask(json=rows).json()
    assert_same(together, [ask(json=row).json() for row in rows])
    assert len({answer["probability"] for answer in together}) == 20


def test_online_equals_offline_with_each_column_missing_in_turn(ask: Ask, trained: Trained) -> None:
    model = trained.load()
    for column, row in zip(model.signature.columns, trained.rows, strict=False):
        served = ask(json={**row, column.name: None})
        if column.nullable:
            assert_same([served.json()], offline(model, [{**row, column.name: None}]))
        else:
            assert column.name in NEVER_MISSING
            assert served.status_code == 422


def test_integers_for_floats_and_another_key_order_change_nothing(
    ask: Ask, trained: Trained
) -> None:
    row = {**trained.rows[0], "mean radius": 14.0, "ward": "2"}
    same = {**dict(reversed(row.items())), "mean radius": 14, "ward": 2.0}
    assert_same([ask(json=same).json()], [ask(json=row).json()])


def test_a_refusal_names_the_field(ask: Ask, trained: Trained) -> None:
    response = ask(json=[trained.rows[0], {**trained.rows[1], "mean radius": "big"}])
    assert response.status_code == 422
    message = "rows[1].mean radius: must be a number, not text"
    assert response.json() == {"error": {"message": message, "field": "rows[1].mean radius"}}


def test_nan_in_the_body_is_refused_by_the_name_of_its_column(ask: Ask, trained: Trained) -> None:
    body = json.dumps(trained.rows[0] | {"mean area": float("nan")}).encode()
    assert b"NaN" in body
    response = ask(content=body)
    assert (response.status_code, response.json()["error"]["field"]) == (422, "mean area")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("POST", "/model", 405),
        ("GET", "/", 404),
        ("GET", "/predict/", 404),
        ("GET", "/" + "x" * 5000, 404),
        ("POST", "/predict", 400),
    ],
)
def test_a_wrong_path_or_method_is_refused_in_json(
    ask: Ask, method: str, path: str, status: int
) -> None:
    response = ask(method, path)
    assert response.status_code == status
    assert 0 < len(response.json()["error"]["message"]) < 200
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "Application/JSON"}, 200),
        ({}, 200),
        ({"content-type": "text/csv"}, 415),
        ({"content-type": ""}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 415),
        ({"content-length": "10000001"}, 413),
        ({"content-length": "9" * 5000}, 413),
        ({"content-length": "-1"}, 200),
    ],
)
def test_headers_are_judged_before_the_body(
    ask: Ask, trained: Trained, headers: dict[str, str], status: int
) -> None:
    body = json.dumps(trained.rows[0]).encode()
    assert ask(content=body, headers=headers).status_code == status


def test_a_body_without_end_is_refused_and_not_gathered(service: serving_app.Service) -> None:
    sent: list[bytes] = []

    def endless() -> Iterator[dict[str, Any]]:
        while True:
            sent.append(b"[" * 1_000_000)
            yield {"type": "http.request", "body": sent[-1], "more_body": True}

    answers = asyncio.run(exchange(service, endless()))
    assert answers[0]["status"] == 413
    assert sum(map(len, sent)) == serving_requests.MAX_BYTES + 1_000_000


def test_a_caller_that_hangs_up_is_no_failure(service: serving_app.Service) -> None:
    begun = {"type": "http.request", "body": b"{", "more_body": True}
    answers = asyncio.run(exchange(service, iter([begun, {"type": "http.disconnect"}])))
    assert answers[0]["status"] == 400


def test_health_and_model_say_what_runs(ask: Ask, trained: Trained) -> None:
    health, model = ask("GET", "/healthz"), ask("GET", "/model").json()
    assert health.status_code == 200
    assert health.json() == {"status": "ok", "digest": trained.digest, "log_dropped": 0}
    assert (model["digest"], model["version"]) == (trained.digest, "1.2.3")
    assert model["estimator"] == "logistic_regression"
    assert model["signature"]["columns"][0]["name"] == "mean radius"
    assert model["listening"] == {"private": None, "public": None, "error": None}


def test_a_request_id_is_kept_or_made(ask: Ask, trained: Trained) -> None:
    kept = ask(json=trained.rows[0], headers={"x-request-id": "a-1"})
    made = ask(json=trained.rows[0], headers={"x-request-id": "a\t1"})
    assert kept.headers["x-request-id"] == "a-1"
    assert len(made.headers["x-request-id"]) == 32


def test_a_failure_inside_is_told_to_the_log_and_not_to_the_caller(trained: Trained) -> None:
    model = trained.load()
    model.estimator = "no estimator"
    service = serving_app.Service(model, trained.digest, "1")
    body = {"type": "http.request", "body": json.dumps(trained.rows[0]).encode()}
    start, content, end = asyncio.run(exchange(service, iter([body])))
    assert (start["status"], end) == (500, "raised")
    assert b"estimator" not in content["body"]


def test_predictions_are_logged_with_request_model_and_time(
    trained: Trained, tmp_path: Path
) -> None:
    log = tmp_path / "predictions.jsonl"
    service = serving_app.Service(trained.load(), trained.digest, "1", log)
    answers = send(service, json=trained.rows[:2], headers={"x-request-id": "r-1"}).json()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["answer"] for line in lines] == answers
    assert [line["row"] for line in lines] == json.loads(json.dumps(trained.rows[:2]))
    assert {(line["model"], line["request_id"]) for line in lines} == {(trained.digest, "r-1")}


def test_a_log_that_fails_fails_no_request_and_is_counted(trained: Trained, tmp_path: Path) -> None:
    service = serving_app.Service(trained.load(), trained.digest, "1", tmp_path)  # a directory
    assert send(service, json=trained.rows[:3]).status_code == 200
    assert send(service, "GET", "/healthz").json()["log_dropped"] == 3


def test_a_changed_directory_is_refused_before_anything_in_it_is_loaded(
    trained: Trained, tmp_path: Path
) -> None:
    (tmp_path / "model.json").write_text("not even JSON")
    with pytest.raises(errors.RefusedError, match="not loaded"):
        serving_app.serve(tmp_path, trained.digest, version="1", port=0)


def test_a_port_that_another_program_has_is_refused(trained: Trained) -> None:
    with serving_process.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(errors.InputError, match=f"{port}: Address already in use"):
            serving_app.serve(trained.directory, trained.digest, version="1", port=port)


def test_the_entry_prints_one_line_and_ends_with_the_code_of_the_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = serving_app.main(
        ["--directory", str(tmp_path / "none"), "--digest", "sha256:0", "--version", "1"]
    )
    assert code == 1
    assert capsys.readouterr().err.endswith("none: no such directory\n")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@st.composite
def hostile(draw: st.DrawFn, row: dict[str, Any]) -> bytes:
    """Anything at all, JSON of any shape, or a good row with something done to it."""
    kind = draw(st.sampled_from(["bytes", "json", "value", "key", "cut", "flip"]))
    if kind == "bytes":
        return draw(st.binary(max_size=200))
    if kind == "json":
        return json.dumps(draw(JSON)).encode()
    name = draw(st.sampled_from(sorted(row)))
    if kind == "value":
        return json.dumps([row, {**row, name: draw(JSON)}]).encode()
    if kind == "key":
        return json.dumps({draw(st.text()) if k == name else k: v for k, v in row.items()}).encode()
    body = bytearray(json.dumps(row).encode())
    place = draw(st.integers(0, len(body) - 1))
    if kind == "cut":
        return bytes(body[:place])
    body[place] = draw(st.integers(0, 255))
    return bytes(body)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_body_brings_the_service_down(ask: Ask, trained: Trained, data: st.DataObject) -> None:
    response = ask(content=data.draw(hostile(trained.rows[0])))
    assert response.status_code in (200, 400, 413, 422)
    if response.status_code != 200:
        message = response.json()["error"]["message"]
        assert 0 < len(message) < 500
        assert len(message.splitlines()) == 1
