"""Issues and the conversations of pull requests: comments, labels, state."""

import re
from typing import Any

from . import views
from .api_pulls import change_pull, listed
from .records import Issue, Json, Pull, Refusal, invalid, missing
from .routing import Answer, Request, conversation, route

LONGEST_LABEL = 50


def _shown(call: Request, issue: Issue) -> Json:
    return views.issue(call.repository, issue)


@route("GET issues", "issues: read")
def list_issues(call: Request) -> Answer:
    creator = call.query.ask("creator")
    wanted = {name.lower() for name in call.query.ask("labels").split(",") if name}
    found = [
        issue
        for issue in listed(call, call.repository.issues.values())
        if creator in ("", issue.author) and wanted <= {name.lower() for name in issue.labels}
    ]
    return 200, [_shown(call, issue) for issue in found]


@route(
    "POST issues",
    "issues: write",
    "title!:256 body:65536 labels:texts assignees:texts",
    least="read",
)
def create_issue(call: Request) -> Answer:
    _check_assignees(call)
    names = _labels(call, call.body.get("labels", []), may_create=True)
    now, number = call.github.now(), max(call.repository.issues, default=0) + 1
    issue = Issue(
        call.github.new_id(),
        number,
        call.body["title"],
        call.body.get("body"),
        call.caller.login,
        now,
        now,
        labels=names,
        assignees=call.body.get("assignees", []),
    )
    call.repository.issues[number] = issue
    call.tell(issue, "opened")
    return 201, _shown(call, issue)


def _check_assignees(call: Request) -> None:
    for login in call.body.get("assignees", []):
        if not call.github.collaborator(login, call.repository):
            raise invalid("Issue", "assignees")


@route("GET issues/{number}", conversation("read"))
def get_issue(call: Request) -> Answer:
    return 200, _shown(call, call.issue())


@route(
    "PATCH issues/{number}",
    conversation("write"),
    "title:256 body:65536 state:open|closed "
    "state_reason:completed|not_planned|reopened|duplicate labels:texts assignees:texts",
)
def update_issue(call: Request) -> Answer:
    issue, body = call.issue(), call.body
    _check_assignees(call)
    issue.assignees = body.get("assignees", issue.assignees)
    if "labels" in body:
        _set_labels(call, issue, _labels(call, body["labels"], _may_create(call)))
    if isinstance(issue, Pull):
        change_pull(call, issue)
        return 200, _shown(call, issue)
    edited = {name: body[name] for name in ("title", "body") if name in body}
    if any(getattr(issue, name) != value for name, value in edited.items()):
        for name, value in edited.items():
            setattr(issue, name, value)
        call.tell(issue, "edited")
    state = body.get("state", issue.state)
    if state != issue.state:
        closing = state == "closed"
        issue.state, issue.closed_at = state, call.github.now() if closing else None
        issue.state_reason = body.get("state_reason", "completed") if closing else "reopened"
        action = "closed" if closing else "reopened"
        call.tell(issue, action)
    return 200, _shown(call, issue)


# Comments.


def _comment(call: Request, issue: Issue, comment: Json) -> Json:
    page = views.issue(call.repository, issue)["html_url"]
    return comment | {
        "user": views.user(call.github, comment["user"]),
        "url": call.api(f"issues/comments/{comment['id']}"),
        "html_url": f"{page}#issuecomment-{comment['id']}",
        "issue_url": call.api(f"issues/{issue.number}"),
    }


@route("GET issues/{number}/comments", conversation("read"))
def list_comments(call: Request) -> Answer:
    issue = call.issue()
    return 200, [_comment(call, issue, comment) for comment in issue.comments]


@route("POST issues/{number}/comments", conversation("write"), "body!:65536", least="read")
def create_comment(call: Request) -> Answer:
    if not call.body["body"].strip():
        raise Refusal(422, "Body cannot be blank")
    issue, now = call.issue(), call.github.now()
    comment = {
        "id": call.github.new_id(),
        "user": call.caller.login,
        "body": call.body["body"],
        "created_at": now,
        "updated_at": now,
    }
    issue.comments.append(comment)
    return 201, _tell_of_comment(call, issue, comment, "created")


def _tell_of_comment(call: Request, issue: Issue, comment: Json, action: str) -> Json:
    shown = _comment(call, issue, comment)
    call.tell(
        issue,
        action,
        {"comment": shown},
        "issue_comment",
    )
    return shown


def _found_comment(call: Request) -> tuple[Issue, Json]:
    for issue in call.repository.issues.values():
        for comment in issue.comments:
            if str(comment["id"]) == call.path["id"]:
                return issue, comment
    raise missing()


def _comment_needs(call: Request) -> str:
    issue, _ = _found_comment(call)
    name = "pull-requests" if isinstance(issue, Pull) else "issues"
    return f"{name}: write"


@route("PATCH issues/comments/{id}", _comment_needs, "body!:65536")
def update_comment(call: Request) -> Answer:
    issue, comment = _found_comment(call)
    comment |= {"body": call.body["body"], "updated_at": call.github.now()}
    return 200, _tell_of_comment(call, issue, comment, "edited")


# Labels.


def _add_label(call: Request, name: str, color: str, description: str | None) -> None:
    call.repository.labels[name.lower()] = {
        "id": call.github.new_id(),
        "name": name,
        "color": color.lower(),
        "description": description,
        "default": False,
    }


def _may_create(call: Request) -> bool:
    """Using a label that does not exist creates it, which takes `issues: write`."""
    return call.caller.may(call.repository.full_name, "issues", "write")


def _labels(call: Request, names: list[str], may_create: bool) -> list[str]:
    """The names as the repository writes them."""
    for name in names:
        if not 0 < len(name) <= LONGEST_LABEL:
            message = f"name is too long (maximum is {LONGEST_LABEL} characters)"
            raise invalid("Label", "name", message=message)
        if name.lower() not in call.repository.labels:
            if not may_create:
                raise Refusal(403, "You do not have permission to create labels here.")
            _add_label(call, name, "ededed", None)
    return list(dict.fromkeys(call.repository.labels[name.lower()]["name"] for name in names))


def _set_labels(call: Request, issue: Issue, names: list[str]) -> None:
    before, issue.labels = issue.labels, names
    changes = [("labeled", name) for name in names if name not in before]
    changes += [("unlabeled", name) for name in before if name not in names]
    for action, name in changes:
        about = {"label": views.label(call.repository, name)}
        call.tell(issue, action, about)


def _shown_labels(call: Request, issue: Issue) -> list[Any]:
    return [views.label(call.repository, name) for name in issue.labels]


@route("GET issues/{number}/labels", conversation("read"))
def list_issue_labels(call: Request) -> Answer:
    return 200, _shown_labels(call, call.issue())


@route("POST issues/{number}/labels", conversation("write"), "labels!:texts")
def add_issue_labels(call: Request) -> Answer:
    issue = call.issue()
    names = _labels(call, call.body["labels"], _may_create(call))
    _set_labels(call, issue, list(dict.fromkeys([*issue.labels, *names])))
    return 200, _shown_labels(call, issue)


@route("DELETE issues/{number}/labels/{name}", conversation("write"))
def remove_issue_label(call: Request) -> Answer:
    issue, name = call.issue(), call.path["name"].lower()
    kept = [label for label in issue.labels if label.lower() != name]
    if kept == issue.labels:
        raise Refusal(404, "Label does not exist")
    _set_labels(call, issue, kept)
    return 200, _shown_labels(call, issue)


@route("GET labels", "issues: read")
def list_labels(call: Request) -> Answer:
    names = [label["name"] for label in call.repository.labels.values()]
    return 200, [views.label(call.repository, name) for name in names]


@route("GET labels/{name}", "issues: read")
def get_label(call: Request) -> Answer:
    if call.path["name"].lower() not in call.repository.labels:
        raise missing()
    return 200, views.label(call.repository, call.path["name"])


@route("POST labels", "issues: write", "name!:50 color description:100")
def create_label(call: Request) -> Answer:
    name, color = call.body["name"], call.body.get("color", "ededed")
    if name.lower() in call.repository.labels:
        raise invalid("Label", "name", "already_exists")
    if not re.fullmatch("[0-9a-fA-F]{6}", color):
        raise invalid("Label", "color")
    _add_label(call, name, color, call.body.get("description"))
    return 201, views.label(call.repository, name)


@route("PATCH labels/{name}", "issues: write", "color description:100")
def update_label(call: Request) -> Answer:
    label = call.repository.labels.get(call.path["name"].lower())
    if not label:
        raise missing()
    if not re.fullmatch("[0-9a-fA-F]{6}", str(call.body.get("color") or label["color"])):
        raise invalid("Label", "color")
    label |= call.body
    return 200, views.label(call.repository, label["name"])
