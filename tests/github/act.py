"""Run act in a runner's environment, and end what it leaves behind."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

# What installing packages may need on this machine.
PASSED_ON = re.compile(
    r"(?i)(https?|no|all)_proxy|PIP_\w+|UV_(?!PYTHON$)\w+|(SSL|REQUESTS|CURL|GIT_SSL|NODE_EXTRA)_\w*(CA|CERT)\w*"
    r"|DOCKER_HOST|LANG|LC_\w+|TZ|BASE_IMAGE"
)


def tool(name: str) -> str:
    """A command of this environment, or one on PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"{name}: not installed; run `make setup`")
    return found


def clean_environment(home: Path) -> dict[str, str]:
    """What a runner's environment has, and what this machine needs to install packages."""
    kept = {name: value for name, value in os.environ.items() if PASSED_ON.fullmatch(name)}
    beside = str(Path(sys.executable).parent)
    folders = [folder for folder in os.environ["PATH"].split(os.pathsep) if folder != beside]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return {
        "UV_CACHE_DIR": str(cache / "uv"),
        "UV_PYTHON_INSTALL_DIR": str(data / "uv" / "python"),
        **kept,
        "PATH": os.pathsep.join(folders),
        "HOME": str(home),
        "NO_COLOR": "1",
        "GIT_PAGER": "cat",
        "GIT_TERMINAL_PROMPT": "0",  # act gives steps a terminal, GitHub does not
        "GIT_CONFIG_NOSYSTEM": "1",
    }


def execute(
    command: list[str], log: Path, environment: dict[str, str], cwd: Path, seconds: float
) -> int | None:
    """The exit code, or nothing when time was up; what steps left running is ended either way.

    As on GitHub, RUNNER_TRACKING_ID tells which processes these are: a step that empties it
    leaves a service behind, which `end` ends by another mark.
    """
    with log.open("wb") as output, log.with_suffix(".err").open("wb") as errors:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            end("RUNNER_TRACKING_ID", environment["RUNNER_TRACKING_ID"])
            process.wait(timeout=10)


def end(name: str, value: str) -> None:
    """End every process that has this in its environment, and wait until there is none."""
    deadline = time.monotonic() + 10
    while left := list(_marked(f"{name}={value}".encode())):
        if time.monotonic() > deadline:
            raise RuntimeError(f"processes do not end: {left}")
        for number in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.02)


def _marked(mark: bytes) -> Iterator[int]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it has just ended, or is not ours
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)
