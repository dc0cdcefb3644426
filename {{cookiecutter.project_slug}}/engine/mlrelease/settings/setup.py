"""What the settings of a repository should be, and the requests that make them so."""

from collections.abc import Iterator

from mlrelease.environments import ENVIRONMENTS
from mlrelease.errors import RefusedError
from mlrelease.github.api import GitHubError, Json
from mlrelease.github.settings import Settings
from mlrelease.settings import protection, rulesets
from mlrelease.settings.steps import Difference, Step, differences

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


def plan(settings: Settings, strict: bool = False) -> list[Step]:
    """Every request that is needed; none where all is as it should be.

    `strict`: only a deploy key may append to the ledger's branches.

    Raises:
        RefusedError: The token may not see a setting, and so may not change it.
    """
    try:
        # A ruleset that comes before main would refuse the first push.
        rules: list[Step] = []
        if settings.pushed:
            rules = [*rulesets.steps(settings), *protection.steps(settings, strict)]
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
    wrong = differences({WORDS[key]: (found.get(key), wanted[key]) for key in wanted})
    return [Step(wrong, "PUT", WORKFLOWS, wanted)] if wrong else []


def trust(settings: Settings) -> list[Step]:
    """TRUST, where nobody decided: attested, where attestations cost nothing."""
    if "TRUST" in settings.variables:
        return []
    free = settings.is_cloud and not settings.about["private"]
    value = "attested" if free else "digest"
    difference = Difference("variable TRUST", None, value)
    content = {"name": "TRUST", "value": value}
    return [Step((difference,), "POST", "/actions/variables", content)]


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
