"""A candidate of a poisoned store may never answer: what uses it here ends, with one line."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from mlrelease import errors
from mlrelease.programs import limits
from mlrelease.promotion import work_tree
from mlrelease.rehearsal import sandbox
from mlrelease.scoring import artifact
from mlrelease.serving import app as serving_app
from mlrelease.training import train
from tests.engine.conftest import BETTER
from tests.engine.trained import Trained


def endless(graph: bytes) -> bytes:
    """The same graph, but for a loop of 2^62 rounds before its answer."""
    model = onnx.load_model_from_string(graph)
    number, truth, whole = TensorProto.FLOAT, TensorProto.BOOL, TensorProto.INT64
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["on_out"]),
            helper.make_node("Add", ["value", "zero"], ["value_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", whole, []),
            helper.make_tensor_value_info("on", truth, []),
            helper.make_tensor_value_info("value", number, []),
        ],
        [
            helper.make_tensor_value_info("on_out", truth, []),
            helper.make_tensor_value_info("value_out", number, []),
        ],
    )
    constants: list[tuple[str, int, list[Any]]] = [
        ("zero", number, [0.0]), ("start", number, [0.0]), ("rounds", whole, [2**62]),
        ("go", truth, [True]),
    ]  # fmt: skip
    made = [helper.make_tensor(name, kind, [], value) for name, kind, value in constants]
    model.graph.initializer.extend(made)
    answer = model.graph.output[0].name
    for node in model.graph.node:
        for at, name in enumerate(node.output):
            if name == answer:
                node.output[at] = "honest"
    loop = helper.make_node("Loop", ["rounds", "go", "start"], ["spin"], body=body)
    model.graph.node.extend([loop, helper.make_node("Add", ["honest", "spin"], [answer])])
    return bytes(model.SerializeToString())


def poison(directory: Path) -> str:
    """Give a model directory such a graph; its digest now."""
    path = directory / artifact.ONNX_FILE
    path.write_bytes(endless(path.read_bytes()))
    return artifact.digest_of(directory)


@pytest.fixture
def poisoned(trained: Trained, tmp_path: Path) -> Path:
    for name in artifact.MODEL_FILES:
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / name).write_bytes((trained.directory / name).read_bytes())
    poison(tmp_path / "model")
    return tmp_path / "model"


def test_evaluating_it_ends_within_the_limit(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.candidate(BETTER)
    work_tree.evaluate_candidate(world.here, "staging")
    known = train.Candidate.read(world.here.candidate)
    digest = poison(world.here.candidate / "model")
    train.Candidate(known.key, digest, known.train, known.holdout, known.fitted).write(
        world.here.candidate
    )
    monkeypatch.setenv("MODEL_SECONDS", "4")
    start = time.monotonic()
    with pytest.raises(limits.LimitError, match=r"model \w{12}: not done after 4 s") as caught:
        work_tree.evaluate_candidate(world.here, "staging")
    assert time.monotonic() - start < 60
    assert len(str(caught.value).splitlines()) == 1


def test_what_evaluating_refuses_is_said_as_before(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    (world.here.candidate / "model" / artifact.ONNX_FILE).write_bytes(b"")
    with pytest.raises(errors.RefusedError, match=r"run `model train|content is"):
        work_tree.evaluate_candidate(world.here, "staging")


@pytest.mark.parametrize("workers", [1, 2])
def test_serving_it_gives_up_with_one_line(poisoned: Path, workers: int) -> None:
    command = [sys.executable, "-m", serving_app.__name__, "--version", "1", "--port", "0"]
    command += ["--directory", str(poisoned), "--start-seconds", "3", "--workers", str(workers)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    lines = [json.loads(line)["message"] for line in done.stderr.splitlines()]
    assert 1 <= len(lines) <= workers
    for line in lines:
        assert "not ready after 3 s, not served" in line
        assert "--start-seconds allows more" in line


def test_serving_another_one_goes_on_after_that_time(trained: Trained) -> None:
    command = [sys.executable, "-m", serving_app.__name__, "--version", "1", "--port", "0"]
    command += ["--directory", str(trained.directory), "--start-seconds", "8"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        assert " runs in onnx" in process.stderr.readline()
        time.sleep(9)
        assert process.poll() is None
    finally:
        process.terminate()
        assert process.wait(30) == 0
