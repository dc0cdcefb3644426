"""Organisations: their plan, and the variables that they share with a repository."""

from .records import Refusal, missing
from .routing import Answer, Request, route
from .tokens import WRITERS
from .views import user

SHARED: dict[str, dict[str, str]] = {}  # by organisation; a test empties it again


@route("GET /orgs/{org}", "members: read", public=False)
def get_organisation(call: Request) -> Answer:
    """The plan is shown to its owners only."""
    org = call.path["org"]
    if user(call.github, org)["type"] != "Organization":
        raise missing()
    shown = {"login": org, "type": "Organization"}
    owner = call.caller.kind == "user" and call.caller.role == "admin"
    return 200, shown | ({"plan": {"name": call.github.plan}} if owner else {})


LEGACY = {"triage": "read", "maintain": "write"}  # what the older field calls a newer role


@route("GET collaborators/{login}/permission", "metadata: read", public=False)
def get_permission(call: Request) -> Answer:
    """What somebody may do here, private membership or not."""
    login, caller = call.path["login"], call.caller
    if caller.kind == "user" and caller.role_in(call.repository.full_name) not in WRITERS:
        raise Refusal(403, "Must have push access to view collaborator permission.")
    if login not in call.github.logins():
        raise Refusal(404, f"{login} is not a user")
    role = call.github.role(login, call.repository)
    shown = {"permission": LEGACY.get(role, role), "role_name": role}
    return 200, shown | {"user": user(call.github, login)}


@route("GET actions/organization-variables", "variables: read", public=False)
def list_shared_variables(call: Request) -> Answer:
    """What the organisation lets this repository see."""
    found = SHARED.get(call.repository.owner, {})
    listed = [{"name": name, "value": value} for name, value in found.items()]
    return 200, {"total_count": len(listed), "variables": listed}
