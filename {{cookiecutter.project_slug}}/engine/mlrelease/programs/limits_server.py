"""Runs what others made, each job in a process of its own within limits of memory and time.

Started as a file, so that it imports libraries and nothing of a project: a job names the folder
that its code comes from. Jobs come as lines of JSON, and so do the outcomes; what a job has to say
stands in the files that it writes.
"""

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Collection
from pathlib import Path
from typing import Any

LIBRARIES = (  # what takes long to import; a job is forked with them
    "numpy", "pandas", "pyarrow.parquet", "pydantic", "msgspec", "pandera.pandas", "skops.io",
    "sklearn.compose", "sklearn.ensemble", "sklearn.linear_model", "sklearn.pipeline", "onnx",
    "onnxruntime", "skl2onnx",
)  # fmt: skip
PR_SET_CHILD_SUBREAPER = 36
MEMORY, FAULT = 3, 4  # exit codes: it asked for too much memory; `fault.json` says what is wrong


def run(job: dict[str, Any], tell: int) -> None:
    """In the new process: import the function, call it, write why it failed. The exit code is also
    written to `tell`, a descriptor: code that only exits is not done."""
    output = Path(job["output"])
    log = os.open(output / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if job["memory"]:
        resource.setrlimit(resource.RLIMIT_DATA, (job["memory"], job["memory"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(job["folder"])
    os.nice(job["nice"])
    sys.path[:0] = job["path"]
    sys.dont_write_bytecode = True  # the next job that runs this code reads its source
    module, _, name = job["call"].partition(":")
    fault = {}
    try:
        getattr(importlib.import_module(module), name)(job["arguments"], output)
        code = 0
    except MemoryError:
        code = MEMORY
    except BaseException as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        fault, code = {"kinds": kinds, "message": str(error)}, FAULT
        traceback.print_exc()
    if code == FAULT:
        (output / "fault.json").write_text(json.dumps(fault))
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(tell, str(code).encode())
    os._exit(code)


def supervise(job: dict[str, Any]) -> dict[str, Any]:
    """Fork, and wait no longer than the job may take."""
    told, tell = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setsid()
            with contextlib.suppress(OSError):  # if memory runs out, it goes before its server
                Path("/proc/self/oom_score_adj").write_text("1000")
            run(job, tell)
        finally:
            os._exit(1)
    os.close(tell)
    code: int | None = None
    end, pause = time.monotonic() + job["seconds"], 0.002
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        if time.monotonic() > end:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            break
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)  # whatever it started
    end_orphans()
    os.set_blocking(told, False)  # what the job left behind may hold the other end
    try:
        said = os.read(told, 16).decode(errors="replace")
    except BlockingIOError:
        said = ""
    os.close(told)
    return {"code": code, "told": said == str(code)}


def adopt_orphans(yes: bool) -> None:
    """Whether processes whose parent ended become children of this one, if it started that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0)


def end_orphans(besides: Collection[int] = ()) -> None:
    """End what a job started in a session of its own: it is our child, once its parent is gone."""
    end = time.monotonic() + 5  # what forks faster than it can be ended is left to the system
    while time.monotonic() < end and (children := set(children_here()) - set(besides)):
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)


def children_here() -> list[int]:
    """The processes whose parent is this one; none where the system does not say."""
    try:
        tasks = Path("/proc/self/task").glob("*/children")
        return [int(child) for task in tasks for child in task.read_text().split()]
    except OSError:  # not Linux
        return []


def main() -> None:
    """Serve jobs until standard input ends."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    adopt_orphans(True)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who asked says what becomes of a job
    for text in sys.stdin:
        sys.stdout.write(json.dumps(supervise(json.loads(text))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
