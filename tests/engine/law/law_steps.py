"""The steps that careless and hostile people take, and what must work when it is quiet again."""

import datetime as dt
import re
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from mlrelease import workspace
from mlrelease.deployment import deploy
from tests.engine.law.law_facts import KNOWN
from tests.engine.law.law_forgery import FORGERIES
from tests.engine.law.law_hands import DATES, EDITS, POLICIES, SUBJECTS
from tests.engine.law.law_standins import Kind
from tests.engine.law.law_troubles import Troubles
from tests.engine.law.law_verbs import BOTH, NUMBERS, PEOPLES

MAYBE = st.one_of(st.none(), PEOPLES)


def _deploy(here: workspace.Workspace, name: Any) -> deploy.Deployment:
    return deploy.deploy(here, name)


class Law(Troubles):
    """What others do."""

    @initialize(on_github=st.booleans(), released=st.sampled_from((0, 2, 2, 4)))
    def start(self, on_github: bool, released: int) -> None:
        """Most histories begin when something runs."""
        self.begin(on_github)
        for step in range(released):
            self.by_the_book(("staging", "production")[step % 2], step // 2, None, 25)

    @rule(
        hours=st.sampled_from((0, 1, 23, 25, 24 * 8)), name=BOTH,
        off=st.sampled_from((0, 0, 5, -5, 60, 3000, -60, -3000)),
    )  # fmt: skip
    def clock(self, hours: int, off: int, name: Any) -> None:
        """Time goes on; a machine's clock is wrong for a while."""
        self.world.true += dt.timedelta(hours=hours)
        if "clock" in KNOWN and off < -10:
            return
        self.world.off = dt.timedelta(minutes=off)
        self.propose(name, 1, None, 0)
        self.deploy(name, None, None)
        self.world.off = dt.timedelta(0)
        if "clock" in KNOWN:
            self._keep_up()

    @rule(name=BOTH, what=st.sampled_from(EDITS), model=NUMBERS, people=MAYBE,
          subject=st.sampled_from(SUBJECTS), date=st.sampled_from(DATES))  # fmt: skip
    def edit(
        self, name: str, what: str, model: int, people: Any, subject: bytes, date: int
    ) -> None:
        changes = self.hands.edited(name, what, self.world.digests[model])
        self.hands.push(changes, people, subject, date)
        self._look_at_it(name, date)

    @rule(name=BOTH, what=st.sampled_from(EDITS), model=NUMBERS)
    def at_once(self, name: str, what: str, model: int) -> None:
        """Two commits in one push: a bad record, and the one before again."""
        self.hands.push(self.hands.edited(name, what, self.world.digests[model]))
        self.hands.undo(0, again=False, approved_by=None)
        self._look_at_it(name, model)

    @rule(what=st.sampled_from(POLICIES), people=MAYBE)
    def weaken(self, what: str, people: Any) -> None:
        if "stuck" in KNOWN and self.world.on_github:
            people = ("ann", "bob")
        self.hands.policy(what, people)

    @rule(people=MAYBE)
    def strengthen(self, people: Any) -> None:
        if "stuck" in KNOWN and self.world.on_github:
            people = ("ann", "bob")
        self.hands.policy("as it was", people)

    @rule(back=st.integers(0, 4), again=st.booleans(), people=MAYBE)
    def undo(self, back: int, again: bool, people: Any) -> None:
        if "stuck" in KNOWN and self.world.on_github:
            people = ("ann", "bob")
        self.hands.undo(back, again, people)

    @rule(back=st.integers(1, 4))
    def rewrite(self, back: int) -> None:
        if "rewritten" in KNOWN and not self.world.on_github:
            return
        for name in ("staging", "production") if "rewritten" in KNOWN else ():
            self._follow(name)
        line = self.world.origin.line(self.hands.main())
        self.world.origin.move("main", line[min(back, len(line) - 1)])

    @rule(name=BOTH, what=st.sampled_from(FORGERIES), model=NUMBERS)
    def forge(self, name: str, what: str, model: int) -> None:
        self._forge(name, what, model)
        self._look_at_it(name, model)

    @rule(name=BOTH, back=st.integers(1, 5), mended=st.booleans())
    def cut(self, name: str, back: int, mended: bool) -> None:
        line = self.world.origin.line(self.world.origin.branch(f"env/{name}"))
        self.world.origin.move(f"env/{name}", line[back] if back < len(line) else None)
        self.deploy(name, None, None)
        self._follow(name)
        if mended:
            self._restore(name)

    @rule(name=BOTH)
    def restore(self, name: Any) -> None:
        self._restore(name)

    @rule(model=NUMBERS, tamper=st.booleans())
    def lose(self, model: int, tamper: bool) -> None:
        self.hands.lose(self.world.digests[model], tamper)

    @rule(name=BOTH)
    def network(self, name: Any) -> None:
        """origin is away for a while."""
        self.hands.unreachable(True)
        self.deploy(name, None, None)
        self._follow(name)
        self.hands.unreachable(False)

    @rule(agent=st.booleans())
    def forget(self, agent: bool) -> None:
        """What a machine verified; it verifies it again."""
        machine = self.world.agent if agent else self.world.person
        for path in (machine.state / "verified").glob("*/*"):
            path.unlink()

    @rule()
    def quiet(self) -> None:
        """Once it is quiet again, a promotion by the book works."""
        self._tidy()
        digest = self.world.train(Kind(0.98, 100 + len(self.world.digests)))
        for name in ("staging", "production"):
            self._mend(name)
        for name in ("staging", "production"):
            before = self.hands.main()
            found = self._promoted(name, digest, "promote")
            if isinstance(found, Exception) and re.search("--anchor| is missing, and", str(found)):
                found = self._promoted(name, digest, "anchor")
            assert not isinstance(found, Exception), found
            assert before != self.hands.main()
            done = self._run(self.world.person, name, partial(_deploy, name=name))
            assert not isinstance(done, Exception), done
            followed = self._follow(name)
            assert not isinstance(followed, Exception), followed
            for machine in self.world.machines[:2]:
                (service,) = machine.driver(name).services
                assert service.record.model == digest, (machine.name, name)
            self.world.true += dt.timedelta(hours=25)
            self._skip_freeze()
