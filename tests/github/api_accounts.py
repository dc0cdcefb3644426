"""Organisations: their plan, and the variables that they share with a repository."""

from .records import missing
from .routing import Answer, Request, route
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


@route("GET actions/organization-variables", "variables: read", public=False)
def list_shared_variables(call: Request) -> Answer:
    """What the organisation lets this repository see."""
    found = SHARED.get(call.repository.owner, {})
    listed = [{"name": name, "value": value} for name, value in found.items()]
    return 200, {"total_count": len(listed), "variables": listed}
