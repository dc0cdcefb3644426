"""An hour's requests in a minute, while the model is switched twice."""

import time
from collections import Counter
from pathlib import Path

import pytest

from mlrelease.deployment import processes as supervisor
from mlrelease.records import record
from tests.engine.conftest import add_code, commit_all
from tests.engine.serving.callers import Callers
from tests.engine.serving.test_process import free_port, wait_for
from tests.engine.trained import Trained

SECONDS, HOUR = 60.0, 18_000  # of load; requests of an hour at five a second
KEEP = (True, False) * 4  # every other caller makes a new connection for each request


def record_of(model: Trained, commit: str) -> record.Record:
    none = "sha256:" + "0" * 64
    return record.Record.model_validate(
        {
            "environment": "production", "model": model.digest, "version": "1",
            "runtime": model.card.runtime,
            "source": {"commit": commit}, "data": {"train": none, "holdout": none},
            "evaluation": none, "policy": none, "trust": "digest", "replaces": {},
        }
    )  # fmt: skip


@pytest.mark.slow
def test_no_request_fails_while_the_model_is_switched_twice(
    trained: Trained, fallback: Trained, tmp_path: Path
) -> None:
    """From ONNX Runtime to the runtime that trained, and back."""
    port = free_port()
    add_code(tmp_path / "project")
    code = commit_all(tmp_path / "project")
    commit = code.run("rev-parse", "HEAD")
    running = supervisor.Processes(tmp_path / "environments" / "production", code)
    serving: list[supervisor.Process] = []

    def switch(model: Trained) -> None:
        process = running.start(record_of(model, commit), model.directory, port)
        running.take_over(process, port)
        if serving:
            running.stop(serving[-1])
        serving.append(process)

    try:
        switch(trained)
        with Callers(f"127.0.0.1:{port}", trained.rows[0], KEEP, pause=0) as callers:
            for model in (fallback, trained):
                time.sleep(SECONDS / 3)
                switch(model)
            time.sleep(SECONDS / 3)
            wait_for(lambda: len(running.running()) == 1)
    finally:
        for process in running.running():
            running.stop(process)
    assert callers.failures == []
    answers = Counter(callers.answers)
    assert set(answers) == {trained.digest, fallback.digest}
    assert min(answers.values()) > 100
    assert answers.total() >= HOUR
    print(f"{answers.total()} answers: {answers}")
