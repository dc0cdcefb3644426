"""GitHub's REST API: one client, with patience for a server that is down or asks to wait."""

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlrelease.errors import ModelError
from mlrelease.records.git import Git

if TYPE_CHECKING:
    import httpx  # where there is no token, nobody waits for it

ATTEMPTS = 5
LONGEST_WAIT = 60.0  # seconds; a rate limit that lasts longer ends the job
Json = dict[str, Any]


class GitHubError(ModelError):
    """GitHub said no, or nothing."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Repository:
    """Which repository, at which GitHub, with whose token."""

    name: str  # owner/name
    token: str
    api: str = "https://api.github.com"
    server: str = "https://github.com"

    @classmethod
    def of(cls, git: Git) -> "Repository | None":
        """The one that `origin` names, with GITHUB_TOKEN or GH_TOKEN; None where there is none.

        A copy of the repository with another origin, such as a rehearsal's, never finds it.
        """
        token = os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN")
        if not token or not git.has_origin():
            return None
        server = os.environ.get("GITHUB_SERVER_URL", "https://github.com").rstrip("/")
        host = re.escape(server.split("://")[-1])
        address = git.run("remote", "get-url", "origin")
        found = re.search(rf"[/@]{host}[:/](?P<name>[\w.-]+/[\w.-]+?)(\.git)?/?$", address)
        if not found:
            return None
        default = "https://api.github.com" if server == "https://github.com" else f"{server}/api/v3"
        api = os.environ.get("GITHUB_API_URL", default).rstrip("/")
        return cls(found["name"], token, api, server)


class Client:
    """One repository's API."""

    def __init__(
        self, repository: Repository, transport: "httpx.BaseTransport | None" = None
    ) -> None:
        import httpx

        self.repository = repository
        self.client = httpx.Client(
            base_url=f"{repository.api}/repos/{repository.name}",
            headers={
                "Authorization": f"Bearer {repository.token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
            },
            timeout=30,
            transport=transport,
        )

    def request(self, method: str, path: str, **options: Any) -> "httpx.Response":
        """One request, tried again when GitHub is down or asks to wait.

        Raises:
            GitHubError: It was refused, or GitHub stayed away.
        """
        import httpx

        for attempt in range(ATTEMPTS):
            last = attempt == ATTEMPTS - 1
            try:
                answer = self.client.request(method, path, **options)
            except httpx.TransportError as error:
                if last or method == "POST":  # it may have arrived
                    raise GitHubError(f"{self.repository.api}: {error}") from None
                time.sleep(2**attempt / 4)
                continue
            wait = _wait(answer, attempt)
            if wait is None or last or (method == "POST" and answer.status_code >= 500):
                break
            time.sleep(wait)
        if answer.is_success:
            return answer
        raise GitHubError(_message(method, path, answer), answer.status_code)

    def get(self, path: str, **params: Any) -> Any:
        """The answer to a GET."""
        return self.request("GET", path, params=params).json()

    def find(self, path: str, **params: Any) -> Any | None:
        """The answer to a GET; None where there is nothing."""
        try:
            return self.get(path, **params)
        except GitHubError as error:
            if error.status == 404:
                return None
            raise

    def pages(self, path: str, **params: Any) -> Iterator[Json]:
        """Every item of a list, page by page."""
        answer = self.request("GET", path, params={"per_page": 100, **params})
        while True:
            items = answer.json()
            yield from (
                items
                if isinstance(items, list)
                else next(value for value in items.values() if isinstance(value, list))
            )
            following = answer.links.get("next", {}).get("url")
            if not following:
                return
            answer = self.request("GET", following)

    def ensure(self, find: Callable[[], Json | None], path: str, content: Json) -> Json:
        """What `find` finds, or what a POST makes; it looks again after a POST without an answer,
        which may have worked all the same."""
        for attempt in range(ATTEMPTS):
            found = find()
            if found is not None:
                return found
            try:
                made: Json = self.request("POST", path, json=content).json()
            except GitHubError as error:
                if attempt == ATTEMPTS - 1 or 0 < error.status < 500:
                    raise
                time.sleep(2**attempt / 4)
            else:
                return made
        raise AssertionError  # the last attempt returned or raised


def run_address() -> str | None:
    """Where people read the log of this run, in GitHub Actions."""
    names = ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    server, repository, run = (os.environ.get(name) for name in names)
    return f"{server}/{repository}/actions/runs/{run}" if run else None


def _wait(answer: "httpx.Response", attempt: int) -> float | None:
    """Seconds until a request is worth trying again; None when it is not."""
    limited = answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers
    if answer.status_code == 429 or (answer.status_code == 403 and limited):
        after = answer.headers.get("retry-after")
        reset = float(answer.headers.get("x-ratelimit-reset") or 0) - time.time()
        wait = float(after) if after and after.isdigit() else max(reset, 1.0)
        return wait if wait <= LONGEST_WAIT else None
    return 2**attempt / 4 if answer.status_code >= 500 else None


def _message(method: str, path: str, answer: "httpx.Response") -> str:
    """GitHub's own words on one line."""
    try:
        content = answer.json()
        words = [str(content.get("message", ""))]
        words += [str(e.get("message") or e) if isinstance(e, dict) else str(e)
                  for e in content.get("errors") or []]  # fmt: skip
    except (ValueError, AttributeError):
        words = [answer.text[:200]]
    said = " ".join("; ".join(word for word in words if word).split())
    return f"GitHub: {method} {path}: {answer.status_code} {said}"
