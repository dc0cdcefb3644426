"""Who may run, by the rules as docs/promotion.md has them, and by none of the code that it judges.

It reads the bare repository, the table of figures, the reviews and the true time. Where somebody
forged an entry that names an acceptable change of main, more than one reading of what is effective
is right; it then accepts each of them.
"""

import datetime as dt
import hashlib
import json
from contextlib import suppress
from typing import Any

import yaml

from tests.engine.law.law_bound import Bound
from tests.engine.law.law_facts import Fact
from tests.engine.law.law_objects import difference
from tests.engine.law.law_standins import WRITERS

LIMIT = 65_536
SLACK = dt.timedelta(minutes=20)  # two clocks, ten minutes each
DECIDES = ("policy.yaml", ".github/", "CODEOWNERS", "src/")

FAULTS = (ValueError, KeyError, TypeError, AttributeError, RecursionError, yaml.YAMLError)


class Oracle(Bound):
    """Judges what is appended to a ledger."""

    def look(self, environment: str, forged: bool = False) -> None:
        """Judge what was appended since; what the code appended must be right."""
        tip, known = self.world.origin.branch(f"env/{environment}"), self.known[environment]
        new = []
        for commit in self.world.origin.line(tip):
            if commit in known:
                break
            new.append(commit)
        for commit in reversed(new):
            whole = not known or self.world.origin.parents(commit)[:1] == known[-1:]
            assert forged or whole, f"{environment}: {commit[:7]} stands on a ledger that was cut"
            fault = self._judge(environment, commit, forged)
            assert forged or fault is None, f"{environment}: {commit[:7]} was appended: {fault}"
            known.append(commit)
            self.forgeries |= {commit} if forged else set()

    def _judge(self, environment: str, commit: str, forged: bool) -> str | None:
        try:
            note = json.loads(self.world.origin.read(commit, "ledger.json") or b"")
            stamp = dt.datetime.fromisoformat(note["time"])
            if note["kind"] == "outcome":
                self._outcome(environment, note, forged)
                return None
            fault = self._fault(environment, commit, note, forged)
        except FAULTS as error:
            return f"{type(error).__name__}: {error}"
        if fault is None:
            blob = self.world.origin.files(commit)["model.yaml"][1]
            content = yaml.safe_load(self.world.origin.get(blob)[1])
            now = self.world.now(self.world.actor)
            doubt = self.unbound(self.world.origin.parents(note["main"])[0], content, "train")
            self.facts[environment].append(Fact(
                commit, note["main"], blob, content["model"], content, stamp, self.world.true, now,
                forged or bool(doubt), note["restores"],
            ))  # fmt: skip
        return fault

    def _outcome(self, environment: str, note: dict[str, Any], forged: bool) -> None:
        for fact in self.facts[environment]:
            if fact.commit == note["entry"] and fact.outcome is None:
                fact.outcome, fact.doubtful = note["outcome"], forged

    def _fault(self, name: str, commit: str, note: dict[str, Any], forged: bool) -> str | None:
        origin, main = self.world.origin, note["main"]
        folder = f"deploy/{name}"
        if main not in origin.line(origin.branch("main")):
            return "its commit is not on main"
        if any(fact.main == main for fact in self.facts[name]):
            return "it was released before"
        parents = origin.parents(main)
        if not parents:
            return "its commit is the first of all"
        parent = parents[0]
        touched = difference(origin.files(parent), origin.files(main))
        if f"{folder}/model.yaml" not in touched:
            return "its commit did not change the record"
        if any(not path.startswith(f"{folder}/") for path in touched):
            return "its commit touches more"
        held = origin.files(commit)
        held.pop("ledger.json")
        if held != origin.files(main, folder):
            return "the entry is not what main has"
        content = origin.read(main, f"{folder}/model.yaml") or b""
        if not 0 < len(content) <= LIMIT:
            return "the record is too large"
        found = yaml.safe_load(content)
        if (found["environment"], found["model"]) != (name, note["model"]):
            return "the record is about something else"
        if not forged:
            tip = origin.files(origin.branch("main") or "")
            if tip.get(f"{folder}/model.yaml") != held["model.yaml"]:
                return "main names something else"
        before = self.effective(name)
        back = note["change"] == "rollback"
        policy = self.policy(parent, before if back else [])
        rules = policy["environments"][name]
        if back:
            return self._back(name, note, held) or self._approved(name, main, found, rules, True)
        return (
            self._figures(main, parent, folder, found, policy)
            or self._compared(found, before)
            or self._held(name, found)
            or (None if forged else self._timing(found, rules))
            or self._approved(name, main, found, rules, False)
            or self._protected(name, parent, before)
        )

    def _back(self, name: str, note: dict[str, Any], held: Any) -> str | None:
        target = next((f for f in self.facts[name] if f.commit == note["restores"]), None)
        if target is None:
            return "a rollback to what was never released"
        files = self.world.origin.files(target.commit)
        files.pop("ledger.json")
        if files != held:
            return "a rollback to something else"
        right = {fact.record for fact in self.below(name)}  # a rollback has the record of another
        if self.clean(name) and target.record not in right:
            return "a rollback to what was rolled back from, or failed"
        return None

    def _figures(
        self, main: str, parent: str, folder: str, found: dict[str, Any], policy: dict[str, Any]
    ) -> str | None:
        world, origin = self.world, self.world.origin
        model, champion = found["model"], found["replaces"]["model"]
        asked = policy["environments"][found["environment"]].get("rebuild")
        if fault := self.unbound(parent, found, asked):
            return fault
        auc = world.kinds[model].auc
        if not auc >= policy["metrics"]["roc_auc"]["min"]:
            return f"{auc} is less than the policy asks for"
        margin = policy.get("champion", {}).get("roc_auc", {}).get("margin", 1)
        if champion and round(auc - world.kinds[champion].auc, 6) < -margin:
            return "it is worse than the champion"
        asked = "sha256:" + hashlib.sha256(origin.read(parent, "policy.yaml") or b"").hexdigest()
        if found["policy"] != asked:
            return "it was proposed under another policy"
        said = json.loads(origin.read(main, f"{folder}/evaluation.json") or b"")
        if not self.same(world.figures(model, champion).model_dump(mode="json"), said):
            return "its evaluation says something else"
        return None

    def _compared(self, found: dict[str, Any], before: list[Fact | None]) -> str | None:
        expected = [(f.model, f.commit) if f else (None, None) for f in before]
        said = found["replaces"]
        ok = (said["model"], said["entry"]) in expected
        return None if ok else "it was compared with something else than what runs"

    def _held(self, name: str, found: dict[str, Any]) -> str | None:
        kinds, held = self.world.kinds, self.held(name)
        alike = {kinds[model].answers for model in held}
        if found["model"] not in held and kinds[found["model"]].answers not in alike:
            return None
        return None if found["reason"] else "it is held, and nobody gave a reason"

    def _timing(self, found: dict[str, Any], rules: dict[str, Any]) -> str | None:
        if found["intent"] == "hotfix":
            return None if found["reason"] else "a hotfix without a reason"
        world = self.world
        now = world.true if world.on_github else world.now(world.actor)
        slack = SLACK if world.on_github else dt.timedelta(0)
        for freeze in rules.get("freeze", ()):
            days = {(now + sign * slack).date() for sign in (-1, 1)}
            if all(freeze["first"] <= day <= freeze["last"] for day in days):
                return "it is in a freeze"
        if "needs" not in rules:
            return None
        if found["model"] not in self.models(rules["needs"]):
            return f"{rules['needs']} does not run it"
        since = now
        for fact in reversed(self.facts[rules["needs"]]):
            if fact.outcome == "failed":
                continue
            if fact.model != found["model"] and not fact.forged:
                break
            clock = fact.true if world.on_github else fact.clock
            since = min(since, fact.stamp if fact.forged else clock)
        soaked = now - since + slack >= dt.timedelta(hours=rules["soak_hours"])
        return None if soaked else f"it ran since {since} in {rules['needs']}"

    def _approved(
        self, name: str, main: str, found: dict[str, Any], rules: dict[str, Any], back: bool
    ) -> str | None:
        if not self.world.on_github:
            return None
        needed = rules.get("approvals", 0)
        needed = rules.get("rollback_approvals", needed) if back else needed
        if len(self._people(main, found["requested_by"])) < needed:
            return "too few approved it"
        pull, path = self.world.pulls.get(main), f"deploy/{name}/model.yaml"
        ours = self.world.origin.files(main)[path]
        if needed and pull and self.world.origin.files(pull.head).get(path) != ours:
            return "something else was approved"
        return None

    def _people(self, commit: str, requester: str | None = None) -> set[str]:
        pull = self.world.pulls.get(commit)
        nobodies = {name.lower() for name in (requester, pull and pull.author) if name}
        people = pull.approved_by if pull else ()
        return {p for p in people if p.lower() not in nobodies and p.lower() in WRITERS}

    def _protected(self, name: str, parent: str, before: list[Fact | None]) -> str | None:
        if not self.world.on_github:
            return None
        origin = self.world.origin
        starts = [fact.main if fact else origin.line(parent)[-1] for fact in before]
        faults = [self._unapproved(name, parent, start) for start in starts]
        return f"unapproved: {list(faults[0])}" if all(faults) else None

    def unapproved(self, name: str) -> dict[str, Any]:
        """What decides and nobody approved, as it was before, for a person to take it back."""
        main = self.world.origin.branch("main") or ""
        fact = self.effective(name)[-1]
        start = fact.main if fact else self.world.origin.line(main)[-1]
        return {path: old for path, (old, _) in self._unapproved(name, main, start).items()}

    def _unapproved(self, name: str, parent: str, start: str) -> dict[str, Any]:
        """The paths that decide and are neither as they were at a commit nor approved since."""
        origin = self.world.origin
        past = origin.ancestors(start)
        good = last = self._deciding(start)
        needed = 0
        for commit in reversed([c for c in origin.line(parent) if c not in past]):
            now, pull = self._deciding(commit), self.world.pulls.get(commit)
            with suppress(yaml.YAMLError):  # then what was asked before
                policy = yaml.safe_load(origin.get(good["policy.yaml"][1])[1])
                needed = policy["environments"][name].get("approvals", 0)
            ok = len(self._people(commit)) >= needed
            for path, (_, new) in difference(last, now).items():
                added = bool(needed and pull and path in pull.added)
                if ok and not added and last.get(path) == good.get(path):
                    good = {p: f for p, f in good.items() if p != path}
                    good |= {path: new} if new else {}
            last = now
        return difference(good, last)

    def _deciding(self, commit: str) -> dict[str, Any]:
        files = self.world.origin.files(commit)
        return {path: file for path, file in files.items() if path.startswith(DECIDES)}
