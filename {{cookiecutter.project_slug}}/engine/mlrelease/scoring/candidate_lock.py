"""One process at a time writes `candidate/`; what a killed one left there is cleared away."""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlrelease.errors import RefusedError
from mlrelease.files import open_lock, writing_to
from mlrelease.output import begins

LOCK, INPUTS = ".lock", "inputs.json"
INPUTS_OURS = begins('{\n "fitted": ', '{\n "holdout": ')  # the latter of earlier versions
# As `temporary_beside` and `write_atomically` name them.
TEMPORARY = re.compile(r"\.\w+\.[0-9a-f]{16}\.tmp|\.inputs\.json\.\w{8}")


def temporary_beside(path: Path) -> Path:
    """A new name in the folder of `path`, which no other process has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")


@contextmanager
def writing(candidate: Path) -> Iterator[None]:
    """Hold the lock of a candidate's folder. The kernel gives it up with its process, however that
    ends. Others are refused at once: a training can take hours, and a queue would train twice.

    Raises:
        RefusedError: Another process holds it, or it is a link.
    """
    with writing_to(candidate):
        candidate.mkdir(parents=True, exist_ok=True)
        with os.fdopen(open_lock(candidate / LOCK)) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RefusedError(
                    f"{candidate}: another `model train` is going on in this folder; wait until"
                    " it has ended"
                ) from None
            try:
                _clear(candidate)
                yield
            finally:
                _clear(candidate)


def _clear(candidate: Path) -> None:
    """Remove what a killed process left: nobody else writes here now."""
    for path in candidate.iterdir():
        if TEMPORARY.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
