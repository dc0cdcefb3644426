"""What a caller gets, whatever a caller sends."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from mlrelease.scoring import features, request_rows as serving_requests, runtime
from mlrelease.serving import batcher, prediction_log, service as serving_service
from tests.engine.trained import NEVER_MISSING, Ask, Trained, send


def offline(trained: Trained, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    signature = trained.card.signature
    table = {c.name: [row[c.name] for row in rows] for c in signature.columns}
    frame = features.to_frame(table, signature.columns)
    return signature.answers(trained.load().scores(features.to_inputs(frame, signature)))


async def exchange(
    service: serving_service.Service, messages: Iterator[dict[str, Any]]
) -> list[Any]:
    """Speak ASGI to the service, one message at a time."""
    service.sweeping = False
    answers: list[Any] = []

    async def receive() -> dict[str, Any]:
        return next(messages)

    async def answer(message: Any) -> None:
        answers.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
    await service({**scope, "query_string": b""}, receive, answer)
    return answers


def test_one_row_gets_one_answer_and_the_digest(ask: Ask, trained: Trained) -> None:
    response = ask(json=trained.rows[0])
    assert response.status_code == 200
    assert response.headers["model-digest"] == trained.digest
    assert [response.json()] == offline(trained, trained.rows[:1])


def test_many_rows_get_the_answers_that_each_gets_alone(ask: Ask, trained: Trained) -> None:
    rows = trained.rows[:20]
    together = ask(json=rows).json()
    assert together == [ask(json=row).json() for row in rows]
    assert len({answer["probability"] for answer in together}) == 20


def test_online_equals_offline_with_each_column_missing_in_turn(ask: Ask, trained: Trained) -> None:
    columns = trained.card.signature.columns
    for column, row in zip(columns, trained.rows, strict=False):
        served = ask(json={**row, column.name: None})
        if column.nullable:
            assert [served.json()] == offline(trained, [{**row, column.name: None}])
        else:
            assert column.name in NEVER_MISSING
            assert served.status_code == 422


def test_integers_for_floats_and_another_key_order_change_nothing(
    ask: Ask, trained: Trained
) -> None:
    row = {**trained.rows[0], "mean radius": 14.0, "ward": "2"}
    same = {**dict(reversed(row.items())), "mean radius": 14, "ward": 2.0}
    assert ask(json=same).json() == ask(json=row).json()


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
        ("PUT", "/docs", 405),
        ("HEAD", "/predict", 405),
        ("OPTIONS", "/predict", 405),
        ("DELETE", "/nothing", 404),
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
    if method != "HEAD":
        assert 0 < len(response.json()["error"]["message"]) < 200
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({"content-type": "Application/JSON"}, 200),
        ({}, 200),
        ({"content-type": "application/xml"}, 415),
        ({"content-type": "text/csv", "content-encoding": "gzip"}, 415),
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


def test_a_body_without_end_is_refused_and_not_gathered(service: serving_service.Service) -> None:
    sent: list[bytes] = []

    def endless() -> Iterator[dict[str, Any]]:
        while True:
            sent.append(b"[" * 1_000_000)
            yield {"type": "http.request", "body": sent[-1], "more_body": True}

    answers = asyncio.run(exchange(service, endless()))
    assert answers[0]["status"] == 413
    assert sum(map(len, sent)) == serving_requests.MAX_BYTES + 1_000_000


def test_a_caller_that_hangs_up_is_no_failure(service: serving_service.Service) -> None:
    begun = {"type": "http.request", "body": b"{", "more_body": True}
    answers = asyncio.run(exchange(service, iter([begun, {"type": "http.disconnect"}])))
    assert answers[0]["status"] == 400


def test_health_and_model_say_what_runs(ask: Ask, trained: Trained) -> None:
    health, model = ask("GET", "/healthz"), ask("GET", "/model").json()
    assert health.status_code == 200
    assert health.json() == {"status": "ok", "digest": trained.digest, "log_dropped": 0}
    assert (model["digest"], model["version"]) == (trained.digest, "1.2.3")
    assert (model["runtime"], model["not_onnx"]) == ("onnx", None)
    assert model["estimator"] == "logistic_regression"
    assert model["signature"]["columns"][0]["name"] == "mean radius"
    assert model["listening"] == {"private": None, "public": None, "error": None}


def test_a_request_id_is_kept_or_made(ask: Ask, trained: Trained) -> None:
    kept = ask(json=trained.rows[0], headers={"x-request-id": "a-1"})
    made = ask(json=trained.rows[0], headers={"x-request-id": "a\t1"})
    assert kept.headers["x-request-id"] == "a-1"
    assert len(made.headers["x-request-id"]) == 32


TOKEN = "secret-token"  # noqa: S105 - of these tests


class Broken:
    """A runtime that fails for rows with this mean radius, and has no answer for those below 0."""

    def __init__(self, runtime: runtime.Runtime) -> None:
        self.runtime = runtime

    def scores(self, inputs: features.Inputs) -> np.ndarray:
        if (inputs.numbers[:, 0] == 13).any():
            raise RuntimeError("a secret of the estimator")
        return np.where(inputs.numbers[:, 0] < 0, np.nan, self.runtime.scores(inputs))


def test_a_failure_inside_is_told_to_the_log_and_not_to_the_caller(
    trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    service = trained.service(runtime=Broken(trained.load()))
    response = send(service, json={**trained.rows[0], "mean radius": 13})
    assert response.status_code == 500
    assert "secret" not in response.text
    assert "a secret of the estimator" in caplog.text


def test_a_row_without_a_finite_answer_is_named(trained: Trained) -> None:
    service = trained.service(runtime=Broken(trained.load()))
    bad = {**trained.rows[0], "mean radius": -1}
    response = send(service, json=[trained.rows[0], bad])
    assert response.status_code == 422
    message = "rows[1]: the model has no finite answer for this row"
    assert response.json() == {"error": {"message": message, "field": "rows[1]"}}
    assert send(service, json=bad).json()["error"]["field"] is None


@pytest.mark.parametrize("kind", ["trained", "fallback"])
def test_a_bad_request_does_not_hurt_those_beside_it(
    kind: str, request: pytest.FixtureRequest
) -> None:
    model: Trained = request.getfixturevalue(kind)
    service = model.service(runtime=Broken(model.load()))
    radii = (14, 13, -1, 15, 16)
    rows = [
        {**row, "mean radius": radius} for row, radius in zip(model.rows[:5], radii, strict=True)
    ]

    async def ask_all() -> list[httpx.Response]:
        transport = httpx.ASGITransport(service)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await asyncio.gather(*(client.post("/predict", json=row) for row in rows))

    answers = asyncio.run(ask_all())
    assert [answer.status_code for answer in answers] == [200, 500, 422, 200, 200]
    good = [rows[n] for n in (0, 3, 4)]
    assert [answers[n].json() for n in (0, 3, 4)] == offline(model, good)


def test_predictions_are_logged_with_request_model_and_time(
    trained: Trained, tmp_path: Path
) -> None:
    log = prediction_log.PredictionLog(tmp_path / "predictions.jsonl", trained.digest)
    service = trained.service(log=log)
    answers = send(service, json=trained.rows[:2], headers={"x-request-id": "r-1"}).json()
    alone = send(service, json=trained.rows[2]).json()
    log.close()
    many, one = (json.loads(line) for line in log.path.read_text().splitlines())
    assert (many["answers"], one["answer"]) == (answers, alone)
    assert many["rows"] == json.loads(json.dumps(trained.rows[:2]))
    assert (many["model"], many["request_id"]) == (trained.digest, "r-1")
    assert len(one["request_id"]) == 32


def test_a_table_is_logged_as_its_rows(trained: Trained, tmp_path: Path) -> None:
    log = prediction_log.PredictionLog(tmp_path / "predictions.jsonl", trained.digest)
    service = trained.service(log=log)
    body = pd.DataFrame(trained.rows[:2]).to_csv(index=False).encode()
    answers = send(service, content=body, headers={"content-type": "text/csv"}).json()
    service.close()
    line = json.loads(log.path.read_text())
    assert line["answers"] == answers
    numbers = [c.name for c in trained.card.signature.columns if c.type == "number"]
    for logged, row in zip(line["rows"], trained.rows, strict=False):
        assert [logged[n] for n in numbers] == [row[n] and pytest.approx(row[n]) for n in numbers]


def test_what_is_asked_on_the_private_port_is_not_logged(trained: Trained, tmp_path: Path) -> None:
    log = prediction_log.PredictionLog(tmp_path / "predictions.jsonl", trained.digest)
    service = trained.service(log=log)
    service.check_port = 8000  # the one that `send` pretends to have
    assert send(service, json=trained.rows[0]).status_code == 200
    log.close()
    assert not log.path.exists()


def test_a_log_that_fails_fails_no_request_and_is_counted(trained: Trained, tmp_path: Path) -> None:
    log = prediction_log.PredictionLog(tmp_path, trained.digest)  # a directory
    service = trained.service(log=log)
    assert send(service, json=trained.rows[:3]).status_code == 200
    log.close()
    assert send(service, "GET", "/healthz").json()["log_dropped"] == 3
    assert "model_prediction_log_dropped_total" in send(service, "GET", "/metrics").text


def test_it_is_ready_until_it_drains(trained: Trained) -> None:
    service = trained.service()
    ready = send(service, "GET", "/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    service.draining = lambda: True
    draining = send(service, "GET", "/readyz")
    assert (draining.status_code, draining.json()["status"]) == (503, "draining")
    assert send(service, "GET", "/healthz").status_code == 200


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (None, 401),
        ("Bearer", 401),
        ("Bearer wrong", 401),
        ("Basic c2VjcmV0LXRva2Vu", 401),
        ("secret-token", 401),
        ("Bearer secret-token", 200),
        ("bearer  secret-token ", 200),
    ],
)
def test_a_token_is_asked_for_where_there_is_one(
    trained: Trained, caplog: pytest.LogCaptureFixture, given: str | None, status: int
) -> None:
    service = trained.service(token=TOKEN, access_log=True)
    headers = {"authorization": given} if given else {}
    for method, path in (("POST", "/predict"), ("GET", "/model"), ("GET", "/docs")):
        body = trained.rows[0] if method == "POST" else None
        response = send(service, method, path, json=body, headers=headers)
        assert response.status_code == status
        assert ("www-authenticate" in response.headers) == (status == 401)
    for path in ("/healthz", "/readyz", "/metrics"):
        assert send(service, "GET", path).status_code == 200
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/model", "/metrics", "/docs"])
def test_head_is_answered_as_get_is(ask: Ask, path: str) -> None:
    assert ask("HEAD", path).status_code == ask("GET", path).status_code == 200


def test_a_request_that_cannot_be_scored_in_time_is_asked_to_come_back(trained: Trained) -> None:
    service = trained.service()
    service.batcher.inline_rows = 0
    service.batcher.slow_rows = batcher.QUEUE_ROWS
    response = send(service, json=trained.rows[0])
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "try again" in response.json()["error"]["message"]


def test_a_large_batch_is_answered_as_its_rows_are(
    service: serving_service.Service, ask: Ask, trained: Trained
) -> None:
    rows = [trained.rows[n % 60] for n in range(3000)]
    assert len(json.dumps(rows)) > serving_service.INLINE_BYTES
    assert len(rows) > service.batcher.inline_rows
    assert ask(json=rows).json() == offline(trained, rows)
