"""The servers of benchmarks/serving.py: what each needs, how it starts, what it is asked."""

import hashlib
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .process import BenchmarkError, call

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
UVICORN = ("uvicorn==0.54.0", "uvloop==0.23.0", "httptools==0.9.0")
# Installing takes minutes the first time; nothing here may wait for ever.
INSTALL_SECONDS = 1800

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Server:
    """`needs` are requirements, those without a version as the generated project pins them;
    `command` gives its arguments from (folder of files, port); the first is a program of its
    environment. `body` and `scores` translate rows, and the decoded answer to them."""

    key: str
    title: str
    environment: str
    command: Callable[[Path, int], list[str]]
    one: str = "/predict"
    many: str = "/predict"
    needs: tuple[str, ...] = ()
    body: Callable[[Rows, bool], Any] = lambda rows, many: rows if many else rows[0]
    scores: Callable[[Any, bool], list[float]] = lambda answer, many: [
        row["probability"] for row in (answer if many else [answer])
    ]

    @property
    def ours(self) -> bool:
        """Whether it is the generated service."""
        return self.environment in {"service", "training"}


def _uvicorn(module: str) -> Callable[[Path, int], list[str]]:
    return lambda _, port: [
        "uvicorn", f"{module}:app", "--app-dir", str(HERE), "--port", str(port),
        "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip


def _ours(model: str) -> Callable[[Path, int], list[str]]:
    return lambda files, port: [
        "model-service", "--directory", str(files / model), "--version", "benchmark",
        "--port", str(port), "--log", str(files / "log" / "predictions.jsonl"),
    ]  # fmt: skip


SERVERS = (
    Server(
        "mlflow", "mlflow models serve", "mlflow",
        lambda files, port: [
            "mlflow", "models", "serve", "--model-uri", str(files / "mlflow"), "--port", str(port),
            "--workers", "1", "--env-manager", "local",
        ],
        one="/invocations", many="/invocations", needs=("mlflow==3.17.2", "scikit-learn"),
        body=lambda rows, _: {"dataframe_records": rows},
        scores=lambda answer, _: [row[1] for row in answer["predictions"]],
    ),
    Server(
        "bentoml", "bentoml serve", "bentoml",
        lambda _, port: [
            "bentoml", "serve", "bentoml_pandas:Predictor", "--working-dir", str(HERE),
            "--host", "127.0.0.1", "--port", str(port),
        ],
        needs=("bentoml==1.4.39", "pandas", "scikit-learn"),
        body=lambda rows, _: {"rows": rows},
        scores=lambda answer, _: [row[1] for row in answer],
    ),
    Server(
        "fastapi-pandas", "FastAPI + pandas + scikit-learn", "fastapi-pandas",
        _uvicorn("fastapi_pandas"), many="/batch",
        needs=("fastapi==0.165.0", *UVICORN, "pandas", "scikit-learn"),
    ),
    Server(
        "fastapi-onnx", "FastAPI + ONNX Runtime", "fastapi-onnx",
        _uvicorn("fastapi_onnx"), many="/batch",
        needs=("fastapi==0.165.0", *UVICORN, "numpy", "onnxruntime"),
    ),
    Server("fallback", "ours, without model.onnx", "training", _ours("fallback")),
    Server("ours", "ours", "service", _ours("model")),
    Server(
        "constant", "a constant answer, raw ASGI", "load", _uvicorn("constant"), needs=UVICORN
    ),
)  # fmt: skip


class Installation:
    """The environments and files below one folder; what is there from an earlier run is reused."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.files = folder, folder / "files"
        self.project = folder / "bake" / "my-model"
        self.logs = folder / "logs"
        beside = Path(sys.executable).with_name("uv")
        self.uv = shutil.which("uv") or str(beside)
        if not Path(self.uv).exists():
            raise BenchmarkError("uv is not installed; run `make setup`, or put it on PATH")
        # Nothing of this environment (PYTHONUNBUFFERED loses what a pipe takes in two writes), no
        # settings of our service; and no peer reports home.
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MODEL_", "PYTHON"))}
        kept.pop("VIRTUAL_ENV", None)
        self.environ = kept | {
            "BENCHMARK_PIPELINE": str(self.files / "pipeline.joblib"),
            "BENCHMARK_ONNX": str(self.files / "model" / "model.onnx"),
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(folder / "bentoml"),
            "DO_NOT_TRACK": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            # For all: two threads of one server wait for each other when the generator has a core.
            "OMP_NUM_THREADS": "1",
        }

    def bake(self) -> None:
        """The generated project, and with it the versions that everybody gets."""
        shutil.rmtree(self.project.parent, ignore_errors=True)
        self.project.parent.mkdir(parents=True)
        config = self.project.parent / "cookiecutter.yaml"
        kept = {name: str(self.folder / f".{name}") for name in ("cookiecutters_dir", "replay_dir")}
        config.write_text(json.dumps(kept))  # which is YAML
        python = f"python_version=3.{min(sys.version_info[1], 14)}"
        self.run(
            [sys.executable, "-m", "cookiecutter", str(ROOT), "--no-input", "--config-file",
             str(config), "--output-dir", str(self.project.parent), python]
        )  # fmt: skip
        project = tomllib.loads((self.project / "engine" / "pyproject.toml").read_text())["project"]
        self.service = list(project["dependencies"])
        self.training = self.service + project["optional-dependencies"]["training"]
        lines = (line.partition(";")[0] for line in self.training)
        self.pins = {name: version for name, _, version in (x.partition("==") for x in lines)}

    def python(self, environment: str) -> Path:
        """The interpreter of an environment."""
        return self.folder / "envs" / environment / "bin" / "python"

    def install(self, environment: str, needs: list[str], project: bool = False) -> None:
        """Make an environment, byte-compiled as in an image, unless it is there.

        Raises:
            BenchmarkError: Something cannot be installed.
        """
        wanted = [x if "=" in x else f"{x}=={self.pins[x]}" for x in needs]
        key = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()
        python = self.python(environment)
        stamp = python.parent.parent / ".benchmark"
        pip = [self.uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python)]
        if not stamp.exists() or stamp.read_text() != key:
            root = str(python.parent.parent)
            self.run([self.uv, "venv", "--quiet", "--clear", "--python", sys.executable, root])
            self.run([*pip, *wanted])
            stamp.write_text(key)
        if project:  # every time: it is what changes
            fresh = [
                "--no-deps",
                "--reinstall-package",
                "my-model",
                "--reinstall-package",
                "mlrelease",
            ]
            self.run([*pip, *fresh, str(self.project / "engine"), str(self.project)])

    def versions(self, environment: str) -> dict[str, str]:
        """What is installed in an environment."""
        python = str(self.python(environment))
        listed = self.run([self.uv, "pip", "list", "--quiet", "--format=json", "--python", python])
        return {item["name"]: item["version"] for item in json.loads(listed)}

    def start(self, server: Server, port: int) -> tuple[list[str], dict[str, str]]:
        """How a server is started, and its environment variables."""
        program, *arguments = server.command(self.files, port)
        path = self.python(server.environment).parent
        environ = self.environ | {"PATH": f"{path}{os.pathsep}{self.environ['PATH']}"}
        return [str(path / program), *arguments], environ

    def run(self, command: list[str], cwd: Path | None = None) -> str:
        """What a command prints.

        Raises:
            BenchmarkError: It fails, or takes longer than anything here may.
        """
        return call(command, self.environ, INSTALL_SECONDS, cwd)
