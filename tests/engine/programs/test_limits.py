"""What a stranger's file asks for is bounded: verification ends with a line of text."""

import ctypes
import errno
import io
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper

from mlrelease import errors
from mlrelease.programs import limits
from mlrelease.records import record
from mlrelease.rehearsal import sandbox
from mlrelease.scoring import artifact
from mlrelease.training import train
from mlrelease.verification import confirm
from tests.engine.conftest import BETTER
from tests.engine.verification.test_bound import forged, packaged, refused

SECONDS, GIGABYTES = "6", "0.7"


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_SECONDS", SECONDS)
    monkeypatch.setenv("MODEL_MEMORY_GB", GIGABYTES)


def call(name: str, folder: Path, **arguments: object) -> None:
    """A function of this module, in a process of its own."""
    limits.limited("the work", f"{__name__}:{name}", arguments, folder)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process find this module."""
    monkeypatch.setattr(limits, "OWN", Path(__file__).parents[3])


def eats(_: object, output: Path) -> None:
    np.ones(2 * 10**9 // 8)


def sleeps(_: object, output: Path) -> None:
    time.sleep(60)


def forks(_: object, output: Path) -> None:
    subprocess.Popen(["sleep", "61"])
    time.sleep(60)


def hides(_: object, output: Path) -> None:
    """Start what would outlive the job: a child of nobody, in a session of its own."""
    if not os.fork():
        os.setsid()
        if not os.fork():
            os.execvp("sleep", ["sleep", "62"])  # noqa: S606 - a test
        os._exit(0)
    time.sleep(0.5)


def fills(_: object, output: Path) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def writes(arguments: dict[str, str], output: Path) -> None:
    (output / "said").write_text(arguments["word"])


def dies(_: object, output: Path) -> None:
    os.kill(os.getpid(), 9)


def exits(_: object, output: Path) -> None:
    os._exit(0)


def pretends(_: object, output: Path) -> None:
    os._exit(4)  # as what wrote why it failed


def outlives(_: object, output: Path) -> None:
    """End the server, and go on."""
    os.kill(os.getppid(), 9)
    os.execvp("sleep", ["sleep", "64"])  # noqa: S606 - a test


def refuses(_: object, output: Path) -> None:
    raise errors.RefusedError("no")


def fails(_: object, output: Path) -> None:
    raise KeyError("secret row")


@pytest.mark.usefixtures("here")
def test_what_it_writes_is_there(tmp_path: Path) -> None:
    call("writes", tmp_path, word="done")
    assert (tmp_path / "said").read_text() == "done"


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("eats", limits.LimitError, "the work: needs more than 0.7 GB of memory; MODEL_MEMORY_GB"),
        ("sleeps", limits.LimitError, "the work: not done after 6 s; MODEL_SECONDS allows more"),
        ("forks", limits.LimitError, "not done after 6 s"),
        ("dies", limits.LimitError, "was ended by signal 9"),
        ("exits", limits.EndedError, "ended with code 0 before it was done"),
        ("pretends", limits.EndedError, "ended with code 4 before it was done"),
        ("outlives", limits.EndedError, "the process that checks models ended"),
        ("refuses", errors.RefusedError, "^no$"),
        ("fails", errors.ModelError, "^the work: unexpected KeyError; try again$"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_goes_wrong_is_one_line(
    tmp_path: Path, name: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        call(name, tmp_path)
    call("writes", tmp_path, word="and the next one works")
    running = subprocess.run(["ps", "ax"], capture_output=True, text=True, check=True).stdout
    assert "sleep 61" not in running
    assert "sleep 64" not in running


@pytest.mark.usefixtures("here")
def test_a_full_disk_of_this_machine_is_no_answer_about_the_model(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left on device: '/"):
        call("fills", tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
@pytest.mark.usefixtures("here")
def test_what_this_process_was_given_is_for_nobody_to_read(tmp_path: Path) -> None:
    call("writes", tmp_path, word="")
    assert ctypes.CDLL(None).prctl(3, 0, 0, 0, 0) == 0, "PR_GET_DUMPABLE"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to another process")
@pytest.mark.usefixtures("here")
def test_nothing_that_a_job_starts_outlives_it(tmp_path: Path) -> None:
    call("hides", tmp_path)
    assert "sleep 62" not in subprocess.run(["ps", "ax"], capture_output=True, text=True).stdout


@pytest.mark.parametrize("value", ["0", "-1", "much", "nan", "inf"])
@pytest.mark.usefixtures("here")
def test_a_limit_that_is_no_number_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("MODEL_SECONDS", value)
    with pytest.raises(errors.InputError, match="MODEL_SECONDS is"):
        call("writes", tmp_path, word="")


@pytest.mark.usefixtures("here")
def test_a_server_that_is_killed_is_started_again(tmp_path: Path) -> None:
    call("writes", tmp_path, word="1")
    process = limits._server.process
    assert process is not None
    process.kill()
    process.wait()
    call("writes", tmp_path, word="2")
    assert (tmp_path / "said").read_text() == "2"


def swapped(world: sandbox.Sandbox, honest: record.Provenance, name: str, content: bytes) -> str:
    directory = world.here.root / "swapped"
    kept = world.here.store.fetch(honest.model)
    directory.mkdir()
    for path in kept.iterdir():
        (directory / path.name).write_bytes(path.read_bytes())
    (directory / name).write_bytes(content)
    return world.here.store.put(directory)


def bomb(path: Path) -> bytes:
    """A skops file in which an array of zeros is small, and large when it is loaded."""
    zeros, out = io.BytesIO(), io.BytesIO()
    np.save(zeros, np.zeros(3 * 10**8 // 8))
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for member in source.namelist():
            large = member.endswith(".npy")
            target.writestr(member, zeros.getvalue() if large else source.read(member))
    return out.getvalue()


def endless() -> bytes:
    """A graph whose loop goes on for hours."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["going"], ["goes"]),
         helper.make_node("Add", ["sum", "sum"], ["more"])],
        "body",
        [helper.make_tensor_value_info("at", TensorProto.INT64, []),
         helper.make_tensor_value_info("going", TensorProto.BOOL, []),
         helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, None])],
        [helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
         helper.make_tensor_value_info("more", TensorProto.FLOAT, [None, None])],
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("Loop", ["often", "yes", "numbers"], ["probabilities"], body=body)],
        "endless",
        [helper.make_tensor_value_info("numbers", TensorProto.FLOAT, [None, 30])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 30])],
        [helper.make_tensor("often", TensorProto.INT64, [], [2**62]),
         helper.make_tensor("yes", TensorProto.BOOL, [], [True])],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def test_a_model_that_is_large_once_it_is_loaded_is_refused(
    world: sandbox.Sandbox, tmp_path: Path
) -> None:
    honest = packaged(world)
    content = bomb(world.here.store.fetch(honest.model) / "model.skops")
    assert len(content) < 5_000_000
    forged(world, honest, model=swapped(world, honest, "model.skops", content))
    assert "GB of memory" in refused(world)


def test_a_holdout_that_is_large_once_it_is_read_is_refused(world: sandbox.Sandbox) -> None:
    honest = packaged(world)
    rows = train.read_holdout(world.here.store.fetch(honest.data.holdout))
    many = pd.concat([rows.head(1)] * 4_000_000, ignore_index=True)
    directory = world.here.root / "many"
    directory.mkdir()
    many.to_parquet(directory / "holdout.parquet", index=False)
    assert (directory / "holdout.parquet").stat().st_size < 1_000_000
    data = record.DataDigests(train=honest.data.train, holdout=world.here.store.put(directory))
    forged(world, honest, data=data)
    assert "GB of memory" in refused(world)


def test_a_graph_that_never_ends_is_refused(world: sandbox.Sandbox) -> None:
    honest = packaged(world)
    forged(world, honest, model=swapped(world, honest, artifact.ONNX_FILE, endless()))
    begun = time.monotonic()
    assert "not done after 6 s" in refused(world)
    assert time.monotonic() - begun < 20


def test_this_process_stays_small(world: sandbox.Sandbox) -> None:
    """Whatever verification loads, it does not load here."""
    honest = packaged(world, BETTER)
    content = bomb(world.here.store.fetch(honest.model) / "model.skops")
    forged(world, honest, model=swapped(world, honest, "model.skops", content))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(world)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_release_that_is_not_done_in_time_is_unclear_and_not_forged(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy machine must not go back to an older model for it."""
    shutil.rmtree(world.here.state / "verified")
    monkeypatch.setenv("MODEL_SECONDS", "0.05")
    base = world.here.git.base()
    with pytest.raises(errors.UnclearError, match="cannot be verified now: .*not done after"):
        confirm.settle(world.here, world.here.ledger("staging", base))
