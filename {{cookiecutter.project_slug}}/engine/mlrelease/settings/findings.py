"""Each setting of a repository on GitHub, checked; with what to do where it is wrong."""

import os
from collections.abc import Iterator

from mlrelease.github.api import GitHubError
from mlrelease.github.settings import NOT_VISIBLE, Check, Settings
from mlrelease.objects import read
from mlrelease.policy import Policy
from mlrelease.records.git import BRANCH
from mlrelease.settings import setup
from mlrelease.settings.setup import PULL_REQUESTS, WORDS
from mlrelease.settings.steps import SETUP, faults
from mlrelease.storage import privacy
from mlrelease.storage.connection import DeniedError
from mlrelease.storage.registry import Registry

Checks = Iterator[Check]
ACTIONS, VARIABLES = "settings/actions", "settings/variables/actions"
ALLOW = {
    "default_workflow_permissions": "Read repository contents and packages permissions",
    PULL_REQUESTS: "Allow GitHub Actions to create and approve pull requests",
}
UNSET = {  # what it means that nobody set it
    "DEPLOY_RUNNER": "not set: models are tested on GitHub's runners, and nothing keeps serving",
    "TRAIN_RUNNER": "not set: training runs on GitHub's runners, for less than six hours",
    "PREDICTION_LOG": "not set: `monitor` reads what the service on DEPLOY_RUNNER logged",
}


def token(settings: Settings) -> Checks:
    """Whose it is, and what it may."""
    rights = settings.about.get("permissions") or {}
    try:
        who = settings.github.get(f"{settings.api}/user")["login"]
    except GitHubError as error:
        if error.status != 403:
            raise
        yield Check("token", "note", "of an app or a job: some settings are not visible with it")
        return
    if rights.get("admin"):
        yield Check("token", "ok", f"of {who}, who may administer")
        return
    may = "push" if rights.get("push") else "read"
    yield Check("token", "note", f"of {who}, who may {may}: some settings are not visible with it")


def repository(settings: Settings) -> Checks:
    """Is it still called so, and is main what people see?"""
    about = settings.about
    kind = "private" if about["private"] else "public"
    if about["full_name"].lower() != settings.name.lower():
        message = f"was renamed to {about['full_name']}"
        fix = f"git remote set-url origin {about['clone_url']}"
        yield Check("origin", "FAILED", message, (fix,))
    if about["default_branch"] != BRANCH:
        message = f"the default branch is {about['default_branch']}, not {BRANCH}"
        how = ("Settings > General > Default branch", settings.page("settings"))
        yield Check("repository", "FAILED", message, how)
    elif not settings.pushed:
        fix = f"git push --set-upstream origin {BRANCH}"
        yield Check("repository", "FAILED", f"{kind}, and {BRANCH} is not there yet", (fix,))
    else:
        yield Check("repository", "ok", f"{kind}, default branch {BRANCH}")


def actions(settings: Settings) -> Checks:
    """May workflows run, and other people's actions in them?"""
    found = settings.github.get("/actions/permissions")
    allowed = found.get("allowed_actions", "all")
    how = ("Settings > Actions > General > Actions permissions", settings.page(ACTIONS))
    if not found["enabled"]:
        yield Check("actions", "FAILED", "switched off: no workflow runs", how)
    elif allowed == "local_only":
        message = "only this owner's may run; the workflows use GitHub's and astral-sh/setup-uv"
        yield Check("actions", "FAILED", message, how)
    elif allowed == "selected":
        message = "only some may run: GitHub's and astral-sh/setup-uv have to be among them"
        yield Check("actions", "note", message, how)
    else:
        yield Check("actions", "ok", "switched on")


def workflows(settings: Settings) -> Checks:
    """What their tokens may do by default; may they open the pull request of a promotion?"""
    found = {d.name: d for step in setup.workflows(settings) for d in step.differences}
    page = settings.page(ACTIONS)
    for key, name in WORDS.items():
        if name in found:
            path = f"or Settings > Actions > General > Workflow permissions > {ALLOW[key]}"
            message = f"{found[name].old}; should be {found[name].new}"
            yield Check(name, "FAILED", message, (SETUP, path, page))
        elif key == PULL_REQUESTS and "PROMOTION_APP_ID" in settings.variables:
            message = "not needed, an app does; it needs the secret PROMOTION_APP_KEY"
            yield Check(name, "ok", message)
        else:
            yield Check(name, "ok", "yes" if key == PULL_REQUESTS else "read")


def environments(settings: Settings) -> Checks:
    """Where GitHub shows what was deployed."""
    if settings.is_limited:
        message = "private repositories have none on this plan; deployments do without"
        yield Check("environments", "note", message)
        return
    page = settings.page("settings/environments")
    yield from faults("environments", setup.environments(settings), "both are there", page)


def labels(settings: Settings) -> Checks:
    """What the workflows and the issue forms put on issues."""
    missing = [step for step in setup.labels(settings) if step.method == "POST"]
    yield from faults("labels", missing, "all are there", settings.page("labels"))


def trust(settings: Settings) -> Checks:
    """Is TRUST a word that means something, and can this repository have it?"""
    said, page = settings.variables.get("TRUST") or "digest", settings.page(VARIABLES)
    if said == "digest":
        message = "digest: UNATTESTED, no signature says who built a model"
        if settings.variables.get("TRUST"):
            yield Check("trust", "note", message)
        else:
            yield Check("trust", "note", f"TRUST is not set, so {message}", (SETUP,))
    elif said != "attested":
        how = ("set TRUST to attested or digest", page)
        yield Check("trust", "FAILED", f"TRUST is {said!r}", how)
    elif not settings.is_cloud:
        message = "attested, and GitHub Enterprise Server has no attestations"
        yield Check("trust", "FAILED", message, ("set TRUST to digest", page))
    elif settings.about["private"] and settings.about.get("visibility") != "internal":
        yield _attested_in_private(settings)
    else:
        yield Check("trust", "ok", "attested")


def _attested_in_private(settings: Settings) -> Check:
    plan = "free"
    if settings.is_organisation:
        found = settings.github.get(f"{settings.api}/orgs/{settings.owner}")
        plan = (found.get("plan") or {}).get("name", "")  # shown to its owners
    if plan == "enterprise":
        return Check("trust", "ok", "attested")
    message = "attested, which a private repository has with GitHub Enterprise only"
    if not plan:
        return Check("trust", "note", f"{message}; the plan is {NOT_VISIBLE}")
    how = ("set TRUST to digest, or make the repository public", settings.page(VARIABLES))
    return Check("trust", "FAILED", f"{message}; the plan is {plan}", how)


def registry(settings: Settings) -> Checks:
    """Does the place of the models answer, and may this token read it?"""
    host, place = settings.server.partition("://")[2], _place(settings)
    if place.startswith("ghcr.io/") and not settings.is_cloud:
        how = (f"set the variable REGISTRY, as to containers.{host}", settings.page(VARIABLES))
        yield Check("registry", "FAILED", f"ghcr.io is not the registry of {host}", how)
        return
    used = any(settings.root.glob("deploy/*/model.yaml"))
    try:
        count = len(Registry(place).tags())
    except DeniedError as error:
        if used:
            raise
        message = f"may not be read, or holds nothing yet (ghcr.io does not tell): {error}"
        yield Check("registry", "note", message)
        return
    name = Registry(place).name
    if count:
        yield Check("registry", "ok", f"{name} may be read, and has {count} tags")
    elif used:
        message = f"{name} is empty, and deploy/ names a model"
        how = ("set the variable REGISTRY to where it is", settings.page(VARIABLES))
        yield Check("registry", "FAILED", message, how)
    else:
        yield Check("registry", "note", f"{name} answers, and holds nothing yet")


def rows(settings: Settings) -> Checks:
    """Are rows where nobody else can read them?"""
    yield from privacy.check(settings, _place(settings))


def _place(settings: Settings) -> str:
    """The registry of the models."""
    registry = settings.variables.get("REGISTRY") or "ghcr.io"
    return os.environ.get("MODEL_STORE") or f"{registry}/{settings.name}"


def variables(settings: Settings) -> Checks:
    """What was decided, and what the absence of the others means."""
    found = settings.variables
    for name, absent in UNSET.items():
        if found.get(name):
            yield Check(name, "ok", found[name])
        elif name == "PREDICTION_LOG" and not found.get("DEPLOY_RUNNER"):
            yield Check(name, "note", "not set: `monitor` is skipped, and drift goes unseen")
        else:
            yield Check(name, "note", absent)
    if found.get("DEPLOY_RUNNER") and not found.get("MODEL_STATE"):
        message = "not set: each checkout empties what the service on DEPLOY_RUNNER keeps"
        how = ("set MODEL_STATE to a folder of that machine", settings.page(VARIABLES))
        yield Check("MODEL_STATE", "FAILED", message, how)


def alone(settings: Settings) -> Checks:
    """Does nobody have to approve what production runs?"""
    if not read(settings.root / "policy.yaml", Policy).environments["production"].approvals:
        message = "`approvals: 0` for production: nobody but you approves, explicitly"
        yield Check("alone", "note", message)
