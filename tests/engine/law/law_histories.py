"""Histories by hand, each of which breaks the law as soon as one check is gone."""

import datetime as dt
from typing import Any

from tests.engine.law.law_standins import GRAFTED, SWAPPED
from tests.engine.law.law_steps import Law
from tests.engine.law.law_troubles import STATE

PEOPLE = ("ann", "bob")


def _merge(law: Law, people: tuple[str, ...] = PEOPLE, how: str = "merge") -> None:
    if law.open:
        law.hands.merge(law.open[-1][1], how, people)


def _with(law: Law, path: str) -> None:
    """Merge what is proposed, together with another file."""
    files: dict[str, Any] = dict(law.world.origin.files(law.open[-1][1]))
    law.hands.push(files | {path: b"x"}, PEOPLE)


def approval(law: Law) -> None:
    law.by_the_book("staging", 1, None, 25)
    for people in ((), ("rehearsal",), ("stranger",)):
        law.propose("production", 1, "again", 0)
        _merge(law, people)
        law.deploy("production", None, None)
        law.undo(0, again=False, people=PEOPLE)


def something_else_approved(law: Law) -> None:
    law.by_the_book("staging", 1, None, 25)
    old = law.hands.main()
    law.propose("production", 1, None, 0)
    new = law.hands.merge(law.open[-1][1], "squash", PEOPLE)
    law.hands.pull(new or "", old, PEOPLE)
    law.deploy("production", None, None)


def stale(law: Law) -> None:
    law.propose("staging", 1, None, 0)
    first = law.open[-1][1]
    law.by_the_book("staging", 2, None, 1)
    law.hands.merge(first, "resolved", PEOPLE)
    law.deploy("staging", None, None)


def other_policy(law: Law) -> None:
    law.propose("staging", 1, None, 0)
    law.hands.policy("weak", PEOPLE)
    _merge(law)
    law.deploy("staging", None, None)


def forged(law: Law) -> None:
    law.edit("production", "digest", 4, None, b"x", 1)
    law.forge("production", "pending", 4)
    law.follow("production")
    law.undo(0, again=False, people=None)
    law.forge("production", "copy", 4)
    law.forge("production", "other model", 4)
    law.follow("production")


def failed(law: Law) -> None:
    law.by_the_book("staging", 5, None, 1)
    law.deploy("staging", None, None)
    law.follow("staging")
    law.forge("staging", "live", 5)
    law.follow("staging")
    law.quiet()


def held(law: Law) -> None:
    law.by_the_book("staging", 1, None, 1)
    law.by_the_book("staging", 0, None, 1)
    law.by_the_book("staging", 3, None, 1)
    law.by_the_book("staging", 2, None, 1)
    law.by_the_book("staging", 3, None, 1)


def back_twice(law: Law) -> None:
    law.by_the_book("staging", 1, None, 1)
    for _ in range(2):
        law.back("staging")
        _merge(law)
        law.deploy("staging", None, None)


def back_on_and_back(law: Law) -> None:
    """A rollback, a promotion on top of it, and a rollback to what the first one brought back."""
    for model in (1, 2):
        law.by_the_book("staging", model, "again", 1)
        law.back("staging")
        _merge(law)
        law.deploy("staging", None, None)


def unapproved(law: Law) -> None:
    law.by_the_book("staging", 1, None, 25)
    law.weaken("workflow", None)
    law.weaken("merge", PEOPLE)
    law.propose("production", 1, None, 0)
    _merge(law)
    law.deploy("production", None, None)
    law.quiet()


def more_files(law: Law) -> None:
    law.by_the_book("staging", 1, None, 1)
    law.back("staging")
    _with(law, "deploy/staging/evil.py")
    law.deploy("staging", None, None)


def two_folders(law: Law) -> None:
    law.propose("staging", 1, None, 0)
    _with(law, "params.yaml")
    law.deploy("staging", None, None)


def weak_policy(law: Law) -> None:
    law.hands.policy("weak", None)
    law.by_the_book("staging", 4, None, 25)
    law.by_the_book("production", 4, None, 1)


def bad(law: Law) -> None:
    law.by_the_book("staging", 4, None, 1)
    law.by_the_book("staging", 2, None, 1)
    law.by_the_book("staging", 0, "in any case", 1)


def too_early(law: Law) -> None:
    law.by_the_book("staging", 1, None, 1)
    law.by_the_book("production", 1, None, 1)
    law.world.true = dt.datetime(2026, 3, 21, 12, tzinfo=dt.UTC)
    law.by_the_book("production", 1, None, 1)


def cut(law: Law) -> None:
    law.cut("staging", 1, mended=False)
    law.by_the_book("staging", 1, None, 1)
    law.restore("staging")
    law.by_the_book("staging", 1, None, 1)


def killed(law: Law) -> None:
    for model, place in enumerate(("before append", "after append", "after start")):
        law.propose("staging", model + 1, "again", 0)
        _merge(law)
        law.deploy("staging", place, "release")
        law.deploy("staging", None, None)
        law.follow("staging")


def other_rows(law: Law) -> None:
    """A whole record, with the right figures of a bad model on easy rows."""
    for claim in ("easy holdout", "other rows", "other train", "other source"):
        law.claim("staging", 4 if claim == "easy holdout" else 1, claim, "away", insider=True)


def unfair(law: Law) -> None:
    law.by_the_book("staging", 2, None, 1)
    law.unfair("staging", 0)


def other_model(law: Law) -> None:
    """A model that says that it is another; one whose graph is not what was trained."""
    law.claim("staging", GRAFTED, "nothing", "away", insider=True)
    law.claim("production", SWAPPED, "nothing", "away", insider=True)
    law.claim("staging", SWAPPED, "nothing", "yes", insider=True)
    law.claim("staging", 1, "other key", "yes", insider=True)


def noted(law: Law) -> None:
    """The store says what is not so, and the code is asked to propose it."""
    law.claim("staging", 4, "easy holdout", "away", insider=False)
    law.claim("staging", 1, "other rows", "away", insider=False)
    law.inputs("staging", 2, "yes", insider=False)


def untrained(law: Law) -> None:
    for rebuilds in ("slow", "away"):
        law.untrained("production", rebuilds)


def other_processor(law: Law) -> None:
    for model, off in ((1, 3e-8), (2, -3e-8), (3, 1e-4), (1, 0.01)):
        law.processor("staging", model, off)


def together(law: Law) -> None:
    """Two release at once, propose at once, and go back while the other goes on."""
    pairs = (("deploy", "deploy"), ("release", "rollback"), ("deploy", "merge"))
    for at, (one, other) in enumerate(pairs):
        law.propose("staging", at + 1, "again", 0)
        _merge(law)
        law.at_the_same_time("staging", one, other, "before append", 2, new=True)
    law.at_the_same_time("staging", "promote", "promote", "before push", 0, new=True)
    _merge(law)
    law.at_the_same_time("staging", "deploy", "follow", "after append", 0, new=True)


def full_disk(law: Law) -> None:
    for at, room in enumerate((0, 1, 3, 6)):
        model = at % 2 + 1
        law.full_disk("staging", "promote", model, room)
        _merge(law)
        law.full_disk("staging", "deploy", model, room)
        (service,) = law.world.person.driver("staging").services
        assert service.record.model == law.world.digests[model], room


def swapped(law: Law) -> None:
    """Files that are others when they are used than when they were checked."""
    law.swap("production", SWAPPED, "before compare", rows=False)
    law.swap("staging", 4, "before measure", rows=True)
    for model, place in ((1, "before measure"), (2, "before load")):
        law.swap("staging", model, place, rows=False)


def scribbled(law: Law) -> None:
    law.by_the_book("staging", 1, None, 1)
    for what in STATE:
        for how in ("empty", "garbage", "other"):
            law.scribble("production", what, how, None)


HISTORIES = (
    approval, something_else_approved, stale, other_policy, forged, failed, held, back_twice,
    back_on_and_back, unapproved, more_files, two_folders, weak_policy, bad, too_early, cut, killed,
    other_rows, unfair, other_model, noted, untrained, other_processor, together, full_disk,
    swapped, scribbled,
)  # fmt: skip
