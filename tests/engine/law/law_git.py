"""git, asked less often: histories are long, and a process takes longer than all else.

Only questions whose answer is known are not asked: about commits, which do not change; about
branches, which are files; and a fetch where nothing is new. Whatever changes anything is git's.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlrelease.records import git

PURE = ("cat-file", "rev-list", "merge-base", "diff", "ls-tree", "rev-parse", "config")
NAMES = re.compile("main|origin|HEAD|refs/|--add")
Output = Callable[..., bytes]


def remembering(output: Output) -> Output:
    """The same as `output`, with a memory. What was missing may come with the next command that
    changes something."""
    known: dict[Any, bytes | git.GitError] = {}
    missing: dict[Any, bytes | git.GitError] = {}

    def ask(self: git.Git, *arguments: str, stdin: bytes = b"", **more: Any) -> bytes:
        key = (self.root, arguments, stdin)
        if arguments[0] == "for-each-ref" and (found := _branch(self.root, *arguments[1:])):
            return found
        if arguments[0] == "fetch" and arguments[-2] == "origin" and _nothing_new(self.root):
            return b""
        if arguments[0] not in PURE or any(NAMES.search(a) for a in arguments):
            if arguments[0] not in PURE:
                missing.clear()
            return output(self, *arguments, stdin=stdin, **more)
        if key not in known and key not in missing:
            try:
                answer: bytes | git.GitError = output(self, *arguments, stdin=stdin, **more)
            except git.GitError as error:
                answer = error
            gone = isinstance(answer, git.GitError) or b" missing" in answer
            (missing if gone else known)[key] = answer
        said = known.get(key, missing.get(key, b""))
        if isinstance(said, git.GitError):
            raise said
        return said

    return ask


def refs(repository: Path, below: str) -> dict[str, str]:
    """Every reference of a repository below a folder, such as `refs/heads`."""
    found, packed = {}, repository / "packed-refs"
    for line in packed.read_text().splitlines() if packed.exists() else ():
        commit, _, name = line.partition(" ")
        if name.startswith(f"{below}/"):
            found[name.removeprefix(f"{below}/")] = commit
    for path in (repository / below).rglob("*"):
        if path.is_file():
            found[path.relative_to(repository / below).as_posix()] = path.read_text().strip()
    return found


def _branch(root: Path, form: str, *names: str) -> bytes | None:
    path = root / ".git" / names[-1]
    if not path.is_file():
        return None
    return path.read_bytes().strip() + f" {names[-1]}\n".encode() * ("refname" in form)


def _nothing_new(root: Path) -> bool:
    if "../origin.git" not in (root / ".git" / "config").read_text():
        return False
    ours = refs(root / ".git", "refs/remotes/origin")
    ours.pop("HEAD", None)
    return ours == refs(root.parent / "origin.git", "refs/heads")
