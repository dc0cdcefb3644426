"""What somebody does who wants another model released than the one that it is said to be: whole
records, notes of the store, and files that are swapped in the moment when they are used."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from mlrelease.deployment import deploy
from mlrelease.evaluation import gate
from mlrelease.promotion import promote, proposal, work_tree
from mlrelease.records import record
from mlrelease.verification import verify
from tests.engine.law.law_bound import LAST
from tests.engine.law.law_models import Made
from tests.engine.law.law_standins import GRAFTED, SWAPPED
from tests.engine.law.law_verbs import BOTH, NUMBERS, Verbs

CLAIMS = ("easy holdout", "other rows", "other source", "other key", "other train", "nothing")
REBUILDS = st.sampled_from(("yes", "slow", "away"))
MODELS = st.sampled_from((0, 1, 2, 4, SWAPPED, SWAPPED, GRAFTED))
OFF = st.sampled_from((3e-8, -3e-8, 1e-4, 0.01))
HURRY: dict[str, Any] = {"reason": "in a hurry", "intent": "hotfix"}
PLACES = ("before measure", "before make", "before compare", "before append", "before load")


class Frauds(Verbs):
    """What a record and a store say of a model that is not so."""

    @rule(name=BOTH, model=MODELS, claim=st.sampled_from(CLAIMS), rebuilds=REBUILDS,
          insider=st.booleans())  # fmt: skip
    def claim(self, name: Any, model: int, claim: str, rebuilds: str, insider: bool) -> None:
        """The note on a candidate says what is not so. The code must say so; where an insider's
        does not, a whole record is merged, with right figures and a right report."""
        made = self.world.made[self.world.digests[model]]
        with self._as_can_be(rebuilds, made.model), self._noted(self._claimed(made, claim)):
            self._proposed(name, made.model, insider)

    @rule(name=BOTH, of=st.sampled_from((0, 2)), rebuilds=REBUILDS, insider=st.booleans())
    def inputs(self, name: Any, of: int, rebuilds: str, insider: bool) -> None:
        """`inputs/<key>.json` offers another model as what these inputs gave."""
        asked = self.world.made[self.world.digests[of]]
        offered = self.world.made[self.world.digests[SWAPPED]]
        facts = {"key": asked.key, "source": {"commit": asked.source}}
        with self._as_can_be(rebuilds, offered.model), self._noted((offered, facts)):
            found = self.world.run(
                self.world.person, lambda here: work_tree.restore_candidate(here, asked.key)
            )
            if isinstance(found, str):
                self._proposed(name, found, insider)

    @rule(name=BOTH, model=NUMBERS, off=OFF)
    def processor(self, name: Any, model: int, off: float) -> None:
        """What was computed on one processor is verified on another. The last digits change no
        verdict; more of them is another figure."""
        world, digest = self.world, self.world.digests[model]
        right = world.run(
            world.person, lambda here: promote.prepare(here, name, model=digest, **HURRY)
        )
        world.apart["person"] = off
        found = self._promote(name, digest, insider=True)
        world.apart["person"] = 0.0
        if not isinstance(found, proposal.Opened) or not found.new:
            return
        merged = self.hands.merge(found.pull_request.head, "merge", ("ann", "bob"))
        shutil.rmtree(world.person.state / "rebuilt", ignore_errors=True)
        world.apart["person"] = off / 2 if abs(off) < LAST else 0.0  # and a third one trains again
        done = self._run(world.person, name, lambda here: deploy.deploy(here, name, revert=False))
        world.apart["person"] = 0.0
        if merged and isinstance(right, proposal.Proposal) and abs(off) < LAST:
            assert world.kinds[digest].golden == isinstance(done, deploy.Deployment), done
        self._take_back(name, merged)
        self._follow(name)

    @rule(name=BOTH, model=MODELS, place=st.sampled_from(PLACES), rows=st.booleans())
    def swap(self, name: Any, model: int, place: str, rows: bool) -> None:
        """Files of the store are others between the moment they are checked and that of use."""
        made = self.world.made[self.world.digests[model]]
        other = self.world.digests[SWAPPED if made.number == made.says else made.says]
        pair = (made.data["holdout"], self.world.rows["easy"]) if rows else (made.model, other)
        self.world.meanwhile = (place, lambda: self.hands.swap(*pair))
        found = self._promote(name, made.model)
        self.hands.find_again()
        if not isinstance(found, BaseException):
            self.oracle.look_at(name, found.pull_request.head)
            self.hands.merge(found.pull_request.head, "merge", ("ann", "bob"))
        self.world.meanwhile = (place, lambda: self.hands.swap(*pair))
        self._run(self.world.person, name, lambda here: deploy.deploy(here, name, revert=False))
        self.hands.find_again()
        self._follow(name)

    @rule(name=BOTH, model=NUMBERS)
    def unfair(self, name: Any, model: int) -> None:
        """The champion is compared on rows that are said to be new to it."""
        other = self.world.rows["other"]
        found = self._promote(name, self.world.digests[model], insider=True, shown=other)
        if not isinstance(found, BaseException):
            merged = self.hands.merge(found.pull_request.head, "merge", ("ann", "bob"))
            self.deploy(name, None, None)
            self._take_back(name, merged)

    def _claimed(self, made: Made, claim: str) -> tuple[Made, dict[str, Any]]:
        world = self.world
        other = world.made[world.digests[1 if made.says != 1 else 3]]
        rows = {
            "easy holdout": {"holdout": world.rows["easy"]},
            "other rows": {"fitted": other.data["fitted"]},
            "other train": {"train": other.data["train"]},
        }
        if claim in rows:
            return made, {"data": made.data | rows[claim]}
        source = {"source": {"commit": other.source}, "version": other.provenance().version}
        facts: dict[str, dict[str, Any]] = {
            "other source": source, "other key": {"key": other.key}, "nothing": {},
        }  # fmt: skip
        return made, facts[claim]

    @contextmanager
    def _as_can_be(self, rebuilds: str, model: str) -> Iterator[None]:
        """What may be trained again; what somebody could not make once may be trusted later."""
        self.world.rebuilds = rebuilds
        if rebuilds != "yes":
            self.world.not_made_again.add(model)
        yield
        self.world.rebuilds = "yes"

    @contextmanager
    def _noted(self, what: tuple[Made, dict[str, Any]]) -> Iterator[None]:
        """The store says so of a candidate, and of the inputs that gave it."""
        made, changes = what
        root = self.world.person.state / "store"
        note = made.provenance(**changes)
        places = [
            root / "candidates" / f"{made.model[7:]}.json", root / "inputs" / f"{note.key[7:]}.json"
        ]  # fmt: skip
        before = {path: path.read_bytes() for path in places}
        for path in places:
            path.write_text(json.dumps(note.model_dump(mode="json")))
        yield
        for path, content in before.items():
            path.write_bytes(content)

    def _proposed(self, name: Any, model: str, insider: bool) -> None:
        found = self._promote(name, model, insider)
        if isinstance(found, BaseException):
            return
        if not insider:
            self.oracle.look_at(name, found.pull_request.head)
        merged = self.hands.merge(found.pull_request.head, "merge", ("ann", "bob"))
        self.deploy(name, None, None)
        self._take_back(name, merged)
        self._follow(name)

    def _take_back(self, name: str, merged: str | None) -> None:
        """What was refused is no longer in the way of what comes next."""
        if merged and all(fact.main != merged for fact in self.oracle.facts[name]):
            self.hands.undo(0, again=False, approved_by=("ann", "bob"))

    def _promote(self, name: Any, model: str, insider: bool = False, shown: str = "") -> Any:
        """Propose a model in a hurry; an insider's code finds nothing wrong. `shown`: which rows it
        says that the champion was shown."""
        with pytest.MonkeyPatch.context() as patch:
            if shown:
                real = record.Replaces
                patch.setattr(promote, "Replaces", lambda **k: real(**k | {"fitted": shown}))
            if insider:
                fine = verify.Verification((gate.Finding("all", True, "is fine"),))
                patch.setattr(promote, "verify", lambda *_: fine)
            return self._propose(
                name, lambda here: promote.promote(here, name, model=model, **HURRY)
            )
