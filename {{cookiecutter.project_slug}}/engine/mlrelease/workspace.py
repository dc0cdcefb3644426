"""Where a project's parts are: its repository, store, pull requests and running environments.

Every verb comes by here, so what takes long to import is imported where it is used.
"""

import datetime as dt
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlrelease.environments import Environment
from mlrelease.errors import InputError, ModelError
from mlrelease.records import ledger_branch
from mlrelease.records.checkout import refuse_tracked, refuse_unusable
from mlrelease.records.git import BRANCH, Git, GitError
from mlrelease.records.known_objects import KnownObjects
from mlrelease.records.ledger import MAX_RECORD, Entry, Ledger
from mlrelease.records.pull_request import LocalPullRequests, PullRequests

if TYPE_CHECKING:
    from mlrelease.github.repository import GitHub
    from mlrelease.params import Params
    from mlrelease.policy import EnvironmentRules, Policy
    from mlrelease.records.record import Record
    from mlrelease.storage.store import Store


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@dataclass(frozen=True)
class Workspace:
    """A generated repository on this machine."""

    root: Path
    state: Path  # what this machine keeps and git does not: store, pull requests, processes
    registry: str | None = None  # the store of record, where the machine's is a copy only
    rows: str | None = None  # a registry for rows, where not everybody may see them
    now: Callable[[], dt.datetime] = field(default=_now)  # the clock that verifies
    _ledgers: dict[str, Ledger] = field(default_factory=dict, repr=False, compare=False)
    _objects: dict[str, KnownObjects] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def find(cls, start: Path) -> "Workspace":
        """The project that `start` lies in. MODEL_STATE moves what this machine keeps, MODEL_STORE
        names an OCI registry that keeps the models, MODEL_ROWS one that keeps their rows.

        Raises:
            InputError: No folder from here upwards holds params.yaml, or git tracks what this
                machine keeps.
        """
        for folder in (start, *start.parents):
            if (folder / "params.yaml").is_file():
                state = Path(os.environ.get("MODEL_STATE") or folder / ".model")
                if state.exists() and not state.is_dir():
                    raise InputError(f"{state}: is not a folder; MODEL_STATE must name one")
                with suppress(GitError):  # who needs git is told so
                    refuse_tracked(Git(folder), state)
                models, rows = (os.environ.get(f"MODEL_{x}") or None for x in ("STORE", "ROWS"))
                return cls(folder, state, models, rows)
        raise InputError(f"{start}: no params.yaml here or above; run this inside the project")

    @cached_property
    def params(self) -> "Params":
        from mlrelease.objects import read
        from mlrelease.params import Params

        return read(self.root / "params.yaml", Params)

    @cached_property
    def policy(self) -> "Policy":
        from mlrelease.objects import read
        from mlrelease.policy import Policy

        return read(self.root / "policy.yaml", Policy)

    @property
    def candidate(self) -> Path:
        return self.root / "candidate"

    @cached_property
    def git(self) -> Git:
        git = Git(self.root)
        refuse_unusable(git)
        refuse_tracked(git, self.state)
        return git

    @cached_property
    def store(self) -> "Store":
        from mlrelease.storage.registry import Registry
        from mlrelease.storage.store import Store

        models, rows = (Registry(n) if n else None for n in (self.registry, self.rows))
        return Store(self.state / "store", models, rows)

    @cached_property
    def github(self) -> "GitHub | None":
        """GitHub, where `origin` is there and a token is given."""
        from mlrelease.github.api import Repository

        repository = Repository.of(self.git)
        if repository is None:
            return None
        from mlrelease.github.repository import GitHub

        return GitHub(repository)

    @cached_property
    def pull_requests(self) -> PullRequests:
        if self.github:
            from mlrelease.github.pull_requests import GitHubPullRequests

            return GitHubPullRequests(self.github, self.git)
        return LocalPullRequests(self.git, self.state / "pull-requests")

    def ledger(self, environment: Environment, main: str) -> Ledger:
        """What was released to an environment, as recorded; see confirm.py for what verifies."""
        objects = self._objects.get(environment)
        if objects is None:
            objects = KnownObjects(self.git, self.state / "ledgers" / f"{environment}.msgpack")
        self._objects[environment] = objects
        found = ledger_branch.read(
            self.git,
            environment,
            main,
            self.now(),
            lambda entry, commit: self.remembers(environment, entry) or self._merged(commit),
            self._ledgers.get(environment),
            objects.read,
        )
        objects.save()
        self._ledgers[environment] = found
        return found

    def known_main(self) -> tuple[str, str]:
        """The commit of main, and a word on it where origin cannot be asked: for verbs that show.

        Raises:
            ModelError: This clone knows of none.
        """
        try:
            return self.git.base(), ""
        except GitError as error:
            main = self.git.resolve(BRANCH)
            if main is None:
                raise
            part = self.git.run("rev-parse", "--is-shallow-repository") == "true"
            more = "; it is shallow, and `git fetch --unshallow` brings the rest" if part else ""
            return main, f"as this clone knows it: {error}{more}"

    def memory(self, environment: str, commit: str) -> Path:
        """Where this machine notes that it verified an entry."""
        return self.state / "verified" / environment / f"{commit}.json"

    def remembers(self, environment: str, commit: str) -> bool:
        """Whether this machine verified an entry."""
        return self.memory(environment, commit).is_file()

    def _merged(self, commit: str) -> bool:
        """Whether a pull request brought a commit to main, although it is not there any more."""
        return self.github is not None and self.github.approvals(commit) is not None

    def fitted(self, digest: str | None) -> "tuple[Path | None, bool]":
        """Where the hashes of fitted rows are to compare without, and whether they were erased on
        purpose: a note alone erases nothing."""
        from mlrelease.storage.store import ErasedError

        try:
            return (self.store.fetch(digest) if digest else None), False
        except ErasedError:
            return None, True

    def recorded(self, entry: Entry) -> "Record":
        """The record of an entry of the ledger, as it was committed."""
        return self.records([entry])[0]

    def records(self, entries: Sequence[Entry]) -> "list[Record]":
        """The same of several, with one question to git."""
        from mlrelease.records.record import Record

        files = self.git.objects([entry.record for entry in entries], MAX_RECORD)
        return [
            Record.read(file.content or b"", f"model.yaml of entry {entry.commit[:7]}")
            for entry, file in zip(entries, files, strict=True)
        ]

    def policy_at(self, commit: str) -> "Policy":
        """policy.yaml as it stands at a commit: a change cannot bring its own policy along."""
        from mlrelease.objects import parse
        from mlrelease.policy import Policy

        return parse(self._at(commit, "policy.yaml"), Policy, f"policy.yaml at {commit[:7]}")

    def rules(self, environment: Environment) -> "EnvironmentRules | None":
        """What main, as far as this clone knows it, asks of an environment."""
        try:
            main = self.git.resolve(BRANCH)
            return self.policy_at(main).environments[environment] if main else None
        except ModelError:
            return None

    def params_at(self, commit: str) -> "Params":
        """params.yaml as it stands at a commit."""
        from mlrelease.objects import parse
        from mlrelease.params import Params

        return parse(self._at(commit, "params.yaml"), Params, f"params.yaml at {commit[:7]}")

    def _at(self, commit: str, path: str) -> bytes:
        content = self.git.show(commit, path)
        if content is None:
            raise InputError(f"{path} is not committed at {commit[:7]}; commit it on main")
        return content
