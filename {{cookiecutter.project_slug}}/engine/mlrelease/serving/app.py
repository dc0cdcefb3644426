"""`model serve` and the command `model-service`: a model directory behind HTTP."""

import argparse
import functools
import gc
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlrelease.errors import InputError, ModelError, RefusedError, unexpected
from mlrelease.files import canonical_json, short, write_atomically
from mlrelease.scoring.artifact import ModelCard, read_card
from mlrelease.scoring.contents import Contents, read
from mlrelease.serving import logs, process
from mlrelease.serving.bearer import read_token
from mlrelease.serving.metrics import SHARES, Metrics
from mlrelease.serving.prediction_log import PredictionLog, refuse_strangers
from mlrelease.serving.service import Service

START_SECONDS = 120.0  # that a model may take to load and to give its recorded answers


def serve(
    directory: Path,
    digest: str | None,
    *,
    version: str,
    host: str = "127.0.0.1",
    port: int = 8000,
    public_port: int | None = None,
    process_file: Path | None = None,
    log: Path | None = None,
    log_sample: float = 1.0,
    access_log: bool = False,
    token_file: Path | None = None,
    workers: int = 1,
    start_seconds: float = START_SECONDS,
) -> int:
    """Serve a model directory until SIGTERM; then finish what was accepted and return 0.

    With a `public_port`, `port` is for this machine only, and SIGUSR1 opens the public one (0: any
    that is free). Send it only to a pid that `process_file` names: no earlier is it understood.
    A model that is not ready after `start_seconds` ends the process with 1: it may never be.

    Raises:
        RefusedError: The directory has another digest or gives other answers than the recorded
            ones, `process_file` has a living process, or a file is somebody else's.
        InputError: The directory cannot be read, or the port is taken.
    """
    if workers > 1 and (public_port is not None or process_file):
        raise InputError("--workers goes with neither --public-port nor --process-file; choose one")
    if log:
        refuse_strangers(log)
    lock = process.lock(process_file) if process_file else None
    token = read_token(token_file)
    files = read(directory, digest)  # once: a worker that is started again has these bytes too
    digest, card = files.digest, read_card(files)
    fields = {"service.version": version, "labels.model_digest": digest}
    logs.configure(**fields)
    info = {"version": version, "runtime": card.runtime}
    metrics = Metrics(digest, info, _bounds(files, card), workers)
    private_host = host if public_port is None else "127.0.0.1"
    private = process.listen(private_host, port)
    port = private.getsockname()[1]

    def run(worker: int) -> None:
        from mlrelease.scoring.runtime import load

        metrics.take(worker)
        place = 100 if workers > 1 else 0  # another start of a worker would not help
        watch = threading.Timer(start_seconds, _give_up, [digest, start_seconds, place])
        watch.daemon = True
        watch.start()
        # scikit-learn's threads wait for each other longer than they work on a few rows.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        service = Service(
            card,
            load(files, card),
            digest,
            version,
            golden=_golden(files),
            metrics=metrics,
            log=PredictionLog(log, digest, log_sample) if log else None,
            token=token,
            access_log=access_log,
        )
        files.forget()  # of this process; the parent of workers keeps its own
        gc.collect()
        gc.freeze()  # what is there now stays: no later collection needs to look at it
        service.listening["private"] = port
        service.check_port = port if public_port is not None else None

        def started() -> None:
            watch.cancel()
            _tell_start(card, digest, f"http://{private_host}:{port}")
            if process_file:
                facts = {"port": port, "digest": digest, "public_port": public_port}
                write_atomically(process_file, canonical_json({"pid": os.getpid(), **facts}))

        public = functools.partial(process.listen, host, public_port or 0, shared=True)
        server = process.Server(
            service, service.listening, started, public if public_port is not None else None
        )
        service.draining = lambda: server.should_exit
        server.run([private])
        service.close()

    code = 0
    if workers > 1:
        from mlrelease.serving.workers import run_all

        code = run_all(workers, run, private.close)
    else:
        run(0)
    if lock is not None:
        os.close(lock)
    return code


def _give_up(digest: str, seconds: float, more: int) -> None:
    """In a thread: what hangs in a library cannot be stopped otherwise."""
    error = RefusedError(
        f"model {short(digest)}: not ready after {seconds:g} s, not served; if it is yours and that"
        " slow, --start-seconds allows more"
    )
    logs.failed(error)
    os._exit(error.exit_code + more)


def _tell_start(card: ModelCard, digest: str, url: str) -> None:
    fields: dict[str, Any] = {"labels.runtime": card.runtime, "url.full": url}
    text = f"{url}/docs: model {short(digest)} runs in {card.runtime}"
    if card.not_onnx:
        fields["labels.not_onnx"] = card.not_onnx
        text += f"; not in ONNX Runtime: {card.not_onnx}"
    logs.events.info("%s", text, extra={"ecs": fields})


def _golden(files: Contents) -> list[dict[str, Any]]:
    return list(files.json("golden.json")) if "golden.json" in files else []


def _bounds(files: Contents, card: ModelCard) -> tuple[float, ...]:
    """Of the histogram of predictions: shares, or the deciles of the training rows' values."""
    if card.signature.task == "classification":
        return SHARES
    score = files.json("profile.json").get("score", {}) if "profile.json" in files else {}
    return tuple(sorted(score.get("edges", ())))


def main(arguments: list[str] | None = None) -> int:
    """The command `model-service`: one service, its options also as MODEL_<OPTION>."""
    parser = argparse.ArgumentParser(description=serve.__doc__)
    needed: dict[str, Callable[[str], Any]] = {"directory": Path, "version": str}
    more: dict[str, Callable[[str], Any]] = {
        "host": str, "port": int, "public-port": int, "process-file": Path, "log": Path,
        "log-sample": _share, "token-file": Path, "workers": int, "start-seconds": float,
    }  # fmt: skip
    for name, kind in (needed | more).items():
        given = os.environ.get(f"MODEL_{name.upper().replace('-', '_')}")
        default = given or argparse.SUPPRESS  # that of `serve`
        parser.add_argument(
            f"--{name}", type=kind, required=name in needed and not given, default=default
        )
    parser.add_argument("--digest", default=os.environ.get("MODEL_DIGEST") or None)
    access_log = os.environ.get("MODEL_ACCESS_LOG", "") not in ("", "0", "false")
    parser.add_argument("--access-log", action="store_true", default=access_log)
    try:
        return serve(**vars(parser.parse_args(arguments)))
    except ModelError as error:
        logs.failed(error)
        return error.exit_code
    except OSError as error:  # a full disk, a log that it may not write
        logs.failed(ModelError(unexpected(error)))
        return 1


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError
    return share


if __name__ == "__main__":
    sys.exit(main())
