"""git over HTTP: who may fetch and push, and git's own http-backend behind it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.requests import Request as HttpRequest
from starlette.responses import Response

from . import activity, rules
from .records import Call, Refusal, missing
from .repository import ZERO, Repository, environment
from .tokens import Token

if TYPE_CHECKING:
    from .standin import GitHub

Command = tuple[str | None, str | None, str]  # old, new, ref


def serve(github: GitHub, http: HttpRequest, body: bytes) -> Response:
    """Answer one request of a git client and record it."""
    owner, name = http.path_params["owner"], http.path_params["name"].removesuffix(".git")
    rest = http.path_params["rest"]
    repository = github.repositories.get(f"{owner}/{name}".lower())
    service = http.query_params.get("service") or rest
    level = "write" if service == "git-receive-pack" else "read"
    who = "anonymous"
    with github.lock:
        try:
            token = github.authenticate(http.headers.get("authorization"))
            who = token.who if token else who
            github.raise_fault(http.method, http.url.path)
            response = _let_in(github, http, repository, token, level, body)
        except Refusal as refusal:
            challenge = {"WWW-Authenticate": 'Basic realm="GitHub"'}
            headers = challenge if refusal.status == 401 else {}
            text = f"{refusal.content['message']}\n"
            response = Response(text, refusal.status, headers, "text/plain")
        template = f"/{{owner}}/{{repo}}/{rest}"
        permission = ("contents", level)
        status = response.status_code
        github.calls.append(Call(who, http.method, template, status, permission, http.url.path))
    return response


def _let_in(
    github: GitHub,
    http: HttpRequest,
    repository: Repository | None,
    token: Token | None,
    level: str,
    body: bytes,
) -> Response:
    if not http.url.path.endswith(("/info/refs", "/git-upload-pack", "/git-receive-pack")):
        github.unknown.append(f"{http.method} {http.url.path}")
        raise missing()
    private = repository is None or repository.private  # what one may not see does not exist
    if token is None and (private or level == "write"):
        raise Refusal(401, "Authentication required.")
    if repository is None or (token and not token.sees(repository.full_name, private)):
        raise Refusal(404, "Repository not found.")
    allowed = token and token.may(repository.full_name, "contents", level)
    if not allowed and (private or level == "write"):
        who = token.login if token else "anonymous"
        raise Refusal(403, f"Permission to {repository.full_name}.git denied to {who}.")
    if level == "read" or http.method == "GET" or token is None:
        return _backend(repository, http, body)
    return _receive(repository, token, http, body)


def _receive(repository: Repository, token: Token, http: HttpRequest, body: bytes) -> Response:
    commands, capabilities, pack = _parsed(body)
    refused = _refused(repository, token, commands, pack)
    if refused:
        return _report(refused, commands, capabilities)
    before = repository.refs()
    response = _backend(repository, http, body)
    activity.refs_changed(repository, before, token)
    return response


def _refused(
    repository: Repository, token: Token, commands: list[Command], pack: bytes
) -> dict[str, tuple[str, list[str]]]:
    """The reason for each ref that may not be pushed, with what git shows above it."""
    refused: dict[str, tuple[str, list[str]]] = {}
    with tempfile.TemporaryDirectory(dir=repository.path.parent) as folder:
        # The objects of the push, seen before they are accepted, as in git's own quarantine.
        objects = str(repository.path / "objects")
        quarantine = {"GIT_OBJECT_DIRECTORY": folder, "GIT_ALTERNATE_OBJECT_DIRECTORIES": objects}
        unpack = ("unpack-objects", "-q")
        if pack and repository.run(*unpack, stdin=pack, variables=quarantine).returncode:
            return {}  # a broken pack: git itself says so
        for old, new, ref in commands:
            if not ref.startswith(("refs/heads/", "refs/tags/")):
                refused[ref] = ("deny updating a hidden ref", [])
                continue
            workflow = rules.workflow_changes(repository, new, quarantine)
            if reason := rules.refuse_workflow_changes(workflow, token):
                refused[ref] = (reason, [])
                continue
            violations = rules.push_violations(repository, ref, old, new, token, quarantine)
            if violations:
                shown = [f"error: GH013: Repository rule violations found for {ref}."]
                shown += [f"- {violation}" for violation in violations]
                refused[ref] = ("push declined due to repository rule violations", shown)
            elif not new and ref == f"refs/heads/{repository.default_branch}":
                refused[ref] = ("refusing to delete the current branch: " + ref, [])
    return refused


def _parsed(body: bytes) -> tuple[list[Command], str, bytes]:
    """The commands of a push, the client's capabilities, and the pack behind them."""
    commands: list[Command] = []
    capabilities, at = "", 0
    while (size := int(body[at : at + 4] or b"0", 16)) > 0:
        line, _, more = body[at + 4 : at + size].partition(b"\0")
        at += size
        if line.startswith(b"shallow "):  # where the history of the pusher's clone begins
            continue
        capabilities = capabilities or more.decode()
        old, new, ref = line.decode().rstrip("\n").split(" ", 2)
        commands.append((None if old == ZERO else old, None if new == ZERO else new, ref))
    at += 4
    if "push-options" in capabilities.split():
        at = body.index(b"0000", at) + 4
    return commands, capabilities, body[at:]


def _report(
    refused: dict[str, tuple[str, list[str]]], commands: list[Command], capabilities: str
) -> Response:
    """git's report of a push of which nothing is accepted: one refused ref refuses them all."""
    lines = [b"unpack ok\n"]
    for _, _, ref in commands:
        reason = refused.get(ref, ("atomic push failed", []))[0]
        lines.append(f"ng {ref} {reason}\n".encode())
    report = b"".join(map(_packet, lines)) + b"0000"
    shown = "".join(f"{line}\n" for _, more in refused.values() for line in more)
    if "side-band-64k" in capabilities.split():
        said = _packet(b"\2" + shown.encode()) if shown else b""
        report = said + _packet(b"\1" + report) + b"0000"
    return Response(report, 200, media_type="application/x-git-receive-pack-result")


def _packet(content: bytes) -> bytes:
    return f"{len(content) + 4:04x}".encode() + content


def _backend(repository: Repository, http: HttpRequest, body: bytes) -> Response:
    """Hand the request to `git http-backend`."""
    variables = environment(
        GIT_PROJECT_ROOT=str(repository.path),
        GIT_HTTP_EXPORT_ALL="1",
        PATH_INFO=f"/{http.path_params['rest']}",
        REQUEST_METHOD=http.method,
        QUERY_STRING=http.url.query,
        CONTENT_TYPE=http.headers.get("content-type", ""),
        CONTENT_LENGTH=str(len(body)),
        HTTP_CONTENT_ENCODING=http.headers.get("content-encoding", ""),
        GIT_PROTOCOL=http.headers.get("git-protocol", ""),
        REMOTE_USER="client",
        REMOTE_ADDR="127.0.0.1",
    )
    result = subprocess.run(
        ["git", "http-backend"],
        input=body,
        env=variables,
        cwd=Path(repository.path),
        capture_output=True,
        check=False,
        timeout=120,
    )
    head, _, content = result.stdout.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
    status = int(headers.pop("Status", "200").split()[0])
    return Response(content, status, headers)
