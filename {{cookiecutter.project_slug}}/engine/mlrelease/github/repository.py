"""What a release needs of GitHub. Every method may run twice: what is there already is found, and
nothing is made a second time."""

import datetime as dt
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Literal

from mlrelease.github.api import Client, GitHubError, Json, run_address
from mlrelease.records.git import BRANCH

STATUS = "gate"  # the check that the ruleset requires
State = Literal["success", "failure", "pending", "error"]
OPINIONS = ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")
WRITERS = ("admin", "write")  # the role maintain has the permission write


@dataclass(frozen=True)
class Review:
    """How a pull request came to main: the commit that people saw last, and who approved that."""

    number: int
    head: str
    author: str
    approved_by: tuple[str, ...]
    merged_at: dt.datetime


class GitHub(Client):
    """Statuses, comments, issues, deployments and dispatches of one repository."""

    def status(self, commit: str, state: State, description: str) -> None:
        """Post the commit status that the ruleset requires of a promotion."""
        found = next(
            (s for s in self.pages(f"/commits/{commit}/statuses") if s["context"] == STATUS), None
        )
        content = {"state": state, "context": STATUS, "description": description[:140]}
        if found and all(found[name] == value for name, value in content.items()):
            return
        run = run_address()
        self.request(
            "POST", f"/statuses/{commit}", json=content | ({"target_url": run} if run else {})
        )

    def comment(self, number: int, marker: str, body: str) -> None:
        """The one comment with this marker says this; again changes it."""
        hidden = f"<!-- {marker} -->"
        text = f"{hidden}\n{body}"
        path = f"/issues/{number}/comments"

        def find() -> Json | None:
            return next((c for c in self.pages(path) if c["body"].startswith(hidden)), None)

        found = self.ensure(find, path, {"body": text})
        if found["body"] != text:
            self.request("PATCH", f"/issues/comments/{found['id']}", json={"body": text})

    def issue(self, label: str, title: str, body: str) -> int:
        """The number of the one open issue with this label, which says this."""
        content = {"title": title, "body": body, "labels": [label]}
        found = self.ensure(lambda: self.open_issue(label), "/issues", content)
        if (found["title"], found["body"]) != (title, body):
            changed = {"title": title, "body": body}
            self.request("PATCH", f"/issues/{found['number']}", json=changed)
        return int(found["number"])

    def open_issue(self, label: str) -> Json | None:
        """The oldest open issue with a label."""
        issues = self.pages("/issues", labels=label, state="open", sort="created", direction="asc")
        return next((i for i in issues if "pull_request" not in i), None)

    def close_issue(self, label: str, reason: str) -> None:
        """Close the open issue with a label, if there is one."""
        found = self.open_issue(label)
        if found:
            self.comment(found["number"], "closed", reason)
            self.request("PATCH", f"/issues/{found['number']}", json={"state": "closed"})

    def deployment(self, environment: str, commit: str, state: State, description: str) -> bool:
        """Record how a deployment went; False when the newest one says so already."""
        newest = next(self.pages("/deployments", environment=environment), None)
        if newest is None or newest["sha"] != commit:
            content = {
                "ref": commit, "environment": environment, "auto_merge": False,
                "required_contexts": [], "description": description[:140],
            }  # fmt: skip
            newest = self.request("POST", "/deployments", json=content).json()
        path = f"/deployments/{newest['id']}/statuses"
        last = next(self.pages(path), None)
        if last and (last["state"], last["description"]) == (state, description[:140]):
            return False
        content = {"state": state, "description": description[:140], "auto_inactive": True}
        run = run_address()
        self.request("POST", path, json=content | ({"log_url": run} if run else {}))
        return True

    def is_app(self) -> bool:
        """Whether the token is an app's own, not the one of GitHub Actions."""
        return bool(os.environ.get("PROMOTION_APP_ID"))

    def runs(self, environment: str, commit: str) -> bool:
        """Whether the newest deployment of an environment is of this commit, and succeeded."""
        newest = next(self.pages("/deployments", environment=environment), None)
        if newest is None or newest["sha"] != commit:
            return False
        last = next(self.pages(f"/deployments/{newest['id']}/statuses"), None)
        return last is not None and last["state"] == "success"

    def offer(self, commit: str, environment: str, now: dt.datetime, again: dt.timedelta) -> bool:
        """Note on a commit that its model is offered to an environment; False if it was lately."""
        context = f"offered/{environment}"
        statuses = self.pages(f"/commits/{commit}/statuses")
        last = next((s for s in statuses if s["context"] == context), None)
        if last and now - dt.datetime.fromisoformat(last["created_at"]) < again:
            return False
        content = {"state": "success", "context": context, "description": f"offered {now:%F %H:%M}"}
        self.request("POST", f"/statuses/{commit}", json=content)
        return True

    def last_dispatch(self, workflow: str) -> dt.datetime | None:
        """When a workflow was last started by a dispatch."""
        path = f"/actions/workflows/{workflow}/runs"
        newest = next(self.pages(path, event="workflow_dispatch"), None)
        return dt.datetime.fromisoformat(newest["created_at"]) if newest else None

    def dispatch(self, workflow: str, inputs: dict[str, str]) -> None:
        """Start a workflow on main."""
        content = {"ref": BRANCH, "inputs": inputs}
        self.request("POST", f"/actions/workflows/{workflow}/dispatches", json=content)

    def clock(self) -> dt.datetime:
        """GitHub's own time, from the header of an answer."""
        address = str(self.client.base_url).rstrip("/")  # GitHub knows none with a slash behind it
        stamp = self.request("GET", address).headers.get("date", "")
        try:
            return parsedate_to_datetime(stamp)
        except ValueError:
            raise GitHubError(f"{self.repository.api}: its Date is {stamp!r}") from None

    def blob(self, commit: str, path: str) -> str | None:
        """The object of a file at a commit, which this clone need not have."""
        found = self.find(f"/contents/{path}", ref=commit)
        return str(found["sha"]) if isinstance(found, dict) else None

    def approvals(
        self, commit: str, exclude: Collection[str] = (), permitted: bool = True
    ) -> Review | None:
        """The merged pull request that brought a commit to main, and who approved its last state.

        People who may write, and neither its author nor one of `exclude`, such as who asked for it.
        Anybody may approve on a public repository, and a workflow of any branch may, as
        github-actions. None where no merge of a pull request made the commit. Whether they may
        write is asked only where it must be `permitted`: it was judged then, and approvers leave.
        """
        for pull in self._merged(commit):
            if not self._was_merged_as(commit, pull):
                continue
            number, head = int(pull["number"]), pull["head"]["sha"]
            author = (pull["user"] or {}).get("login", "")  # nobody: the account was deleted
            nobodies = {login.lower() for login in (author, *exclude)}
            last: dict[str, str] = {}
            for review in self.pages(f"/pulls/{number}/reviews"):
                user = review["user"] or {}
                if user.get("type") == "User" and review["state"] in OPINIONS:
                    fresh = review["commit_id"] == head
                    last[user["login"]] = review["state"] if fresh else "STALE"
            people = sorted(name for name, state in last.items() if state == "APPROVED")
            merged = dt.datetime.fromisoformat(pull["merged_at"])
            others = (name for name in people if name.lower() not in nobodies)
            approved = (name for name in others if not permitted or self._may_write(name))
            return Review(number, head, author, tuple(approved), merged)
        return None

    def middle(self, commit: str) -> int | None:
        """The pull request that brought a commit to main with others on top of it, by a rebase or
        as it was: people saw its end only. None where main stood at that commit, as far as GitHub
        knows; of pushes it does not tell."""
        pulls = list(self._merged(commit))
        if not pulls or any(pull["merge_commit_sha"] == commit for pull in pulls):
            return None
        return int(pulls[0]["number"])

    def _merged(self, commit: str) -> Iterator[Json]:
        """The pull requests of a commit that were merged into main."""
        for pull in self.pages(f"/commits/{commit}/pulls"):
            if pull["merged_at"] and pull["base"]["ref"] == BRANCH:
                yield pull

    def _was_merged_as(self, commit: str, pull: Json) -> bool:
        """Whether the merge made this commit. GitHub lists the branch's own commits too, which
        somebody may have pushed later, and which hold what nobody approved."""
        if pull["merge_commit_sha"] == commit:
            return True
        own = self.pages(f"/pulls/{pull['number']}/commits")  # a rebase makes others of them
        return all(listed["sha"] != commit for listed in own)

    def _may_write(self, login: str) -> bool:
        """Asked, since a job's token does not see a membership that is private."""
        found = self.find(f"/collaborators/{login}/permission")
        return found is not None and found["permission"] in WRITERS
