"""Starting workflows, and the runs that the runner reported."""

from collections.abc import Iterator
from typing import Any

import yaml

from . import views
from .records import Json, Refusal, missing
from .repository import ZERO
from .routing import Answer, Request, route

FOLDER = ".github/workflows"
MOST_INPUTS = 25
MOST_PROPERTIES = 10


def _workflows(call: Request) -> Iterator[tuple[str, Json]]:
    """Path and content of the workflows that GitHub knows: those on the default branch."""
    branch = call.repository.branch(call.repository.default_branch)
    for _, _, path in (call.repository.tree(branch, FOLDER) or []) if branch else []:
        if path.endswith((".yml", ".yaml")) and branch:
            yield path, _parsed(call.repository.read(branch, path))


def _parsed(content: bytes | None) -> Json:
    parsed = yaml.load(content or b"", Loader=yaml.BaseLoader)  # noqa: S506 - `on` stays a text
    return parsed if isinstance(parsed, dict) else {}


def _workflow(call: Request) -> tuple[str, Json]:
    for path, content in _workflows(call):
        if call.path["id"] in (path.rsplit("/", 1)[-1], path):
            return path, content
    raise missing()


def _shown(call: Request, path: str, content: Json) -> Json:
    return {
        "id": views.number_of(path),
        "name": content.get("name", path),
        "path": path,
        "state": "active",
        "html_url": f"{call.repository.page}/blob/main/{path}",
    }


@route("GET actions/workflows", "actions: read")
def list_workflows(call: Request) -> Answer:
    found = [_shown(call, path, content) for path, content in _workflows(call)]
    return 200, {"total_count": len(found), "workflows": found}


@route("POST actions/workflows/{id}/dispatches", "actions: write", "ref! inputs:object")
def dispatch_workflow(call: Request) -> Answer:
    path, _ = _workflow(call)
    ref = call.body["ref"].removeprefix("refs/heads/").removeprefix("refs/tags/")
    full = next(
        (f"refs/{kind}/{ref}" for kind in ("heads", "tags") if _is_ref(call, kind, ref)), ""
    )
    if not full:
        raise Refusal(422, f"No ref found for: {call.body['ref']}")
    sha = call.repository.git("rev-parse", f"{full}^{{commit}}")
    trigger = _trigger(_parsed(call.repository.read(sha, path)), "workflow_dispatch")
    if trigger is None:
        raise Refusal(422, "Workflow does not have 'workflow_dispatch' trigger")
    inputs = _inputs((trigger or {}).get("inputs") or {}, call.body.get("inputs", {}))
    payload = {"inputs": inputs, "ref": full, "workflow": path}
    at = (full, sha)
    call.github.emit(call.repository, "workflow_dispatch", None, at, call.caller, payload)
    return 204, None


def _is_ref(call: Request, kind: str, name: str) -> bool:
    ref = f"refs/{kind}/{name}"
    return ref in call.repository.refs(ref)


def _trigger(workflow: Json, event: str) -> Any:
    """What `on:` says of an event; None when it does not name it."""
    on = workflow.get("on", {})
    if isinstance(on, dict):
        return (on[event] or {}) if event in on else None
    return {} if event in ([on] if isinstance(on, str) else on) else None


def _inputs(declared: Json, given: Json) -> dict[str, str]:
    """The inputs of a run, checked and completed."""
    unexpected = sorted(set(given) - set(declared))
    if unexpected:
        raise Refusal(422, f"Unexpected inputs provided: {unexpected}")
    if len(given) > MOST_INPUTS:
        raise Refusal(422, f"you may only define up to {MOST_INPUTS} inputs")
    found = {}
    for name, about in declared.items():
        about = about or {}
        value = given.get(name, about.get("default", ""))
        if not isinstance(value, str):
            raise Refusal(422, f"Invalid value for input '{name}': inputs are texts")
        if about.get("required") == "true" and not value:
            raise Refusal(422, f"Required input '{name}' not provided")
        allowed = {"choice": about.get("options"), "boolean": ["true", "false"]}
        options = allowed.get(about.get("type", "string"))
        if name in given and options is not None and value not in options:
            message = (
                f"Provided value '{value}' for input '{name}' not in the list of allowed values"
            )
            raise Refusal(422, message)
        if name in given and about.get("type") == "number" and not _is_number(value):
            raise Refusal(422, f"Provided value '{value}' for input '{name}' is not a number")
        found[name] = value
    return found


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@route("POST dispatches", "contents: write", "event_type!:100 client_payload:object")
def dispatch_repository(call: Request) -> Answer:
    given = call.body.get("client_payload", {})
    if len(given) > MOST_PROPERTIES:
        raise Refusal(422, f"No more than {MOST_PROPERTIES} properties are allowed")
    branch, kind = call.repository.default_branch, call.body["event_type"]
    payload = {"branch": branch, "client_payload": given}
    at = (f"refs/heads/{branch}", call.repository.branch(branch) or ZERO)
    call.github.emit(call.repository, "repository_dispatch", kind, at, call.caller, payload)
    return 204, None


def _runs(call: Request, workflow: str | None) -> Answer:
    found = [
        views.run(call.github, run)
        for run in reversed(call.github.runs)
        if run.repository == call.repository.full_name and workflow in (None, run.workflow)
    ]
    found = call.query.select(found, event="event", branch="head_branch", head_sha="head_sha")
    actor, status = call.query.ask("actor"), call.query.ask("status")
    found = [
        run
        for run in found
        if actor in ("", run["actor"]["login"])
        and status in ("", run["status"], run["conclusion"])  # GitHub takes either here
    ]
    return 200, {"total_count": len(found), "workflow_runs": found}


@route("GET actions/runs", "actions: read")
def list_runs(call: Request) -> Answer:
    return _runs(call, None)


@route("GET actions/workflows/{id}/runs", "actions: read")
def list_runs_of_workflow(call: Request) -> Answer:
    return _runs(call, _workflow(call)[0])
