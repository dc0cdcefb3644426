"""A GitHub on loopback that is at least as strict as the real one, for tests.

    with GitHub(tmp_path) as github:
        repository = github.create_repository("acme/my-model")
        ann = github.user("ann", role="write")
        job = github.job_token(repository, {"contents": "write"}, job="propose")

Clients use `github.url` for git and `github.api_url` for REST. Afterwards `github.events` holds
what would have started workflows, `github.calls` what each job did with which permission, and
`github.unknown` must be empty.
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route as HttpRoute

from . import activity, rest, smart_http, views
from .records import Call, Event, Fault, Json, Refusal, WorkflowRun
from .registry import Registry
from .repository import Repository
from .tokens import ROLES, WRITERS, Token, checked_permissions

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
ACTIONS_BOT = "github-actions[bot]"
# GitHub serves any commit by its SHA; who may push is decided before git is asked.
CONFIG = """[http]
    receivepack = true
[uploadpack]
    allowAnySHA1InWant = true
[gc]
    auto = 0
"""
SOMEBODY = Token("", "octocat", "user", role="admin")  # who commits in a test's set-up


class GitHub:
    """The server, its repositories, its people, and what happened."""

    def __init__(self, root: Path, registry: str | None = None, plan: str = "team") -> None:
        self.root = root
        self.plan = plan  # free, team or enterprise: private repositories get more with each
        self.teams: set[str] = set()  # "acme/reviewers"
        self.private_members: set[str] = set()  # whose membership a job's token does not see
        self.repositories: dict[str, Repository] = {}
        self.tokens: dict[str, Token] = {}
        self.events: list[Event] = []
        self.suppressed: list[Event] = []
        self.calls: list[Call] = []
        self.unknown: list[str] = []
        self.runs: list[WorkflowRun] = []
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.lock = threading.RLock()
        self._faults: list[Fault] = []
        self._ids = itertools.count(1001)
        self._proxy = Registry(self, registry)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.registry = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self.url = f"http://{self.registry}"
        self.api_url = f"{self.url}/api/v3"

    def __enter__(self) -> Self:
        config = uvicorn.Config(
            self._application(), log_level="error", lifespan="on", timeout_graceful_shutdown=2
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                raise RuntimeError("the GitHub stand-in did not start")
            time.sleep(0.01)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()

    # What a test sets up.

    def create_repository(
        self, full_name: str, private: bool = False, default_branch: str = "main"
    ) -> Repository:
        """An empty repository, with GitHub's defaults."""
        path = self.root / f"{full_name}.git"
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["git", "init", "--quiet", "--bare", "--template=", "-b", default_branch, str(path)],
            check=True,
            timeout=60,
        )
        with (path / "config").open("a", encoding="utf-8") as config:
            config.write(CONFIG)
        return self._add(Repository(full_name, path, private, default_branch, self.new_id()))

    def fork(self, full_name: str, owner: str) -> Repository:
        """Somebody's copy, from which they can open pull requests."""
        parent = self.repositories[full_name]
        name = f"{owner}/{full_name.split('/')[1]}"
        path = self.root / f"{name}.git"
        shutil.copytree(parent.path, path)
        fork = Repository(name, path, parent.private, parent.default_branch, self.new_id(), parent)
        return self._add(fork)

    def _add(self, repository: Repository) -> Repository:
        repository.github = self
        self.repositories[repository.full_name.lower()] = repository
        return repository

    def user(self, login: str, role: str = "write") -> str:
        """A person's token; the role holds in every repository (role admin in their own)."""
        return self._token(Token(f"ghp_{secrets.token_hex(18)}", login, "user", role))

    def app_token(
        self, permissions: Mapping[str, str], slug: str = "promoter", repository: str = ""
    ) -> str:
        """An app's token: as limited as a job's, but its events do start workflows."""
        value = f"ghs_{secrets.token_hex(18)}"
        return self._token(
            Token(value, f"{slug}[bot]", "app", "none", repository, "", dict(permissions))
        )

    def job_token(self, repository: Repository, permissions: Mapping[str, str], job: str) -> str:
        """The GITHUB_TOKEN of one job, with the permissions that its workflow grants."""
        value = f"ghs_{secrets.token_hex(18)}"
        held = checked_permissions(permissions)
        name = repository.full_name
        return self._token(Token(value, ACTIONS_BOT, "job", "none", name, job, held))

    def deploy_key(self, repository: Repository, title: str, read_only: bool = False) -> str:
        """A key of the repository, added by an administrator; there is no SSH here, so a push
        sends the public key as its password."""
        key = f"ssh-ed25519 {secrets.token_hex(34)}"
        return repository.add_key(title, key, read_only, SOMEBODY.login)

    def _token(self, token: Token) -> str:
        self.tokens[token.value] = token
        return token.value

    def commit(
        self,
        repository: Repository,
        files: Mapping[str, str | bytes | None],
        branch: str = "",
        message: str = "Change files",
        by: str | None = None,
    ) -> str:
        """Commit to a branch (created from the default one if need be) as a push would."""
        name = branch or repository.default_branch
        who = self.tokens[by] if by else SOMEBODY
        with self.lock:
            parent = repository.branch(name) or repository.branch(repository.default_branch)
            sha = repository.write(files, parent=parent, message=message, author=who.login)
            activity.update_refs(repository, {f"refs/heads/{name}": sha}, who)
        return sha

    def add_run(
        self,
        repository: Repository,
        workflow: str,
        event: str,
        sha: str,
        branch: str = "",
        jobs: Mapping[str, str | None] | None = None,
        conclusion: str | None = None,
        actor: str = ACTIONS_BOT,
    ) -> WorkflowRun:
        """A run that the runner has started (conclusion None) or finished: a check run per job."""
        name, now = branch or repository.default_branch, self.now()
        with self.lock:
            run = WorkflowRun(
                self.new_id(), repository.full_name, workflow, event, name, sha, actor, now, now
            )
            self.runs.append(run)
            self.finish_run(run, jobs or {}, conclusion)
        return run

    def finish_run(
        self, run: WorkflowRun, jobs: Mapping[str, str | None], conclusion: str | None
    ) -> None:
        """Report how the jobs of a run ended, and the run as a whole."""
        repository = self.repositories[run.repository.lower()]
        with self.lock:
            run.jobs |= jobs
            run.conclusion, run.updated_at = conclusion, self.now()
            for job, ended in jobs.items():
                activity.report_job(repository, run, job, ended)

    def fail(
        self,
        method: str,
        path_prefix: str,
        status: int,
        times: int = 1,
        headers: Mapping[str, str] | None = None,
        after: bool = False,
    ) -> None:
        """Answer the next calls with a fault; `after` their effect, as when an answer gets lost."""
        self._faults.append(Fault(method, path_prefix, status, times, headers or {}, after))

    # What the endpoints use.

    def now(self) -> str:
        return self.clock().strftime("%Y-%m-%dT%H:%M:%SZ")

    def new_id(self) -> int:
        return next(self._ids)

    def logins(self) -> set[str]:
        return {token.login for token in self.tokens.values()} | {SOMEBODY.login}

    def collaborator(self, login: str, repository: Repository) -> Token | None:
        """A person who may write."""
        for token in [*self.tokens.values(), SOMEBODY]:
            if token.login == login and token.role_in(repository.full_name) in WRITERS:
                return token
        return None

    def role(self, login: str, repository: Repository) -> str:
        """What a person may; everybody reads what is public."""
        people = [token for token in [*self.tokens.values(), SOMEBODY] if token.kind == "user"]
        found = [t.role_in(repository.full_name) for t in people if t.login == login]
        return max([*found, "none" if repository.private else "read"], key=ROLES.index)

    def emit(
        self,
        repository: Repository,
        name: str,
        action: str | None,
        at: tuple[str, str],
        by: Token,
        payload: Json,
    ) -> None:
        """Record an event; what a job causes starts nothing, but for the two dispatches."""
        shown = payload | {
            "repository": views.repository(repository),
            "sender": views.user(self, by.login),
        }
        if action:
            shown["action"] = action
        event = Event(name, action, repository.full_name, *at, by.login, shown)
        starts = by.kind != "job" or name in ("workflow_dispatch", "repository_dispatch")
        # No workflow runs for a pull request that conflicts with its base.
        conflicts = name == "pull_request" and shown["pull_request"]["merge_commit_sha"] is None
        starts = starts and (not conflicts or action == "closed")
        (self.events if starts else self.suppressed).append(event)

    def authenticate(self, header: str | None) -> Token | None:
        """The caller; None for nobody; a token that is not known is refused."""
        if not header:
            return None
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "basic":
            with contextlib.suppress(ValueError):
                value = base64.b64decode(value).decode().partition(":")[2]
        if value not in self.tokens:
            raise Refusal(401, "Bad credentials")
        return self.tokens[value]

    def raise_fault(self, method: str, path: str, after: bool = False) -> None:
        """Answer with the fault that was asked for, if it is this call's turn."""
        for fault in self._faults:
            fits = fault.method == method and path.startswith(fault.path_prefix)
            if fits and fault.after == after and fault.times > 0:
                fault.times -= 1
                limited = fault.status in (403, 429)
                words = "API rate limit exceeded" if limited else "Server Error"
                raise Refusal(fault.status, words, headers=fault.headers)

    # The server.

    def _application(self) -> Starlette:
        async def api(request: HttpRequest) -> Response:
            return await run_in_threadpool(rest.serve, self, request, await request.body())

        async def git(request: HttpRequest) -> Response:
            return await run_in_threadpool(smart_http.serve, self, request, await request.body())

        return Starlette(
            routes=[
                HttpRoute("/api/{rest:path}", api, methods=METHODS),
                HttpRoute("/v2/{rest:path}", self._proxy.forward, methods=METHODS),
                HttpRoute("/token", self._proxy.log_in),
                HttpRoute("/{owner}/{name}/{rest:path}", git, methods=["GET", "POST"]),
            ]
        )
