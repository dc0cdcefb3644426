"""Work on what others made, such as a model, in a process of its own with limits: a small file may
ask for gigabytes or never end, and this machine may be the one that serves."""

import ctypes
import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from mlrelease.errors import InputError, ModelError, RefusedError
from mlrelease.files import read_json
from mlrelease.programs import limits_server
from mlrelease.programs.own_code import code_of
from mlrelease.programs.variables import kept

OWN = Path(__file__).parents[2]  # where the engine lies
GIGABYTE = 10**9
PR_SET_DUMPABLE = 4
SECONDS = 600.0
MOST_GIGABYTES = 4.0


class EndedError(ModelError):
    """A job ended itself, or what watches it, before it was done."""


class LimitError(RefusedError):
    """It needed more memory or time than it may have."""


class _Server:
    """One that this process started, with the libraries imported; it ends with this process."""

    def __init__(self, python: str) -> None:
        self.python = python
        self.process: subprocess.Popen[str] | None = None
        self.owner = 0

    def start(self) -> subprocess.Popen[str]:
        if self.process is None or self.owner != os.getpid() or self.process.poll() is not None:
            _hide()
            self.process, self.owner = subprocess.Popen(
                [self.python, "-P", str(Path(limits_server.__file__))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=kept(),
                start_new_session=True,
            ), os.getpid()  # fmt: skip
        return self.process

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        process = self.start()
        try:
            print(json.dumps(job), file=process.stdin, flush=True)
            return dict(json.loads(process.stdout.readline() if process.stdout else ""))
        except (OSError, ValueError):
            process.kill()
            process.wait()
            self.process = None
            raise EndedError("the process that checks models ended; try again") from None
        except BaseException:  # interrupted: the answer would be taken for that of the next job
            process.kill()
            self.process = None
            raise


_server = _Server(sys.executable)


@cache
def _with(python: Path) -> _Server:
    """One whose libraries are those of another interpreter."""
    return _Server(str(python))


def _hide() -> None:
    """Let nobody of this user read what this process was given, such as a token, in /proc."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)


@contextmanager
def _parent_of_orphans() -> Iterator[None]:
    """If a job ends its server, what it leaves behind becomes a child of this process, and is
    ended."""
    before = limits_server.children_here()
    limits_server.adopt_orphans(True)
    try:
        yield
    except EndedError:
        limits_server.end_orphans(besides=before)
        raise
    finally:
        limits_server.adopt_orphans(False)


def start() -> None:
    """Let the process begin that checks models: it imports while its caller does something else."""
    _server.start()


def limited(
    what: str, call: str, arguments: Mapping[str, Any], output: Path, *,
    seconds: float | None = None, source: Path | None = None, python: Path | None = None,
) -> None:  # fmt: skip
    """Call `module:function(arguments, output)` in a process of its own; it writes into the folder
    `output`. `what` names the work in messages.

    MODEL_MEMORY_GB and MODEL_SECONDS change how much memory it may take (4 GB, at most half of the
    machine's) and how long it may last (ten minutes). Code of a `source` commit is no stranger's:
    it is found and run in that folder, may take the memory that there is, and makes way for what
    serves; with the libraries of the interpreter `python`, if they are not those of this one.

    Raises:
        LimitError: It needs more.
        InputError, RefusedError: As the function did.
        EndedError: It, or its server, ended before the function returned.
    """
    seconds = seconds or _setting("MODEL_SECONDS", SECONDS)
    most = _setting("MODEL_MEMORY_GB", _default_memory())
    job = {
        "call": call, "arguments": dict(arguments), "output": str(output), "seconds": seconds,
        "path": [str(place) for place in (code_of(source) if source else (OWN,))],
        "memory": 0 if source else int(most * GIGABYTE),
        "folder": str(source or output), "nice": 10 if source else 0,
    }  # fmt: skip
    with _parent_of_orphans():
        answer = (_with(python) if python else _server).ask(job)
    code = answer["code"]
    if code is None:
        raise LimitError(f"{what}: not done after {seconds:g} s; MODEL_SECONDS allows more")
    if code and not answer["told"] and not shutil.disk_usage(output).free:  # it could not say so
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(output))
    if code >= 0 and not answer["told"]:
        raise EndedError(f"{what}: ended with code {code} before it was done; try again")
    if code == limits_server.FAULT:
        _raise(what, read_json(output / "fault.json"), most)
    if code == limits_server.MEMORY or code < 0:
        ended = f"was ended by signal {-code}, perhaps because it " if code < 0 else ""
        raise LimitError(f"{what}: {ended}{_too_much(most)}")


def _too_much(most: float) -> str:
    return f"needs more than {most:.1f} GB of memory; MODEL_MEMORY_GB allows more"


def _raise(what: str, fault: Mapping[str, Any], most: float) -> None:
    """As it was there: a rule that said no, an input that is wrong, or a fault of ours."""
    message, kinds = str(fault.get("message"))[:2000], list(fault.get("kinds", ()))
    if "alloc" in message.lower() and RefusedError.__name__ not in kinds:  # in a library's words
        raise LimitError(f"{what}: {_too_much(most)}")
    if "OSError" in kinds and "No space left" in message:  # a fault of this machine, not of the job
        raise OSError(errno.ENOSPC, message, tempfile.gettempdir())
    for kind in (RefusedError, InputError, ModelError):
        if kind.__name__ in kinds:
            raise kind(message)
    raise ModelError(f"{what}: unexpected {kinds[0] if kinds else 'fault'}; try again")


def _default_memory() -> float:
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIGABYTE
    return min(MOST_GIGABYTES, there / 2)


def _setting(name: str, default: float) -> float:
    given = os.environ.get(name)
    try:
        value = float(given) if given else default
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InputError(f"{name} is {given!r}: set it to a number above 0")
    return value
