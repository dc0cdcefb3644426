"""How far GitHub protects the ledger, the branches env/*: append-only, or by one key alone."""

from collections.abc import Iterator

from mlrelease.github.api import Json
from mlrelease.github.settings import (
    KEY_RULESET,
    LEDGER_RULESET,
    NOT_VISIBLE,
    RELEASE,
    Check,
    Settings,
)
from mlrelease.records.git import BRANCH
from mlrelease.settings import rulesets
from mlrelease.settings.steps import SETUP, Difference, Step, faults

SECRET = "LEDGER_KEY"  # noqa: S105 - its name
FILE = "~/.ssh/ledger-key"
MAKE_KEY = (
    f"ssh-keygen -q -t ed25519 -N '' -C ledger -f {FILE}",
    f"gh repo deploy-key add {FILE}.pub --title ledger --allow-write",
    f"gh secret set {SECRET} --env {RELEASE} < {FILE}",
    f"rm {FILE} {FILE}.pub",
    f"{SETUP} --strict",
)
FREE = "env"  # the name that no branch may have
MOVE = (
    f"git fetch origin && git push origin origin/{FREE}:refs/heads/{FREE}-old",
    f"git push origin --delete {FREE}",
)
GROWS = "nobody can delete or rewrite env/*"


def steps(settings: Settings, strict: bool) -> list[Step]:
    """The rules of env/*; with `strict`, or where it was asked for before, those of the key.

    The rule that only a key may append comes last, once there is one: else nothing is released.
    """
    if settings.is_limited:
        return []
    found = rulesets.steps(settings, LEDGER_RULESET)
    if strict or is_strict(settings):
        found += environment(settings)
        if is_strict(settings) or not missing(settings):
            found += rulesets.steps(settings, KEY_RULESET)
    return found


def is_strict(settings: Settings) -> bool:
    """Whether the repository has the ruleset of the key."""
    return settings.ruleset(KEY_RULESET) is not None


def environment(settings: Settings) -> list[Step]:
    """Only jobs on main get the secret of the environment."""
    there, path = settings.release, f"/environments/{RELEASE}"
    policy = (there or {}).get("deployment_branch_policy")
    wanted = {"protected_branches": False, "custom_branch_policies": True}
    found, name = [], f"environment {RELEASE}"
    if policy != wanted:
        old = ("protected branches" if policy else "every branch") if there is not None else None
        difference = Difference(name, old, f"only {BRANCH}")
        content = _kept(there or {}) | {"deployment_branch_policy": wanted}
        found.append(Step((difference,), "PUT", path, content))
    path += "/deployment-branch-policies"
    listed = [*settings.github.pages(path)] if policy == wanted else []
    admitted = {(one.get("type", "branch"), one["name"]): one["id"] for one in listed}
    main = ("branch", BRANCH)
    if main not in admitted:
        difference = Difference(f"{name}, branch {BRANCH}", None, "")
        found.append(Step((difference,), "POST", path, {"name": BRANCH, "type": "branch"}))
    for kind, pattern in sorted(admitted.keys() - {main}):
        difference = Difference(f"{name}, {kind} {pattern}", "yes", "no")
        found.append(Step((difference,), "DELETE", f"{path}/{admitted[kind, pattern]}", {}))
    return found


def missing(settings: Settings) -> list[str]:
    """What the release job needs besides, and people have to make."""
    found = [] if settings.write_keys else ["no deploy key may write"]
    secrets: list[Json] = []
    if settings.release is not None:
        secrets = [*settings.github.pages(f"/environments/{RELEASE}/secrets")]
    if SECRET not in {secret["name"] for secret in secrets}:
        found.append(f"the environment {RELEASE} has no secret {SECRET}")
    return found


def missing_key(settings: Settings) -> Iterator[Check]:
    """How to make the key, where it is not there."""
    if not settings.is_limited and (found := missing(settings)):
        yield Check("ledger key", "FAILED", "; ".join(found), MAKE_KEY)


def check(settings: Settings) -> Iterator[Check]:
    """Which level this repository has, and what it stops."""
    if settings.github.find(f"/branches/{FREE}") is not None:
        message = f"origin has a branch {FREE}, so git cannot make {FREE}/production"
        yield Check("branch env", "FAILED", message, MOVE)
    page = settings.page("settings/rules")
    if settings.is_limited:
        message = "none: private repositories have no rulesets on this plan"
        yield Check("ledger", "note", f"{message}: whoever may push can rewrite env/*")
        return
    if settings.ruleset(LEDGER_RULESET) is None:
        message = "none: whoever may push can delete, rewrite and append to env/*"
        yield Check("ledger", "FAILED", message, (SETUP, page))
        return
    strict = is_strict(settings)
    paths = (LEDGER_RULESET, KEY_RULESET) if strict else (LEDGER_RULESET,)
    if wrong := [step for path in paths for step in rulesets.steps(settings, path)]:
        yield from faults("ledger", wrong, "", page)
    elif any(rulesets.hides_bypass(settings, path) for path in paths):
        message = f"as {' and '.join(paths)} have it; who may bypass it is {NOT_VISIBLE}"
        yield Check("ledger", "note", message)
    else:
        yield _level(settings, strict)
    if strict:
        page = settings.page("settings/environments")
        yield from faults(RELEASE, environment(settings), f"for jobs on {BRANCH} only", page)
        yield from missing_key(settings)


def _level(settings: Settings, strict: bool) -> Check:
    """What the rules that are there stop, in one line."""
    attested = settings.variables.get("TRUST") == "attested"
    level = ("key" if strict else "append-only") + ", attested" * attested
    keys = ", ".join(settings.write_keys) if strict else ""
    who = f"only deploy keys that may write append: {keys or 'none'}"
    who = who if strict else "whoever may push can append"
    signed = "; deploy.yml signs entries, which nothing checks so far" * attested
    several = strict and len(settings.write_keys) > 1
    return Check("ledger", "note" if several else "ok", f"{level}: {GROWS}; {who}{signed}")


def _kept(environment: Json) -> Json:
    """What a PUT would switch off, did it not say it again."""
    kept: Json = {}
    for rule in environment.get("protection_rules") or []:
        if rule["type"] == "wait_timer":
            kept["wait_timer"] = rule["wait_timer"]
        elif rule["type"] == "required_reviewers":
            people = [{"type": r["type"], "id": r["reviewer"]["id"]} for r in rule["reviewers"]]
            self_review = rule.get("prevent_self_review", False)
            kept |= {"reviewers": people, "prevent_self_review": self_review}
    return kept
