"""Later versions of the template this project came from, as a pull request."""

import subprocess
from pathlib import Path

from mlrelease.errors import InputError, ModelError
from mlrelease.evaluation.markdown import code
from mlrelease.files import read_json
from mlrelease.github.pull_requests import GitHubPullRequests
from mlrelease.github.repository import GitHub
from mlrelease.records.git import Git

BRANCH = "template-update"
CRUFT = ("uvx", "cruft==2.16.0")
LABEL = "template-update"
TITLE = "Update from the template"
BY_HAND = """\
The template of this project has moved. The update changes workflow files, which the token of
GitHub Actions may not push (a GitHub App may: `PROMOTION_APP_ID`). So do it at a terminal:

```console
$ uvx cruft update
$ git checkout -b {branch} && git commit --all --message "{title}" && git push origin {branch}
```
"""


def update(root: Path, git: Git, github: GitHub) -> str:
    """Take the template's changes on a branch of their own; what happened, in one line.

    Raises:
        ModelError: cruft failed.
    """
    link = root / ".cruft.json"
    if not link.exists():
        return "not linked with its template: `uvx cruft link URL` links it"
    checked = _cruft(root, "check")
    if checked == 0:
        return "the template has not moved"
    if checked != 1:
        raise ModelError(f"cruft check failed with exit code {checked}; the log shows why")
    if git.run("status", "--porcelain"):  # it would be part of the update, and reset afterwards
        raise InputError(f"{root}: has changes that are not committed; commit or stash them first")
    before = read_json(link).get("commit")
    if _cruft(root, "update", "--skip-apply-ask") != 0:
        raise ModelError("cruft update failed; run `uvx cruft update` at a terminal")
    after = read_json(link).get("commit")
    git.run("add", "--all")
    changed = git.run("diff", "--cached", "--name-only").splitlines()
    if any(name.startswith(".github/workflows/") for name in changed) and not github.is_app():
        git.run("reset", "--quiet", "--hard")
        number = github.issue(LABEL, TITLE, BY_HAND.format(branch=BRANCH, title=TITLE))
        return f"the template has moved: see #{number}"
    tree = git.run("write-tree")
    head = git.commit_tree(tree, git.run("rev-parse", "HEAD"), TITLE)
    git.run("reset", "--quiet", "--hard")
    rejected = [name for name in changed if name.endswith(".rej")]
    body = told(before, after, rejected)
    request = GitHubPullRequests(github, git).open(BRANCH, TITLE, head, body, verified=False)
    return f"opened {request.address}"


def told(before: object, after: object, rejected: list[str]) -> str:
    """The body of the pull request."""
    body = f"The template moved from {code(str(before))} to {code(str(after))}.\n"
    if rejected:
        body += f"\nThese did not fit; merge them by hand: {', '.join(map(code, rejected))}\n"
    return body


def _cruft(root: Path, *arguments: str) -> int:
    try:
        done = subprocess.run([*CRUFT, *arguments], cwd=root, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ModelError(f"cruft: {error}") from None
    return done.returncode
