"""Whether git can work in a folder, and what to do where it cannot."""

import os
from pathlib import Path

from mlrelease.errors import InputError
from mlrelease.records.git import Git, GitError


def refuse_unusable(git: Git) -> None:
    """A project is the root of a work tree that git reads.

    Raises:
        InputError: It does not; the message says what git says, and what to do.
    """
    root = git.root
    try:
        told = git.run("rev-parse", "--is-inside-work-tree", "--show-prefix")
    except GitError as error:
        said = str(error).partition("fatal: ")[2] or str(error)
        if said.startswith("not a git repository (or any"):
            raise InputError(f"{root}: not a git repository; run `git init -b main`") from None
        if said.startswith(("not a git repository: ", "invalid gitfile format")):
            said += (
                "; the repository that this worktree belongs to was moved or removed: run `git"
                " worktree repair` in it, or clone again"
            )
        raise InputError(f"{root}: git says: {said}") from None
    inside, _, below = told.partition("\n")
    if inside != "true":
        raise InputError(
            f"{root}: git takes it for a bare repository, without files; run `git config core.bare"
            " false` if it is a checkout, or clone it"
        )
    if below:
        top = git.run("rev-parse", "--show-toplevel")
        raise InputError(
            f"{root}: lies in the repository {top}, and a project must be the root of its"
            " repository; move it out, and run `git init -b main` in it"
        )


def refuse_tracked(git: Git, folder: Path) -> None:
    """What a machine keeps of what it verified is believed, so no commit may bring any of it.

    Raises:
        InputError: git tracks something there.
        GitError: git cannot tell.
    """
    places = [
        (Path(follow(folder)), Path(follow(git.root)))
        for follow in (os.path.abspath, os.path.realpath)
    ]
    names = [place.relative_to(root) for place, root in places if place.is_relative_to(root)]
    for name in dict.fromkeys(path.as_posix() for path in names):
        if found := _tracked(git, f":(icase,literal){name}"):  # to a file system A may be a
            how = f"run `git rm -rf {name}`, and commit that"
            if name == ".":
                how = "let MODEL_STATE name a folder of its own"
            raise InputError(
                f"{git.root}: git tracks {ascii(found)[1:-1][:100]}, and what a machine verified"
                f" comes with no commit; {how}"
            )


def _tracked(git: Git, path: str) -> str:
    """The first file there that the index holds, or HEAD; "" for none, and where no repository
    is."""
    try:
        listed = git.run("ls-files", "-z", "--", path)
    except GitError as error:
        if "not a git repository (or any" in str(error):
            return ""
        raise
    if not listed and git.ok("rev-parse", "--verify", "--quiet", "HEAD"):
        listed = git.run("diff-index", "--cached", "--name-only", "-z", "HEAD", "--", path)
    return listed.split("\0")[0]
