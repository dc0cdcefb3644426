"""What a bare repository knows: workflow files, changed files, messages."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from .records import Event
from .repository import ZERO, environment


class Commits:
    """Questions to a bare repository, by path."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def git(self, *arguments: str, check: bool = True) -> str:
        """Run git in the repository, free of the caller's own settings."""
        command = ["git", "-C", str(self.path), *arguments]
        done = subprocess.run(
            command, env=environment(), capture_output=True, text=True, check=False, timeout=60
        )
        if check and done.returncode != 0:
            raise RuntimeError(f"git {' '.join(arguments)} in {self.path}: {done.stderr.strip()}")
        return done.stdout if done.returncode == 0 else ""

    def message(self, commit: str) -> str:
        return self.git("show", "--no-patch", "--format=%B", commit).strip()

    def read(self, commit: str, path: str) -> str | None:
        """A file's text at a commit, or nothing when there is none."""
        name = f"{commit}:{path}"
        found = self.git("cat-file", "-t", name, check=False).strip()
        return self.git("show", name) if found == "blob" else None

    def files(self, commit: str, folder: str) -> list[str]:
        listed = self.git("ls-tree", "-r", "-z", "--name-only", commit, "--", folder)
        return [name for name in listed.split("\0") if name]

    def workflows(self, commit: str) -> Iterator[tuple[str, dict[Any, Any]]]:
        """Every workflow file of a commit: its path and what stands in it."""
        for path in self.files(commit, ".github/workflows/"):
            if path.count("/") == 2 and path.endswith((".yml", ".yaml")):
                yield path, yaml.safe_load(self.read(commit, path) or "")

    def changed(self, event: Event) -> list[str]:
        """The files that GitHub's path filters see: `...` for a pull request, `..` for a push."""
        if event.name.startswith("pull_request"):
            pull = event.payload["pull_request"]
            between = [f"{pull['base']['sha']}...{pull['head']['sha']}"]
        else:
            between = [self._before(event), event.sha]
        listed = self.git("diff", "--name-only", "-z", "--no-renames", *between)
        return [name for name in listed.split("\0") if name]

    def _before(self, event: Event) -> str:
        """Where a push starts; on a new branch that is the parent of its oldest own commit."""
        before: str = event.payload["before"]
        if before != ZERO:
            return before
        others = self.git("for-each-ref", "--format=%(refname)", "refs/heads/").split()
        known = [ref for ref in others if ref != event.ref]
        own = self.git("rev-list", "--topo-order", event.sha, "--not", *known).split()
        oldest = own[-1] if own else event.sha
        parents = self.git("show", "--no-patch", "--format=%P", oldest).split()
        nothing = self.git("hash-object", "-t", "tree", os.devnull).strip()
        return (parents[0] if parents else nothing) if own else oldest
