"""The one law, checked after every verb; and how an operator puts things right."""

import datetime as dt
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hypothesis.stateful import RuleBasedStateMachine

from mlrelease.deployment import deploy
from mlrelease.promotion import promote, release, repair, rollback
from tests.engine.law.law_build import POLICY, copied
from tests.engine.law.law_facts import KNOWN
from tests.engine.law.law_forgery import forge
from tests.engine.law.law_hands import Hands
from tests.engine.law.law_oracle import Oracle
from tests.engine.law.law_world import Machine, World


class Play(RuleBasedStateMachine):
    """A world, what is known of it, and what every step needs."""

    folder: ClassVar[Path]
    number: ClassVar[int] = 0

    def begin(self, on_github: bool) -> None:
        Play.number += 1
        self.stack = ExitStack()
        place = self.folder / f"world-{Play.number}"
        self.world: World = self.stack.enter_context(
            copied(self.folder / "template", place, on_github)
        )
        self.hands, self.oracle = Hands(self.world), Oracle(self.world)
        self.open: list[tuple[str, str]] = []
        self.last: dict[tuple[str, str], Any] = {}

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()

    def _run(self, machine: Machine, name: str, verb: Callable[[Any], Any]) -> Any:
        """A verb, and the law after it."""
        driver, origin = machine.driver(name), self.world.origin
        count, before = len(driver.started), self.oracle.effective(name)
        other = "production" if name == "staging" else "staging"
        theirs = (list(machine.driver(other).services), origin.branch(f"env/{other}"))
        tip = origin.branch(f"env/{name}")
        cut = self._cut(machine, name, tip)
        found = self.world.run(machine, verb)
        if tip:
            assert tip in origin.line(origin.branch(f"env/{name}")), "the ledger was cut"
        self.world.actor = machine
        self.oracle.look(name)
        after = self.oracle.effective(name)
        may = [fact.content for fact in (*before, *after, *self.oracle.facts[name][-1:]) if fact]
        may += [self.last[key] for key in [(machine.name, name)] if key in self.last]
        may += [fact.content for fact in cut]
        if "lost" in KNOWN and self.hands.lost():
            may += [fact.content for fact in self.oracle.facts[name]]
        for record in driver.started[count:]:
            content = yaml.safe_load(record.write())
            assert content in may, f"{machine.name} started what is not effective: {content}"
        for service in driver.services:
            content = yaml.safe_load(service.record.write())
            assert self.oracle.right(name, content), f"{content} was never released"
            if service.public:
                assert self.world.kinds[service.record.model].golden, "it answers wrongly"
        public = [service for service in driver.services if service.public]
        if isinstance(found, deploy.Deployment) and public:
            self.last[machine.name, name] = yaml.safe_load(public[0].record.write())
        now = (list(machine.driver(other).services), origin.branch(f"env/{other}"))
        assert theirs == now, f"{name} changed {other}"
        return found

    def _cut(self, machine: Machine, name: str, tip: str | None) -> list[Any]:
        """What runs by a ledger that was cut, for a machine that never saw it whole: to that, it is
        one that was not released to yet. A level above "none" forbids the cut."""
        line = self.world.origin.line(tip)
        seen = machine.root / ".git" / "refs" / "model" / "seen" / name
        if seen.exists() and seen.read_text().strip() not in line:
            return []
        facts = self.oracle.facts[name]
        return [f for f in facts if f.commit in line and f.outcome != "failed"][-1:]

    def _propose(
        self, name: str, verb: Callable[[Any], Any], machine: Machine | None = None
    ) -> Any:
        found = self._run(machine or self.world.person, name, verb)
        if not isinstance(found, BaseException):
            self.open.append((name, found.pull_request.head))
        return found

    def _follow(self, name: Any, machine: Machine | None = None) -> Any:
        return self._run(
            machine or self.world.agent,
            name,
            lambda here: deploy.deploy(here, name, releases=False),
        )

    def _look_at_it(self, name: Any, chance: int) -> None:
        """What somebody pushed is deployed or followed, and perhaps undone."""
        if chance % 2:
            self._run(self.world.person, name, lambda here: deploy.deploy(here, name))
        self._follow(name)
        if chance % 3 == 0:
            undone = self._propose(name, lambda here: rollback.rollback(here, name, reason="undo"))
            if not isinstance(undone, BaseException):
                self.hands.merge(self.open[-1][1], "squash", ("ann", "bob"))

    def _meanwhile(self, name: Any, what: str) -> None:
        if what == "release":
            self._run(self.world.agent, name, lambda here: release.release(here, name))
        elif what == "garbage":
            self._forge(name, "garbage", 0)
        else:
            self.hands.push({"notes.txt": b"x"})

    def _forge(self, name: str, what: str, model: int) -> None:
        facts, known = self.oracle.facts[name], self.oracle.known[name]
        forge(self.hands, name, what, facts, known, self.world.digests[model])
        self.oracle.look(name, forged=True)

    def _restore(self, name: Any) -> None:
        branch, known = f"env/{name}", self.oracle.known[name]
        self.world.run(self.world.person, lambda here: repair.restore(here, name, None))
        tip = self.world.origin.branch(branch)
        line = self.world.origin.line(tip)[::-1]
        for commit in line:
            assert commit in known, "it restored what was never there"
        if set(known) - self.oracle.forgeries <= set(line):
            self.oracle.known[name] = line

    def _tidy(self) -> None:
        """What an operator puts right, but for main and what main names."""
        self.hands.unreachable(False)
        self.hands.find_again()
        self._keep_up()
        self._skip_freeze()
        if self.world.on_github and (before := self.oracle.unapproved("production")):
            self.hands.push(before, ("ann", "bob"))
        if self.world.origin.read(self.hands.main(), "policy.yaml") != POLICY.encode():
            self.hands.policy("as it was", ("ann", "bob"))

    def _keep_up(self) -> None:
        """The true time is not before what a wrong clock noted."""
        stamps = [f.stamp for facts in self.oracle.facts.values() for f in facts]
        self.world.true = max([self.world.true, *stamps]) + dt.timedelta(hours=1)

    def _skip_freeze(self) -> None:
        start, end = (dt.datetime(2026, 3, day, 12, tzinfo=dt.UTC) for day in (19, 24))
        if start <= self.world.true <= end:
            self.world.true = end

    def _mend(self, name: Any) -> None:
        """Let the ledger be whole, and main name what runs."""
        origin, branch = self.world.origin, f"env/{name}"
        seen = self.world.person.root / ".git" / "refs" / "model" / "seen" / name
        kept = seen.read_text().strip() if seen.exists() else None
        tip = origin.branch(branch)
        if kept and kept not in origin.line(tip):
            if tip not in origin.line(kept):
                origin.move(branch, None)  # an administrator does
            self._restore(name)
            tip = origin.branch(branch)
            assert tip == kept, "it was not restored"
        line = origin.line(tip)
        seen = self.world.agent.root / ".git" / "refs" / "model" / "seen" / name
        if seen.exists() and seen.read_text().strip() not in line:
            seen.unlink()  # an owner looked at both, as the runbook says
        lost = [f for f in self.oracle.facts[name] if f.commit not in line]
        assert all(f.forged for f in lost), "a release is lost"
        self.oracle.known[name] = line[::-1]
        self.oracle.facts[name] = [f for f in self.oracle.facts[name] if f.commit in line]
        found = self._run(self.world.person, name, lambda here: deploy.deploy(here, name))
        if not isinstance(found, Exception):
            return
        undone = self._propose(name, lambda here: rollback.rollback(here, name, reason="mend"))
        if isinstance(undone, Exception):
            assert re.search("ran nothing before|--anchor|is missing", str(undone)), undone
            self.hands.push(self.hands.edited(name, "deleted", ""), ("ann", "bob"))
        else:
            assert self.hands.merge(self.open[-1][1], "merge", ("ann", "bob"))
        found = self._run(self.world.person, name, lambda here: deploy.deploy(here, name))

    def _promoted(self, name: Any, digest: str, intent: Any) -> Any:
        found = self._propose(
            name,
            lambda here: promote.promote(
                here, name, model=digest, reason="by the book", intent=intent
            ),
        )
        if not isinstance(found, Exception):
            assert self.hands.merge(self.open[-1][1], "merge", ("ann", "bob"))
        return found
