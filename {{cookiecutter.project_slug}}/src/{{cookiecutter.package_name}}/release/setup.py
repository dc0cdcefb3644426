"""What the settings of a repository should be, and the requests that make them so."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..config import ENVIRONMENTS
from ..errors import RefusedError
from .github_api import GitHubError, Json
from .settings import Settings

WORKFLOWS = "/actions/permissions/workflow"
PULL_REQUESTS = "can_approve_pull_request_reviews"  # so the API calls it
WORDS = {
    "default_workflow_permissions": "workflow permissions",
    PULL_REQUESTS: "GitHub Actions may open pull requests",
}
LABELS = {  # colour and description; the workflows, or the issue forms, use each
    "deployment-staging": ("d93f0b", "What main names for staging does not run"),
    "deployment-production": ("b60205", "What main names for production does not run"),
    "drift-staging": ("fbca04", "Inputs in staging left the training data"),
    "drift-production": ("e99695", "Inputs in production left the training data"),
    "template-update": ("bfdadc", "The template of this project has moved"),
    "model": ("5319e7", "The model is wrong"),
    "code": ("1d76db", "A verb, a workflow or the documentation is wrong"),
}
RIGHTS = "Administration, Environments, Issues and Variables"


@dataclass(frozen=True)
class Difference:
    """A setting as it is, and as it should be; `old` is None where it is not there."""

    name: str
    old: str | None
    new: str

    def __str__(self) -> str:
        if self.old is not None:
            return f"~ {self.name}: {self.old} -> {self.new}"
        return f"+ {self.name}{f': {self.new}' if self.new else ''}"


@dataclass(frozen=True)
class Step:
    """One request, and the differences that it removes."""

    differences: tuple[Difference, ...]
    method: Literal["POST", "PUT", "PATCH"]
    path: str
    content: Json

    def __str__(self) -> str:
        return "\n".join(map(str, self.differences))


def plan(settings: Settings) -> list[Step]:
    """Every request that is needed; none where all is as it should be.

    Raises:
        RefusedError: The token may not see a setting, and so may not change it.
    """
    try:
        # A ruleset that comes before main would refuse the first push.
        rules = ruleset(settings) if settings.pushed else []
        return [
            *workflows(settings), *trust(settings), *rules, *environments(settings),
            *labels(settings),
        ]  # fmt: skip
    except GitHubError as error:
        if error.status not in (403, 404):
            raise
        raise RefusedError(
            f"this token cannot see every setting ({error}): ask somebody who administers"
            f" {settings.name}, or take a token that writes {RIGHTS}"
        ) from None


def apply(settings: Settings, steps: list[Step]) -> Iterator[tuple[Step, str | None]]:
    """Do each, also after one that failed; with it, why it did."""
    for step in steps:
        try:
            settings.github.request(step.method, step.path, json=step.content)
        except GitHubError as error:
            yield step, str(error)
            if not error.status:  # nobody answers: the others would wait for nothing
                return
        else:
            yield step, None


def workflows(settings: Settings) -> list[Step]:
    """Read-only tokens by default; pull requests, where no app opens them."""
    found = settings.github.get(WORKFLOWS)
    wanted: Json = {"default_workflow_permissions": "read"}
    if "PROMOTION_APP_ID" not in settings.variables:
        wanted[PULL_REQUESTS] = True
    differences = _differences({WORDS[key]: (found.get(key), wanted[key]) for key in wanted})
    return [Step(differences, "PUT", WORKFLOWS, wanted)] if differences else []


def trust(settings: Settings) -> list[Step]:
    """TRUST, where nobody decided: attested, where attestations cost nothing."""
    if "TRUST" in settings.variables:
        return []
    free = settings.is_cloud and not settings.about["private"]
    value = "attested" if free else "digest"
    difference = Difference("variable TRUST", None, value)
    content = {"name": "TRUST", "value": value}
    return [Step((difference,), "POST", "/actions/variables", content)]


def ruleset(settings: Settings) -> list[Step]:
    """The rules of main, as .github/rulesets/main.json has them."""
    if settings.is_limited:
        return []
    wanted, there = settings.wanted_rules, settings.main_rules
    name = f"ruleset {wanted['name']}"
    if there is None:
        kinds = ", ".join(rule["type"] for rule in wanted["rules"])
        return [Step((Difference(name, None, kinds),), "POST", "/rulesets", wanted)]
    old, new = _flat(there), _flat(wanted)
    if "bypass_actors" not in old:  # shown to administrators only
        new.pop("bypass_actors", None)
    kinds_there = {rule["type"]: False for rule in there["rules"]}  # of which others have to go
    pairs = {f"{name}, {k}": (old.get(k), value) for k, value in (kinds_there | new).items()}
    differences = _differences(pairs)
    return [Step(differences, "PUT", f"/rulesets/{there['id']}", wanted)] if differences else []


def environments(settings: Settings) -> list[Step]:
    """Where the plan has none, GitHub's deployments do without."""
    if settings.is_limited:
        return []
    found = {environment["name"] for environment in settings.github.pages("/environments")}
    return [
        Step((Difference(f"environment {name}", None, ""),), "PUT", f"/environments/{name}", {})
        for name in ENVIRONMENTS
        if name not in found
    ]


def labels(settings: Settings) -> list[Step]:
    """A label that a workflow made has no description yet; one that people changed stays."""
    found = {label["name"].lower(): label for label in settings.github.pages("/labels")}
    steps = []
    for name, (colour, description) in LABELS.items():
        content = {"color": colour, "description": description}
        if name not in found:
            difference = Difference(f"label {name}", None, description)
            steps.append(Step((difference,), "POST", "/labels", {"name": name} | content))
        elif not found[name]["description"]:
            difference = Difference(f"label {name}", "no description", description)
            steps.append(Step((difference,), "PATCH", f"/labels/{name}", content))
    return steps


def _differences(pairs: dict[str, tuple[Any, Any]]) -> tuple[Difference, ...]:
    """Of settings by name, as they are and as they should be."""
    return tuple(
        Difference(name, _shown(old), _shown(new))
        for name, (old, new) in pairs.items()
        if old != new
    )


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


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value)
