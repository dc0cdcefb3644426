"""Where a project's parts are: its repository, store, pull requests and running environments.

Every verb comes by here, so what takes long to import is imported where it is used.
"""

import datetime as dt
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..environments import Environment
from ..errors import InputError, ModelError
from . import ledger_branch
from .git import BRANCH, Git, GitError
from .known_objects import KnownObjects
from .ledger import Ledger
from .pull_request import LocalPullRequests, PullRequests

if TYPE_CHECKING:
    from ..config import EnvironmentRules, Params, Policy
    from ..pipeline.evaluate import Scored
    from ..pipeline.evaluation import Evaluation
    from .github import GitHub
    from .store import Store


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
            InputError: No folder from here upwards holds params.yaml.
        """
        for folder in (start, *start.parents):
            if (folder / "params.yaml").is_file():
                state = Path(os.environ.get("MODEL_STATE") or folder / ".model")
                models, rows = (os.environ.get(f"MODEL_{x}") or None for x in ("STORE", "ROWS"))
                return cls(folder, state, models, rows)
        raise InputError(f"{start}: no params.yaml here or above; run this inside the project")

    @cached_property
    def params(self) -> "Params":
        from ..config import Params, read

        return read(self.root / "params.yaml", Params)

    @cached_property
    def policy(self) -> "Policy":
        from ..config import Policy, read

        return read(self.root / "policy.yaml", Policy)

    @property
    def candidate(self) -> Path:
        return self.root / "candidate"

    @cached_property
    def git(self) -> Git:
        git = Git(self.root)
        if not git.ok("rev-parse", "--git-dir"):
            raise InputError(f"{self.root}: not a git repository; run `git init -b main`")
        return git

    @cached_property
    def store(self) -> "Store":
        from .registry import Registry
        from .store import Store

        models, rows = (Registry(n) if n else None for n in (self.registry, self.rows))
        return Store(self.state / "store", models, rows)

    @cached_property
    def github(self) -> "GitHub | None":
        """GitHub, where `origin` is there and a token is given."""
        from .github_api import Repository

        repository = Repository.of(self.git)
        if repository is None:
            return None
        from .github import GitHub

        return GitHub(repository)

    @cached_property
    def pull_requests(self) -> PullRequests:
        if self.github:
            from .github_pull_request import GitHubPullRequests

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
            return main, f"as this clone knows it: {error}"

    def memory(self, environment: str, commit: str) -> Path:
        """Where this machine notes that it verified an entry."""
        return self.state / "verified" / environment / f"{commit}.json"

    def remembers(self, environment: str, commit: str) -> bool:
        """Whether this machine verified an entry."""
        return self.memory(environment, commit).is_file()

    def _merged(self, commit: str) -> bool:
        """Whether a pull request brought a commit to main, although it is not there any more."""
        return self.github is not None and self.github.approvals(commit) is not None

    def policy_at(self, commit: str) -> "Policy":
        """policy.yaml as it stands at a commit: a change cannot bring its own policy along."""
        from ..config import Policy, parse

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
        from ..config import Params, parse

        return parse(self._at(commit, "params.yaml"), Params, f"params.yaml at {commit[:7]}")

    def evaluate_candidate(self, against: Environment) -> "tuple[Evaluation, Scored]":
        """The candidate of this work tree against what an environment runs, if anything.

        Raises:
            InputError: There is no candidate, or it was changed after it was trained.
        """
        from ..pipeline.artifact import check_digest
        from ..pipeline.evaluate import evaluate
        from ..pipeline.train import Candidate, input_key, read_holdout

        candidate = Candidate.read(self.candidate)
        if candidate.key != input_key(self.params, self.root):
            raise InputError("the candidate was trained from other inputs: run `model train`")
        champion = None
        if self.git.resolve(BRANCH):
            champion = self.ledger(against, self.git.base()).effective
        check_digest(self.candidate / "holdout", candidate.holdout)
        slices = self.policy.slices
        return evaluate(
            self.candidate / "model",
            self.store.fetch(champion.model) if champion else None,
            read_holdout(self.candidate / "holdout"),
            candidate_digest=candidate.model,
            champion_digest=champion.model if champion else None,
            holdout_digest=candidate.holdout,
            slices=self.params.slices,
            mandatory=self.policy.slice_columns,
            slice_metric=slices.metric if slices else None,
            min_rows=slices.min_rows if slices else 1,
        )

    def restore_candidate(self, key: str) -> str | None:
        """Bring back from the store the candidate that these inputs gave; its digest, if any."""
        from ..pipeline.artifact import replace_directory
        from ..pipeline.train import Candidate

        known = self.store.find(key)
        if known is None:
            return None
        for name, digest in (("model", known.model), ("holdout", known.data.holdout)):
            temporary = self.candidate / f".{name}.restored"
            shutil.rmtree(temporary, ignore_errors=True)
            shutil.copytree(self.store.fetch(digest), temporary)
            replace_directory(temporary, self.candidate / name)
        Candidate(key, known.model, known.data.train, known.data.holdout).write(self.candidate)
        return known.model

    def _at(self, commit: str, path: str) -> bytes:
        content = self.git.show(commit, path)
        if content is None:
            raise InputError(f"{path} is not committed at {commit[:7]}; commit it on main")
        return content
