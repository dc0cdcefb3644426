"""Rulesets: which rules hold for a branch, and what they refuse."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from .records import Json, Pull
from .repository import Repository
from .tokens import Token

ADMIN_ROLE = 5  # the number of the role in a ruleset's bypass_actors
PASSED = ("success", "neutral", "skipped")


def enforced(repository: Repository) -> bool:
    """Whether the plan has rulesets for this repository."""
    return not (repository.private and repository.github.plan == "free")


def rules_for(
    repository: Repository, ref: str, by: Token | None, merging: bool = False
) -> list[Json]:
    """The rules that hold for a ref, without those that the caller may bypass."""
    if not enforced(repository):
        return []
    found = []
    for ruleset in repository.rulesets.values():
        names = (ruleset.get("conditions") or {}).get("ref_name", {})
        kind = "refs/tags/" if ruleset["target"] == "tag" else "refs/heads/"
        if ruleset["enforcement"] != "active" or not ref.startswith(kind):
            continue
        if not _fits(repository, ref, names.get("include", [])):
            continue
        if _fits(repository, ref, names.get("exclude", [])):
            continue
        if by is None or not _bypasses(ruleset, repository, by, merging):
            found += [rule | {"ruleset_id": ruleset["id"]} for rule in ruleset["rules"]]
    return found


def _fits(repository: Repository, ref: str, patterns: Iterable[str]) -> bool:
    default = f"refs/heads/{repository.default_branch}"
    return any(
        pattern == "~ALL"
        or (pattern == "~DEFAULT_BRANCH" and ref == default)
        or re.fullmatch(_expression(pattern), ref) is not None
        for pattern in patterns
    )


WILD = {"**/": "(?:[^/]+/)*", "*": "[^/]*", "**": "[^/]*", "?": "[^/]"}


def _expression(pattern: str) -> str:
    """As Ruby's File.fnmatch with FNM_PATHNAME reads it: `*` ends at a slash."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return "".join(WILD.get(part, re.escape(part)) for part in parts)


def _bypasses(ruleset: Json, repository: Repository, by: Token, merging: bool) -> bool:
    """Only an administrator or a deploy key may, and only where the ruleset says so."""
    if by.kind == "key":  # whichever key it is
        return any(actor.get("actor_type") == "DeployKey" for actor in ruleset["bypass_actors"])
    if by.kind != "user" or by.role_in(repository.full_name) != "admin":
        return False
    return any(
        actor.get("actor_type") in ("RepositoryRole", "OrganizationAdmin")
        and actor.get("actor_id") in (ADMIN_ROLE, 1, None)
        and (merging or actor.get("bypass_mode", "always") == "always")
        for actor in ruleset["bypass_actors"]
    )


def push_violations(
    repository: Repository,
    ref: str,
    old: str | None,
    new: str | None,
    by: Token,
    quarantine: Mapping[str, str] | None = None,
) -> list[str]:
    """Why a push to a ref is refused."""
    found = []
    for rule in rules_for(repository, ref, by):
        kind, parameters = rule["type"], rule.get("parameters", {})
        if kind == "deletion" and not new:
            found.append("Cannot delete this branch")
        elif kind == "creation" and not old:
            found.append("Cannot create ref due to creations being restricted.")
        elif kind == "update" and old and new:
            found.append("Cannot update this protected ref.")
        elif kind == "pull_request" and new and old:
            found.append("Changes must be made through a pull request.")
        elif kind == "non_fast_forward" and old and new:
            if not repository.is_ancestor(old, new, quarantine):
                found.append("Cannot force-push to this branch")
        elif kind == "required_status_checks" and new and old:
            found += missing_checks(repository, new, parameters)
    return found


def merge_violations(
    repository: Repository, pull: Pull, method: str, by: Token | None
) -> list[str]:
    """Why a pull request cannot be merged yet."""
    found = []
    for rule in rules_for(repository, f"refs/heads/{pull.base}", by, merging=True):
        kind, parameters = rule["type"], rule.get("parameters", {})
        if kind == "update":
            found.append("Cannot update this protected ref.")
        elif kind == "required_linear_history" and method == "merge":
            found.append("This branch must not contain merge commits.")
        elif kind == "required_status_checks":
            found += missing_checks(repository, pull.head_sha, parameters)
            tip = repository.branch(pull.base) or pull.base_sha
            strict = parameters["strict_required_status_checks_policy"]
            if strict and not repository.is_ancestor(tip, pull.head_sha):
                found.append("This branch must be up to date with the base branch.")
        elif kind == "pull_request":
            found += _missing_reviews(repository, pull, parameters)
            allowed = parameters.get("allowed_merge_methods", ["merge", "squash", "rebase"])
            if method not in allowed:
                found.append(f"The merge method {method} is not allowed.")
    return found


def missing_checks(repository: Repository, sha: str, parameters: Json) -> list[str]:
    """A context needs a check run or a status; where both exist, both must have passed."""
    found = []
    for check in parameters["required_status_checks"]:
        context, app = check["context"], check.get("integration_id")
        states = [
            latest["conclusion"]
            for latest in latest_checks(repository, sha)
            if latest["name"] == context and app in (None, latest["app"]["id"])
        ] + [
            status["state"]
            for status in latest_statuses(repository, sha)
            if status["context"] == context and app in (None, status["app"])
        ]
        if not states:
            found.append(f'Required status check "{context}" is expected.')
        elif any(state not in PASSED for state in states):
            word = "in progress" if {None, "pending"} & set(states) else "failing"
            found.append(f'Required status check "{context}" is {word}.')
    return found


def latest_checks(repository: Repository, sha: str) -> list[Json]:
    """The newest check run of each name and app."""
    found = {}
    for check in repository.check_runs.values():
        if check["head_sha"] == sha:
            found[check["name"], check["app"]["id"]] = check
    return list(found.values())


def latest_statuses(repository: Repository, sha: str) -> list[Json]:
    """The newest status of each context."""
    return list({one["context"]: one for one in repository.statuses if one["sha"] == sha}.values())


def _missing_reviews(repository: Repository, pull: Pull, parameters: Json) -> list[str]:
    opinions: dict[str, str] = {}
    for review in pull.reviews:
        if review["state"] in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED"):
            opinions[review["user"]] = review["state"]
    counted = {
        login: state
        for login, state in opinions.items()
        if repository.github.collaborator(login, repository) or login.endswith("[bot]")
    }
    found = []
    if "CHANGES_REQUESTED" in counted.values():
        found.append("Changes have been requested.")
    needed = parameters["required_approving_review_count"]
    if list(counted.values()).count("APPROVED") < needed:
        found.append(f"At least {needed} approving review is required by reviewers with access.")
    if parameters["require_last_push_approval"]:
        fresh = {review["user"] for review in pull.reviews if review["commit_id"] == pull.head_sha}
        others = [name for name in counted.keys() & fresh if name != pull.pushed_by]
        if "APPROVED" not in [counted[name] for name in others]:
            found.append("New changes require approval from someone other than the last pusher.")
    return found


def dismiss_stale_reviews(repository: Repository, pull: Pull) -> None:
    """A push voids approvals where a ruleset says so."""
    for ruleset in repository.rulesets.values():
        names = (ruleset.get("conditions") or {}).get("ref_name", {})
        if not _fits(repository, f"refs/heads/{pull.base}", names.get("include", [])):
            continue
        for rule in ruleset["rules"]:
            if rule.get("parameters", {}).get("dismiss_stale_reviews_on_push"):
                for review in pull.reviews:
                    if review["state"] == "APPROVED":
                        review["state"] = "DISMISSED"


def state_of(repository: Repository, pull: Pull) -> str:
    """`mergeable_state`: what stands in the way of a merge."""
    if pull.merge_commit_sha is None:
        return "dirty"
    if pull.draft:
        return "draft"
    if merge_violations(repository, pull, "squash", None):
        return "blocked"
    seen = [check["conclusion"] for check in latest_checks(repository, pull.head_sha)]
    seen += [status["state"] for status in latest_statuses(repository, pull.head_sha)]
    return "clean" if all(state in PASSED for state in seen) else "unstable"


def workflow_changes(
    repository: Repository, new: str | None, quarantine: Mapping[str, str] | None = None
) -> str | None:
    """A workflow file that commits new to the repository change, if there is one."""
    if not new:
        return None
    listing = repository.git(
        *("log", "-c", "--format=", "--name-only", new, "--not", "--all"),
        *("--", ".github/workflows"),
        variables=quarantine,
    )
    return next(filter(None, listing.splitlines()), None)


def refuse_workflow_changes(path: str | None, by: Token) -> str | None:
    """GitHub's words, when the token may not change workflows."""
    if not path or by.kind in ("user", "key") or by.permissions.get("workflows") == "write":
        return None
    return (
        f"refusing to allow a GitHub App to create or update workflow `{path}` "
        "without `workflows` permission"
    )
