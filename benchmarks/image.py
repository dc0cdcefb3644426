"""How large the image of the generated service is, how long it takes to build, how soon it answers.

    .venv/bin/python benchmarks/image.py --project ../my-model     # 4 minutes

It builds the image of the model that `model train` left in the project, with ONNX Runtime and, to
compare, with scikit-learn and pandas. Sizes are those on top of the base image. The engine is that
of DOCKER_HOST, with BASE_IMAGE if it is set; as root on Debian without one, an engine of the tests
is started, with a base made by debootstrap. Exits with 1 when a bar is missed. Linux only.
"""

import argparse
import contextlib
import datetime as dt
import http.client
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.github.engines import base_image, docker_engine, missing  # noqa: E402

CONTEXT = ("Dockerfile", ".dockerignore", "LICENSE", "README.md", "pyproject.toml", "engine", "src")
STARTS = 7
LIMITS = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--network", "host")


def docker(*arguments: str) -> str:
    """What a command of the engine prints."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"docker {arguments[0]}: {done.stderr.strip()[-500:]}")
    return done.stdout.strip()


@contextlib.contextmanager
def engine() -> Iterator[None]:
    """The one that is given, or one of the tests."""
    if "DOCKER_HOST" in os.environ or not (why := missing()):
        with contextlib.ExitStack() as stack:
            if "DOCKER_HOST" not in os.environ:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="image-")))
                host = stack.enter_context(docker_engine(folder))
                os.environ["DOCKER_HOST"] = host
                os.environ["BASE_IMAGE"] = stack.enter_context(base_image(host))
            yield
    else:
        sys.exit(f"DOCKER_HOST is not set, and no engine can be started here: {why}")


def build(context: Path, runtime: str, *more: str) -> tuple[str, float]:
    """The image and the seconds that it took."""
    options = [f"--build-arg=RUNTIME={runtime}", "--network=host", "--quiet", *more]
    if base := os.environ.get("BASE_IMAGE"):
        options.append(f"--build-arg=BASE_IMAGE={base}")
    began = time.perf_counter()
    image = docker("build", *options, str(context))
    return image, time.perf_counter() - began


def on_top(image: str) -> float:
    """Megabytes of all layers but those of the base image."""
    lines = docker("history", "--no-trunc", "--human=false", "--format", "{{.Size}}", image)
    base = os.environ.get("BASE_IMAGE") or "python:3.12-slim"
    sizes = docker("history", "--human=false", "--format", "{{.Size}}", base).split()
    return (sum(map(int, lines.split())) - sum(map(int, sizes))) / 1e6


def start(image: str, row: bytes) -> tuple[float, float]:
    """Seconds from the start of the process to its first answer, and its resident megabytes."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    variables = ("--env", f"MODEL_PORT={port}", "--env", "MODEL_HOST=127.0.0.1")
    container = docker("run", "--detach", *LIMITS, *variables, image)
    try:
        end = time.monotonic() + 60
        while not answered(port, row):
            if time.monotonic() > end:
                sys.exit(f"no answer within 60 s: {docker('logs', container)[-500:]}")
            time.sleep(0.002)
        now = dt.datetime.now(dt.UTC)
        state: dict[str, Any] = json.loads(docker("inspect", "--format={{json .State}}", container))
        began = dt.datetime.fromisoformat(state["StartedAt"])
        status = Path(f"/proc/{state['Pid']}/status").read_text(encoding="ascii")
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return (now - began).total_seconds(), int(kilobytes.split()[1]) / 1e3
    finally:
        docker("rm", "--force", "--volumes", container)


def answered(port: int, row: bytes) -> bool:
    """Does it answer a row?"""
    with contextlib.suppress(OSError):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("POST", "/predict", row, {"content-type": "application/json"})
        return connection.getresponse().status == 200
    return False


def main() -> int:
    """Build, start, print each figure with its bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--project", type=Path, required=True, help="a generated project")
    project = parser.parse_args().project.resolve()
    model = project / "candidate" / "model"
    if not model.exists():
        sys.exit(f"{project}: `model train` never ran there")
    row = json.dumps(json.loads((model / "golden.json").read_text())[0]["row"]).encode()
    with engine(), tempfile.TemporaryDirectory(prefix="image-") as name:
        context = Path(name)
        for part in CONTEXT:
            found = project / part
            copy = shutil.copytree if found.is_dir() else shutil.copy
            copy(found, context / part)
        shutil.copytree(model, context / "candidate" / "model")
        ours, cold = build(context, "onnx", "--no-cache")
        with (context / "README.md").open("a") as readme:
            readme.write("\n")
        ours, warm = build(context, "onnx")
        theirs, _ = build(context, "scikit-learn")
        sizes = on_top(ours), on_top(theirs)
        first, resident = (
            statistics.median(column)
            for column in zip(*(start(ours, row) for _ in range(STARTS)), strict=True)
        )
    bars = (
        ("size on top of the base image, MB", sizes[0], 300.0),
        ("share of the size with scikit-learn and pandas", sizes[0] / sizes[1], 0.5),
        ("build after a change of the code, s", warm, 30.0),
        (f"first answer after the start, s (median of {STARTS})", first, 0.3),
        ("resident at the first answer, MB", resident, 100.0),
    )
    for text, value, bar in bars:
        print(f"{value:>9.2f}  {text:<56} under {bar:g}: {'holds' if value < bar else 'MISSED'}")
    print(f"{cold:>9.2f}  build without any cache, s")
    print(f"{sizes[1]:>9.2f}  with scikit-learn and pandas, MB")
    return 0 if all(value < bar for _, value, bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())
