"""The REST API: who may call what, and what is answered when something is not as it should be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from . import api
from .records import Call, Refusal, missing
from .routing import Answer, Query, Request, Route, find, page, parsed_body
from .tokens import Token

if TYPE_CHECKING:
    from .standin import GitHub

assert api.MODULES  # importing the endpoints registers them
VERSIONS = ("2022-11-28",)
PAGING = {"page", "per_page"}


def serve(github: GitHub, http: HttpRequest, content: bytes) -> Response:
    """Answer one call and record it."""
    path = unquote(http.scope["raw_path"].decode().removeprefix("/api/v3"))
    query, accept = Query(http.query_params), http.headers.get("accept", "")
    call = Request(github, http.method, query, accept)
    headers: dict[str, str] = {}
    with github.lock:
        try:
            github.raise_fault(http.method, path)
            status, answer = _let_in(call, http, path, content)
            answer, headers = page(answer, query, str(http.url).split("?")[0])
            github.raise_fault(http.method, path, after=True)
        except Refusal as refusal:
            status, answer, headers = refusal.status, refusal.content, dict(refusal.headers)
        except Exception as error:  # a fault of the stand-in must not pass for GitHub's
            github.unknown.append(f"{http.method} {path}: {error!r}")
            raise
        template = call.route.template if call.route else path
        who = call.token.who if call.token else "anonymous"
        github.calls.append(Call(who, http.method, template, status, call.permission, path))
    is_raw = isinstance(answer, bytes)
    body = b"" if status == 204 else answer if is_raw else json.dumps(answer).encode()
    kind = "application/octet-stream" if is_raw else "application/json"
    return Response(body, status, headers, kind)


def _let_in(call: Request, http: HttpRequest, path: str, content: bytes) -> Answer:
    """Refuse a call for the first of GitHub's reasons, or answer it."""
    if not http.headers.get("user-agent"):
        raise Refusal(403, "Request forbidden by administrative rules (no User-Agent header).")
    version = http.headers.get("x-github-api-version", VERSIONS[0])
    if version not in VERSIONS:
        raise Refusal(400, f"{version} is not a supported version of the API.")
    call.token = call.github.authenticate(http.headers.get("authorization"))
    if call.token and call.token.kind == "key":
        raise Refusal(401, "Bad credentials")  # a deploy key is for git
    found = find(call.method, path)
    if not found:
        call.github.unknown.append(f"{call.method} {path}")
        raise missing()
    call.route, call.path = found
    if "repo" in call.path:
        _find_repository(call)
    _check_permission(call, call.route)
    call.body = parsed_body(call.route, content)
    answer = call.route.handler(call)
    for name in sorted(call.query.unread() - PAGING):  # GitHub may well know what we do not
        call.github.unknown.append(f"{call.method} {path}?{name}")
    return answer


def _find_repository(call: Request) -> None:
    """A private repository does not exist for those who may not see it."""
    name = f"{call.path['owner']}/{call.path['repo']}"
    repository = call.github.repositories.get(name.lower())
    if repository is None:
        raise missing()
    sees = call.token is not None and call.token.sees(repository.full_name, private=True)
    if repository.private and not sees:
        raise missing()
    call.found = repository


def _check_permission(call: Request, route: Route) -> None:
    """Reading what is public takes none; the permission is recorded all the same."""
    needs = route.needs if isinstance(route.needs, str) else route.needs(call)
    permission, level = needs.split(": ")
    call.permission = (permission, level)
    public = route.public and not (call.found and call.found.private)
    if call.token is None:
        if not public:
            raise Refusal(401, "Requires authentication")
        return
    where = call.found.full_name if call.found else ""
    anybody = call.token.kind == "user" and route.least == "read"  # who sees it, that is
    if public or anybody or call.token.may(where, permission, level, route.least):
        return
    raise _forbidden(call.token, permission)


def _forbidden(token: Token, permission: str) -> Refusal:
    if token.kind != "user":
        return Refusal(403, "Resource not accessible by integration")
    if permission == "administration":
        return Refusal(403, "Must have admin rights to Repository.")
    return Refusal(403, "Must have push access to view or change this.")
