"""A line of the log is for Elastic as it is, and there are never too many."""

import asyncio
import json
import logging
from typing import Any

import pytest

from mlrelease.serving import logs
from tests.engine.trained import Trained, send


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Any:
    """The lines so far, as they would be written."""
    caplog.set_level(logging.INFO, logger=logs.events.name)
    formatter = logs.EcsFormatter(**{"service.version": "7", "labels.model_digest": "sha256:a"})
    return lambda: [json.loads(formatter.format(record)) for record in caplog.records]


def test_a_refused_request_is_one_line_with_the_names_of_ecs(lines: Any, trained: Trained) -> None:
    service = trained.service()
    send(service, json={**trained.rows[0], "ward": 9}, headers={"x-request-id": "r-1"})
    (line,) = lines()
    assert line["log.level"] == "info"
    assert line["ecs.version"].startswith("8.")
    assert line["@timestamp"].endswith("Z")
    assert (line["service.version"], line["labels.model_digest"]) == ("7", "sha256:a")
    assert (line["http.request.id"], line["http.request.method"]) == ("r-1", "POST")
    assert (line["url.path"], line["http.response.status_code"]) == ("/predict", 422)
    assert 0 < line["event.duration"] < 60e9
    assert line["error.message"].startswith("ward: unknown category '9'")
    assert line["message"].startswith("POST '/predict' 422: ward: unknown category")
    assert isinstance(line["process.pid"], int)


def test_a_failure_is_an_error_with_its_stack(lines: Any, trained: Trained) -> None:
    service = trained.service()
    service.batcher.scores = None  # type: ignore[assignment,method-assign]
    send(service, json=trained.rows[0])
    failure, request = lines()
    assert failure["log.level"] == request["log.level"] == "error"
    assert failure["error.type"] == "TypeError"
    assert "Traceback" in failure["error.stack_trace"]
    assert request["http.response.status_code"] == 500


def test_an_answered_request_is_a_line_only_when_asked_for(lines: Any, trained: Trained) -> None:
    send(trained.service(), json=trained.rows[0])
    assert lines() == []
    send(trained.service(access_log=True), json=trained.rows[0])
    assert [line["http.response.status_code"] for line in lines()] == [200]


def test_a_flood_of_refused_requests_is_a_few_lines_and_a_count(lines: Any) -> None:
    async def flood() -> None:
        log = logs.RequestLog()
        for number in range(500):
            log.answered(b"r", "POST", "/predict", 503 if number % 2 else 400, 1, "no")
        log.answered(b"r", "POST", "/predict", 500, 1, "failed")
        await asyncio.sleep(1.1)

    asyncio.run(flood())
    *told, failed, count = lines()
    assert len(told) in range(logs.LINES_A_SECOND, 2 * logs.LINES_A_SECOND + 1)  # two seconds
    assert failed["error.message"] == "failed"
    assert count["message"].startswith(f"{500 - len(told)} more requests were refused")
    assert count["labels.left_out"] == str(500 - len(told))


@pytest.mark.parametrize("path", ["/%0A{", "/" + "x" * 5000, "/\u202e"])
def test_what_a_caller_sends_cannot_forge_a_line(lines: Any, trained: Trained, path: str) -> None:
    send(trained.service(), "GET", path)
    (line,) = lines()
    assert "\n" not in line["message"]
    assert len(json.dumps(line)) < 3000


def test_what_is_no_http_writes_no_lines_and_a_failure_of_the_server_does(
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    for name in ("", "uvicorn.error", logs.events.name):
        caplog.set_level(logging.INFO, logger=name or None)  # put back after this test
    logs.configure()
    server = logging.getLogger("uvicorn.error")
    for _ in range(300):
        server.warning("Invalid HTTP request received.")
    server.error("Exception in ASGI application")
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["message"] == "Exception in ASGI application"


def test_on_a_terminal_it_is_a_plain_line() -> None:
    record = logs.events.makeRecord("x", logging.INFO, "", 0, "model %s runs", ("a",), None)
    assert logs.PlainFormatter().format(record).endswith(" model a runs")
