"""Environments, the branches that may use them, and deploy keys."""

import re

from .records import Json, Refusal, invalid, missing
from .routing import Answer, Request, route

BRANCH_POLICY = ("protected_branches", "custom_branch_policies")


@route("GET environments", "actions: read")
def list_environments(call: Request) -> Answer:
    found = [_environment(call, name) for name in call.repository.environments]
    return 200, {"total_count": len(found), "environments": found}


def _environment(call: Request, name: str) -> Json:
    if name not in call.repository.environments:
        raise missing()
    kept = call.repository.environments[name]
    protection = []
    if kept.get("wait_timer"):
        protection.append({"type": "wait_timer", "wait_timer": kept["wait_timer"]})
    if kept.get("reviewers"):
        people = [{"type": one["type"], "reviewer": {"id": one["id"]}} for one in kept["reviewers"]]
        self_review = kept.get("prevent_self_review", False)
        rule = {"type": "required_reviewers", "reviewers": people}
        protection.append(rule | {"prevent_self_review": self_review})
    if kept.get("deployment_branch_policy"):
        protection.append({"type": "branch_policy"})
    return {
        "name": name,
        "html_url": f"{call.repository.page}/deployments/{name}",
        "protection_rules": protection,
        "deployment_branch_policy": kept.get("deployment_branch_policy"),
    }


@route("GET environments/{name}", "actions: read")
def get_environment(call: Request) -> Answer:
    return 200, _environment(call, call.path["name"])


@route(
    "PUT environments/{name}",
    "administration: write",
    "wait_timer:int prevent_self_review:bool reviewers:objects deployment_branch_policy:object",
)
def put_environment(call: Request) -> Answer:
    limited = call.repository.private and call.github.plan != "enterprise"
    if limited and (call.body.get("reviewers") or call.body.get("wait_timer")):
        raise Refusal(422, "Failed to create the environment protection rule: upgrade your plan.")
    branches = call.body.get("deployment_branch_policy")
    if branches and len({branches.get(key) for key in BRANCH_POLICY}) != 2:
        raise Refusal(422, f"{' and '.join(BRANCH_POLICY)} cannot have the same value")
    name = call.path["name"]
    # What is not given is switched off; secrets and branch policies are not settings, and stay.
    kept = call.repository.environments.get(name, {})
    rest = {key: kept[key] for key in ("policies", "secrets") if key in kept}
    call.repository.environments[name] = rest | call.body | {"name": name}
    return 200, _environment(call, name)


@route("GET environments/{name}/secrets", "environments: read", public=False)
def list_environment_secrets(call: Request) -> Answer:
    """Their names only, as on GitHub; a test puts them there."""
    _environment(call, call.path["name"])
    names = call.repository.environments[call.path["name"]].get("secrets", [])
    return 200, {"total_count": len(names), "secrets": [{"name": name} for name in names]}


def _branch_policies(call: Request) -> list[Json]:
    name = call.path["name"]
    limited = _environment(call, name)["deployment_branch_policy"] or {}
    if not limited.get("custom_branch_policies"):
        raise missing()
    policies: list[Json] = call.repository.environments[name].setdefault("policies", [])
    return policies


@route("GET environments/{name}/deployment-branch-policies", "actions: read")
def list_branch_policies(call: Request) -> Answer:
    found = _branch_policies(call)
    return 200, {"total_count": len(found), "branch_policies": found}


@route(
    "POST environments/{name}/deployment-branch-policies",
    "administration: write",
    "name! type:branch|tag",
)
def create_branch_policy(call: Request) -> Answer:
    found, wanted = _branch_policies(call), {"type": "branch"} | call.body
    if wanted in [{key: one[key] for key in wanted} for one in found]:
        raise Refusal(303, "See Other")
    found.append({"id": call.github.new_id()} | wanted)
    return 200, found[-1]


@route("DELETE environments/{name}/deployment-branch-policies/{id}", "administration: write")
def delete_branch_policy(call: Request) -> Answer:
    found = _branch_policies(call)
    one = next((policy for policy in found if str(policy["id"]) == call.path["id"]), None)
    if one is None:
        raise missing()
    found.remove(one)
    return 204, None


# Deploy keys.


@route("GET keys", "administration: read", public=False)
def list_keys(call: Request) -> Answer:
    return 200, list(call.repository.keys.values())


@route("POST keys", "administration: write", "title key! read_only:bool")
def create_key(call: Request) -> Answer:
    key = call.body["key"]
    if not re.fullmatch(r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+) [\w+/=]+( .*)?", key):
        raise invalid("PublicKey", "key", message="key is invalid. It must be an OpenSSH key")
    if key.split()[1] in call.github.tokens:
        raise invalid("PublicKey", "key", message="key is already in use")
    title = str(call.body.get("title") or key)
    call.repository.add_key(title, key, call.body.get("read_only", False), call.caller.login)
    return 201, list(call.repository.keys.values())[-1]


@route("DELETE keys/{id}", "administration: write")
def delete_key(call: Request) -> Answer:
    number = call.path["id"]
    if not number.isdigit() or int(number) not in call.repository.keys:
        raise missing()
    gone = call.repository.keys.pop(int(number))
    del call.github.tokens[gone["key"].split()[1]]
    return 204, None
