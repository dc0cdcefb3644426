"""Two users at once, a disk that is full, and files of a machine that are not what they were."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import rule

from mlrelease import errors
from mlrelease.deployment import deploy
from mlrelease.promotion import promote, release, rollback
from tests.engine.law.law_frauds import HURRY, Frauds
from tests.engine.law.law_verbs import BOTH, NUMBERS
from tests.engine.law.law_world import Machine

VERBS = ("promote", "rollback", "merge", "release", "deploy", "follow")
ANY = st.sampled_from(VERBS)
WHEN = st.sampled_from(("before append", "after append", "before push", "before start"))
ROOM = st.sampled_from((*range(16), 20, 30))
HOWS = ("empty", "garbage", "other")
STATE = ("release.json", "verified", "rebuilt", "ledgers", "pull-requests")


class Troubles(Frauds):
    """What goes wrong by itself, or because two people work."""

    @rule(name=BOTH, one=ANY, other=ANY, when=WHEN, model=NUMBERS, new=st.booleans())
    def at_the_same_time(
        self, name: Any, one: str, other: str, when: str, model: int, new: bool
    ) -> None:  # fmt: skip
        """Two machines at once; one of them perhaps has never seen the ledger."""
        world = self.world
        if new:
            world.newcomer()
        if self._is_cut():
            return
        world.meanwhile = (when, lambda: self._do(world.colleague, name, other, model))
        self._do(world.person, name, one, model)
        self._do(world.colleague, name, "deploy", model)

    @rule(name=BOTH, verb=ANY, model=NUMBERS, room=ROOM)
    def full_disk(self, name: Any, verb: str, model: int, room: int) -> None:
        """Nothing is half written, and the next run goes on as if nothing had been."""
        world = self.world
        world.disk.room = room
        self._do(world.person, name, verb, model)
        world.disk.room = None
        self._is_whole(world.person)
        again = self._do(world.person, name, verb, model)
        assert not isinstance(again, OSError), again
        self.deploy(name, None, None)

    @rule(name=BOTH, what=st.sampled_from(STATE), how=st.sampled_from(HOWS),
          at=st.sampled_from((None, None, "before append", "before start")))  # fmt: skip
    def scribble(self, name: Any, what: str, how: str, at: str | None) -> None:
        """Files of what a machine keeps are damaged, or those of the other environment."""
        machine, before = self.world.person, dict[Path, bytes]()

        def act() -> None:
            before.update((path, path.read_bytes()) for path in kept(machine.state, what))
            for path, content in before.items():
                there = _other(path)
                other = there.read_bytes() if there.is_file() else content
                path.write_bytes({"empty": b"", "garbage": b"\0{"}.get(how, other))

        if at is None:
            act()
            self.hands.unreachable(how == "other")  # then a machine asks what it keeps
        else:
            self.world.meanwhile = (at, act)
        self._run(machine, name, lambda here: deploy.deploy(here, name, revert=False))
        self.hands.unreachable(False)
        for path, content in before.items():
            path.write_bytes(content)
        self.deploy(name, None, None)

    @rule(name=BOTH, rebuilds=st.sampled_from(("slow", "away")))
    def untrained(self, name: Any, rebuilds: str) -> None:
        """A new machine follows while nothing can be trained again: what cannot be told now is not
        taken for what is wrong. It runs the same, or says that it cannot tell while data is
        away; in production also where training takes too long, as its policy asks for it."""
        world, found = self.world, []
        if self._is_cut():
            return
        for world.rebuilds in ("yes", rebuilds):
            world.newcomer()
            found.append(self._follow(name, world.colleague))
        world.rebuilds = "yes"
        told, now = found
        asked = rebuilds == "away" or name == "production"
        unclear = asked and isinstance(now, errors.UnclearError)
        if isinstance(told, deploy.Deployment) and not unclear:
            assert not isinstance(now, Exception), now
            assert now.model == told.model

    def _do(self, machine: Machine, name: Any, verb: str, model: int) -> Any:
        digest = self.world.digests[model]
        if verb == "merge":
            found = self.open[-1][1] if self.open else None
            return found and self.hands.merge(found, "merge", ("ann", "bob"))
        if verb in ("promote", "rollback"):
            act: Any = {
                "promote": lambda h: promote.promote(h, name, model=digest, **HURRY),
                "rollback": lambda h: rollback.rollback(h, name, reason="a bad day"),
            }[verb]
            return self._propose(name, act, machine)
        acts: dict[str, Any] = {
            "release": lambda h: release.release(h, name),
            "deploy": lambda h: deploy.deploy(h, name, revert=False),
            "follow": lambda h: deploy.deploy(h, name, releases=False),
        }
        return self._run(machine, name, acts[verb])

    def _is_cut(self) -> bool:
        """To one who never saw it whole, a ledger that was cut is one that was not released to yet,
        and production's is judged by staging's. A level above "none" forbids the cut."""
        for name, every in self.oracle.known.items():
            line = self.world.origin.line(self.world.origin.branch(f"env/{name}"))
            if not set(every) - self.oracle.forgeries <= set(line):
                return True
        return False

    def _is_whole(self, machine: Machine) -> None:
        """Every file can be read, and every artefact is that of its digest."""
        for path in (*machine.state.rglob("*"), *(machine.state / "store").rglob("*")):
            inside = path.relative_to(machine.state).parts
            assert not any(part.startswith(".") for part in inside), f"{path} was left"
            if path.suffix == ".json" and path.is_file():
                json.loads(path.read_text())
        for folder in (machine.state / "store" / "sha256").iterdir():
            if not (self.world.root / "vault" / folder.name).exists():
                assert _digest(folder) == folder.name, f"{folder} is half there"


def kept(state: Path, what: str) -> Iterator[Path]:
    """The files of one kind that a machine keeps."""
    for path in sorted(state.rglob("*")):
        inside = path.relative_to(state).parts
        if path.is_file() and what in inside and inside[0] != "store":
            yield path


def _other(path: Path) -> Path:
    """The same file of the other environment."""
    names = {"staging": "production", "production": "staging"}
    return Path(*(names.get(part, part) for part in path.parts))


def _digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    pairs = (
        [path.relative_to(folder).as_posix(), hashlib.sha256(path.read_bytes()).hexdigest()]
        for path in files
    )
    return hashlib.sha256("\n".join(map(json.dumps, pairs)).encode()).hexdigest()
