"""A bare git repository and what GitHub keeps beside it."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .records import Issue, Json, Pull, Refusal, missing
from .tokens import Token

if TYPE_CHECKING:
    from .standin import GitHub

ZERO = "0" * 40
IDENTITY = {  # of what GitHub itself commits
    "GIT_AUTHOR_NAME": "GitHub",
    "GIT_AUTHOR_EMAIL": "noreply@github.com",
    "GIT_COMMITTER_NAME": "GitHub",
    "GIT_COMMITTER_EMAIL": "noreply@github.com",
}


def environment(**more: str) -> dict[str, str]:
    """The environment of every git process: nobody's configuration, always the same messages."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    fixed = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
    return kept | IDENTITY | fixed | {"TZ": "UTC"} | more


COMMIT = "%x01%H%x00%T%x00%P%x00%an%x00%ae%x00%ad%x00%cn%x00%ce%x00%cd%x00%B%x00"
DATE = "--date=format-local:%Y-%m-%dT%H:%M:%SZ"
STATUS = {"A": "added", "M": "modified", "D": "removed", "R": "renamed", "T": "changed"}


@dataclass(eq=False)
class Repository:
    """One repository of the stand-in."""

    full_name: str
    path: Path
    private: bool
    default_branch: str
    id: int
    parent: Repository | None = None
    github: GitHub = field(init=False, repr=False)  # which it belongs to
    issues: dict[int, Issue] = field(default_factory=dict)
    labels: dict[str, Json] = field(default_factory=dict)
    statuses: list[Json] = field(default_factory=list)
    check_runs: dict[int, Json] = field(default_factory=dict)
    deployments: dict[int, Json] = field(default_factory=dict)
    environments: dict[str, Json] = field(default_factory=dict)
    variables: dict[str, Json] = field(default_factory=dict)
    rulesets: dict[int, Json] = field(default_factory=dict)
    keys: dict[int, Json] = field(default_factory=dict)  # deploy keys
    pushers: dict[str, str] = field(default_factory=dict)  # who last pushed to each branch
    attestations: dict[str, list[Json]] = field(default_factory=dict)
    # GitHub's defaults for a new repository.
    workflow_permissions: Json = field(
        default_factory=lambda: {
            "default_workflow_permissions": "read",
            "can_approve_pull_request_reviews": False,
        }
    )

    _known: dict[tuple[str, ...], subprocess.CompletedProcess[bytes]] = field(
        default_factory=dict, repr=False
    )

    @property
    def owner(self) -> str:
        return self.full_name.split("/")[0]

    @property
    def page(self) -> str:
        return f"{self.github.url}/{self.full_name}"

    @property
    def api(self) -> str:
        return f"{self.github.api_url}/repos/{self.full_name}"

    def pulls(self) -> list[Pull]:
        return [issue for issue in self.issues.values() if isinstance(issue, Pull)]

    def issue(self, number: str) -> Issue:
        """An issue or a pull request, or the answer 404."""
        if not number.isdigit() or int(number) not in self.issues:
            raise missing()
        return self.issues[int(number)]

    def pull(self, number: str) -> Pull:
        issue = self.issue(number)
        if not isinstance(issue, Pull):
            raise missing()
        return issue

    def add_key(self, title: str, key: str, read_only: bool, by: str) -> str:
        """Add a deploy key; what a push with it sends."""
        number, value = self.github.new_id(), key.split()[1]
        level = "read" if read_only else "write"
        permissions = {"contents": level}
        token = Token(value, by, "key", "none", self.full_name, f"key {title}", permissions)
        self.github.tokens[value] = token
        self.keys[number] = {
            "id": number,
            "title": title,
            "key": " ".join(key.split()[:2]),
            "read_only": read_only,
            "verified": True,
            "enabled": True,
            "added_by": by,
            "created_at": self.github.now(),
            "last_used": None,
            "url": f"{self.api}/keys/{number}",
        }
        return value

    # git.

    def run(
        self, *arguments: str, stdin: bytes = b"", variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["git", "-C", str(self.path), *arguments],
            input=stdin,
            env=environment(**variables or {}),
            capture_output=True,
            check=False,
            timeout=60,
        )

    def git(
        self, *arguments: str, stdin: bytes = b"", variables: Mapping[str, str] | None = None
    ) -> str:
        """The output of a git command that must succeed."""
        result = self.run(*arguments, stdin=stdin, variables=variables)
        if result.returncode != 0:
            raise RuntimeError(f"git {' '.join(arguments)}: {result.stderr.decode()}")
        return result.stdout.decode(errors="replace").rstrip("\n")

    def known(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """As `run`, but once: the arguments name commits by SHA, so the answer stays the same."""
        if arguments not in self._known:
            self._known[arguments] = self.run(*arguments)
        return self._known[arguments]

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, tag or SHA names; a branch before a tag, as on GitHub."""
        if not revision or revision.startswith("-"):
            return None
        if sha := self.branch(revision):
            return sha
        is_sha = re.fullmatch("[0-9a-f]{40}", revision)
        for name in [revision] if is_sha else [f"refs/tags/{revision}", revision]:
            result = self.run("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
            if result.returncode == 0:
                return result.stdout.decode().strip()
        return None

    def commit_sha(self, revision: str) -> str:
        """As `resolve`, or the answer that GitHub gives."""
        sha = self.resolve(revision)
        if sha is None:
            raise Refusal(422, f"No commit found for SHA: {revision}")
        return sha

    def refs(self, prefix: str = "refs/") -> dict[str, str]:
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)", prefix).splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def branch(self, name: str) -> str | None:
        """Its tip. Nothing packs refs here, so each is a file: much quicker than a process."""
        file = self.path / "refs" / "heads" / name
        return file.read_text().strip() if ".." not in name and file.is_file() else None

    def set_ref(self, ref: str, sha: str | None) -> None:
        self.git(*(("update-ref", ref, sha) if sha else ("update-ref", "-d", ref)))

    def is_ancestor(self, old: str, new: str, variables: Mapping[str, str] | None = None) -> bool:
        arguments = ("merge-base", "--is-ancestor", old, new)
        return self.run(*arguments, variables=variables).returncode == 0

    def merge_base(self, one: str, other: str) -> str | None:
        return self.known("merge-base", one, other).stdout.decode().strip() or None

    def between(self, base: str, head: str) -> list[str]:
        """The commits of `base..head`, newest first."""
        return self.known("rev-list", f"{base}..{head}").stdout.decode().split()

    def read(self, revision: str, path: str) -> bytes | None:
        result = self.run("cat-file", "blob", f"{revision}:{path}")
        return result.stdout if result.returncode == 0 else None

    def tree(self, revision: str, path: str) -> list[tuple[str, str, str]] | None:
        """Kind, object and path of what lies in a folder; None when it is no folder."""
        result = self.run("ls-tree", "-z", f"{revision}:{path}")
        if result.returncode != 0:
            return None
        found = []
        for entry in filter(None, result.stdout.decode().split("\0")):
            meta, name = entry.split("\t", 1)
            _, kind, sha = meta.split()
            found.append((kind, sha, f"{path}/{name}".lstrip("/")))
        return found

    def log(self, *arguments: str) -> Iterator[tuple[str, ...]]:
        """The fields of COMMIT for each commit, and what the arguments add to them."""
        text = self.git("log", f"--format={COMMIT}", DATE, *arguments)
        for entry in text.split("\x01")[1:]:
            yield tuple(entry.split("\0"))

    def changed_files(self, base: str, head: str) -> list[Json]:
        """What a pull request or a comparison lists, with renames."""
        counts, names = (
            iter(self.known("diff", kind, "-z", "-M", base, head).stdout.decode().split("\0"))
            for kind in ("--numstat", "--name-status")
        )
        found = []
        for kind in filter(None, names):
            added, deleted, shown = next(counts).split("\t")
            file: Json = {"status": STATUS[kind[0]]}
            if not shown:  # a rename: both names follow
                file["previous_filename"] = next(names)
                next(counts), next(counts)
            file["filename"] = next(names)
            file["additions"] = int(added.replace("-", "0"))
            file["deletions"] = int(deleted.replace("-", "0"))
            file["changes"] = file["additions"] + file["deletions"]
            found.append(file)
        return found

    def merged_tree(self, base: str, head: str) -> str | None:
        """The tree of a clean merge; None for a conflict."""
        result = self.known("merge-tree", "--write-tree", base, head)
        return result.stdout.decode().split()[0] if result.returncode == 0 else None

    def commit_tree(self, tree: str, *parents: str, message: str, author: str = "") -> str:
        options = [option for parent in parents for option in ("-p", parent)]
        email = f"{author}@users.noreply.github.com"
        who = {"GIT_AUTHOR_NAME": author, "GIT_AUTHOR_EMAIL": email} if author else {}
        return self.git("commit-tree", tree, *options, stdin=message.encode(), variables=who)

    def rebased(self, base: str, head: str) -> str | None:
        """The head, rebased onto the base; None for a conflict."""
        with tempfile.TemporaryDirectory(dir=self.path.parent) as folder:
            self.git("worktree", "add", "--force", "--detach", folder, head)
            try:
                done = self.run("-C", folder, "rebase", "--force-rebase", base).returncode == 0
                return self.git("-C", folder, "rev-parse", "HEAD") if done else None
            finally:
                self.git("worktree", "remove", "--force", folder)

    def write(
        self,
        files: Mapping[str, str | bytes | None],
        *,
        parent: str | None,
        message: str,
        author: str,
    ) -> str:
        """A commit that writes (or, with None, deletes) files; no ref points to it yet."""
        with tempfile.TemporaryDirectory(dir=self.path.parent) as folder:
            index = {"GIT_INDEX_FILE": str(Path(folder) / "index")}
            if parent:
                self.git("read-tree", parent, variables=index)
            lines = []
            for path, content in files.items():
                if content is None:
                    lines.append(f"0 {ZERO}\t{path}")
                    continue
                blob = content if isinstance(content, bytes) else content.encode()
                sha = self.git("hash-object", "-w", "--stdin", stdin=blob)
                lines.append(f"100644 {sha}\t{path}")
            entries = "\n".join(lines).encode()
            self.git("update-index", "--index-info", stdin=entries, variables=index)
            tree = self.git("write-tree", variables=index)
        parents = [parent] if parent else []
        return self.commit_tree(tree, *parents, message=message, author=author)
