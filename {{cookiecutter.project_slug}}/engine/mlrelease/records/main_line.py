"""What main says: the commits of its first-parent line that changed a record, or what decides.

Read with plumbing only. What main once named is a proposal; what was released stands in the ledger.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from mlrelease.environments import record_path
from mlrelease.records.git import Git

# What decides whether a model is released, and what runs in the jobs that decide. A change of it
# must itself have been approved.
PROTECTED = (
    "policy.yaml",
    ".github",
    "CODEOWNERS",
    "engine",
    "src",
    "pyproject.toml",
    "setup.py",
    "setup.cfg",
    "hatch.toml",  # beside pyproject.toml, hatchling reads it, and runs the file of its build hook
    "hatch_build.py",
    "uv.toml",  # which index packages come from; it goes before pyproject.toml
    "uv.lock",
    "pip.conf",
    ".python-version",  # may name a program in the repository
    ".python-versions",
    ".venv",  # `make setup` takes the one that is there
    "GNUmakefile",  # goes before Makefile
    "makefile",
    "Makefile",
    "Dockerfile",
    ".dockerignore",
    "Dockerfile.dockerignore",
    ".gitattributes",
    ".model",  # what a machine keeps: no commit may bring it
)
YOURS = re.compile(r"src/[^/]+/(data|model)\.py")
ENGINE = (  # where it is, and where it was before it had a folder of its own
    "engine/mlrelease/records/ledger.py",
    ":(glob)src/*/release/ledger.py",
)
BOUND = (  # what came with the rules that bind a record to its model, rows and code
    "engine/mlrelease/verification/rebuild.py",
    ":(glob)src/*/release/rebuild.py",
)


@dataclass(frozen=True)
class Named:
    """A record that main names, and the commit that brought it. Removed where `blob` is None."""

    commit: str
    blob: str | None


@lru_cache(maxsize=2)
def places(git: Git, main: str) -> Mapping[str, int]:
    """Where each commit of the line stands: 0 is `main`, what is before it is less."""
    return {commit: -at for at, commit in enumerate(git.line(main))}


def named(git: Git, main: str, environment: str) -> Named | None:
    """What main says now; None where it never said anything."""
    found = changes(git, main, environment, most=1)
    return found[0] if found else None


def changes(git: Git, main: str, environment: str, most: int = 0) -> tuple[Named, ...]:
    """Every change of a record, newest first; at most so many, where `most` is not 0."""
    path = record_path(environment)
    commits = git.line(main, path, most=most)
    blobs = git.objects([f"{commit}:{path}" for commit in commits], 0)
    return tuple(Named(c, b.oid) for c, b in zip(commits, blobs, strict=True))


def started(git: Git, head: str, released: str | None) -> str:
    """From where on what decides must have been approved: the last release, or the commit that
    brought this engine, which nobody could approve by its rules."""
    return released or adopted(git, head)


def adopted(git: Git, head: str) -> str:
    """The commit that brought this engine; the first of all, where it is not in the repository."""
    return (git.line(head, *ENGINE) or git.line(head))[-1]


def unbound(git: Git, commit: str, head: str) -> bool:
    """Whether a commit of main is from before the rules that bind a record to its model came there:
    it is part of the history of the first commit that brought them, of the first of all if none
    did."""
    return git.is_ancestor(commit, (git.line(head, *BOUND) or git.line(head))[-1])


def deciding(git: Git, commit: str) -> Mapping[str, str]:
    """What decides, as it is at a commit: each path with its mode and content."""
    found = git.tree(commit, *PROTECTED)
    return {path: facts for path, facts in found.items() if not YOURS.fullmatch(path)}


def protected(git: Git, head: str, start: str) -> tuple[str, ...]:
    """The commits up to `head` and after `start` that changed what decides, oldest first."""
    return git.line(head, *PROTECTED, after=start)[::-1]
