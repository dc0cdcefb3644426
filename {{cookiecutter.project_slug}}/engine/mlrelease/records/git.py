"""The git commands that a release needs. Commits are written without touching the work tree."""

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from mlrelease.errors import InputError, ModelError
from mlrelease.records import ledger_key
from mlrelease.records.git_environment import environment, printed
from mlrelease.records.git_objects import Object as Object, read_objects

BRANCH = "main"
SECONDS = 600
REMOTE = "remote: error:"  # so starts why a server took no push
NAME, EMAIL = "model", "model@localhost"
if os.environ.get("GITHUB_ACTIONS"):  # as GitHub shows the commits of its own token
    NAME, EMAIL = "github-actions[bot]", "41898282+github-actions[bot]@users.noreply.github.com"


class GitError(ModelError):
    """git said no; the message is git's own telling line."""


class Git:
    """One repository. `origin` is used where it exists; without it, the local branches are."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._shared = False

    def run(self, *arguments: str, stdin: bytes = b"", index: Path | None = None) -> str:
        """Run git and return its standard output, without the last newline.

        Raises:
            GitError: It failed.
        """
        return (
            self.output(*arguments, stdin=stdin, index=index).decode(errors="replace").rstrip("\n")
        )

    def output(self, *arguments: str, stdin: bytes = b"", index: Path | None = None) -> bytes:
        """Run git and return its standard output as it is."""
        try:
            with printed() as output:
                result = subprocess.run(
                    ["git", "-C", str(self.root), *arguments],
                    input=stdin, stdout=output, stderr=subprocess.PIPE, check=False,
                    env=environment(index), timeout=SECONDS,
                )  # fmt: skip
                output.seek(0)
                answer = output.read()
        except FileNotFoundError:
            raise InputError("git is not installed, or not on PATH") from None
        except subprocess.TimeoutExpired:  # a server that takes the connection and says nothing
            raise GitError(f"git {arguments[0]}: not done after {SECONDS} s") from None
        if result.returncode != 0:
            lines = result.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            telling = next((x.strip() for x in lines if x.startswith((" !", "fatal:"))), lines[-1])
            if "dubious ownership" in telling:  # git's next lines say it, in its own words
                trust = f"git config --global --add safe.directory {telling.rpartition(' at ')[2]}"
                telling += f"; if you trust its owner, run `{trust}`"
            why = next((x for x in lines if telling[0] == "!" and x.startswith(REMOTE)), None)
            telling += f": {why.removeprefix(REMOTE).strip()}" if why else ""
            raise GitError(f"git {arguments[0]}: {telling}")
        return answer

    def ok(self, *arguments: str) -> bool:
        """Whether a git command succeeds."""
        try:
            self.run(*arguments)
        except GitError:
            return False
        return True

    def has_origin(self) -> bool:
        """Whether branches are shared through `origin`."""
        self._shared = self._shared or "origin" in self.run("remote").split()
        return self._shared

    def server(self) -> str | None:
        """The address of origin where it is on another machine, without what signs in there."""
        address = self.run("remote", "get-url", "origin") if self.has_origin() else ""
        remote = re.match(r"(https?|ssh|git)://|[\w.-]+@[\w.-]+:", address)
        return address.rpartition("@")[2] if remote else None

    def person(self) -> str | None:
        """Who works here: on GitHub the account that started the run."""
        if actor := os.environ.get("GITHUB_ACTOR"):
            return actor[:200]
        return self.run("config", "--default", "", "user.name") or None

    def base(self) -> str:
        """The commit of main that decides: origin's, as it is now, or the local one.

        Raises:
            InputError: There is no such branch yet.
        """
        if self.has_origin():
            shallow = self.run("rev-parse", "--is-shallow-repository") == "true"
            every = "+refs/heads/*:refs/remotes/origin/*"  # also in a clone of one branch
            options = ["--quiet", "--prune", "--no-tags", *["--unshallow"] * shallow]
            self.run("fetch", *options, "origin", every)
        reference = f"origin/{BRANCH}" if self.has_origin() else BRANCH
        place = "refs/remotes" if self.has_origin() else "refs/heads"  # a tag may be called so too
        try:
            whole = f"{place}/{reference}^{{commit}}"
            return self.run("rev-parse", "--verify", "--quiet", whole)
        except GitError:
            raise InputError(
                f"no branch {reference}: commit your work on `{BRANCH}`"
                + (" and push it" if self.has_origin() else "")
            ) from None

    def resolve(self, reference: str) -> str | None:
        """The commit that a branch (origin's first) or any other reference names, if it exists."""
        for name in (f"refs/remotes/origin/{reference}", f"refs/heads/{reference}", reference):
            if self.ok("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"):
                return self.run("rev-parse", f"{name}^{{commit}}")
        return None

    def fetched(self, source: str, reference: str) -> str | None:
        """The commit of a reference of another clone, brought here; None where it has none."""
        try:
            self.run("fetch", "--quiet", "--no-tags", source, reference)
            return self.run("rev-parse", "FETCH_HEAD")
        except GitError:
            return None

    def resolve_exactly(self, branch: str) -> str | None:
        """The commit of a branch where branches are shared; never one of this clone only."""
        name = f"refs/{'remotes/origin' if self.has_origin() else 'heads'}/{branch}"
        found = self.run("for-each-ref", "--format=%(objectname) %(refname)", name)
        named = (line.split() for line in found.splitlines())  # those below `branch/` too
        return next((commit for commit, reference in named if reference == name), None)

    def advance(self, branch: str, new: str, old: str | None) -> None:
        """Let a branch name a commit on top of what it named; never by force.

        Raises:
            GitError: It names something else by now.
        """
        if not self.has_origin():
            self.run("update-ref", f"refs/heads/{branch}", new, old or "0" * len(new))
            return
        with ledger_key.remote() as (remote, options):
            self.run(*options, "push", "--quiet", remote, f"{new}:refs/heads/{branch}")
        self.run("update-ref", f"refs/remotes/origin/{branch}", new)

    def line(
        self, commit: str, *paths: str, after: str | None = None, most: int = 0
    ) -> tuple[str, ...]:
        """The first-parent history of a commit, newest first: what a branch said, one by one. With
        paths, only the commits that changed one of them; at most so many, where `most` is not 0."""
        options = [f"--max-count={most}"] * bool(most) + [f"^{after}"] * bool(after)
        found = self.run("rev-list", "--first-parent", *options, commit, "--", *paths)
        return tuple(found.split())

    def version(self, commit: str) -> str:
        """What is built from a commit is called: its day and its name."""
        day = self.run("show", "-s", "--format=%cd", "--date=format:%Y.%m.%d", commit)
        return f"{day}+{commit[:7]}"

    def objects(self, names: Sequence[str], most: int) -> list[Object]:
        """What each name, such as `COMMIT:path`, stands for. Content is read of files only, and of
        none that is larger than `most` bytes (0: of none)."""
        return read_objects(self.output, names, most)

    def show(self, commit: str, path: str) -> bytes | None:
        """The content of a file at a commit; None where there is none."""
        if not self.ok("cat-file", "-e", f"{commit}:{path}"):
            return None
        return self.output("cat-file", "blob", f"{commit}:{path}")

    def changed(self, old: str, new: str) -> tuple[str, ...]:
        """Paths that differ between two commits."""
        output = self.run("diff", "--name-only", "--no-renames", "-z", old, new)
        return tuple(path for path in output.split("\0") if path)

    def is_ancestor(self, commit: str, of: str) -> bool:
        """Whether `commit` is part of the history of `of`."""
        return self.ok("merge-base", "--is-ancestor", commit, of)

    def commit_folder(
        self, base: str, folder: str, files: Mapping[str, bytes], message: str
    ) -> str:
        """A commit on top of `base` in which `folder` holds exactly `files`; no branch moves."""
        with tempfile.TemporaryDirectory() as directory:
            index = Path(directory) / "index"
            self.run("read-tree", base, index=index)
            self.run("rm", "-rfq", "--cached", "--ignore-unmatch", "--", folder, index=index)
            for name, content in sorted(files.items()):
                blob = self.run("hash-object", "-w", "--stdin", stdin=content)
                entry = f"100644,{blob},{folder}/{name}"
                self.run("update-index", "--add", "--cacheinfo", entry, index=index)
            tree = self.run("write-tree", index=index)
        return self.commit_tree(tree, base, message)

    def commit_tree(self, tree: str, parent: str | None, message: str) -> str:
        """A commit with this content; no branch moves."""
        identity = []
        if not self.ok("config", "user.email"):
            identity = ["-c", f"user.name={NAME}", "-c", f"user.email={EMAIL}"]
        parents = ["-p", parent] if parent else []
        return self.run(*identity, "commit-tree", tree, *parents, "-m", message)

    def tree(self, name: str, *paths: str) -> dict[str, str]:
        """Mode, kind and object of everything in a tree, such as `COMMIT:path`, by its path; with
        paths, only what is there."""
        listed = self.output("ls-tree", "-r", "-z", name, *paths).decode(errors="surrogateescape")
        parts = (line.partition("\t") for line in listed.split("\0") if line)
        return {path: facts for facts, _, path in parts}

    def merged(self, ours: str, theirs: str) -> str | None:
        """The tree of a merge of two commits, which is not made; None where it conflicts."""
        try:
            return self.run("merge-tree", "--write-tree", "--no-messages", ours, theirs)
        except GitError as error:
            if "usage" in str(error):
                text = "git 2.38 or newer is needed to see what a pull request changed"
                raise InputError(f"{text}; here is {self.run('version')}") from None
            return None

    def files(self, commit: str, folder: str) -> dict[str, bytes]:
        """The files of a folder at a commit, by their path inside it; none without it."""
        if not self.ok("cat-file", "-e", f"{commit}:{folder}"):
            return {}
        listed = self.tree(f"{commit}:{folder}")
        return {path: self.output("cat-file", "blob", f.split()[2]) for path, f in listed.items()}

    def publish(self, commit: str, branch: str) -> None:
        """Let `branch` name `commit`: on origin where there is one, else here."""
        if self.has_origin():
            self.run("push", "--quiet", "--force", "origin", f"{commit}:refs/heads/{branch}")
        else:
            self.run("update-ref", f"refs/heads/{branch}", commit)

    def delete(self, branch: str) -> None:
        """Remove a branch where `publish` put it; a branch that is gone is no fault."""
        if self.resolve(branch) is None:
            return
        if self.has_origin():
            self.run("push", "--quiet", "origin", "--delete", branch)
        else:
            self.run("update-ref", "-d", f"refs/heads/{branch}")
