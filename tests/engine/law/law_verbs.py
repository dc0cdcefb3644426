"""The steps that people take by command, some of which are killed."""

import datetime as dt
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from mlrelease.deployment import deploy
from mlrelease.promotion import promote, release, rollback
from tests.engine.law.law_hands import DATES, HOWS, PEOPLE, SUBJECTS
from tests.engine.law.law_play import Play

BOTH = st.sampled_from(("staging", "production"))
PEOPLES = st.sampled_from(PEOPLE)
NUMBERS = st.integers(0, 5)
KILLS = st.sampled_from((
    None, None, None, None, "before append", "after append", "before start", "after start",
    "after take-over",
))  # fmt: skip
MEANWHILE = st.sampled_from((None, None, None, "release", "garbage", "move"))
REASONS = st.sampled_from((None, None, "we looked again"))


class Verbs(Play):
    """What the code does."""

    @rule(name=BOTH, model=NUMBERS, reason=REASONS, hotfix=st.sampled_from((0, 0, 0, 1, 2)))
    def propose(self, name: Any, model: int, reason: str | None, hotfix: int) -> None:
        digest = self.world.digests[model] if name == "staging" or hotfix else None
        intent: Any = ("promote", "hotfix", "anchor")[hotfix]
        self._propose(
            name,
            lambda here: promote.promote(here, name, model=digest, reason=reason, intent=intent),
        )

    @rule(name=BOTH)
    def back(self, name: Any) -> None:
        self._propose(name, lambda here: rollback.rollback(here, name, reason="a bad day"))

    @rule(
        at=NUMBERS, how=st.sampled_from(HOWS), people=PEOPLES, subject=st.sampled_from(SUBJECTS),
        date=st.sampled_from(DATES),
    )  # fmt: skip
    def merge(
        self, at: int, how: str, people: tuple[str, ...], subject: bytes, date: int
    ) -> None:  # fmt: skip
        if self.open:
            _, head = self.open[-1 - at % len(self.open)]
            self.hands.merge(head, how, people, subject, date)

    @rule(name=BOTH, kill=KILLS, meanwhile=MEANWHILE)
    def deploy(self, name: Any, kill: str | None, meanwhile: str | None) -> None:
        self.world.kill = kill
        if meanwhile:
            self.world.meanwhile = ("before append", lambda: self._meanwhile(name, meanwhile))
        found = self._run(
            self.world.person, name, lambda here: deploy.deploy(here, name, revert=False)
        )
        if isinstance(found, deploy.Deployment) and not meanwhile:
            tip = self.world.origin.branch(f"env/{name}")
            again = self._run(
                self.world.person, name, lambda here: deploy.deploy(here, name, revert=False)
            )
            assert not isinstance(again, Exception), again
            assert again.action in ("unchanged", "nothing"), "twice is not once"
            assert self.world.origin.branch(f"env/{name}") == tip, "twice is not once"

    @rule(name=BOTH)
    def follow(self, name: Any) -> None:
        self._follow(name)

    @rule(name=BOTH, kill=KILLS)
    def release(self, name: Any, kill: str | None) -> None:
        self.world.kill = kill
        self._run(self.world.person, name, lambda here: release.release(here, name))

    @rule(name=BOTH, model=NUMBERS, reason=REASONS, hours=st.sampled_from((1, 25)))
    def by_the_book(self, name: Any, model: int, reason: str | None, hours: int) -> None:
        """Propose, approve, merge, deploy, wait."""
        before = len(self.open)
        self.propose(name, model, reason, 0)
        if len(self.open) > before:
            self.hands.merge(self.open[-1][1], "merge", ("ann", "bob"))
            self.deploy(name, None, None)
            self.world.true += dt.timedelta(hours=hours)
