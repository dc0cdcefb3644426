"""The container registry beside GitHub: its log-in and permissions, a real registry behind it."""

from __future__ import annotations

import base64
import ssl
from typing import TYPE_CHECKING

import httpx
from starlette.background import BackgroundTask
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse

from .records import Call, Json, Refusal
from .tokens import Token

if TYPE_CHECKING:
    from .standin import GitHub

HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding")
ANONYMOUS = "anonymous"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loopback: plain HTTP


class Registry:
    """Forwards /v2/ to the registry at `address` when the caller's token allows it."""

    def __init__(self, github: GitHub, address: str | None) -> None:
        self.github = github
        self.address = address

    async def log_in(self, http: HttpRequest) -> Response:
        """The token of `docker login`: the caller's own, or one of nobody."""
        header = http.headers.get("authorization")
        try:
            token = self.github.authenticate(header)
        except Refusal as refusal:
            return JSONResponse({"errors": [_error("UNAUTHORIZED", str(refusal))]}, 401)
        return JSONResponse({"token": token.value if token else ANONYMOUS})

    async def forward(self, http: HttpRequest) -> Response:
        """Forward a call, or refuse it; record it either way."""
        github, path = self.github, http.url.path
        level = "read" if http.method in ("GET", "HEAD") else "write"
        who = ANONYMOUS
        try:
            token = github.authenticate(_own(http.headers.get("authorization")))
            who = token.who if token else who
            github.raise_fault(http.method, path)
            self._let_in(token, path.removeprefix("/v2/"), level)
            response = await self._forwarded(http)
        except Refusal as refusal:
            challenge = f'Bearer realm="{github.url}/token",service="{github.registry}"'
            headers = {"WWW-Authenticate": challenge} if refusal.status == 401 else {}
            code = refusal.content["message"]
            content = {"errors": [_error(code, f"requires packages: {level}")]}
            response = JSONResponse(content, refusal.status, headers)
        call = Call(who, http.method, "/v2/", response.status_code, ("packages", level), path)
        github.calls.append(call)
        return response

    def _let_in(self, token: Token | None, name: str, level: str) -> None:
        """A job reads and writes the packages of its own owner only."""
        if self.address is None:
            raise Refusal(404, "NAME_UNKNOWN")
        if token is None:
            raise Refusal(401, "UNAUTHORIZED")
        home = token.repository or name
        same = name.split("/")[0] == home.split("/")[0].lower()
        if name and not (same and token.may(home, "packages", level)):
            raise Refusal(403, "DENIED")

    async def _forwarded(self, http: HttpRequest) -> Response:
        """Stream both ways: layers are large."""
        kept = {
            name: value
            for name, value in http.headers.items()
            if name not in (*HOP_BY_HOP, "authorization")
        }
        client = httpx.AsyncClient(verify=NO_TLS, timeout=120, trust_env=False)
        address = f"http://{self.address}{http.url.path}"
        if http.url.query:
            address += f"?{http.url.query}"
        has_body = http.method in ("POST", "PUT", "PATCH")
        request = client.build_request(
            http.method, address, headers=kept, content=http.stream() if has_body else None
        )
        try:
            answer = await client.send(request, stream=True)
        except httpx.HTTPError as error:
            await client.aclose()
            raise Refusal(502, f"UNAVAILABLE {error!r}") from None

        async def done() -> None:
            await answer.aclose()
            await client.aclose()

        headers = {name: value for name, value in answer.headers.items() if name not in HOP_BY_HOP}
        stream = answer.aiter_raw()
        return StreamingResponse(
            stream, answer.status_code, headers, background=BackgroundTask(done)
        )


def _own(header: str | None) -> str | None:
    """Nobody's token is no token."""
    nobody = {None, f"Bearer {ANONYMOUS}", "Basic " + base64.b64encode(b":").decode()}
    return None if header in nobody else header


def _error(code: str, message: str) -> Json:
    return {"code": code, "message": message}
