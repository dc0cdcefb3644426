"""A run that is killed anywhere goes on where it was, and gives the same bytes."""

import functools
import itertools
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlrelease import errors
from mlrelease.predicting import parts, predict, rows
from mlrelease.scoring import batch
from tests.engine.predicting.scored import fit, table

# Where in the code a run is killed, and at which calls of the function.
STEPS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "replace": (Path, (1, 2, 7, 12, 13, 14, 15)),  # key, eleven parts, rejects, note, answers
    "score": (predict, (1, 9)),
    "write_rejected": (predict, (1,)),
    "write_answered": (predict, (1,)),
    "rmtree": (shutil, (1,)),
}
PLACES = [
    (when, name, count)
    for name, (_, counts) in STEPS.items()
    for count in counts
    for when in ("before", "after")
]
Run = Callable[..., ForkServerProcess]


def run(
    model: Path, source: Path, target: Path, said: Path, kill: tuple[str, str, int], limit: int,
    overwrite: bool = False,
) -> None:  # fmt: skip
    """Score in chunks that are small, so that there are many parts; in a process of its own."""
    small(256)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if kill[0]:
        kill_at(*kill)
    with said.open("w", buffering=1) as file:
        try:
            say = functools.partial(print, file=file)
            predict.predict(model, source, target, overwrite=overwrite, say=say)
        except errors.ModelError as error:
            print(error, file=file)
            sys.exit(error.exit_code)


def measure(model: Path, source: Path, target: Path, said: Path) -> None:
    """Score, and write down how many MB the process held at most."""
    predict.predict(model, source, target, overwrite=True)
    said.write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))


def small(size: int) -> None:
    rows.MOST_ROWS = size
    vars(predict)["CHUNKS_EACH"] = 2


def kill_at(when: str, name: str, count: int) -> None:
    owner = STEPS[name][0]
    real, calls = getattr(owner, name), itertools.count(1)

    def killed(*arguments: Any, **named: Any) -> Any:
        here = next(calls) == count
        if here and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        outcome = real(*arguments, **named)
        if here and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return outcome

    setattr(owner, name, killed)


@pytest.fixture(scope="session")
def fresh() -> ForkServerContext:
    """Processes that start quickly: forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "onnxruntime"])
    with pytest.MonkeyPatch.context() as patch:  # Python 3.11 preloads with a bare path
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        process = context.Process(target=os.getpid)
        process.start()
        process.join()
    return context


@pytest.fixture
def start(fresh: ForkServerContext, model: Path, tmp_path: Path) -> Iterator[Run]:
    """Start a run; what it says is in `said`."""
    started: list[ForkServerProcess] = []

    def start_(
        source: Path, target: Path, kill: tuple[str, str, int] = ("", "", 0), limit: int = 0,
        overwrite: bool = False,
    ) -> ForkServerProcess:  # fmt: skip
        arguments = (model, source, target, tmp_path / "said", kill, limit, overwrite)
        process = fresh.Process(target=run, args=arguments)
        process.start()
        started.append(process)
        return process

    yield start_
    for process in started:
        process.kill()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("resume") / "model")


@pytest.fixture(scope="session", params=[".parquet", ".csv"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven parts of rows, some of them bad."""
    path = tmp_path_factory.mktemp("rows") / f"in{request.param}"
    frame = table(5400)
    frame.loc[::97, "income"] = None
    write = frame.to_csv if path.suffix == ".csv" else frame.to_parquet
    write(path, index=False)
    return path


@pytest.fixture(scope="session")
def whole(
    fresh: ForkServerContext, model: Path, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, bytes]:
    """What a run that nobody stops writes."""
    place = tmp_path_factory.mktemp("whole")
    target, said = place / "out" / f"out{source.suffix}", place / "said"
    process = fresh.Process(target=run, args=(model, source, target, said, ("", "", 0), 0))
    process.start()
    assert ended(process) == 0
    assert (place / "said").read_text() == ""
    return content(target)


def ended(process: ForkServerProcess) -> int | None:
    process.join(120)
    return process.exitcode


def content(target: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(target.parent.iterdir())}


def is_whole_or_absent(target: Path, whole: dict[str, bytes]) -> bool:
    return not target.exists() or target.read_bytes() == whole[target.name]


@pytest.mark.slow
@pytest.mark.parametrize("kill", PLACES, ids=lambda kill: "-".join(map(str, kill)))
def test_killed_at_a_step_it_goes_on(
    start: Run, source: Path, whole: dict[str, bytes], tmp_path: Path, kill: tuple[str, str, int]
) -> None:
    target = tmp_path / "out" / f"out{source.suffix}"
    assert ended(start(source, target, kill)) == -signal.SIGKILL
    assert is_whole_or_absent(target, whole)
    ended_before = kill == ("after", "rmtree", 1)  # only --overwrite makes a whole .csv again
    assert ended(start(source, target)) == (1 if ended_before and source.suffix == ".csv" else 0)
    assert content(target) == whole


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_killed_again_and_again_at_any_time_it_ends(
    start: Run, source: Path, whole: dict[str, bytes], tmp_path: Path, seed: int
) -> None:
    chance = np.random.default_rng(seed)
    target = tmp_path / "out" / f"out{source.suffix}"
    work = parts.Parts(target.with_name(f".{target.name}.work"))
    killed = 0
    for _ in range(8):
        process, before = start(source, target, overwrite=True), len(work)
        until = time.monotonic() + 60
        while process.is_alive() and len(work) <= before and time.monotonic() < until:
            time.sleep(0.0005)  # each run gets at least one part done
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        killed += ended(process) == -signal.SIGKILL
        assert is_whole_or_absent(target, whole)
    assert ended(start(source, target, overwrite=True)) == 0
    assert content(target) == whole
    assert killed


@pytest.mark.slow
def test_what_was_scored_is_not_scored_again(
    start: Run, source: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    target = tmp_path / "out" / f"out{source.suffix}"
    assert ended(start(source, target, ("after", "replace", 7))) == -signal.SIGKILL
    assert ended(start(source, target)) == 0
    said = "going on at row 3,072, where a run before this one ended early\n"
    assert (tmp_path / "said").read_text() == said


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_what_was_done_is_kept(
    start: Run, source: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    target = tmp_path / "out" / f"out{source.suffix}"
    size = len(whole[target.name])
    assert ended(start(source, target, limit=size * 3 // 4)) == 2  # a part is smaller
    line = (tmp_path / "said").read_text()
    assert line.startswith(f"{target}: cannot be written: ")
    assert line.count("\n") == 1
    assert not target.exists()
    assert ended(start(source, target)) == 0
    assert "going on at row 5,400" in (tmp_path / "said").read_text()
    assert content(target) == whole


@pytest.mark.slow
@pytest.mark.parametrize("what", ["the input", "the model"])
def test_it_starts_afresh_for_another_input_or_model_and_says_so(
    start: Run, model: Path, tmp_path: Path, what: str
) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    table(900).to_csv(source, index=False)
    assert ended(start(source, target, ("before", "write_answered", 1))) == -signal.SIGKILL
    if what == "the input":
        table(900, seed=1).to_csv(source, index=False)
    else:
        model = Path(shutil.copytree(model, tmp_path / "other"))
        (model / "profile.json").write_text("[]")
    said: list[str] = []
    found = predict.predict(model, source, target, say=said.append)
    assert said == [f"starting afresh: {what} changed since the run that did not end"]
    assert found.resumed == 0
    assert len(pd.read_csv(target)) == 900


@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_where_chunks_end_at_a_number_of_bytes_it_gives_the_same_bytes_too(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(rows, "BYTES", 20_000)
    monkeypatch.setattr(predict, "CHUNKS_EACH", 2)
    source, target = tmp_path / f"in{kind}", tmp_path / "out" / f"out{kind}"
    frame = table(300).assign(note=["x" * (n * n % 37 * 100) for n in range(300)])
    frame.loc[::7, "income"] = None
    write = frame.to_csv if kind == ".csv" else frame.to_parquet
    write(source, index=False)
    predict.predict(model, source, target)
    expected, real, calls = content(target), batch.score, itertools.count()

    def failing(*arguments: Any, **named: Any) -> Any:
        if next(calls) == 9:
            raise OSError(28, "No space left on device")
        return real(*arguments, **named)

    monkeypatch.setattr(predict, "score", failing)
    with pytest.raises(errors.InputError, match="start again to go on"):
        predict.predict(model, source, target, overwrite=True)
    monkeypatch.setattr(predict, "score", real)
    found = predict.predict(model, source, target, overwrite=True)
    assert 0 < found.resumed < 300
    assert content(target) == expected


@pytest.mark.parametrize("more", range(256, 1024, 128))
def test_a_cell_that_never_ends_is_found_by_a_run_that_goes_on(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    """Also where all other rows are done."""
    monkeypatch.setattr(rows, "MOST_ROWS", 256)
    monkeypatch.setattr(predict, "CHUNKS_EACH", 1)
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text(table(more).to_csv(index=False) + '9,"x,,,,\n9,x,,,,\n')
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", lambda _: None)  # the run ends just before it
        with pytest.raises(errors.InputError, match="inside a quoted cell"):
            predict.predict(model, source, target)
    with pytest.raises(errors.InputError, match=f"quoted cell, which opens in row {more}"):
        predict.predict(model, source, target)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".csv", ".parquet"])
def test_memory_does_not_grow_with_the_length_of_the_cells(
    fresh: ForkServerContext, model: Path, tmp_path: Path, kind: str
) -> None:
    peaks = []
    for count in (20_000, 80_000):
        source = tmp_path / f"in{kind}"
        frame = table(count).assign(note=["lorem ipsum " * 400] * count)  # 4.8 kB a row
        write = frame.to_csv if kind == ".csv" else frame.to_parquet
        write(source, index=False)
        arguments = (model, source, tmp_path / "out.csv", tmp_path / "said")
        process = fresh.Process(target=measure, args=arguments)
        process.start()
        assert ended(process) == 0
        peaks.append(int((tmp_path / "said").read_text()))
    assert peaks[1] < peaks[0] + 200, peaks  # MB; 290 more are in the file


def test_one_run_writes_an_output_at_a_time(model: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    table(50).to_csv(source, index=False)
    with parts.parts_of(target, {}, print), pytest.raises(errors.RefusedError, match="another run"):
        predict.predict(model, source, target)
    assert predict.predict(model, source, target).scored == 50


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(
    fresh: ForkServerContext, model: Path, tmp_path: Path
) -> None:
    peaks = []
    for count in (400_000, 3_200_000):
        source = tmp_path / "in.parquet"
        more = np.random.default_rng(0).random((count, 10))  # 80 bytes a row
        frame = table(count).join(pd.DataFrame(more).rename(columns=str))
        frame.to_parquet(source, index=False, row_group_size=count)  # one row group, the worst
        arguments = (model, source, tmp_path / "out.parquet", tmp_path / "said")
        process = fresh.Process(target=measure, args=arguments)
        process.start()
        assert ended(process) == 0
        peaks.append(int((tmp_path / "said").read_text()))
    assert peaks[1] < peaks[0] + 120, peaks  # MB; 224 more are in the file
