"""A repository with two machines on it, whose models are a table: for the test of the one law.

Git, ledgers, store, records, verification and deployment are the real ones. Only what a model
scores, what answers golden requests, GitHub's API and the processes are stand-ins.
"""

import datetime as dt
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ..package import (
    deploy,
    errors,
    evaluation,
    figures,
    files,
    gate,
    git,
    golden,
    ledger_branch,
    plots,
    promote,
    pull_request,
    rebuild,
    record,
    store,
    workspace,
)
from .law_git import remembering
from .law_objects import Objects
from .law_standins import KINDS, Driver, GitHub, Killed, Kind, Pull

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
        self.digests: list[str] = json.loads((root / "digests.json").read_text())
        self.kinds = dict(zip(self.digests, KINDS, strict=True))
        self.person, self.agent = Machine(self, "person"), Machine(self, "agent")
        self.machines = (self.person, self.agent)
        self.kill: str | None = None
        self.meanwhile: Callable[[], None] | None = None

    def now(self, machine: Machine) -> dt.datetime:
        return self.true + (self.off if machine is self.person else dt.timedelta(0))

    def passes(self, place: str) -> None:
        """Where a verb may be killed, or something else happen meanwhile."""
        if self.kill == place:
            self.kill = None
            raise Killed
        if place == "before append" and self.meanwhile:
            act, self.meanwhile = self.meanwhile, None
            act()

    def train(self, kind: Kind) -> str:
        """Another candidate, packaged."""
        here, number = self.person.here(), len(self.digests)
        digest = pack(here.store, self.root / "made", number, self.origin.branch("main") or "")
        self.digests.append(digest)
        self.kinds[digest] = kind
        return digest

    def figures(self, model: str, champion: str | None) -> evaluation.Evaluation:
        """The table as an evaluation."""
        mine = self.kinds[model].auc
        theirs = self.kinds[champion].auc if champion else None
        difference = None if theirs is None else round(mine - theirs, 6)
        cost = evaluation.Cost(size_bytes=1000, latency_p50_ms=1, latency_p99_ms=1)
        return evaluation.Evaluation(
            task="classification", candidate=model, champion=champion, holdout=self.holdout,
            rows=100, metrics={"roc_auc": evaluation.Metric(
                candidate=_exactly(mine), champion=None if theirs is None else _exactly(theirs),
                difference=None if difference is None else _exactly(difference),
            )},
            parity=evaluation.Parity(
                runtime="onnx", rows=100, different=0, largest_difference=0, online_rows=9,
                online_different=0,
            ), cost=cost, champion_cost=cost if champion else None,
        )  # fmt: skip

    @property
    def holdout(self) -> str:
        return json.loads((self.root / "holdout.json").read_text())  # type: ignore[no-any-return]  # a digest

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put the stand-ins in place."""

        def evaluate(here: Any, model: str, replaces: record.Replaces, *_: Any, **__: Any) -> Any:
            champion = replaces.model
            here.store.fetch(model)
            if champion:
                here.store.fetch(champion)
            answers = {f"{row}": self.kinds[model].answers / 10 for row in range(16)}
            scored = SimpleNamespace(candidate=model)
            return figures.Measured(self.figures(model, champion), scored, answers, ())  # type: ignore[arg-type]

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

        for module in (figures, promote):
            patch.setattr(module, "measured", evaluate)
        patch.setattr(rebuild, "check", lambda *_: gate.Finding("rebuilt", True, "as it is"))
        patch.setattr(plots, "write", lambda *_: [], raising=False)
        patch.setattr(plots, "draw", lambda *_: {}, raising=False)  # its name on newer mains
        patch.setattr(golden, "check", check)
        patch.setattr(deploy, "driver", driver)
        patch.setattr(ledger_branch, "append", append)
        patch.setattr(git.Git, "has_origin", lambda _: True)  # asked for 40 times a verb
        patch.setattr(git.Git, "output", remembering(git.Git.output))

    def run(self, machine: Machine, verb: Callable[[workspace.Workspace], Any]) -> Any:
        """What a verb gives; a refusal is an answer, and nothing else is."""
        try:
            return verb(machine.here())
        except errors.ModelError as error:
            if "unexpected " in str(error):
                raise AssertionError(str(error)) from error
            return error
        except Killed as killed:
            return killed
        finally:
            self.kill = self.meanwhile = None


def _exactly(value: float) -> evaluation.Estimate:
    return evaluation.Estimate(value=value, low=value, high=value)


def pack(kept: store.Store, folder: Path, number: int, commit: str) -> str:
    """Put a tiny model into the store, with what `model package` knows of it."""
    shutil.rmtree(folder, ignore_errors=True)
    files.write_atomically(folder / "number.json", str(number))
    files.write_atomically(folder / "golden.json", "[]")
    digest = kept.put(folder)
    shutil.rmtree(folder)
    files.write_atomically(folder / "rows.csv", "1")
    data = record.DataDigests(train=digest, holdout=kept.put(folder))
    known = record.Provenance(
        model=digest, version=f"0.{number}", source=record.Source(commit=commit), data=data,
        key=f"sha256:{number:064x}",
    )  # fmt: skip
    kept.save(known)
    return digest
