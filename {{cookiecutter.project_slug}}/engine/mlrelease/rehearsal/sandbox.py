"""A throw-away copy of the project, and the hand of a person on it: for rehearsals and tests."""

import datetime as dt
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mlrelease.documents import parse_yaml
from mlrelease.environments import Environment
from mlrelease.errors import ModelError
from mlrelease.files import write_atomically
from mlrelease.objects import read
from mlrelease.packages.package import package
from mlrelease.params import Params
from mlrelease.policy import Policy
from mlrelease.promotion.promote import promote
from mlrelease.promotion.proposal import Opened
from mlrelease.promotion.release import release
from mlrelease.promotion.rollback import rollback
from mlrelease.records.git_environment import environment
from mlrelease.records.ledger import Entry
from mlrelease.training.train import train
from mlrelease.workspace import Workspace

IGNORED = (".git", ".venv", ".model", "build", "candidate", "deploy", "rehearsal")


@dataclass
class Sandbox:
    """A repository with a bare origin, and a clock that only the person moves."""

    here: Workspace
    clock: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))

    def __post_init__(self) -> None:
        self.look_again()

    def look_again(self) -> None:
        """Read the project's files again; its clock is ours."""
        self.here = Workspace(self.here.root, self.here.state, now=lambda: self.clock)

    def git(self, *arguments: str) -> None:
        """A person's git command, at the time of the clock."""
        moment = self.clock.strftime("%Y-%m-%dT%H:%M:%S+0000")
        variables = environment() | {"GIT_COMMITTER_DATE": moment, "GIT_AUTHOR_DATE": moment}
        command = ["git", "-C", str(self.here.root), *arguments]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ModelError(f"git {' '.join(arguments)}: {(done.stderr or done.stdout).strip()}")

    def commit(self, path: str, content: str) -> None:
        """Write a file, commit it on main and push."""
        write_atomically(self.here.root / path, content)
        self.git("add", "--all", path)
        self.git("commit", "--quiet", "--allow-empty", "--message", f"Change {path}")
        self.git("push", "--quiet", "origin", "main")
        self.look_again()

    def candidate(self, changes: dict[str, Any]) -> str:
        """Commit these changes to params.yaml, train, package; the model's digest."""
        path = self.here.root / "params.yaml"
        content = parse_yaml(path.read_bytes(), path.name) | changes
        self.commit("params.yaml", yaml.safe_dump(content, sort_keys=False))
        train(self.here.params, self.here.root, self.here.candidate)
        return package(self.here).model

    def promote(self, environment: Environment, reason: str | None = None) -> Opened:
        """`model promote`, at the time of the clock."""
        return promote(self.here, environment, reason=reason)

    def roll_back(self, environment: Environment) -> Opened:
        """`model rollback`, and the merge of what it proposes."""
        proposed = rollback(self.here, environment, reason="Rehearsing a bad day.")
        self.merge(proposed.pull_request.branch)
        return proposed

    def release(self, environment: Environment) -> Entry | None:
        """`model release`: what the merge asked for."""
        return release(self.here, environment)

    def merge(self, branch: str) -> None:
        """What a reviewer does to approve."""
        self.git("fetch", "--quiet", "origin")
        self.git("merge", "--quiet", "--no-ff", "--message", f"Merge {branch}", f"origin/{branch}")
        self.git("push", "--quiet", "origin", "main")


@contextmanager
def alone() -> Iterator[None]:
    """Without what the surroundings set for the real project: its store, its GitHub, the git hook
    that started us, and a person's own git configuration with its hooks and signatures."""
    before = dict(os.environ)
    hidden = ("GIT_", "GITHUB_", "GH_", "MODEL_", "LEDGER_", "REGISTRY_", "PROMOTION_")
    kept = ("MODEL_DEBUG", "GITHUB_WORKSPACE")  # the latter tells where libraries may be shared
    for name in before:
        if name == "TRUST" or (name.startswith(hidden) and name not in kept):
            del os.environ[name]
    os.environ |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def sandbox(root: Path) -> Iterator[Sandbox]:
    """A copy of the project as a repository of its own, without its records, on free ports."""
    with alone(), tempfile.TemporaryDirectory(prefix="rehearsal-") as directory:
        copy, origin = Path(directory) / "project", Path(directory) / "origin.git"
        shutil.copytree(root, copy, ignore=lambda folder, names: _ignored(root, folder, names))
        read(copy / "params.yaml", Params)  # a fault is named before they are taken apart
        read(copy / "policy.yaml", Policy)
        policy = parse_yaml((copy / "policy.yaml").read_bytes(), "policy.yaml")
        for rules in policy["environments"].values():
            rules.pop("port", None)
            rules.pop("freeze", None)
        made = Sandbox(Workspace(copy, Path(directory) / "state"))
        for place, options in ((origin, ["--bare"]), (copy, [])):
            command = ["git", "init", "-q", "-b", "main", *options, str(place)]
            subprocess.run(command, env=environment(), check=True)
        made.git("config", "user.name", "Rehearsal")
        made.git("config", "user.email", "rehearsal@localhost")
        made.git("remote", "add", "origin", str(origin))
        made.git("add", "--all")
        made.commit("policy.yaml", yaml.safe_dump(policy, sort_keys=False))
        yield made


def _ignored(root: Path, folder: str, names: list[str]) -> set[str]:
    """What is no part of a copy. A folder of the package may have any name, `build` too."""
    made = shutil.ignore_patterns("__pycache__", ".*cache*", "*.pyc")(folder, names)
    return made | set(IGNORED) & set(names) if Path(folder) == root else made
