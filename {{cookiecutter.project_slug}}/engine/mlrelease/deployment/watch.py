"""`model deploy --watch`: look again and again, less often while something is wrong."""

import os
import random
import select
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

MOST = 300.0  # seconds between two looks while something is wrong


def watch(looks: Sequence[Callable[[], bool]], every: float) -> None:
    """Call each of `looks`, which say whether all was well, `every` so many seconds, until a signal
    asks to stop; the look in hand is finished. A second signal ends the process at once."""
    failures = 0
    with _signals() as asked:
        while True:
            fine = True
            for look in looks:
                if asked(0):
                    return
                fine = look() and fine
            failures = 0 if fine else failures + 1
            if asked(pause(every, failures)):
                return


def pause(every: float, failures: int) -> float:
    """Seconds to the next look: twice as many after each failure, and never quite the same, so that
    many agents do not come back to a server all at once."""
    longest = min(every * 2.0 ** min(failures, 30), max(every, MOST))
    return longest * random.uniform(0.75, 1.0)  # noqa: S311 - no secret


@contextmanager
def _signals() -> Iterator[Callable[[float], bool]]:
    """Whether SIGTERM or SIGINT came, or comes within so many seconds."""
    reader, writer = os.pipe()

    def note(number: int, _: FrameType | None) -> None:
        os.write(writer, b".")
        signal.signal(number, signal.SIG_DFL)

    before = {name: signal.signal(name, note) for name in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda seconds: bool(select.select([reader], [], [], seconds)[0])
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
        os.close(reader)
        os.close(writer)
