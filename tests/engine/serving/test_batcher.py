"""Requests that are there together are scored together, and each gets its own rows back."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from mlrelease.scoring import features, request_rows as serving_requests
from mlrelease.serving import batcher


class Doubling:
    """Twice the first number of each row; fails when a row is -1."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.threads: set[str] = set()
        self.go = threading.Event()
        self.go.set()

    def scores(self, inputs: features.Inputs) -> np.ndarray:
        self.calls.append(len(inputs.numbers))
        self.threads.add(threading.current_thread().name)
        assert self.go.wait(20)
        if (inputs.numbers == -1).any():
            raise ValueError("no such row")
        return np.asarray(inputs.numbers[:, 0] * 2.0, dtype=np.float64)


def rows(values: list[float]) -> features.Inputs:
    numbers = np.array(values, np.float32).reshape(-1, 1)
    return features.Inputs(numbers, np.full((len(values), 1), "a", object))


@pytest.fixture(scope="module")
def worker() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1, "worker") as found:
        yield found


def run(
    runtime: Doubling,
    worker: ThreadPoolExecutor,
    inline_rows: int,
    main: Callable[[batcher.Batcher], Awaitable[Any]],
) -> Any:
    async def start() -> Any:
        return await main(batcher.Batcher(runtime, inline_rows, worker))

    return asyncio.run(start())


async def together(scoring: batcher.Batcher, requests: list[list[float]]) -> list[Any]:
    waiting = [scoring.scores(rows(values)) for values in requests]
    return list(await asyncio.gather(*waiting, return_exceptions=True))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(-1, 9), min_size=1, max_size=5), min_size=1, max_size=8),
    st.sampled_from([0, 3, 100]),
)
def test_each_request_gets_its_own_rows_and_its_own_failure(
    worker: ThreadPoolExecutor, requests: list[list[float]], inline_rows: int
) -> None:
    found = run(Doubling(), worker, inline_rows, lambda s: together(s, requests))
    for values, scores in zip(requests, found, strict=True):
        if -1 in values:
            assert isinstance(scores, ValueError)
        else:
            assert scores.tolist() == [2 * value for value in values]


def test_what_is_there_together_is_one_call_on_the_loop(worker: ThreadPoolExecutor) -> None:
    runtime = Doubling()
    run(runtime, worker, 100, lambda s: together(s, [[1], [2, 3], [4]]))
    assert runtime.calls == [4]
    assert runtime.threads == {threading.current_thread().name}


def test_many_rows_on_the_loop_wait_for_nobody(worker: ThreadPoolExecutor) -> None:
    runtime, many = Doubling(), [1.0] * batcher.ALONE_ROWS
    found = run(runtime, worker, 100, lambda s: together(s, [many, [3], [-1] * 40, [4]]))
    assert runtime.calls == [len(many), 40, 2]
    assert [len(scores) for scores in (found[0], found[1], found[3])] == [len(many), 1, 1]
    assert isinstance(found[2], ValueError)


def test_no_call_keeps_the_loop_for_longer_than_its_rows(worker: ThreadPoolExecutor) -> None:
    runtime = Doubling()
    run(runtime, worker, 4, lambda s: together(s, [[1] * 3, [1] * 3, [1], [1] * 4]))
    assert runtime.calls == [3, 4, 4]


def test_a_large_request_goes_to_the_thread_and_the_loop_goes_on(
    worker: ThreadPoolExecutor,
) -> None:
    runtime = Doubling()
    runtime.go.clear()

    async def main(scoring: batcher.Batcher) -> None:
        large = scoring.scores(rows([1] * 50))
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert not large.done()
        runtime.go.set()
        assert (await scoring.scores(rows([3]))).tolist() == [6]
        assert len(await large) == 50

    run(runtime, worker, 10, main)
    assert len(runtime.threads) == 2


def test_what_comes_while_the_thread_works_is_the_next_call(worker: ThreadPoolExecutor) -> None:
    runtime = Doubling()
    runtime.go.clear()

    async def main(scoring: batcher.Batcher) -> None:
        first = scoring.scores(rows([1]))
        while not runtime.calls:
            await asyncio.sleep(0.001)
        later = [scoring.scores(rows([value])) for value in (2, 3, 4)]
        await asyncio.sleep(0)
        runtime.go.set()
        assert (await first).tolist() == [2]
        assert [scores.tolist() for scores in await asyncio.gather(*later)] == [[4], [6], [8]]

    run(runtime, worker, 0, main)
    assert runtime.calls == [1, 3]


def test_a_call_in_the_thread_is_bounded(
    worker: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "CALL_ROWS", 5)
    runtime = Doubling()
    run(runtime, worker, 0, lambda s: together(s, [[1] * 3, [1] * 3, [1] * 9, [1]]))
    assert runtime.calls == [3, 3, 9, 1]


def test_what_waits_too_long_or_too_much_is_refused(
    worker: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Doubling()
    runtime.go.clear()

    async def main(scoring: batcher.Batcher) -> None:
        first = scoring.scores(rows([1]))
        while not runtime.calls:
            await asyncio.sleep(0.001)
        second = scoring.scores(rows([2]))
        monkeypatch.setattr(batcher, "QUEUE_ROWS", 1)
        with pytest.raises(serving_requests.RequestError) as caught:
            scoring.scores(rows([3]))
        assert caught.value.status == 503
        monkeypatch.setattr(batcher, "QUEUE_SECONDS", -1.0)
        scoring.expire()
        with pytest.raises(serving_requests.RequestError, match="try again"):
            await second
        monkeypatch.undo()
        runtime.go.set()
        assert (await first).tolist() == [2]
        assert (await scoring.scores(rows([3]))).tolist() == [6]

    run(runtime, worker, 0, main)
    assert runtime.calls == [1, 1]


def test_a_caller_that_is_gone_is_passed_over(worker: ThreadPoolExecutor) -> None:
    async def main(scoring: batcher.Batcher) -> None:
        gone, here = scoring.scores(rows([1])), scoring.scores(rows([2]))
        gone.cancel()
        assert (await here).tolist() == [4]

    run(Doubling(), worker, 10, main)
