"""Pull requests: open, change, review, merge."""

from collections.abc import Iterable
from typing import TypeVar

from . import activity, rules, views
from .records import Issue, Json, Pull, Refusal, invalid
from .repository import Repository
from .routing import Answer, Request, route

Either = TypeVar("Either", Issue, Pull)


def _shown(call: Request, pull: Pull) -> Json:
    state = rules.state_of(call.repository, pull)
    return views.whole_pull(call.repository, pull, state)


def listed(call: Request, issues: Iterable[Either]) -> list[Either]:
    """Those in the state that the query asks for, in its order."""
    state, by = call.query.ask("state", "open"), call.query.ask("sort", "created")
    newest_first = call.query.ask("direction", "desc") == "desc"
    found = [issue for issue in issues if state in ("all", issue.state)]
    return sorted(
        found,
        key=lambda issue: (issue.updated_at if by == "updated" else issue.created_at, issue.number),
        reverse=newest_first,
    )


@route("GET pulls", "pull-requests: read")
def list_pulls(call: Request) -> Answer:
    head, base = call.query.ask("head"), call.query.ask("base")
    found = [
        pull
        for pull in listed(call, call.repository.pulls())
        if head in ("", f"{pull.head_repository.owner}:{pull.head}") and base in ("", pull.base)
    ]
    return 200, [views.pull(call.repository, pull) for pull in found]


@route(
    "POST pulls",
    "pull-requests: write",
    "title!:256 head! base! body:65536 draft:bool maintainer_can_modify:bool",
    least="read",
)
def create_pull(call: Request) -> Answer:
    _refuse_actions(call, "create or approve pull requests")
    home, base = call.repository, call.body["base"]
    owner, _, branch = call.body["head"].rpartition(":")
    where = _head_repository(call, owner or home.owner)
    head_sha = where.branch(branch) if where else None
    if not where or not head_sha:
        raise invalid("PullRequest", "head")
    base_sha = home.branch(base)
    if not base_sha:
        raise invalid("PullRequest", "base")
    _refuse_duplicate(call, where, branch, base)
    if where is not home:
        home.git("fetch", "--quiet", str(where.path), f"refs/heads/{branch}")
    if not home.merge_base(base_sha, head_sha):
        message = f"The {branch} branch has no history in common with {base}"
        raise invalid("PullRequest", "base", message=message)
    if not home.between(base_sha, head_sha):
        message = f"No commits between {base} and {branch}"
        raise invalid("PullRequest", "head", message=message)
    now = call.github.now()
    number = max(home.issues, default=0) + 1
    pull = Pull(
        call.github.new_id(),
        number,
        call.body["title"],
        call.body.get("body"),
        call.caller.login,
        now,
        now,
        base=base,
        base_sha=base_sha,
        head=branch,
        head_sha=head_sha,
        head_repository=where,
        draft=call.body.get("draft", False),
        pushed_by=where.pushers.get(branch, ""),
    )
    home.issues[number] = pull
    activity.refresh(home, pull)
    activity.tell(home, pull, "opened", call.caller)
    return 201, _shown(call, pull)


def _refuse_actions(call: Request, what: str, status: int = 403) -> None:
    """Jobs open and approve pull requests only where the repository's settings let them."""
    allowed = call.repository.workflow_permissions["can_approve_pull_request_reviews"]
    if call.caller.kind == "job" and not allowed:
        raise Refusal(status, f"GitHub Actions is not permitted to {what}.")


def _head_repository(call: Request, owner: str) -> Repository | None:
    """The repository of `owner` among this one and its forks."""
    for candidate in call.github.repositories.values():
        related = candidate is call.repository or candidate.parent is call.repository
        if related and candidate.owner == owner:
            return candidate
    return None


def _refuse_duplicate(call: Request, where: Repository, branch: str, base: str) -> None:
    for other in call.repository.pulls():
        same = other.head_repository is where and (other.head, other.base) == (branch, base)
        if same and other.state == "open":
            message = f"A pull request already exists for {where.owner}:{branch}."
            raise invalid("PullRequest", "base", message=message)


@route("GET pulls/{number}", "pull-requests: read")
def get_pull(call: Request) -> Answer:
    return 200, _shown(call, call.pull())


@route("PATCH pulls/{number}", "pull-requests: write", "title:256 body:65536 state:open|closed")
def update_pull(call: Request) -> Answer:
    pull = call.pull()
    change_pull(call, pull)
    return 200, _shown(call, pull)


def change_pull(call: Request, pull: Pull) -> None:
    """Change title, body or state; refuse to reopen what cannot be."""
    wanted = call.body.get("state", pull.state)
    if wanted == "open" and pull.state == "closed":
        where, branch = pull.head_repository, pull.head
        if pull.merged:
            raise invalid("PullRequest", "state", message="state cannot be changed. It is merged.")
        tip = where.branch(branch)
        if not tip:
            message = f"state cannot be changed. The {branch} branch has been deleted."
            raise invalid("PullRequest", "state", message=message)
        _refuse_duplicate(call, where, branch, pull.base)
        pull.state, pull.closed_at, pull.head_sha = "open", None, tip
        activity.refresh(call.repository, pull)
        call.tell(pull, "reopened")
    edited = {name: call.body[name] for name in ("title", "body") if name in call.body}
    if any(getattr(pull, name) != value for name, value in edited.items()):
        for name, value in edited.items():
            setattr(pull, name, value)
        call.tell(pull, "edited")
    if wanted == "closed" and pull.state == "open":
        activity.close(call.repository, pull, call.caller)


@route(
    "PUT pulls/{number}/merge",
    "contents: write",
    "sha merge_method:merge|squash|rebase commit_title commit_message",
)
def merge_pull(call: Request) -> Answer:
    pull, home = call.pull(), call.repository
    if pull.state != "open":
        raise Refusal(405, "Pull Request is not mergeable")
    if pull.draft:
        raise Refusal(405, "Pull Request is still a draft")
    if call.body.get("sha", pull.head_sha) != pull.head_sha:
        raise Refusal(409, "Head branch was modified. Review and try the merge again.")
    workflow = next(
        (
            file["filename"]
            for file in home.changed_files(views.base_of(home, pull), pull.head_sha)
            if file["filename"].startswith(".github/workflows/")
        ),
        None,
    )
    if reason := rules.refuse_workflow_changes(workflow, call.caller):
        raise Refusal(403, reason)
    method = call.body.get("merge_method", "merge")
    found = rules.merge_violations(home, pull, method, call.caller)
    if found:
        raise Refusal(405, "Repository rule violations found\n\n" + "\n".join(found))
    commit = _merge_commit(call, pull, method)
    if commit is None:
        raise Refusal(405, "Pull Request is not mergeable")
    activity.merged(home, pull, commit, call.caller)
    activity.update_refs(home, {f"refs/heads/{pull.base}": commit}, call.caller)
    return 200, {"sha": commit, "merged": True, "message": "Pull Request successfully merged"}


def _merge_commit(call: Request, pull: Pull, method: str) -> str | None:
    """The commit that becomes the base's tip; None for a conflict."""
    home, head = call.repository, pull.head_sha
    tip = home.branch(pull.base) or pull.base_sha
    tree = home.merged_tree(tip, head)
    if tree is None:
        return None
    if method == "rebase":
        return home.rebased(tip, head)
    if method == "merge":
        title = f"Merge pull request #{pull.number} from {pull.head_repository.owner}/{pull.head}"
        message, parents = pull.title, [tip, head]
    else:
        title, message, parents = f"{pull.title} (#{pull.number})", pull.body or "", [tip]
    title = call.body.get("commit_title", title)
    message = call.body.get("commit_message", message)
    text = f"{title}\n\n{message}".rstrip() + "\n"
    return home.commit_tree(tree, *parents, message=text, author=call.caller.login)


@route("GET pulls/{number}/files", "pull-requests: read")
def list_files(call: Request) -> Answer:
    pull = call.pull()
    base = views.base_of(call.repository, pull)
    return 200, call.repository.changed_files(base, pull.head_sha)


@route("GET pulls/{number}/commits", "pull-requests: read")
def list_commits(call: Request) -> Answer:
    pull = call.pull()
    span = f"{views.base_of(call.repository, pull)}..{pull.head_sha}"
    return 200, views.commits(call.repository, "--reverse", span)


@route(
    "POST pulls/{number}/requested_reviewers",
    "pull-requests: write",
    "reviewers:texts team_reviewers:texts",
)
def request_reviewers(call: Request) -> Answer:
    pull = call.pull()
    for login in call.body.get("reviewers", []):
        if login == pull.author:
            raise Refusal(422, "Review cannot be requested from pull request author.")
        if not call.github.collaborator(login, call.repository):
            raise Refusal(422, f"Reviews may only be requested from collaborators: not {login}.")
    for slug in call.body.get("team_reviewers", []):
        if f"{call.repository.owner}/{slug}" not in call.github.teams:
            raise Refusal(422, f"Could not resolve to a node with the slug {slug}.")
    for asked, name in ((pull.reviewers, "reviewers"), (pull.teams, "team_reviewers")):
        asked += [one for one in call.body.get(name, []) if one not in asked]
    call.tell(pull, "review_requested")
    return 201, _shown(call, pull)


@route("GET pulls/{number}/requested_reviewers", "pull-requests: read")
def list_reviewers(call: Request) -> Answer:
    shown = views.pull(call.repository, call.pull())
    return 200, {"users": shown["requested_reviewers"], "teams": shown["requested_teams"]}


EVENTS = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}


def _review(call: Request, pull: Pull, review: Json) -> Json:
    user = views.user(call.github, review["user"])
    page = f"{call.repository.page}/pull/{pull.number}"
    ours = call.github.collaborator(review["user"], call.repository)
    # Only people see a membership that is private.
    seen = call.token is not None and call.token.kind == "user"
    ours = ours if seen or review["user"] not in call.github.private_members else None
    return review | {
        "user": user,
        "author_association": "COLLABORATOR" if ours else "NONE",
        "html_url": f"{page}#pullrequestreview-{review['id']}",
    }


@route("GET pulls/{number}/reviews", "pull-requests: read")
def list_reviews(call: Request) -> Answer:
    pull = call.pull()
    return 200, [_review(call, pull, review) for review in pull.reviews]


@route(
    "POST pulls/{number}/reviews",
    "pull-requests: write",
    "event!:APPROVE|REQUEST_CHANGES|COMMENT body:65536 commit_id",
    least="read",
)
def create_review(call: Request) -> Answer:
    pull, event, who = call.pull(), call.body["event"], call.caller.login
    if event != "COMMENT" and who == pull.author:
        verb = "approve" if event == "APPROVE" else "request changes on"
        raise Refusal(
            422,
            "Unprocessable Entity",
            [f"Can not {verb} your own pull request"],
        )
    if event == "APPROVE":
        _refuse_actions(call, "approve pull requests", 422)
    elif not call.body.get("body"):
        raise Refusal(422, f"Body is required for {event}")
    commit = call.body.get("commit_id", pull.head_sha)
    if commit not in call.repository.between(pull.base_sha, pull.head_sha):
        raise Refusal(422, "commit_id is not part of the pull request")
    review = {
        "id": call.github.new_id(),
        "user": who,
        "state": EVENTS[event],
        "body": call.body.get("body", ""),
        "commit_id": commit,
        "submitted_at": call.github.now(),
    }
    pull.reviews.append(review)
    pull.reviewers = [login for login in pull.reviewers if login != who]
    shown = _review(call, pull, review)
    state = {"review": shown | {"state": EVENTS[event].lower()}}
    call.tell(pull, "submitted", state, "pull_request_review")
    return 200, shown
