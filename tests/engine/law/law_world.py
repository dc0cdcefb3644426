"""A repository with two machines on it, whose models are a table: for the test of the one law.

Git, ledgers, store, records, verification and deployment are the real ones. Only what a model
scores, what answers golden requests, GitHub's API and the processes are stand-ins.
"""

import datetime as dt
import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mlrelease import errors, workspace
from mlrelease.deployment import deploy
from mlrelease.evaluation import evaluation, plots
from mlrelease.records import git, ledger_branch, pull_request
from mlrelease.serving import golden
from tests.engine.law.law_disk import FULL, Disk
from tests.engine.law.law_git import Output, remembering
from tests.engine.law.law_models import Made, commit_params, pack
from tests.engine.law.law_objects import Objects
from tests.engine.law.law_processes import Processes, evaluated, scored
from tests.engine.law.law_standins import KINDS, Driver, GitHub, Killed, Kind, Pull

CLONES = ("person", "agent", "colleague", "newcomer")
START = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)


@dataclass
class Machine:
    """A clone with a state of its own; the store is shared, as a registry is."""

    world: "World"
    name: str
    drivers: dict[str, Driver] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return self.world.root / self.name

    @property
    def state(self) -> Path:
        return self.world.root / f"{self.name}-state"

    def here(self) -> workspace.Workspace:
        made = workspace.Workspace(self.root, self.state, now=lambda: self.world.now(self))
        requests = pull_request.LocalPullRequests(made.git, self.state / "pull-requests")
        vars(made)["github"] = GitHub(self.world) if self.world.on_github else None
        vars(made)["pull_requests"] = requests
        return made

    def driver(self, environment: str) -> Driver:
        return self.drivers.setdefault(environment, Driver(self.world))


class World:
    """The repository, its clock, and the two machines: one releases, one only follows."""

    def __init__(self, root: Path, on_github: bool) -> None:
        self.root, self.on_github = root, on_github
        self.origin = Objects(root / "origin.git")
        self.true, self.off = START, dt.timedelta(0)
        self.pulls: dict[str, Pull] = {}
        known = json.loads((root / "made.json").read_text())
        self.rows: dict[str, str] = known["rows"]
        self.made: dict[str, Made] = {}
        self.kinds: dict[str, Kind] = {}
        self.digests: list[str] = []
        for made, kind in zip(known["made"], KINDS, strict=True):
            self._know(Made(**made), kind)
        self.person, self.agent, self.colleague = (Machine(self, name) for name in CLONES[:3])
        self.machines = [self.person, self.agent, self.colleague]
        self.actor = self.person  # who runs a verb, or ran the last one
        self.kill: str | None = None
        self.meanwhile: tuple[str, Callable[[], None]] | None = None
        self.disk = Disk(root)
        self.apart: dict[str, float] = {}  # what a machine's processor adds to figures
        self.rebuilds = "yes"  # or "away", as training data may be, or "slow"
        self.not_made_again: set[str] = set()  # models that may be trusted, for that reason

    def now(self, machine: Machine) -> dt.datetime:
        return self.true + (self.off if machine is self.person else dt.timedelta(0))

    def passes(self, place: str) -> None:
        """Where a verb may be killed, or something else happen meanwhile."""
        if self.kill == place:
            self.kill = None
            raise Killed
        if self.meanwhile and self.meanwhile[0] == place:
            (_, act), self.meanwhile = self.meanwhile, None
            act()

    def newcomer(self) -> None:
        """A colleague who has never seen anything of this repository."""
        name = f"colleague-{len(self.machines)}"
        for end in ("", "-state"):
            shutil.copytree(self.root / f"newcomer{end}", self.root / f"{name}{end}", symlinks=True)
        self.colleague = Machine(self, name)
        self.machines.append(self.colleague)

    def train(self, kind: Kind) -> str:
        """Another candidate, packaged."""
        number, kept = len(self.digests), self.person.here().store
        source = commit_params(self.origin, number)
        self._know(made := pack(kept, self.root / "made", number, kind, source), kind)
        return made.model

    def _know(self, made: Made, kind: Kind) -> None:
        self.made[made.model], self.kinds[made.model] = made, kind
        self.digests.append(made.model)

    def figures(self, model: str, champion: str | None, holdout: str = "") -> evaluation.Evaluation:
        """The table as an evaluation, on the holdout that everybody shares."""
        theirs = self.kinds[champion] if champion else None
        holdout = holdout or self.made[self.digests[0]].data["holdout"]
        easy = "easy" if holdout == self.rows["easy"] else ""
        found = scored(easy, self.kinds[model], theirs)
        return evaluated(model, champion, holdout, found)

    @property
    def off_by(self) -> float:
        """How far off the figures of the processor are that is asked now."""
        return self.apart.get(self.actor.name, 0.0)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put the stand-ins in place."""

        def check(_: str, __: Any, model: str) -> list[str]:
            return [] if self.kinds[model].golden else ["golden row 0: expected 1, got 2"]

        def driver(here: Any, environment: str, _: str) -> Driver:
            return next(m for m in self.machines if m.root == here.root).driver(environment)

        real = ledger_branch.append

        def append(*given: Any) -> str:
            self.passes("before append")
            commit = real(*given)
            self.passes("after append")
            return commit

        Processes(self).install(patch)
        patch.setattr(plots, "write", lambda *_: [], raising=False)
        patch.setattr(plots, "draw", lambda *_: {}, raising=False)  # its name on newer mains
        patch.setattr(golden, "check", check)
        patch.setattr(deploy, "driver", driver)
        patch.setattr(ledger_branch, "append", append)
        patch.setattr(git.Git, "has_origin", lambda _: True)  # asked for 40 times a verb
        self.disk.install(patch)
        patch.setattr(git.Git, "output", remembering(self._pushing(git.Git.output)))

    def _pushing(self, output: Output) -> Output:
        def ask(here: git.Git, *arguments: str, **more: Any) -> bytes:
            if "push" in arguments:
                self.passes("before push")
            return output(here, *arguments, **more)

        return ask

    def run(self, machine: Machine, verb: Callable[[workspace.Workspace], Any]) -> Any:
        """What a verb gives; a refusal is an answer, and nothing else is."""
        before, self.actor = self.actor, machine
        try:
            return verb(machine.here())
        except errors.ModelError as error:
            if "unexpected " in str(error) and FULL not in str(error):
                raise AssertionError(str(error)) from error
            return error
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            return error
        except Killed as killed:
            return killed
        finally:
            self.actor = before
            self.kill = self.meanwhile = self.disk.room = None
