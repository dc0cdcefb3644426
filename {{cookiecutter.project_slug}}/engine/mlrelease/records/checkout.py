"""Whether git can work in a folder, and what to do where it cannot."""

from mlrelease.errors import InputError
from mlrelease.records.git import Git, GitError


def refuse_unusable(git: Git) -> None:
    """A project lies in a work tree that git reads.

    Raises:
        InputError: It does not; the message says what git says, and what to do.
    """
    root = git.root
    try:
        inside = git.run("rev-parse", "--is-inside-work-tree")
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
    if inside != "true":
        raise InputError(
            f"{root}: git takes it for a bare repository, without files; run `git config core.bare"
            " false` if it is a checkout, or clone it"
        )
