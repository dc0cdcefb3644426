"""HTTP around one model, as a plain ASGI application: the answer to each path."""

import asyncio
import itertools
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from mlrelease.scoring.artifact import ModelCard
from mlrelease.scoring.decoder import Decoder
from mlrelease.scoring.features import Inputs, Signature
from mlrelease.scoring.request_rows import Batch, RequestError, clip, overloaded
from mlrelease.scoring.runtime import Runtime
from mlrelease.serving import warm_up
from mlrelease.serving.answer import Answer, encode, error_answer, json_answer
from mlrelease.serving.batcher import Batcher
from mlrelease.serving.bearer import check_token
from mlrelease.serving.body import JSON, Reader, Receive, content_type
from mlrelease.serving.logs import RequestLog, events
from mlrelease.serving.metrics import PATHS, Metrics
from mlrelease.serving.prediction_log import PredictionLog
from mlrelease.serving.tables import CSV, decode_csv, to_json
from mlrelease.serving.unpack import Unpacker

INLINE_BYTES = 100_000  # larger bodies are read in the worker thread
MOST_IN_WORKER = 16  # large bodies that may wait there
REQUEST_ID = re.compile(rb"[\w.:-]{1,100}")
OPEN = ("/healthz", "/readyz", "/metrics")  # without a token
GETS = tuple(path for path in PATHS if path not in ("/predict", "other"))
PLACES = {path: place for place, path in enumerate(PATHS)}
MORE: dict[int, list[tuple[bytes, bytes]]] = {
    401: [(b"www-authenticate", b"Bearer")],
    408: [(b"connection", b"close")],
    503: [(b"retry-after", b"1")],
}
PHRASES = {404: "Not Found", 405: "Method Not Allowed"}
Headers = Mapping[bytes, bytes]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Service:
    """An ASGI application. `listening` is for whoever opens sockets to fill, `draining` says
    whether they close."""

    def __init__(
        self,
        card: ModelCard,
        runtime: Runtime,
        digest: str,
        version: str,
        *,
        golden: Sequence[Mapping[str, Any]] = (),
        metrics: Metrics | None = None,
        log: PredictionLog | None = None,
        token: str | None = None,
        access_log: bool = False,
    ) -> None:
        self.card, self.digest, self.version, self.log = card, digest, version, log
        self.signature: Signature = card.signature
        self.golden, self.token = golden, token.encode() if token else None
        self.metrics = metrics or Metrics(digest, {"version": version, "runtime": card.runtime})
        self.decode = Decoder(card.signature)
        inline_rows = warm_up.warm_up(card, runtime, golden, self.decode)
        # Off the loop, so that /healthz answers while a large batch is scored.
        self.worker, self.in_worker = ThreadPoolExecutor(1, "predict"), 0
        self.unpacker = Unpacker(card.signature)
        self.batcher = Batcher(runtime, inline_rows, self.worker)
        self.reader, self.requests = Reader(), RequestLog(access_log)
        self.check_port: int | None = None  # what is asked there is no traffic, and not logged
        self.listening: dict[str, Any] = {"private": None, "public": None, "error": None}
        self.draining: Callable[[], bool] = bool
        self.sweeping = False
        self.ids, self.prefix = itertools.count(), os.urandom(8).hex().encode()
        self.model_header = (b"model-digest", digest.encode())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        begun = time.perf_counter_ns()
        method, path = scope["method"], scope["path"]
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        name = given if REQUEST_ID.fullmatch(given) else b"%b%016x" % (self.prefix, next(self.ids))
        self.metrics.begin()
        error = ""
        status = 500
        try:
            if not self.sweeping:
                self._sweep()
            try:
                if path == "/predict" and method == "POST":
                    if self.token is not None:
                        check_token(self.token, headers)
                    body = await self._predict(scope, headers, receive, name)
                    answer = Answer(200, body)
                else:
                    answer = self._get(method, path, headers)
            except RequestError as refusal:
                error = str(refusal)
                answer = self._refusal(refusal)
            except Exception as failure:
                error = f"{type(failure).__name__}: {failure}"
                events.error("a request failed", exc_info=failure)
                answer = error_answer("the service failed; the reason is in its log", 500)
            status = answer.status
            sent = [
                (b"content-type", answer.kind),
                (b"content-length", b"%d" % len(answer.body)),
                self.model_header,
                (b"x-request-id", name),
                *answer.more,
            ]
            await send({"type": "http.response.start", "status": status, "headers": sent})
            await send({"type": "http.response.body", "body": answer.body})
        finally:
            spent = time.perf_counter_ns() - begun
            self.metrics.end(PLACES.get(path, len(PATHS) - 1), status, spent / 1e9)
            if status >= 400 or self.requests.every:
                self.requests.answered(name, method, path, status, spent, error)

    def close(self) -> None:
        """Write what the log still holds, and end the helper."""
        self.worker.shutdown()
        if self.log is not None:
            self.log.close()
        self.unpacker.close()

    async def _predict(
        self, scope: Mapping[str, Any], headers: Headers, receive: Receive, name: bytes
    ) -> bytes:
        kind = content_type(headers)
        body = await self.reader.read(headers, receive)
        if kind == JSON and len(body) <= INLINE_BYTES:
            batch = self.decode(body)
        else:
            batch = await self._decode_there(body, kind)
        scores = await self.batcher.scores(batch.inputs)
        finite = scores[0] == scores[0] if len(scores) == 1 else not np.isnan(scores).any()
        if not finite:
            row = f"rows[{int(np.isnan(scores).argmax())}]" if batch.many else None
            raise RequestError("the model has no finite answer for this row", row, 422, "no_answer")
        answers = self.signature.answers(scores)
        content = encode(answers if batch.many else answers[0])
        if self.check_port is None or (scope.get("server") or ("", None))[1] != self.check_port:
            self.metrics.predicted(scores)
            if self.log is not None and self.log.wanted():
                self._log(self.log, name, batch, content)
        return content

    def _log(self, log: PredictionLog, name: bytes, batch: Batch, content: bytes) -> None:
        if batch.body is None:  # a table becomes JSON off the loop, and nobody waits for it
            self.worker.submit(log_table, log, name, batch.inputs, self.signature, content)
        else:
            log.append(name, len(batch.inputs.numbers), batch.many, batch.body, content)
        if log.dropped:
            self.metrics.dropped(log.dropped)

    async def _decode_there(self, body: bytes, kind: str) -> Batch:
        """Decode in the worker thread what would stop the loop for too long."""
        if self.in_worker >= MOST_IN_WORKER:
            raise overloaded()
        self.in_worker += 1
        try:
            loop = asyncio.get_running_loop()
            if kind == JSON:
                return await loop.run_in_executor(self.worker, self.decode, body)
            if kind == CSV:
                return await loop.run_in_executor(self.worker, decode_csv, body, self.signature)
            return await loop.run_in_executor(self.worker, self.unpacker.decode, body, kind)
        finally:
            self.in_worker -= 1

    def _get(self, method: str, path: str, headers: Headers) -> Answer:
        """The answer to everything but POST /predict."""
        allowed = "POST" if path == "/predict" else "GET, HEAD" if path in GETS else ""
        if method not in ("GET", "HEAD") or path not in GETS:
            status = 405 if allowed else 404
            message = f"{PHRASES[status]}: {clip(method)} {clip(path)}; see /docs, /openapi.json"
            more = [(b"allow", allowed.encode())] if allowed else []
            return error_answer(message, status, more=more)
        if self.token is not None and path not in OPEN:
            check_token(self.token, headers)
        if path == "/healthz":
            dropped = self.log.dropped if self.log else 0
            return json_answer({"status": "ok", "digest": self.digest, "log_dropped": dropped})
        if path == "/readyz":
            status, text = (503, "draining") if self.draining() else (200, "ready")
            return json_answer({"status": text, "digest": self.digest}, status)
        if path == "/metrics":
            if self.log:
                self.metrics.dropped(self.log.dropped)
            content, kind = self.metrics.exposition(headers.get(b"accept", b"").decode("latin-1"))
            return Answer(200, content, kind.encode())
        if path == "/model":
            return json_answer(self._description())
        if path == "/openapi.json":
            from mlrelease.serving.openapi import document

            return json_answer(document(self.signature, self.version, self.token is not None))
        from mlrelease.serving.page import CONTENT_SECURITY_POLICY, page

        text = page(self.card, self.digest, self.version, self.golden, self.token is not None)
        policy = (b"content-security-policy", CONTENT_SECURITY_POLICY.encode())
        return Answer(200, text.encode(), b"text/html; charset=utf-8", [policy])

    def _description(self) -> dict[str, Any]:
        names = ("signature", "estimator", "runtime", "not_onnx", "libraries")
        about = {name: getattr(self.card, name) for name in names}
        return {
            "digest": self.digest,
            "version": self.version,
            **about,
            "listening": self.listening,
        }

    def _refusal(self, error: RequestError) -> Answer:
        self.metrics.rejected(error.reason)
        return error_answer(str(error), error.status, error.field, MORE.get(error.status, ()))

    def _sweep(self) -> None:
        """Once a second while there are requests: cut off what takes too long."""
        self.reader.sweep()
        self.batcher.expire()
        self.sweeping = self.metrics.mine[0] > 0
        if self.sweeping:
            asyncio.get_running_loop().call_later(1.0, self._sweep)


def log_table(
    log: PredictionLog, name: bytes, inputs: Inputs, signature: Signature, content: bytes
) -> None:
    """Log the rows of a table as a caller would have sent them."""
    log.append(name, len(inputs.numbers), True, to_json(inputs, signature), content)
