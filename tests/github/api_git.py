"""Repositories and their git data: branches, refs, commits, contents, comparisons."""

import base64
import binascii

from . import activity, rules, views
from .records import Json, Refusal, missing
from .routing import Answer, Request, route


@route("GET ", "metadata: read")
def get_repository(call: Request) -> Answer:
    return 200, views.repository(call.repository, call.token)


@route("GET /user", "metadata: read", public=False)
def get_caller(call: Request) -> Answer:
    if call.caller.kind != "user":
        raise Refusal(403, "Resource not accessible by integration")
    return 200, views.user(call.github, call.caller.login)


@route("GET /users/{login}", "metadata: read")
def get_user(call: Request) -> Answer:
    login = call.path["login"]
    owners = {repository.owner for repository in call.github.repositories.values()}
    if login not in call.github.logins() | owners:
        raise missing()
    return 200, views.user(call.github, login)


@route("GET branches/{branch:path}", "contents: read")
def get_branch(call: Request) -> Answer:
    name = call.path["branch"]
    sha = call.repository.branch(name)
    if not sha:
        raise Refusal(404, "Branch not found")
    held = rules.rules_for(call.repository, f"refs/heads/{name}", None)
    commit = views.commits(call.repository, "-1", sha)[0]
    return 200, {"name": name, "commit": commit, "protected": bool(held)}


def _ref(call: Request, ref: str, sha: str) -> Json:
    kind = call.repository.git("cat-file", "-t", sha)
    return {
        "ref": ref,
        "url": call.api(f"git/{ref}"),
        "object": {"sha": sha, "type": kind, "url": call.api(f"git/{kind}s/{sha}")},
    }


@route("GET git/ref/{ref:path}", "contents: read")
def get_ref(call: Request) -> Answer:
    ref = f"refs/{call.path['ref']}"
    sha = call.repository.refs(ref).get(ref)
    if not sha:
        raise missing()
    return 200, _ref(call, ref, sha)


@route("GET git/matching-refs/{ref:path}", "contents: read")
def list_refs(call: Request) -> Answer:
    start = f"refs/{call.path['ref']}"
    found = call.repository.refs()
    return 200, [_ref(call, ref, sha) for ref, sha in found.items() if ref.startswith(start)]


@route("POST git/refs", "contents: write", "ref! sha!")
def create_ref(call: Request) -> Answer:
    ref, sha = call.body["ref"], call.body["sha"]
    checked = call.repository.run("check-ref-format", ref).returncode == 0
    if not checked or not ref.startswith(("refs/heads/", "refs/tags/")):
        raise Refusal(422, "Reference name must start with 'refs/heads/' or 'refs/tags/'")
    _require_commit(call, sha)
    if ref in call.repository.refs(ref):
        raise Refusal(422, "Reference already exists")
    _change(call, ref, None, sha)
    return 201, _ref(call, ref, sha)


@route("PATCH git/refs/{ref:path}", "contents: write", "sha! force:bool")
def update_ref(call: Request) -> Answer:
    ref, sha = f"refs/{call.path['ref']}", call.body["sha"]
    old = call.repository.refs(ref).get(ref)
    if not old:
        raise Refusal(422, "Reference does not exist")
    _require_commit(call, sha)
    if not call.body.get("force") and not call.repository.is_ancestor(old, sha):
        raise Refusal(422, "Update is not a fast forward")
    _change(call, ref, old, sha)
    return 200, _ref(call, ref, sha)


@route("DELETE git/refs/{ref:path}", "contents: write")
def delete_ref(call: Request) -> Answer:
    ref = f"refs/{call.path['ref']}"
    old = call.repository.refs(ref).get(ref)
    if not old:
        raise Refusal(422, "Reference does not exist")
    if ref == f"refs/heads/{call.repository.default_branch}":
        raise Refusal(422, "Cannot delete the default branch")
    _change(call, ref, old, None)
    return 204, None


def _require_commit(call: Request, sha: str) -> None:
    if len(sha) != 40 or call.repository.resolve(sha) != sha:
        raise Refusal(422, "Object does not exist")


def _change(call: Request, ref: str, old: str | None, new: str | None) -> None:
    """Move a ref as a push would, under the same rules."""
    workflow = rules.workflow_changes(call.repository, new)
    if rules.refuse_workflow_changes(workflow, call.caller):
        raise Refusal(403, "Resource not accessible by integration")
    found = rules.push_violations(call.repository, ref, old, new, call.caller)
    if found:
        lines = "\n".join(found)
        raise Refusal(422, f"Repository rule violations found\n\n{lines}")
    if not old and _is_blocked(call, ref):
        raise Refusal(422, "Reference update failed")
    activity.update_refs(call.repository, {ref: new}, call.caller)


def _is_blocked(call: Request, ref: str) -> bool:
    """Refs cannot nest: neither below another one, nor where others are below it."""
    return any(f"{ref}/".startswith(f"{other}/") or other.startswith(f"{ref}/")
               for other in call.repository.refs())  # fmt: skip


@route("GET commits/{sha}/pulls", "pull-requests: read")
def list_pulls_of_commit(call: Request) -> Answer:
    sha = call.repository.commit_sha(call.path["sha"])
    found = [
        pull
        for pull in call.repository.pulls()
        if sha in pull.introduced  # by its merge; its own commits stay its own, merged or not
        or sha in call.repository.between(pull.base_sha, pull.head_sha)
    ]
    return 200, [views.pull(call.repository, pull) for pull in found]


@route("GET commits/{sha:path}", "contents: read")
def get_commit(call: Request) -> Answer:
    sha = call.repository.commit_sha(call.path["sha"])
    if call.accept == "application/vnd.github.sha":
        return 200, sha.encode()
    commit = views.commits(call.repository, "-1", sha)[0]
    parents = [parent["sha"] for parent in commit["parents"]]
    before = parents[0] if parents else call.repository.git("hash-object", "-t", "tree", "--stdin")
    files = call.repository.changed_files(before, sha)
    added, deleted = (sum(file[key] for file in files) for key in ("additions", "deletions"))
    stats = {"additions": added, "deletions": deleted, "total": added + deleted}
    return 200, commit | {"files": files, "stats": stats}


@route("GET compare/{range:path}", "contents: read")
def compare(call: Request) -> Answer:
    names = call.path["range"].split("...")
    shas = [call.repository.resolve(name) for name in names]
    if len(shas) != 2 or shas[0] is None or shas[1] is None:
        raise missing()
    base, head = shas[0], shas[1]
    middle = call.repository.merge_base(base, head)
    if not middle:
        raise Refusal(404, f"No common ancestor between {names[0]} and {names[1]}.")
    ahead, behind = (
        len(call.repository.between(one, other)) for one, other in ((base, head), (head, base))
    )
    states = {(True, True): "diverged", (True, False): "ahead", (False, True): "behind"}
    listed = views.commits(call.repository, "--reverse", f"{base}..{head}")
    return 200, {
        "status": states.get((ahead > 0, behind > 0), "identical"),
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
        "base_commit": views.commits(call.repository, "-1", base)[0],
        "merge_base_commit": views.commits(call.repository, "-1", middle)[0],
        "commits": listed,
        "files": call.repository.changed_files(middle, head),
    }


def _content(call: Request, kind: str, sha: str, path: str, revision: str) -> Json:
    is_file = kind == "blob"
    size = int(call.repository.git("cat-file", "-s", sha)) if is_file else 0
    return {
        "type": "file" if is_file else "dir",
        "name": path.rsplit("/", 1)[-1],
        "path": path,
        "sha": sha,
        "size": size,
        "url": call.api(f"contents/{path}?ref={revision}"),
        "html_url": f"{call.repository.page}/blob/{revision}/{path}",
    }


@route("GET contents/{path:path}", "contents: read")
def get_contents(call: Request) -> Answer:
    path = call.path["path"].strip("/")
    revision = call.query.ask("ref", call.repository.default_branch)
    sha = call.repository.resolve(revision)
    if sha is None:
        raise Refusal(404, f"No commit found for the ref {revision}")
    blob = call.repository.read(sha, path)
    if blob is None:
        tree = call.repository.tree(sha, path)
        if not tree:
            raise missing()
        return 200, [_content(call, *entry, revision) for entry in tree]
    if "raw" in call.accept:
        return 200, blob
    name = call.repository.git("rev-parse", f"{sha}:{path}")
    text = base64.encodebytes(blob).decode()
    shown = _content(call, "blob", name, path, revision)
    return 200, shown | {"encoding": "base64", "content": text}


@route("PUT contents/{path:path}", "contents: write", "message! content! sha branch")
def put_contents(call: Request) -> Answer:
    path = call.path["path"]
    branch = call.body.get("branch", call.repository.default_branch)
    tip = call.repository.branch(branch)
    if not tip:
        raise Refusal(404, f"Branch {branch} not found")
    try:
        content = base64.b64decode(call.body["content"], validate=False)
    except binascii.Error:
        raise Refusal(422, "content is not valid Base64") from None
    old = call.repository.run("rev-parse", "--verify", "--quiet", f"{tip}:{path}")
    was = old.stdout.decode().strip()
    if was and "sha" not in call.body:
        raise Refusal(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    if call.body.get("sha", was) != was:
        raise Refusal(409, f"{path} does not match {call.body['sha']}")
    commit = call.repository.write(
        {path: content}, parent=tip, message=call.body["message"], author=call.caller.login
    )
    _change(call, f"refs/heads/{branch}", tip, commit)
    blob = call.repository.git("rev-parse", f"{commit}:{path}")
    made = views.commits(call.repository, "-1", commit)[0]
    return 200 if was else 201, {
        "content": _content(call, "blob", blob, path, branch),
        "commit": made | made.pop("commit"),  # here GitHub shows it without the nesting
    }
