"""A proposal: what a pull request will change, prepared by one job and opened by another.

The job that prepares it loads models and may not write. The job that opens it may write and loads
nothing: to it a proposal is data, which somebody may have forged.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from mlrelease.environments import Environment
from mlrelease.errors import InputError, RefusedError
from mlrelease.files import sha256
from mlrelease.output import begins, write
from mlrelease.records.git import Git
from mlrelease.records.pull_request import PullRequest
from mlrelease.records.record import Record, folder, short
from mlrelease.workspace import Workspace

FILES = re.compile(r"model\.yaml|evaluation\.json|report\.md|plots/[a-z_]+\.png")
MAX_BYTES = 20_000_000
OURS = begins('{"kind":"promote","environment":', '{"kind":"rollback","environment":')


@dataclass(frozen=True)
class Proposal:
    """The content that `deploy/<environment>/` shall have, the words for it, and the commit of main
    on which it was verified."""

    kind: Literal["promote", "rollback"]
    environment: Environment
    branch: str
    title: str
    message: str
    body: str
    base: str
    files: Mapping[str, bytes]

    @property
    def model(self) -> str:
        """The digest of the model that it names."""
        return Record.read(self.files["model.yaml"], "model.yaml").model

    def write(self, path: Path) -> None:
        """Write it as JSON, for `read` in another job.

        Raises:
            RefusedError: A file that is no proposal is there.
        """
        write(path, msgspec.json.encode(self), OURS)

    @classmethod
    def read(cls, path: Path) -> "Proposal":
        """Read a file that `write` made, or that somebody forged.

        Raises:
            InputError: It is no proposal, or not for the one record that it says.
        """
        try:
            if path.stat().st_size > MAX_BYTES:
                raise InputError(f"{path}: larger than {MAX_BYTES / 1e6:g} MB")
            found = msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        except msgspec.MsgspecError as error:
            raise InputError(f"{path}: is no proposal: {error}") from None
        fault = found._fault()
        if fault:
            raise InputError(f"{path}: {fault}")
        return found

    def _fault(self) -> str:
        strange = [name for name in self.files if not FILES.fullmatch(name)]
        if strange:
            return f"may not bring {strange[0]!r}"
        if not {"model.yaml", "evaluation.json"} <= set(self.files):
            return "brings no record with its evaluation"
        record = Record.read(self.files["model.yaml"], "model.yaml")
        start = f"{self.kind}/{self.environment}/{short(record.model)}"
        end = "" if self.kind == "promote" else "-[0-9a-f]{7}"
        if not re.fullmatch(start + end, self.branch):
            return f"branch {self.branch!r} is not {start}"
        if record.environment != self.environment:
            return f"names {record.environment} for {self.environment}"
        if record.evaluation != sha256(self.files["evaluation.json"]):
            return "the evaluation is not the one that the record names"
        return ""


@dataclass(frozen=True)
class Opened:
    """An open pull request. `new` is False when the same one was open already."""

    pull_request: PullRequest
    merge: str
    new: bool
    superseded: tuple[str, ...] = ()


def find_open(workspace: Workspace, environment: str, branch: str, base: str) -> Opened | None:
    """The open pull request of a branch, if there is one."""
    for request in workspace.pull_requests.list(environment, base):
        if request.branch == branch:
            return Opened(request, workspace.pull_requests.how_to_merge(branch), new=False)
    return None


def publish(workspace: Workspace, proposal: Proposal) -> Opened:
    """Open the pull request; older promotions of the environment are withdrawn for it.

    Raises:
        RefusedError: What it was verified against is not what main says any more.
    """
    git = workspace.git
    base = git.base()
    _refuse_moved(git, proposal, base)
    message = f"{proposal.title}\n\n{proposal.message}"
    head = git.commit_folder(base, folder(proposal.environment), proposal.files, message)
    requests = workspace.pull_requests
    older = [
        request
        for request in requests.list(proposal.environment, base)
        if request.branch != proposal.branch
        and request.branch.startswith("promote/")
        and proposal.kind == "promote"
    ]
    opened = requests.open(proposal.branch, proposal.title, head, proposal.body)
    for request in older:
        requests.supersede(request, opened)
    merge = requests.how_to_merge(proposal.branch)
    return Opened(opened, merge, new=True, superseded=tuple(p.branch for p in older))


def _refuse_moved(git: Git, proposal: Proposal, base: str) -> None:
    if proposal.base == base:
        return
    if not git.is_ancestor(proposal.base, base):
        raise RefusedError(f"{proposal.title}: {proposal.base[:7]} is not on main any more")
    decides = [n for n in git.changed(proposal.base, base) if n.startswith(("deploy/", "policy."))]
    if decides:
        raise RefusedError(
            f"{proposal.title}: main moved while it was prepared ({decides[0]}); prepare it again"
        )
