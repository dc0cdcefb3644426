"""HTTP around one model directory: `/predict`, `/healthz`, `/model`, `/openapi.json`."""

import argparse
import asyncio
import datetime as dt
import functools
import logging
import os
import re
import sys
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ..errors import ModelError
from ..files import canonical_json, write_atomically
from ..pipeline.artifact import Model, digest_of
from . import openapi, process
from .prediction_log import PredictionLog
from .requests import MAX_BYTES, RequestError, clip, decode


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
) -> None:
    """Serve a model directory until SIGTERM; then finish what was accepted and return.

    With a `public_port`, `port` is for this machine only, and SIGUSR1 opens the public one (0: any
    that is free). Send it only to a pid that `process_file` names: no earlier is it understood.

    Raises:
        RefusedError: The directory has another digest, or `process_file` has a living process.
        InputError: The directory cannot be read, or the port is taken.
    """
    lock = process.lock(process_file) if process_file else None
    digest = digest or digest_of(directory)
    service = Service(Model.load(directory, digest), digest, version, log)
    private_host = host if public_port is None else "127.0.0.1"
    private = process.listen(private_host, port)
    port = service.listening["private"] = private.getsockname()[1]
    service.check_port = port if public_port is not None else None

    def started() -> None:
        logging.getLogger("uvicorn.error").info("%s at http://%s:%s", digest, private_host, port)
        facts = {"pid": os.getpid(), "port": port, "digest": digest, "public_port": public_port}
        if process_file:
            write_atomically(process_file, canonical_json(facts))

    public = functools.partial(process.listen, host, public_port or 0, shared=True)
    server = process.Server(
        service.app, service.listening, started, public if public_port is not None else None
    )
    server.run([private])
    if lock is not None:
        os.close(lock)


class Service:
    """The answer to each path. `listening` is for whoever opens sockets to fill."""

    def __init__(self, model: Model, digest: str, version: str, log: Path | None = None) -> None:
        self.model, self.digest, self.version = model, digest, version
        self.log = PredictionLog(log, digest) if log else None
        self.check_port: int | None = None  # what is asked there is no traffic, and not logged
        self.listening: dict[str, Any] = {"private": None, "public": None, "error": None}
        self.document = openapi.document(model.signature, version)
        # Off the loop, so that /healthz answers while a large batch is scored.
        self.worker = ThreadPoolExecutor(1, "predict")
        routes = [
            Route("/predict", self.predict, methods=["POST"]),
            Route("/healthz", self.healthz),
            Route("/model", self.describe),
            Route("/openapi.json", self.openapi),
        ]
        handlers = dict.fromkeys((RequestError, HTTPException, Exception), self.refuse)
        self.app = Starlette(routes=routes, exception_handlers=handlers)
        self.app.router.redirect_slashes = False

    async def predict(self, request: Request) -> Response:
        body = await _body(request)
        given = request.headers.get("x-request-id", "")
        name = given if re.fullmatch(r"[\w.:-]{1,100}", given, re.ASCII) else uuid.uuid4().hex
        loop = asyncio.get_running_loop()
        asked = (request.scope.get("server") or ("", None))[1]
        traffic = self.check_port is None or asked != self.check_port
        content = await loop.run_in_executor(self.worker, self._answer, body, name, traffic)
        return self._respond(content, headers={"x-request-id": name})

    def _answer(self, body: bytes, request_id: str, traffic: bool) -> Any:
        batch = decode(body, self.model.signature)
        answers = self.model.answers(self.model.scores(batch.frame))
        if self.log and traffic:
            self.log.append(dt.datetime.now(dt.UTC), request_id, batch.rows, answers)
        return answers if batch.many else answers[0]

    async def healthz(self, _: Request) -> Response:
        dropped = self.log.dropped if self.log else 0
        return self._respond({"status": "ok", "digest": self.digest, "log_dropped": dropped})

    async def describe(self, _: Request) -> Response:
        card = self.model.card
        return self._respond(
            {
                "digest": self.digest,
                "version": self.version,
                "signature": card.signature,
                "estimator": card.estimator,
                "libraries": card.libraries,
                "listening": self.listening,
            }
        )

    async def openapi(self, _: Request) -> Response:
        return self._respond(self.document)

    async def refuse(self, request: Request, error: Exception) -> Response:
        field, headers = None, None
        if isinstance(error, RequestError):
            message, status, field = str(error), error.status, error.field
        elif isinstance(error, HTTPException):
            message, status, headers = error.detail, error.status_code, error.headers
            message += f": {request.method} {clip(request.scope['path'])}; see /openapi.json"
        else:
            message, status = "the service failed; the reason is in its log", 500
        return self._respond({"error": {"message": message, "field": field}}, status, headers)

    def _respond(
        self, content: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> Response:
        headers = {"model-digest": self.digest, **(headers or {})}
        return Response(msgspec.json.encode(content), status, headers, "application/json")


async def _body(request: Request) -> bytes:
    """The body, refused as early as it can be: by its headers, then while it arrives."""
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if kind.lower() != "application/json" or "content-encoding" in request.headers:
        raise RequestError("send plain application/json, without a content encoding", None, 415)
    too_large = RequestError(f"the body is larger than {MAX_BYTES} bytes", None, 413)
    length = request.headers.get("content-length", "")
    if len(length) > 18 or (length.isdecimal() and int(length) > MAX_BYTES):
        raise too_large
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BYTES:
                raise too_large
    except ClientDisconnect:
        raise RequestError("the body ended early", None, 400) from None
    return bytes(body)


def main(arguments: list[str] | None = None) -> int:
    """The command `model-service`: one service process, its options also as MODEL_<OPTION>."""
    parser = argparse.ArgumentParser(description=serve.__doc__)
    needed = {"directory": Path, "version": str}
    more = {"host": str, "port": int, "public-port": int, "process-file": Path, "log": Path}
    for name, kind in (needed | more).items():
        given = os.environ.get(f"MODEL_{name.upper().replace('-', '_')}")
        default = given or argparse.SUPPRESS  # that of `serve`
        parser.add_argument(
            f"--{name}", type=kind, required=name in needed and not given, default=default
        )
    parser.add_argument("--digest", default=os.environ.get("MODEL_DIGEST") or None)
    try:
        serve(**vars(parser.parse_args(arguments)))
    except ModelError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
