"""What the API shows of things, in GitHub's shapes."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from .records import Issue, Json, Pull, WorkflowRun
from .repository import Repository
from .tokens import WRITERS

if TYPE_CHECKING:
    from .standin import GitHub
    from .tokens import Token

GITHUB_ACTIONS = {"id": 15368, "slug": "github-actions", "name": "GitHub Actions"}


def user(github: GitHub, login: str) -> Json:
    is_owner = any(repository.owner == login for repository in github.repositories.values())
    known = login in github.logins()
    kind = "Bot" if login.endswith("[bot]") else "User"
    if is_owner and not known:
        kind = "Organization"
    return {
        "login": login,
        "id": number_of(login),
        "type": kind,
        "url": f"{github.api_url}/users/{login}",
        "html_url": f"{github.url}/{login}",
    }


def number_of(name: str) -> int:
    """An id that is the same for the same name."""
    return zlib.crc32(name.encode())


def app(token: Token) -> Json:
    """Who made a check run; jobs all belong to GitHub Actions."""
    if token.kind == "job":
        return GITHUB_ACTIONS
    slug = token.login.removesuffix("[bot]")
    return {"id": number_of(slug), "slug": slug, "name": slug}


def repository(this: Repository, token: Token | None = None) -> Json:
    page = f"{this.page}"
    shown: Json = {
        "id": this.id,
        "name": this.full_name.split("/")[1],
        "full_name": this.full_name,
        "owner": user(this.github, this.owner),
        "private": this.private,
        "visibility": "private" if this.private else "public",
        "fork": this.parent is not None,
        "default_branch": this.default_branch,
        "html_url": page,
        "clone_url": f"{page}.git",
        "url": f"{this.api}",
        "archived": False,
        "disabled": False,
        "has_issues": True,
        "allow_merge_commit": True,
        "allow_squash_merge": True,
        "allow_rebase_merge": True,
        "delete_branch_on_merge": False,
    }
    if this.parent:
        shown["parent"] = repository(this.parent)
    if token and token.kind == "user":
        role = token.role_in(this.full_name)
        shown["permissions"] = {
            "admin": role == "admin",
            "push": role in WRITERS,
            "pull": True,
        }
    return shown


def label(this: Repository, name: str) -> Json:
    return this.labels[name.lower()] | {"url": f"{this.api}/labels/{name}"}


def issue(this: Repository, one: Issue) -> Json:
    is_pull = isinstance(one, Pull)
    address = f"{this.api}"
    page = f"{this.page}/{'pull' if is_pull else 'issues'}/{one.number}"
    shown: Json = {
        "id": one.id,
        "number": one.number,
        "title": one.title,
        "body": one.body,
        "state": one.state,
        "state_reason": one.state_reason,
        "user": user(this.github, one.author),
        "labels": [label(this, name) for name in one.labels],
        "assignees": [user(this.github, login) for login in one.assignees],
        "comments": len(one.comments),
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "closed_at": one.closed_at,
        "locked": False,
        "url": f"{address}/issues/{one.number}",
        "html_url": page,
        "comments_url": f"{address}/issues/{one.number}/comments",
    }
    if isinstance(one, Pull):
        shown["pull_request"] = {
            "url": f"{address}/pulls/{one.number}",
            "html_url": page,
            "merged_at": one.merged_at,
        }
        shown["draft"] = one.draft
    return shown


def pull(this: Repository, one: Pull) -> Json:
    """A pull request as in a list; `mergeable` and the counts come only with a single one."""

    def side(where: Repository, ref: str, sha: str) -> Json:
        return {
            "label": f"{where.owner}:{ref}",
            "ref": ref,
            "sha": sha,
            "user": user(this.github, where.owner),
            "repo": repository(where),
        }

    shown = issue(this, one)
    for name in ("pull_request", "state_reason", "comments"):
        del shown[name]
    return shown | {
        "url": f"{this.api}/pulls/{one.number}",
        "issue_url": f"{this.api}/issues/{one.number}",
        "head": side(one.head_repository, one.head, one.head_sha),
        "base": side(this, one.base, one.base_sha),
        "draft": one.draft,
        "merged_at": one.merged_at,
        "merge_commit_sha": one.merge_commit_sha,
        "requested_reviewers": [user(this.github, login) for login in one.reviewers],
        "requested_teams": [{"slug": slug, "name": slug} for slug in one.teams],
        "auto_merge": None,
    }


def whole_pull(this: Repository, one: Pull, state: str) -> Json:
    files = this.changed_files(base_of(this, one), one.head_sha)
    mergeable = None if one.merged else state != "dirty"
    return pull(this, one) | {
        "merged": one.merged,
        "merged_by": user(this.github, one.merged_by) if one.merged_by else None,
        "mergeable": mergeable,
        "mergeable_state": "unknown" if one.merged else state,
        "rebaseable": mergeable,
        "comments": len(one.comments),
        "review_comments": 0,
        "commits": len(this.between(base_of(this, one), one.head_sha)),
        "changed_files": len(files),
        "additions": sum(file["additions"] for file in files),
        "deletions": sum(file["deletions"] for file in files),
    }


def base_of(this: Repository, one: Pull) -> str:
    """Where the head left the base: what a pull request's changes are counted from."""
    tip = one.base_sha if one.merged else this.branch(one.base) or one.base_sha
    return this.merge_base(tip, one.head_sha) or tip


def commits(this: Repository, *arguments: str) -> list[Json]:
    found = []
    for sha, tree, parents, *people, message, _ in this.log(*arguments):
        author, committer = (
            dict(zip(("name", "email", "date"), who, strict=True))
            for who in (people[:3], people[3:])
        )
        address = f"{this.api}/commits"
        login = author["name"] if author["name"] in this.github.logins() else None
        found.append(
            {
                "sha": sha,
                "url": f"{address}/{sha}",
                "html_url": f"{this.page}/commit/{sha}",
                "commit": {
                    "message": message.rstrip("\n"),
                    "tree": {"sha": tree},
                    "author": author,
                    "committer": committer,
                },
                "author": user(this.github, login) if login else None,
                "committer": None,
                "parents": [
                    {"sha": parent, "url": f"{address}/{parent}"} for parent in parents.split()
                ],
            }
        )
    return found


def run(github: GitHub, one: WorkflowRun) -> Json:
    address = f"{github.url}/{one.repository}/actions/runs/{one.id}"
    return {
        "id": one.id,
        "name": one.workflow,
        "path": one.workflow,
        "event": one.event,
        "head_branch": one.branch,
        "head_sha": one.sha,
        "status": one.status,
        "conclusion": one.conclusion,
        "actor": user(github, one.actor),
        "run_number": one.id,
        "run_attempt": 1,
        "created_at": one.created_at,
        "updated_at": one.updated_at,
        "html_url": address,
        "url": f"{github.api_url}/repos/{one.repository}/actions/runs/{one.id}",
    }
