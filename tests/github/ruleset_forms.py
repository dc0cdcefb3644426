"""What GitHub refuses to take as a ruleset."""

from collections.abc import Iterable

from .records import Json, Refusal
from .views import GITHUB_ACTIONS

ACTORS = ("DeployKey", "Integration", "OrganizationAdmin", "RepositoryRole", "Team")
# What a rule must say, as the API demands it; an empty tuple: the rule has no parameters.
PARAMETERS: dict[str, tuple[str, ...]] = {
    "creation": (),
    "update": (),
    "deletion": (),
    "non_fast_forward": (),
    "required_linear_history": (),
    "required_status_checks": (
        "required_status_checks",
        "strict_required_status_checks_policy",
    ),
    "pull_request": (
        "dismiss_stale_reviews_on_push",
        "require_code_owner_review",
        "require_last_push_approval",
        "required_approving_review_count",
        "required_review_thread_resolution",
    ),
}


def check_rules(rules: Iterable[Json]) -> None:
    """Refuse rules that GitHub would refuse."""
    for rule in rules:
        kind = rule.get("type")
        if kind not in PARAMETERS:
            raise Refusal(422, "Validation Failed", [_fault(f"Invalid rule '{kind}'")])
        parameters = rule.get("parameters", {})
        for name in PARAMETERS[kind]:
            if name not in parameters:
                raise Refusal(422, "Validation Failed", [_fault(f"{kind}: {name} is missing")])
        for check in parameters.get("required_status_checks", []):
            if not isinstance(check, dict) or not check.get("context"):
                raise Refusal(422, "Validation Failed", [_fault("a check has no context")])


def check_bypass(actors: Iterable[Json]) -> None:
    """Refuse actors that GitHub would refuse."""
    for actor in actors:
        kind, mode = actor.get("actor_type"), actor.get("bypass_mode", "always")
        if kind not in ACTORS or mode not in ("always", "pull_request"):
            raise Refusal(422, "Validation Failed", [_fault(f"Invalid actor '{kind}', '{mode}'")])
        if kind == "Integration" and actor.get("actor_id") == GITHUB_ACTIONS["id"]:
            message = "Actor GitHub Actions integration must be part of the ruleset source or owner"
            raise Refusal(422, "Validation Failed", [_fault(f"{message} organization")])
        if kind == "DeployKey" and (actor.get("actor_id") is not None or mode != "always"):
            raise Refusal(422, "Validation Failed", [_fault("a DeployKey has no id")])


def check_patterns(patterns: Iterable[str]) -> None:
    """Refuse names of refs that are not whole."""
    for pattern in patterns:
        if pattern not in ("~ALL", "~DEFAULT_BRANCH") and not pattern.startswith("refs/"):
            message = f"Invalid target patterns: '{pattern}'"
            raise Refusal(422, "Validation Failed", [_fault(message)])


def _fault(message: str) -> Json:
    return {"resource": "RepositoryRuleset", "field": "rules", "message": message}
