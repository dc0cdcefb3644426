"""What a record names is one thing: its model, its rows, its source commit and its figures."""

import math
from typing import Any

import yaml

from tests.engine.law.law_facts import Fact, Facts
from tests.engine.law.law_models import seed

LAST = 1e-6  # in which the figures of two processors may differ


class Bound(Facts):
    """Judges what a record names by the table."""

    def unbound(self, parent: str, found: dict[str, Any], asked: str | None) -> str | None:
        """What does not belong together; `asked`: what policy.yaml says of training again."""
        world, origin, source = self.world, self.world.origin, found["source"]["commit"]
        made = world.made.get(found["model"])
        if made is None:
            return "nobody packaged it"
        if source not in origin.line(parent):
            return "its source is not on main"
        said = {name: digest for name, digest in found["data"].items() if digest}
        if said != made.data:
            return "it names other rows than those its model was made from"
        if seed(origin, source) != made.says:
            return "its model was made by another params.yaml than that of its source"
        if world.kinds[made.model].graph:
            return "what would serve is not what was trained"
        champion = found["replaces"]["model"]
        theirs = world.made[champion].data["fitted"] if champion else None
        if found["replaces"]["fitted"] != theirs:
            return "it was compared on rows that the champion was shown"
        if self.is_made_again(found["model"], asked):
            if made.number != made.says:
                return "its source gives another model"
            if found["key"] != made.key:
                return "its source has other inputs"
        return None

    def look_at(self, name: str, head: str) -> None:
        """What the code proposes belongs together, as what it releases does."""
        origin = self.world.origin
        (parent, *_), place = origin.parents(head), f"deploy/{name}/model.yaml"
        found = yaml.safe_load(origin.read(head, place) or b"")
        policy = yaml.safe_load(origin.read(parent, "policy.yaml") or b"")
        fault = self.unbound(parent, found, policy["environments"][name].get("rebuild"))
        assert fault is None, f"{name}: {head[:7]} was proposed: {fault}"

    def policy(self, parent: str, before: list[Fact | None]) -> Any:
        """What was asked; of a rollback while it cannot be read, what was asked of what runs."""
        fact = before[0] if before else None
        try:
            return yaml.safe_load(self.world.origin.read(parent, "policy.yaml") or b"")
        except yaml.YAMLError:
            if fact is None:
                raise
            return self.policy(self.world.origin.parents(fact.main)[0], [])

    def is_made_again(self, model: str, asked: str | None) -> bool:
        """Whether it must have been trained again: where it can be, and where policy.yaml asks."""
        return asked == "train" or model not in self.world.not_made_again

    def same(self, ours: Any, said: Any) -> bool:
        """Whether figures are the same but for the last digits of numbers."""
        if isinstance(ours, dict) and isinstance(said, dict):
            return ours.keys() == said.keys() and all(self.same(ours[k], said[k]) for k in ours)
        if isinstance(ours, float) and isinstance(said, float):
            return math.isclose(ours, said, rel_tol=0, abs_tol=LAST)
        return bool(ours == said)
