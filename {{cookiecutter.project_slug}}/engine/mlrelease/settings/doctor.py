"""`model doctor`: is this repository set up? It only reads, and calls nothing good unseen."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from mlrelease import __version__
from mlrelease.errors import InputError, ModelError
from mlrelease.files import sha256
from mlrelease.github.api import GitHubError
from mlrelease.github.settings import NOT_VISIBLE, Check, Settings
from mlrelease.records.git import EMAIL, Git
from mlrelease.settings import findings, owners, protection, rulesets
from mlrelease.settings.steps import SETUP
from mlrelease.training.inputs import files_below
from mlrelease.workspace import Workspace

AGAIN, SUMS = "model doctor", "SHA256SUMS"
TOKEN = "export GITHUB_TOKEN=$(gh auth token)"  # noqa: S105 - a command, no secret
CHECKS: dict[str, Callable[[Settings], Iterator[Check]]] = {
    "token": findings.token,
    "repository": findings.repository,
    "actions": findings.actions,
    "workflows": findings.workflows,
    "ruleset": rulesets.check,
    "branches": rulesets.up_to_date,
    "ledger": protection.check,
    "environments": findings.environments,
    "code owners": owners.check,
    "alone": findings.alone,
    "labels": findings.labels,
    "trust": findings.trust,
    "registry": findings.registry,
    "rows": findings.rows,
    "variables": findings.variables,
}


def examine(here: Workspace) -> Iterator[Check]:
    """The clone, then access, then GitHub's side as far as the token sees it."""
    yield from clone(here.git)
    yield from engine(here.root)
    yield from access(here)
    if here.github is None:
        return
    settings = Settings(here.github, here.root)
    try:
        _ = settings.about
    except GitHubError as error:
        yield _unknown(settings, error)
        return
    for name, check in CHECKS.items():
        try:
            yield from check(settings)
        except GitHubError as error:
            if error.status in (403, 404):
                yield Check(name, "note", f"{NOT_VISIBLE}: {error}")
            else:
                yield Check(name, "FAILED", f"cannot be checked: {error}", (AGAIN,))
        except ModelError as error:
            yield Check(name, "FAILED", str(error))


def settings_of(here: Workspace) -> Settings:
    """What `model setup-github` works on.

    Raises:
        InputError: GitHub does not know this repository, or nobody said who asks.
    """
    faults = [check for check in access(here) if check.state == "FAILED"]
    if here.github is not None:
        found = Settings(here.github, here.root)
        try:
            _ = found.about
        except GitHubError as error:
            faults = [_unknown(found, error)]
        else:
            return found
    raise InputError("; ".join(f"{c.name}: {c.message}: {' or '.join(c.remedy)}" for c in faults))


def by_hand(settings: Settings, strict: bool = False) -> Iterator[Check]:
    """What people have to do, because the API cannot."""
    checks = [findings.repository, rulesets.check, protection.check, owners.check]
    if strict and not protection.is_strict(settings):  # else the check of the ledger says it
        checks.append(protection.missing_key)
    if not settings.pushed:
        yield Check("ruleset", "note", "run this again after the first push, which it would refuse")
        checks = [findings.repository]
    for check in checks:
        for found in check(settings):
            if found.state != "ok" and SETUP not in found.remedy:
                yield found
    if "PROMOTION_APP_ID" not in settings.variables:
        message = "none; with one, checks of promotions run without a click (docs/github.md)"
        kind = f"organizations/{settings.owner}/" if settings.is_organisation else ""
        yield Check("app", "note", message, (f"{settings.server}/{kind}settings/apps/new",))


def clone(git: Git) -> Iterator[Check]:
    """The clone on this machine."""
    if git.run("rev-parse", "--is-shallow-repository") == "true":
        fix = "git fetch --unshallow"
        yield Check("clone", "FAILED", "has only a part of the history", (fix,))
    else:
        yield Check("clone", "ok", "has the whole history")
    if git.ok("config", "user.email") and git.ok("config", "user.name"):
        yield Check("identity", "ok", git.run("config", "user.email"))
    else:
        how = ("git config user.name NAME", "git config user.email ADDRESS")
        yield Check("identity", "note", f"not set: promotions are by {EMAIL}", how)


def engine(root: Path) -> Iterator[Check]:
    """Whether the engine's folder holds what it came with. That guards against accidents: whoever
    changes it on purpose changes the list, too."""
    place = root / "engine"
    if not (place / SUMS).is_file():
        return
    listed = {}
    for line in (place / SUMS).read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    found = {path.relative_to(place).as_posix(): path for path in files_below(place)}
    digests = {
        name: sha256(path.read_bytes()).removeprefix("sha256:") for name, path in found.items()
    }
    wrong = [n for n in sorted({*listed, *found} - {SUMS}) if digests.get(n) != listed.get(n)]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        how = ("git checkout -- engine", "or see engine/README.md, to change it on purpose")
        yield Check("engine", "FAILED", f"engine/{wrong[0]}{more}: changed by hand", how)
    else:
        yield Check("engine", "ok", f"mlrelease {__version__}, as it came")


def access(here: Workspace) -> Iterator[Check]:
    """Whether origin is on GitHub, and a token is given."""
    git, token = here.git, os.environ.get("GITHUB_TOKEN") or os.environ.get("GH_TOKEN")
    server = os.environ.get("GITHUB_SERVER_URL", "https://github.com").rstrip("/")
    address = git.run("remote", "get-url", "origin") if git.has_origin() else ""
    shown = address.rpartition("@")[2]  # a token may stand before it
    elsewhere = server.partition("://")[2] not in shown  # a first guess, where nobody can ask
    if not address:
        fix = f"git remote add origin {server}/OWNER/NAME.git"
        yield Check("origin", "FAILED", "there is none", (fix,))
    elif here.github is None if token else elsewhere:
        how = (
            f"git remote set-url origin {server}/OWNER/NAME.git",
            "or, for GitHub Enterprise Server, export GITHUB_SERVER_URL=https://HOST",
        )
        yield Check("origin", "FAILED", f"{shown} is no repository on {server}", how)
    else:
        yield Check("origin", "ok", shown)
    if not token:
        how = (TOKEN, f"or make one: {server}/settings/tokens")
        yield Check("token", "FAILED", "GITHUB_TOKEN is not set", how)


def _unknown(settings: Settings, error: GitHubError) -> Check:
    """Why GitHub says nothing of the repository at all."""
    make, another = f"make it: {settings.server}/new", f"another: {settings.server}/settings/tokens"
    if error.status == 401:
        message = f"{settings.server} does not know it, or not any more"
        return Check("token", "FAILED", message, (TOKEN, another))
    if error.status == 404:
        message = f"{settings.name} is not there, or this token may not see it"
        return Check("repository", "FAILED", message, (make, TOKEN, another))
    if error.status in (301, 307, 308):
        fix = f"git remote set-url origin ADDRESS, as {settings.page('')} shows it"
        return Check("origin", "FAILED", f"{settings.name} was renamed", (fix,))
    return Check("repository", "FAILED", f"cannot be asked: {error}", (AGAIN,))
