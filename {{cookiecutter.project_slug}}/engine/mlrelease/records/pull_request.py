"""Pull requests: what promotion needs of them, and how it is where there is no GitHub."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mlrelease.files import canonical_json, read_json, write_atomically
from mlrelease.records.git import BRANCH, Git


@dataclass(frozen=True)
class PullRequest:
    """A proposed change of one environment. `address` is where people read its body."""

    branch: str
    title: str
    head: str
    body: str
    address: str


class PullRequests(Protocol):
    """Where proposals are opened, reviewed and closed."""

    def list(self, environment: str, base: str) -> tuple[PullRequest, ...]:
        """The open ones of an environment, promotions and rollbacks."""

    def refused(self, branch: str, base: str) -> bool:
        """Whether a person closed this branch's pull request without merging it."""

    def open(self, branch: str, title: str, head: str, body: str) -> PullRequest:
        """Publish a commit as `branch` and ask for its review; again replaces both."""

    def supersede(self, old: PullRequest, by: PullRequest) -> None:
        """Withdraw one for a newer one. That is nobody's "no"."""

    def how_to_merge(self, branch: str) -> str:
        """What a reviewer does to merge it."""


class LocalPullRequests:
    """A branch, and its body in a file beside the store. Deleting the branch closes a pull request;
    merging it into main merges it."""

    def __init__(self, git: Git, folder: Path) -> None:
        self.git = git
        self.folder = folder

    def open(self, branch: str, title: str, head: str, body: str) -> PullRequest:
        path = self._path(branch)
        write_atomically(path.with_suffix(".md"), body)
        fields = {"branch": branch, "title": title, "head": head}
        write_atomically(path, canonical_json(fields))
        self.git.publish(head, branch)
        return PullRequest(**fields, body=body, address=str(path.with_suffix(".md")))

    def list(self, environment: str, base: str) -> tuple[PullRequest, ...]:
        found = []
        for branch in self._unmerged(environment, base):
            path = self._path(branch)
            fields = self._read(path) if path.exists() else None
            if fields and not self._merged(fields, base):
                page = path.with_suffix(".md")
                # Somebody may have pushed to it since.
                fields["head"] = self.git.resolve(branch) or fields["head"]
                found.append(PullRequest(**fields, body=page.read_text(), address=str(page)))
        return tuple(found)

    def refused(self, branch: str, base: str) -> bool:
        path = self._path(branch)
        if not path.exists() or self.git.resolve(branch):
            return False
        return not self._merged(self._read(path), base)

    def supersede(self, old: PullRequest, by: PullRequest) -> None:  # noqa: ARG002
        self.git.delete(old.branch)
        self._path(old.branch).unlink(missing_ok=True)
        self._path(old.branch).with_suffix(".md").unlink(missing_ok=True)

    def how_to_merge(self, branch: str) -> str:
        if self.git.has_origin():
            return (
                f"git checkout {BRANCH} && git pull --ff-only && git fetch origin {branch}"
                " && git merge --no-ff FETCH_HEAD && git push"  # also in a clone of one branch
            )
        return f"git checkout {BRANCH} && git merge --no-ff {branch}"

    def _unmerged(self, environment: str, base: str) -> Sequence[str]:
        """Branches that main does not hold, asked at once: years of merged ones may be there."""
        places = ("refs/heads/", "refs/remotes/origin/")
        kinds = [f"{at}{kind}/{environment}" for at in places for kind in ("promote", "rollback")]
        listed = self.git.run("for-each-ref", "--format=%(refname)", f"--no-merged={base}", *kinds)
        names = listed.split()
        return sorted({n.removeprefix(places[0]).removeprefix(places[1]) for n in names})

    def _path(self, branch: str) -> Path:
        return self.folder / f"{branch.replace('/', '-')}.json"

    def _read(self, path: Path) -> dict[str, Any]:
        return {name: str(read_json(path)[name]) for name in ("branch", "title", "head")}

    def _merged(self, fields: dict[str, Any], base: str) -> bool:
        return self.git.is_ancestor(fields["head"], base)
