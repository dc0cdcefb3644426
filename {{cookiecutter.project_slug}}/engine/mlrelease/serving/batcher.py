"""Requests that are there at the same time are scored in one call, and each gets its own rows back.

A call for one row costs nearly as much as one for sixteen. Nobody waits for company: what has come
in the same turn of the loop goes together, and in a worker thread what came while the last call
ran. Quick calls run on the loop itself; others in the thread, so that /healthz answers meanwhile.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor

import numpy as np

from mlrelease.scoring.features import Inputs
from mlrelease.scoring.request_rows import overloaded
from mlrelease.scoring.runtime import Runtime

ALONE_ROWS = 32  # so many gain nothing from company, and lose what the processor has at hand
CALL_ROWS = 10_000  # of one call in the thread
QUEUE_ROWS = 100_000  # that may wait for the thread
QUEUE_SECONDS = 5.0
Scored = Sequence[np.ndarray | Exception]


class _Waiting:
    __slots__ = ("future", "inputs", "since")

    def __init__(self, inputs: Inputs, future: "asyncio.Future[np.ndarray]") -> None:
        self.inputs, self.future, self.since = inputs, future, time.monotonic()


class Batcher:
    """Scores for the requests of one event loop. Up to `inline_rows` rows are scored on the loop;
    with 0 all go to the worker, which has one thread."""

    def __init__(self, runtime: Runtime, inline_rows: int, worker: Executor) -> None:
        self.runtime, self.inline_rows, self.worker = runtime, inline_rows, worker
        self.quick: list[_Waiting] = []
        self.slow: deque[_Waiting] = deque()
        self.slow_rows = 0
        self.busy = False

    def scores(self, inputs: Inputs) -> "asyncio.Future[np.ndarray]":
        """The scores of these rows, (n,), as soon as they are there.

        Raises:
            RequestError: 503, when too many rows wait, or these waited for too long.
        """
        loop = asyncio.get_running_loop()
        rows = len(inputs.numbers)
        waiting = _Waiting(inputs, loop.create_future())
        if ALONE_ROWS <= rows <= self.inline_rows:
            _deliver([waiting], score_each(self.runtime, [inputs]))
        elif rows <= self.inline_rows:
            if not self.quick:
                loop.call_soon(self._score_here)
            self.quick.append(waiting)
        elif self.slow_rows + rows > QUEUE_ROWS:
            raise overloaded()
        else:
            self.slow.append(waiting)
            self.slow_rows += rows
            if not self.busy:
                self.busy = True
                loop.call_soon(self._score_there)
        return waiting.future

    def expire(self) -> None:
        """Refuse what has waited for the thread for too long."""
        limit = time.monotonic() - QUEUE_SECONDS
        while self.slow and self.slow[0].since < limit:
            waiting = self.slow.popleft()
            self.slow_rows -= len(waiting.inputs.numbers)
            if not waiting.future.done():
                waiting.future.set_exception(overloaded())

    def _score_here(self) -> None:
        rows, count = 0, 0
        for waiting in self.quick:
            rows += len(waiting.inputs.numbers)
            if rows > self.inline_rows and count:
                break
            count += 1
        taken, self.quick = self.quick[:count], self.quick[count:]
        if self.quick:  # after whatever else the loop has to do
            asyncio.get_running_loop().call_soon(self._score_here)
        _deliver(taken, score_each(self.runtime, [waiting.inputs for waiting in taken]))

    def _score_there(self) -> None:
        self.expire()
        taken: list[_Waiting] = []
        rows = 0
        while self.slow and (not taken or rows + len(self.slow[0].inputs.numbers) <= CALL_ROWS):
            taken.append(self.slow.popleft())
            rows += len(taken[-1].inputs.numbers)
        self.slow_rows -= rows
        self.busy = bool(taken)
        if taken:
            inputs = [waiting.inputs for waiting in taken]
            loop = asyncio.get_running_loop()
            call = loop.run_in_executor(self.worker, score_each, self.runtime, inputs)
            call.add_done_callback(lambda done: self._scored(taken, done))

    def _scored(self, taken: list[_Waiting], done: "asyncio.Future[Scored]") -> None:
        error = done.exception()
        _deliver(taken, done.result() if error is None else [_as_error(error)] * len(taken))
        self._score_there()


def score_each(runtime: Runtime, batches: Sequence[Inputs]) -> Scored:
    """The scores of each batch from one call. If that fails, each alone: one request must not hurt
    those beside it."""
    try:
        if len(batches) == 1:
            return [runtime.scores(batches[0])]
        parts = [np.concatenate(arrays) for arrays in zip(*batches, strict=True)]
        scores = runtime.scores(Inputs(*parts))
    except Exception as error:
        if len(batches) == 1:
            return [error]
        return [score_each(runtime, [batch])[0] for batch in batches]
    start, found = 0, []
    for batch in batches:
        found.append(scores[start : start + len(batch.numbers)])
        start += len(batch.numbers)
    return found


def _deliver(taken: Sequence[_Waiting], scored: Scored) -> None:
    for waiting, scores in zip(taken, scored, strict=True):
        if waiting.future.done():
            continue
        if isinstance(scores, Exception):
            waiting.future.set_exception(scores)
        else:
            waiting.future.set_result(scores)


def _as_error(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(repr(error))
