"""What is said of a commit: statuses, check runs, deployments, attestations."""

import re

from . import rules, views
from .records import Json, Refusal, missing
from .routing import Answer, Request, route

BODY = 65535


def _web_address(call: Request, name: str) -> None:
    if not call.body.get(name, "https://").startswith(("http://", "https://")):
        raise Refusal(422, f"{name} must use http(s) scheme")


@route(
    "POST statuses/{sha}",
    "statuses: write",
    "state!:error|failure|pending|success context:255 description:140 target_url",
)
def create_status(call: Request) -> Answer:
    sha = call.path["sha"]
    if call.repository.resolve(sha) != sha:
        raise Refusal(422, f"No commit found for SHA: {sha}")
    _web_address(call, "target_url")
    now, app = call.github.now(), views.app(call.caller)["id"]
    status = {
        "id": call.github.new_id(),
        "sha": sha,
        "app": app,
        "state": call.body["state"],
        "context": call.body.get("context") or "default",
        "description": call.body.get("description"),
        "target_url": call.body.get("target_url"),
        "creator": call.caller.login,
        "created_at": now,
        "updated_at": now,
    }
    call.repository.statuses.append(status)
    return 201, _status(call, status)


def _status(call: Request, status: Json) -> Json:
    creator = views.user(call.github, status["creator"])
    return {k: v for k, v in status.items() if k not in ("sha", "app")} | {"creator": creator}


@route("GET commits/{sha:path}/statuses", "statuses: read")
def list_statuses(call: Request) -> Answer:
    sha = call.repository.commit_sha(call.path["sha"])
    found = [status for status in call.repository.statuses if status["sha"] == sha]
    return 200, [_status(call, status) for status in reversed(found)]


@route("GET commits/{sha:path}/status", "statuses: read")
def combined_status(call: Request) -> Answer:
    sha = call.repository.commit_sha(call.path["sha"])
    latest = rules.latest_statuses(call.repository, sha)
    states = {status["state"] for status in latest}
    state = "pending" if "pending" in states or not states else "success"
    return 200, {
        "sha": sha,
        "state": "failure" if states & {"error", "failure"} else state,
        "total_count": len(latest),
        "statuses": [_status(call, status) for status in latest],
    }


def _apply(call: Request, check: Json) -> None:
    """Take over the fields of a check run."""
    if call.caller.kind == "user":
        raise Refusal(403, "You must authenticate via a GitHub App.")
    _web_address(call, "details_url")
    output = call.body.get("output", {})
    if output and not (output.get("title") and "summary" in output):
        raise Refusal(422, "Invalid request.\n\noutput needs title and summary.")
    if any(len(output.get(name) or "") > BODY for name in ("summary", "text")):
        raise Refusal(422, f"output is too long (maximum is {BODY} characters)")
    check |= call.body
    if "conclusion" in call.body:
        check |= {"status": "completed", "completed_at": call.github.now()}
    elif check["status"] == "completed" and not check["conclusion"]:
        raise Refusal(422, "Invalid request.\n\nA completed check run needs a conclusion.")


def _check(call: Request, check: Json) -> Json:
    address = call.api(f"check-runs/{check['id']}")
    return {key: value for key, value in check.items() if key != "run"} | {"url": address}


@route(
    "POST check-runs",
    "checks: write",
    "name! head_sha! status:queued|in_progress|completed "
    "conclusion:success|failure|neutral|cancelled|skipped|timed_out|action_required|stale "
    "output:object details_url external_id started_at completed_at",
)
def create_check(call: Request) -> Answer:
    sha = call.body["head_sha"]
    if call.repository.resolve(sha) != sha:
        raise Refusal(422, f"No commit found for SHA: {sha}")
    number = call.github.new_id()
    check: Json = {
        "id": number,
        "run": None,
        "status": "queued",
        "conclusion": None,
        "started_at": call.github.now(),
        "completed_at": None,
        "app": views.app(call.caller),
        "output": {"title": None, "summary": None},
        "html_url": f"{call.repository.page}/runs/{number}",
    }
    _apply(call, check)
    call.repository.check_runs[number] = check
    return 201, _check(call, check)


def _found_check(call: Request) -> Json:
    number = call.path["id"]
    if not number.isdigit() or int(number) not in call.repository.check_runs:
        raise missing()
    return call.repository.check_runs[int(number)]


@route(
    "PATCH check-runs/{id}",
    "checks: write",
    "name status:queued|in_progress|completed "
    "conclusion:success|failure|neutral|cancelled|skipped|timed_out|action_required|stale "
    "output:object details_url external_id started_at completed_at",
)
def update_check(call: Request) -> Answer:
    check = _found_check(call)
    if check["app"] != views.app(call.caller):
        raise Refusal(403, "Invalid app_id - check run can only be modified by its own app.")
    _apply(call, check)
    return 200, _check(call, check)


@route("GET commits/{sha:path}/check-runs", "checks: read")
def list_checks(call: Request) -> Answer:
    sha = call.repository.commit_sha(call.path["sha"])
    every = [check for check in call.repository.check_runs.values() if check["head_sha"] == sha]
    latest = rules.latest_checks(call.repository, sha)
    shown = every if call.query.ask("filter", "latest") == "all" else latest
    found = call.query.select(shown, check_name="name", status="status")
    found = [_check(call, check) for check in found]
    return 200, {"total_count": len(found), "check_runs": found}


# Deployments.


@route(
    "POST deployments",
    "deployments: write",
    "ref! task auto_merge:bool required_contexts:texts payload:object environment "
    "description:140 transient_environment:bool production_environment:bool",
)
def create_deployment(call: Request) -> Answer:
    body, ref = call.body, call.body["ref"]
    sha = call.repository.resolve(ref)
    if sha is None:
        raise Refusal(422, f"No ref found for: {ref}")
    _require_contexts(call, sha, ref)
    environment = body.get("environment", "production")
    number, now = call.github.new_id(), call.github.now()
    deployment: Json = {
        "id": number,
        "sha": sha,
        "ref": ref,
        "task": body.get("task", "deploy"),
        "payload": body.get("payload", {}),
        "environment": environment,
        "original_environment": environment,
        "description": body.get("description"),
        "creator": views.user(call.github, call.caller.login),
        "transient_environment": body.get("transient_environment", False),
        "production_environment": body.get("production_environment", environment == "production"),
        "created_at": now,
        "updated_at": now,
        "url": call.api(f"deployments/{number}"),
        "statuses_url": call.api(f"deployments/{number}/statuses"),
        "statuses": [],
    }
    call.repository.deployments[number] = deployment
    call.repository.environments.setdefault(environment, {"name": environment})
    return 201, _deployment(deployment)


def _deployment(deployment: Json) -> Json:
    return {key: value for key, value in deployment.items() if key != "statuses"}


def _require_contexts(call: Request, sha: str, ref: str) -> None:
    """Every named context must have passed; without the field, all that the commit has."""
    seen = {
        check["name"]: check["conclusion"] for check in rules.latest_checks(call.repository, sha)
    } | {
        status["context"]: status["state"] for status in rules.latest_statuses(call.repository, sha)
    }
    wanted = call.body.get("required_contexts", list(seen))
    unmet = [{"context": name, "state": seen.get(name)} for name in wanted]
    unmet = [entry for entry in unmet if entry["state"] not in rules.PASSED]
    if unmet:
        errors = [{"contexts": unmet, "resource": "Deployment", "field": "required_contexts"}]
        raise Refusal(409, f"Conflict: Commit status checks failed for {ref}.", errors)


def _found_deployment(call: Request) -> Json:
    number = call.path["id"]
    if not number.isdigit() or int(number) not in call.repository.deployments:
        raise missing()
    return call.repository.deployments[int(number)]


@route("GET deployments", "deployments: read")
def list_deployments(call: Request) -> Answer:
    names = ("sha", "ref", "task", "environment")
    found = call.query.select(
        call.repository.deployments.values(), **{name: name for name in names}
    )
    return 200, [_deployment(deployment) for deployment in found[::-1]]


@route("GET deployments/{id}/statuses", "deployments: read")
def list_deployment_statuses(call: Request) -> Answer:
    return 200, _found_deployment(call)["statuses"][::-1]


@route(
    "POST deployments/{id}/statuses",
    "deployments: write",
    "state!:error|failure|pending|success|inactive|in_progress|queued description:140 "
    "log_url target_url environment_url environment auto_inactive:bool",
)
def create_deployment_status(call: Request) -> Answer:
    deployment, state = _found_deployment(call), call.body["state"]
    for name in ("log_url", "environment_url", "target_url"):
        _web_address(call, name)
    if state == "success" and call.body.get("auto_inactive", True):
        for other in call.repository.deployments.values():
            same = other["environment"] == deployment["environment"] and other is not deployment
            lasting = other["transient_environment"] or other["production_environment"]
            live = other["statuses"] and other["statuses"][-1]["state"] == "success"
            if same and live and not lasting:
                other["statuses"].append(_deployment_status(call, other, "inactive"))
    status = _deployment_status(call, deployment, state) | call.body
    deployment["statuses"].append(status)
    deployment["updated_at"] = call.github.now()
    return 201, status


def _deployment_status(call: Request, deployment: Json, state: str) -> Json:
    number, now = call.github.new_id(), call.github.now()
    return {
        "id": number,
        "state": state,
        "description": "",
        "environment": deployment["environment"],
        "log_url": "",
        "environment_url": "",
        "creator": views.user(call.github, call.caller.login),
        "created_at": now,
        "updated_at": now,
        "deployment_url": call.api(f"deployments/{deployment['id']}"),
        "url": call.api(f"deployments/{deployment['id']}/statuses/{number}"),
    }


# Attestations.


@route("POST attestations", "attestations: write", "bundle!:object")
def create_attestation(call: Request) -> Answer:
    if call.repository.private and call.github.plan != "enterprise":
        raise Refusal(403, "Feature not available for the owner of this repository.")
    # Nothing is signed here: the stand-in of actions/attest names the subjects' digests itself.
    digests = [str(digest) for digest in call.body["bundle"].get("subjects", [])]
    if not digests or not all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in digests):
        raise Refusal(422, "Invalid bundle: no subject")
    for digest in digests:
        kept = call.repository.attestations.setdefault(digest, [])
        kept.append({"bundle": call.body["bundle"], "repository_id": call.repository.id})
    return 201, {"id": call.github.new_id()}


@route("GET attestations/{digest}", "attestations: read")
def list_attestations(call: Request) -> Answer:
    if call.path["digest"] not in call.repository.attestations:
        raise missing()
    return 200, {"attestations": call.repository.attestations[call.path["digest"]]}
