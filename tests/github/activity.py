"""What follows when something changes: events, and pull requests that follow their branches."""

from __future__ import annotations

from collections.abc import Mapping

from . import rules, views
from .records import Issue, Json, Pull, WorkflowRun
from .repository import ZERO, Repository
from .tokens import Token


def update_refs(repository: Repository, refs: Mapping[str, str | None], by: Token) -> None:
    """Set refs (None deletes one) as a push does."""
    before = repository.refs()
    for ref, sha in refs.items():
        repository.set_ref(ref, sha)
    refs_changed(repository, before, by)


def refs_changed(repository: Repository, before: Mapping[str, str], by: Token) -> None:
    """Tell of every ref that differs from before."""
    after = repository.refs()
    for ref in sorted({*before, *after}):
        old, new = before.get(ref), after.get(ref)
        if old == new or not ref.startswith(("refs/heads/", "refs/tags/")):
            continue
        _tell_of_push(repository, ref, old, new, by)
        if ref.startswith("refs/heads/"):
            repository.pushers[ref.removeprefix("refs/heads/")] = by.login
            for home in repository.github.repositories.values():
                if home is repository or home is repository.parent:
                    _follow(home, repository, ref.removeprefix("refs/heads/"), new, by)


def _tell_of_push(
    repository: Repository, ref: str, old: str | None, new: str | None, by: Token
) -> None:
    _, kind, name = ref.split("/", 2)
    default = f"refs/heads/{repository.default_branch}"
    if not old or not new:
        tip = new or repository.branch(repository.default_branch) or ZERO
        about = {"ref": name, "ref_type": {"heads": "branch", "tags": "tag"}[kind]}
        at = (ref if new else default, tip)
        payload = about | {"master_branch": repository.default_branch}
        repository.github.emit(repository, "create" if new else "delete", None, at, by, payload)
    fresh: list[Json] = []
    if new:
        known = [f"^{old}"] if old else ["--not", f"--exclude={name}", "--branches"]
        fresh = _pushed_commits(repository, "--reverse", "-n", "2048", new, *known)
    head = fresh[-1:] or (_pushed_commits(repository, "-1", new) if new else [])
    pushed: Json = {
        "ref": ref,
        "before": old or ZERO,
        "after": new or ZERO,
        "created": not old,
        "deleted": not new,
        "forced": bool(old and new and not repository.is_ancestor(old, new)),
        "base_ref": None,
        "commits": fresh,
        "head_commit": head[0] if head else None,
        "pusher": {"name": by.login},
    }
    repository.github.emit(repository, "push", None, (ref, new or ZERO), by, pushed)


def _pushed_commits(repository: Repository, *arguments: str) -> list[Json]:
    """Commits as a push event shows them, with the paths that they touch."""
    found = []
    page = f"{repository.page}/commit"
    listing = ("--name-status", "--no-renames", *arguments)
    for sha, tree, _, name, email, _, by, by_email, date, message, files in repository.log(
        *listing
    ):
        paths: dict[str, list[str]] = {"A": [], "M": [], "D": [], "T": []}
        for line in filter(None, files.splitlines()):
            kind, path = line.split("\t", 1)
            paths[kind].append(path)
        entry = {
            "id": sha,
            "tree_id": tree,
            "message": message.rstrip("\n"),
            "timestamp": date,
            "author": {"name": name, "email": email},
            "committer": {"name": by, "email": by_email},
            "url": f"{page}/{sha}",
            "distinct": True,
            "added": paths["A"],
            "modified": paths["M"] + paths["T"],
            "removed": paths["D"],
        }
        found.append(entry)
    return found


def _follow(home: Repository, moved: Repository, branch: str, new: str | None, by: Token) -> None:
    """Let the open pull requests of `home` follow a branch that moved."""
    for pull in home.pulls():
        if pull.state != "open":
            continue
        is_head = pull.head_repository is moved and pull.head == branch
        is_base = home is moved and pull.base == branch
        if not new and (is_head or is_base):
            close(home, pull, by)
        elif is_head and new and new != pull.head_sha:
            before, pull.head_sha, pull.pushed_by = pull.head_sha, new, by.login
            rules.dismiss_stale_reviews(home, pull)
            refresh(home, pull)
            tell(home, pull, "synchronize", by, {"before": before, "after": new})
        elif is_base and new:
            if home.is_ancestor(pull.head_sha, new):
                merged(home, pull, new, by)
            else:
                refresh(home, pull)


def refresh(home: Repository, pull: Pull) -> None:
    """Bring refs/pull/N/head and the test merge, refs/pull/N/merge, up to date."""
    if pull.head_repository is not home:
        home.git("fetch", "--quiet", str(pull.head_repository.path), f"refs/heads/{pull.head}")
    pull.base_sha = home.branch(pull.base) or pull.base_sha
    home.set_ref(f"refs/pull/{pull.number}/head", pull.head_sha)
    tree = home.merged_tree(pull.base_sha, pull.head_sha)
    merge = f"refs/pull/{pull.number}/merge"
    if tree is None:
        pull.merge_commit_sha = None
        home.set_ref(merge, None)
        return
    message = f"Merge {pull.head_sha} into {pull.base_sha}"
    pull.merge_commit_sha = home.commit_tree(tree, pull.base_sha, pull.head_sha, message=message)
    home.set_ref(merge, pull.merge_commit_sha)


def merged(home: Repository, pull: Pull, commit: str, by: Token) -> None:
    """The base holds the pull request now."""
    pull.introduced = set(home.between(pull.base_sha, commit))
    pull.merged, pull.merged_by, pull.merged_at = True, by.login, home.github.now()
    pull.merge_commit_sha = commit
    close(home, pull, by)


def close(home: Repository, pull: Pull, by: Token) -> None:
    pull.state, pull.closed_at = "closed", home.github.now()
    tell(home, pull, "closed", by)


def tell(
    home: Repository,
    issue: Issue,
    action: str,
    by: Token,
    more: Json | None = None,
    name: str = "",
) -> None:
    """Record what happened to an issue or a pull request."""
    issue.updated_at = home.github.now()
    if isinstance(issue, Pull) and name != "issue_comment":
        tree = views.whole_pull(home, issue, "unknown" if issue.merged else "clean")
        ref = f"refs/pull/{issue.number}/merge"
        sha = issue.merge_commit_sha or issue.head_sha
        if issue.merged:
            ref = f"refs/heads/{issue.base}"
        payload: Json = {"number": issue.number, "pull_request": tree} | (more or {})
        home.github.emit(home, name or "pull_request", action, (ref, sha), by, payload)
        return
    tip = home.branch(home.default_branch) or ZERO
    payload = {"issue": views.issue(home, issue)} | (more or {})
    at = (f"refs/heads/{home.default_branch}", tip)
    home.github.emit(home, name or "issues", action, at, by, payload)


def report_job(repository: Repository, run: WorkflowRun, job: str, conclusion: str | None) -> None:
    """Record a job's result as the check run that GitHub Actions makes of it."""
    same = (
        check
        for check in repository.check_runs.values()
        if check["name"] == job and check["run"] == run.id
    )
    check = next(same, None)
    if check is None:
        number = repository.github.new_id()
        check = repository.check_runs[number] = {
            "id": number,
            "run": run.id,
            "name": job,
            "head_sha": run.sha,
            "app": views.GITHUB_ACTIONS,
            "started_at": repository.github.now(),
            "output": {"title": None, "summary": None},
            "html_url": f"{repository.page}/actions/runs/{run.id}/job/{number}",
        }
    check["status"] = "completed" if conclusion else "in_progress"
    check["conclusion"] = conclusion
    check["completed_at"] = repository.github.now() if conclusion else None
