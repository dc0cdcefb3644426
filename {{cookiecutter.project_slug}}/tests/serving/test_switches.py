"""An hour's requests in a minute, while the model is switched twice."""

import json
import threading
import time
from http.client import HTTPConnection
from pathlib import Path

import pytest

from ..package import record, supervisor
from .conftest import Trained
from .test_process import free_port, wait_for

SECONDS, HOUR = 60.0, 18_000  # of load; requests of an hour at five a second
CALLERS = 8


class Caller(threading.Thread):
    """Asks without a pause; every other caller makes a new connection for each request."""

    def __init__(self, port: int, body: str, keep: bool, stop: threading.Event) -> None:
        super().__init__()
        self.port, self.body, self.keep, self.stop = port, body, keep, stop
        self.models: dict[str, int] = {}
        self.failures: list[str] = []

    def run(self) -> None:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self.stop.is_set():
            try:
                connection.request("POST", "/predict", self.body)
                response = connection.getresponse()
                response.read()
                model = response.headers["model-digest"]
                self.models[model] = self.models.get(model, 0) + 1
                if response.status != 200:
                    self.failures.append(str(response.status))
            except OSError as error:
                self.failures.append(repr(error))
                connection.close()
            if not self.keep:
                connection.close()
                time.sleep(0.005)  # each leaves a port of this machine in TIME_WAIT
        connection.close()


def record_of(model: Trained) -> record.Record:
    none = "sha256:" + "0" * 64
    return record.Record.model_validate(
        {
            "environment": "production", "model": model.digest, "version": "1", "runtime": "onnx",
            "source": {"commit": "0" * 40}, "data": {"train": none, "holdout": none},
            "evaluation": none, "policy": none, "trust": "digest", "replaces": {},
        }
    )  # fmt: skip


@pytest.mark.slow
def test_no_request_fails_while_the_model_is_switched_twice(
    trained: Trained, fallback: Trained, tmp_path: Path
) -> None:
    """From ONNX Runtime to the runtime that trained, and back."""
    port = free_port()
    running = supervisor.Processes(tmp_path / "production")
    serving: list[supervisor.Process] = []
    stop, callers = threading.Event(), list[Caller]()

    def switch(model: Trained) -> None:
        process = running.start(record_of(model), model.directory, port)
        running.take_over(process, port)
        if serving:
            running.stop(serving[-1])
        serving.append(process)

    try:
        switch(trained)
        body = json.dumps(trained.rows[0])
        callers = [Caller(port, body, number % 2 == 0, stop) for number in range(CALLERS)]
        for caller in callers:
            caller.start()
        for model in (fallback, trained):
            time.sleep(SECONDS / 3)
            switch(model)
        time.sleep(SECONDS / 3)
        wait_for(lambda: len(running.running()) == 1)
    finally:
        stop.set()
        for caller in callers:
            caller.join()
        for process in running.running():
            running.stop(process)
    answers: dict[str, int] = {}
    for caller in callers:
        for model_digest, count in caller.models.items():
            answers[model_digest] = answers.get(model_digest, 0) + count
    assert [failure for caller in callers for failure in caller.failures] == []
    assert set(answers) == {trained.digest, fallback.digest}
    assert min(answers.values()) > 100
    assert sum(answers.values()) >= HOUR
    print(f"{sum(answers.values())} answers: {answers}")  # noqa: T201 - shown with -s
