"""How a repository is set up: rulesets, variables, Actions, teams, CODEOWNERS."""

import re

from . import rules, ruleset_forms
from .records import Json, Refusal, missing
from .routing import Answer, Request, route

UPGRADE = "Upgrade to GitHub Pro or make this repository public to enable this feature."

# Rulesets.


def _require_rulesets(call: Request) -> None:
    if not rules.enforced(call.repository):
        raise Refusal(403, UPGRADE)


def _found_ruleset(call: Request) -> Json:
    _require_rulesets(call)
    number = call.path["id"]
    if not number.isdigit() or int(number) not in call.repository.rulesets:
        raise missing()
    return call.repository.rulesets[int(number)]


def _checked_ruleset(call: Request, number: int | None) -> None:
    if call.body.get("enforcement") == "evaluate" and call.github.plan != "enterprise":
        raise Refusal(422, "Validation Failed", [{"message": "evaluate needs GitHub Enterprise"}])
    ruleset_forms.check_rules(call.body.get("rules", []))
    ruleset_forms.check_bypass(call.body.get("bypass_actors", []))
    names = call.body.get("conditions", {}).get("ref_name", {})
    ruleset_forms.check_patterns([*names.get("include", []), *names.get("exclude", [])])
    for other in call.repository.rulesets.values():
        if other["name"] == call.body.get("name") and other["id"] != number:
            raise Refusal(422, "Validation Failed", [{"message": "Name must be unique"}])


@route("GET rulesets", "metadata: read")
def list_rulesets(call: Request) -> Answer:
    _require_rulesets(call)
    shown = ("id", "name", "target", "source_type", "source", "enforcement")
    found = call.repository.rulesets.values()
    return 200, [{key: ruleset[key] for key in shown} for ruleset in found]


@route("GET rulesets/{id}", "metadata: read")
def get_ruleset(call: Request) -> Answer:
    """Who may bypass it is shown to those who may change it."""
    found, where = _found_ruleset(call), call.repository.full_name
    if call.token and call.token.may(where, "administration", "write"):
        return 200, found
    return 200, {key: value for key, value in found.items() if key != "bypass_actors"}


@route(
    "POST rulesets",
    "administration: write",
    "name! target:branch|tag|push enforcement!:active|disabled|evaluate "
    "bypass_actors:objects conditions:object rules:objects",
)
def create_ruleset(call: Request) -> Answer:
    _require_rulesets(call)
    _checked_ruleset(call, None)
    number = call.github.new_id()
    usual = {"target": "branch", "bypass_actors": [], "conditions": {}, "rules": []}
    where = {"id": number, "source_type": "Repository", "source": call.repository.full_name}
    call.repository.rulesets[number] = usual | call.body | where
    return 201, call.repository.rulesets[number]


@route(
    "PUT rulesets/{id}",
    "administration: write",
    "name target:branch|tag|push enforcement:active|disabled|evaluate bypass_actors:objects "
    "conditions:object rules:objects",
)
def update_ruleset(call: Request) -> Answer:
    ruleset = _found_ruleset(call)
    _checked_ruleset(call, ruleset["id"])
    ruleset |= call.body
    return 200, ruleset


@route("DELETE rulesets/{id}", "administration: write")
def delete_ruleset(call: Request) -> Answer:
    del call.repository.rulesets[_found_ruleset(call)["id"]]
    return 204, None


@route("GET rules/branches/{branch:path}", "metadata: read")
def list_rules_of_branch(call: Request) -> Answer:
    ref = f"refs/heads/{call.path['branch']}"
    return 200, rules.rules_for(call.repository, ref, None)


# Variables.


@route("GET actions/variables", "variables: read", public=False)
def list_variables(call: Request) -> Answer:
    found = list(call.repository.variables.values())
    return 200, {"total_count": len(found), "variables": found}


def _variable(call: Request) -> Json:
    name = call.path["name"].upper()
    if name not in call.repository.variables:
        raise missing()
    return call.repository.variables[name]


@route("GET actions/variables/{name}", "variables: read", public=False)
def get_variable(call: Request) -> Answer:
    return 200, _variable(call)


@route("POST actions/variables", "variables: write", "name!:255 value!:49152")
def create_variable(call: Request) -> Answer:
    name, now = call.body["name"].upper(), call.github.now()
    if not re.fullmatch("[A-Z_][A-Z0-9_]*", name) or name.startswith("GITHUB_"):
        raise Refusal(422, "Variable names hold letters, digits and _, and no GITHUB_ prefix")
    if name in call.repository.variables:
        raise Refusal(409, "Already exists - Variable already exists")
    kept = {"name": name, "value": call.body["value"], "created_at": now, "updated_at": now}
    call.repository.variables[name] = kept
    return 201, {}


@route("PATCH actions/variables/{name}", "variables: write", "name:255 value:49152")
def update_variable(call: Request) -> Answer:
    kept = _variable(call)
    kept |= {"value": call.body.get("value", kept["value"]), "updated_at": call.github.now()}
    return 204, None


# Actions.


@route("GET actions/permissions", "administration: read", public=False)
def actions_permissions(_: Request) -> Answer:
    return 200, {"enabled": True, "allowed_actions": "all", "sha_pinning_required": False}


@route("GET actions/permissions/workflow", "administration: read", public=False)
def get_workflow_permissions(call: Request) -> Answer:
    return 200, call.repository.workflow_permissions


@route(
    "PUT actions/permissions/workflow",
    "administration: write",
    "default_workflow_permissions:read|write can_approve_pull_request_reviews:bool",
)
def put_workflow_permissions(call: Request) -> Answer:
    call.repository.workflow_permissions |= call.body
    return 204, None


# Who there is.


@route("GET /orgs/{org}/teams/{slug}", "members: read", public=False)
def get_team(call: Request) -> Answer:
    name = f"{call.path['org']}/{call.path['slug']}"
    if name not in call.github.teams:
        raise missing()
    return 200, {"name": call.path["slug"], "slug": call.path["slug"], "privacy": "closed"}


CODEOWNERS = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")


@route("GET codeowners/errors", "contents: read")
def codeowners_errors(call: Request) -> Answer:
    """Owners that do not exist or cannot write; GitHub ignores such lines silently."""
    revision = call.query.ask("ref", call.repository.default_branch)
    files = ((path, call.repository.read(revision, path)) for path in CODEOWNERS)
    path, content = next(((path, text) for path, text in files if text is not None), (None, b""))
    if path is None:
        raise missing()
    errors = []
    for number, line in enumerate(content.decode().splitlines(), 1):
        _, *owners = line.split("#")[0].split() or [""]
        errors += [
            {
                "line": number,
                "column": line.index(owner) + 1,
                "kind": "Unknown owner",
                "source": line,
                "suggestion": f"make sure {owner} exists and has write access to the repository",
                "message": f"Unknown owner on line {number}: {owner}",
                "path": path,
            }
            for owner in owners
            if not _is_owner(call, owner)
        ]
    return 200, {"errors": errors}


def _is_owner(call: Request, owner: str) -> bool:
    if not owner.startswith("@"):
        return "@" in owner  # an e-mail address
    name = owner[1:]
    if "/" in name:
        return name in call.github.teams
    return call.github.collaborator(name, call.repository) is not None
