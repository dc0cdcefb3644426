"""Pull requests on GitHub."""

from mlrelease.evaluation.report import MAX_BODY
from mlrelease.github.api import GitHubError, Json
from mlrelease.github.repository import GitHub
from mlrelease.records.git import BRANCH, Git
from mlrelease.records.pull_request import PullRequest

SUPERSEDED = "<!-- superseded -->"  # in the body: a label would have to be made first


class GitHubPullRequests:
    """Pull requests on GitHub. `git` pushes their branches."""

    def __init__(self, github: GitHub, git: Git) -> None:
        self.github, self.git = github, git

    def list(self, environment: str, base: str) -> tuple[PullRequest, ...]:  # noqa: ARG002
        starts = tuple(f"{kind}/{environment}/" for kind in ("promote", "rollback"))
        return tuple(
            self._read(pull)
            for pull in self.github.pages("/pulls", state="open", base=BRANCH)
            if pull["head"]["ref"].startswith(starts) and self._own(pull)
        )

    def refused(self, branch: str, base: str) -> bool:  # noqa: ARG002
        owner = self.github.repository.name.split("/")[0]
        newest = next(self.github.pages("/pulls", state="all", head=f"{owner}:{branch}"), None)
        if newest is None or newest["state"] == "open" or newest["merged_at"]:
            return False
        return not (newest["body"] or "").startswith(SUPERSEDED)

    def open(
        self, branch: str, title: str, head: str, body: str, verified: bool = True
    ) -> PullRequest:
        self.git.publish(head, branch)
        owner = self.github.repository.name.split("/")[0]

        def find() -> Json | None:
            pulls = self.github.pages("/pulls", state="open", head=f"{owner}:{branch}", base=BRANCH)
            return next(pulls, None)

        content = {"title": title, "head": branch, "base": BRANCH, "body": body}
        try:
            pull = self.github.ensure(find, "/pulls", content)
        except GitHubError as error:
            self.git.delete(branch)
            raise GitHubError(f"{error} (`model doctor` tells what to set)", error.status) from None
        if (pull["title"], pull["body"]) != (title, body):
            changed = {"title": title, "body": body}
            pull = self.github.request("PATCH", f"/pulls/{pull['number']}", json=changed).json()
        if verified:
            self.github.status(head, "success", "verified from main; deployment verifies again")
        return self._read(pull)

    def supersede(self, old: PullRequest, by: PullRequest) -> None:
        number = int(old.address.rsplit("/", 1)[1])
        body = f"{SUPERSEDED}\n**Superseded by {by.address}.**\n\n{old.body}"
        content = {"state": "closed", "body": body[:MAX_BODY]}
        self.github.request("PATCH", f"/pulls/{number}", json=content)
        self.git.delete(old.branch)

    def how_to_merge(self, branch: str) -> str:  # noqa: ARG002
        return "Merge pull request"

    def _own(self, pull: Json) -> bool:
        """Not from a fork, which may call its branches as it likes."""
        repository = pull["head"]["repo"] or {}
        return bool(repository.get("full_name") == self.github.repository.name)

    def _read(self, pull: Json) -> PullRequest:
        head, body = pull["head"], pull["body"] or ""
        return PullRequest(head["ref"], pull["title"], head["sha"], body, pull["html_url"])
