"""What the stand-in remembers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .repository import Repository

Json = dict[str, Any]


@dataclass(frozen=True)
class Event:
    """Something that starts workflows; `payload` is what GITHUB_EVENT_PATH would hold."""

    name: str
    action: str | None
    repository: str
    ref: str
    sha: str
    actor: str
    payload: Json


@dataclass(frozen=True)
class Call:
    """One request; `permission` is what it would need in a private repository."""

    who: str
    method: str
    path: str
    status: int
    permission: tuple[str, str] | None
    target: str

    @property
    def name(self) -> str:
        """For example `POST /repos/{owner}/{repo}/pulls`."""
        return f"{self.method} {self.path}"


@dataclass
class Fault:
    """The next answers to some requests, instead of the right ones."""

    method: str
    path_prefix: str
    status: int
    times: int
    headers: Mapping[str, str]
    after: bool


@dataclass
class WorkflowRun:
    """One run, as the runner reports it; `jobs` holds their conclusions (None: not finished)."""

    id: int
    repository: str
    workflow: str
    event: str
    branch: str
    sha: str
    actor: str
    created_at: str
    updated_at: str
    conclusion: str | None = None
    jobs: dict[str, str | None] = field(default_factory=dict)

    @property
    def status(self) -> str:
        return "completed" if self.conclusion else "in_progress"


@dataclass
class Issue:
    """An issue, or the conversation of a pull request."""

    id: int
    number: int
    title: str
    body: str | None
    author: str
    created_at: str
    updated_at: str
    state: str = "open"
    state_reason: str | None = None
    closed_at: str | None = None
    labels: list[str] = field(default_factory=list)
    assignees: list[str] = field(default_factory=list)
    comments: list[Json] = field(default_factory=list)


@dataclass(kw_only=True)
class Pull(Issue):
    """A pull request; `base_sha` and `head_sha` stay as they are once it is merged."""

    base: str
    base_sha: str
    head: str
    head_sha: str
    head_repository: Repository
    draft: bool = False
    merged: bool = False
    merged_at: str | None = None
    merged_by: str | None = None
    merge_commit_sha: str | None = None
    introduced: set[str] = field(default_factory=set)  # commits that its merge brought to the base
    reviews: list[Json] = field(default_factory=list)
    pushed_by: str = ""  # who last pushed to its head
    reviewers: list[str] = field(default_factory=list)
    teams: list[str] = field(default_factory=list)


class Refusal(Exception):  # noqa: N818 - it is an answer, not an error
    """An answer that is not a success, in GitHub's form."""

    def __init__(
        self,
        status: int,
        message: str,
        errors: Sequence[Json | str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {message}")
        self.status = status
        self.headers = headers or {}
        self.content: Json = {"message": message, "documentation_url": "https://docs.github.com"}
        if errors:
            self.content["errors"] = errors


def invalid(resource: str, field: str, code: str = "invalid", message: str = "") -> Refusal:
    """The usual 422."""
    error = {"resource": resource, "field": field, "code": code}
    if message:
        error |= {"code": "custom", "message": message}
    return Refusal(422, "Validation Failed", [error])


def missing() -> Refusal:
    return Refusal(404, "Not Found")
