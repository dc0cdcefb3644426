"""Pull requests where there is no GitHub: a branch, and its body in a file beside the store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from ..files import canonical_json, read_json, write_atomically
from .git import BRANCH, Git


@dataclass(frozen=True)
class PullRequest:
    """A proposed change of one environment. `body_file` holds what GitHub would show."""

    branch: str
    title: str
    head: str
    model: str
    state: Literal["open", "merged", "closed"]
    body_file: Path


class LocalPullRequests:
    """Deleting the branch closes a pull request; merging it into main merges it."""

    def __init__(self, git: Git, folder: Path) -> None:
        self.git = git
        self.folder = folder

    def open(self, branch: str, title: str, head: str, model: str, body: str) -> PullRequest:
        """Publish the branch and write the body; again replaces both."""
        path = self.folder / f"{branch.replace('/', '-')}.md"
        write_atomically(path, body)
        fields = {"branch": branch, "title": title, "head": head, "model": model}
        write_atomically(path.with_suffix(".json"), canonical_json(fields))
        self.git.publish(head, branch)
        return PullRequest(state="open", body_file=path, **fields)

    def list(self, environment: str, base: str) -> tuple[PullRequest, ...]:
        """Every pull request of an environment, with its state as git tells it."""
        found = []
        for path in sorted(self.folder.glob("*.json")):
            fields = msgspec.convert(read_json(path), dict[str, str])
            branch = fields["branch"]
            if branch.split("/")[1] != environment:
                continue
            tip = self.git.resolve(branch)
            merged = self.git.is_ancestor(fields["head"], base)
            state: Literal["open", "merged", "closed"] = (
                "merged" if merged else "open" if tip else "closed"
            )
            found.append(PullRequest(state=state, body_file=path.with_suffix(".md"), **fields))
        return tuple(found)

    def supersede(self, pull_request: PullRequest) -> None:
        """Withdraw it for a newer one. That is nobody's "no", so nothing remembers it."""
        self.git.delete(pull_request.branch)
        pull_request.body_file.with_suffix(".json").unlink(missing_ok=True)
        pull_request.body_file.unlink(missing_ok=True)

    def how_to_merge(self, branch: str) -> str:
        """The command that merges it."""
        if self.git.has_origin():
            return (
                f"git fetch && git checkout {BRANCH} && git pull --ff-only"
                f" && git merge --no-ff origin/{branch} && git push"
            )
        return f"git checkout {BRANCH} && git merge --no-ff {branch}"
