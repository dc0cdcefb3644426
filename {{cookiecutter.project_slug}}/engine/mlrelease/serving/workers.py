"""Several processes that serve one listening socket: a parent forks them, and again what dies.

The parent loads no model and answers nothing. It passes SIGTERM and SIGINT on, and ends when all
have drained.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

from mlrelease.errors import ModelError
from mlrelease.serving import logs

FIRST_DELAY, LONGEST_DELAY = 0.5, 30.0  # seconds until a dead worker is replaced
GOOD_SECONDS = 60.0  # a worker that lived as long is replaced quickly again
STOP_SECONDS = 20.0  # a worker that drains for longer is killed


def run_all(count: int, run: Callable[[int], None], stop: Callable[[], object]) -> int:
    """Run `run(0)`, ..., `run(count - 1)` in processes of their own until SIGTERM or SIGINT.

    Then call `stop`, before they hear of it. It closes the socket here: while any process keeps it
    open, new connections are accepted, and wait for nobody.

    Returns the exit code: 0 when all drained, that of the error when a worker says that it cannot
    be mended by another start, else 1.
    """
    return _Workers(count, run, stop).run()


class _Workers:
    def __init__(self, count: int, run: Callable[[int], None], stop: Callable[[], object]) -> None:
        self.count, self.child, self.notify_stop = count, run, stop
        self.living: dict[int, int] = {}  # pid: place
        self.born, self.failures = [0.0] * count, [0] * count
        self.due = dict.fromkeys(range(count), 0.0)  # place: when to start
        self.code, self.stopping_since = 0, 0.0

    def run(self) -> int:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._stop)
        while self.living or not self.stopping_since:
            if not self.stopping_since:
                self._start_due()
            elif time.monotonic() - self.stopping_since > STOP_SECONDS:
                self._signal(signal.SIGKILL)
            self._reap()
            time.sleep(0.05)
        return self.code

    def _start_due(self) -> None:
        for place, when in list(self.due.items()):
            if when <= time.monotonic() and not self.stopping_since:
                del self.due[place]
                self._fork(place)

    def _fork(self, place: int) -> None:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            self.living[pid], self.born[place] = place, time.monotonic()
            if self.stopping_since:  # the signal came between these lines
                self._signal(signal.SIGTERM)
            return
        code = 1
        try:
            for name in (signal.SIGTERM, signal.SIGINT):
                signal.signal(name, signal.SIG_DFL)
            _end_with(parent)
            if not self.stopping_since:  # else the socket is closed
                self.child(place)
            code = 0
        except ModelError as error:
            logs.failed(error)
            code = error.exit_code + 100  # another start would not mend it
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        while self.living:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            place = self.living.pop(pid, None)
            if place is None:
                continue
            code = os.waitstatus_to_exitcode(status)
            if self.stopping_since:
                self.code = self.code or int(code not in (0, -signal.SIGTERM))  # still starting
            elif code > 100:
                self.code = code - 100
                self._stop(signal.SIGTERM)
            else:
                self._replace(place, pid, code)

    def _replace(self, place: int, pid: int, code: int) -> None:
        lived = time.monotonic() - self.born[place]
        self.failures[place] = 0 if lived > GOOD_SECONDS else self.failures[place] + 1
        delay = min(FIRST_DELAY * 2 ** max(0, self.failures[place] - 1), LONGEST_DELAY)
        self.due[place] = time.monotonic() + delay
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        text = "worker %d (process %d) %s; another one starts in %.1f s"
        logs.events.error(text, place, pid, how, delay)

    def _stop(self, number: int, _: object = None) -> None:
        self.stopping_since = self.stopping_since or time.monotonic()
        self.notify_stop()
        self._signal(number)

    def _signal(self, number: int) -> None:
        for pid in list(self.living):
            os.kill(pid, number)


def _end_with(parent: int) -> None:
    """Let this worker drain when its parent is gone: nobody would stop it."""
    import threading

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
