"""Rulesets: what the files of .github/rulesets ask for, what GitHub has, and how to get there."""

from collections.abc import Iterator
from typing import Any

from mlrelease.github.api import Json
from mlrelease.github.settings import NOT_VISIBLE, RULESET, Check, Settings
from mlrelease.objects import read
from mlrelease.policy import Policy
from mlrelease.records.git import BRANCH
from mlrelease.settings.steps import Difference, Step, differences, faults

Checks = Iterator[Check]


def steps(settings: Settings, path: str = RULESET) -> list[Step]:
    """The request that makes GitHub's ruleset say what the file says."""
    if settings.is_limited:
        return []
    wanted, there = settings.wanted_ruleset(path), settings.ruleset(path)
    name = f"ruleset {wanted['name']}"
    if there is None:
        kinds = ", ".join(rule["type"] for rule in wanted["rules"])
        return [Step((Difference(name, None, kinds),), "POST", "/rulesets", wanted)]
    old, new = _flat(there), _flat(wanted)
    if hides_bypass(settings, path):
        new.pop("bypass_actors", None)
    kinds_there = {rule["type"]: False for rule in there["rules"]}  # of which others have to go
    pairs = {f"{name}, {k}": (old.get(k), value) for k, value in (kinds_there | new).items()}
    found = differences(pairs)
    return [Step(found, "PUT", f"/rulesets/{there['id']}", wanted)] if found else []


def hides_bypass(settings: Settings, path: str = RULESET) -> bool:
    """Whether a ruleset is there, but not who may bypass it: administrators see that."""
    there = settings.ruleset(path)
    return there is not None and "bypass_actors" not in there


def check(settings: Settings) -> Checks:
    """Is main guarded as the file in the repository says?"""
    if settings.is_limited:
        policy = read(settings.root / "policy.yaml", Policy)
        needed = policy.environments["production"].approvals
        none = "private repositories have none on this plan"
        if needed:
            message = f"{none}; deployment itself asks for {needed} approval(s), by policy.yaml"
            yield Check("ruleset", "note", message)
        else:
            fix = "environments: production: approvals: 1, in policy.yaml"
            message = f"{none}, and policy.yaml asks for no approval"
            yield Check("ruleset", "FAILED", message, (fix,))
        return
    wrong = steps(settings)
    page = settings.page("settings/rules")
    if not wrong and hides_bypass(settings):
        message = f"as {RULESET} has it; who may bypass it is {NOT_VISIBLE}"
        yield Check("ruleset", "note", message)
        return
    yield from faults("ruleset", wrong, f"as {RULESET} has it", page)


def up_to_date(settings: Settings) -> Checks:
    """The rule makes a new head of a promotion, without the status that was posted on the old."""
    if settings.is_limited:
        return
    for rule in settings.github.pages(f"/rules/branches/{BRANCH}"):
        if (rule.get("parameters") or {}).get("strict_required_status_checks_policy"):
            where = rule.get("ruleset_source") or settings.name
            message = "must be up to date with main: each merge voids the other promotions' status"
            how = (f"switch that off in the ruleset of {where}", settings.page("settings/rules"))
            yield Check("branches", "FAILED", message, how)
            return
    yield Check("branches", "ok", "need not be up to date with main")


def _flat(rules: Json) -> dict[str, Any]:
    """What a ruleset says, by name: `True` for each kind of rule, and that rule's parameters."""
    names = ("target", "enforcement", "conditions", "bypass_actors")
    flat = {name: _given(rules[name]) for name in names if name in rules}
    for rule in rules["rules"]:
        flat[rule["type"]] = True
        for key, value in (rule.get("parameters") or {}).items():
            flat[f"{rule['type']}.{key}"] = _given(value)
    return flat


def _given(value: Any) -> Any:
    """Without what GitHub answers null for, because nobody said anything about it."""
    if isinstance(value, list):
        return [_given(item) for item in value]
    if isinstance(value, dict):
        return {key: _given(item) for key, item in value.items() if item is not None}
    return value
