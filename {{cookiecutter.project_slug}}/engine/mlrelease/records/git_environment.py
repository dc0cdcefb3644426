"""The variables that git runs with: those of this process, what we rely on, and a job's token;
and a file for what it prints."""

import base64
import os
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

# Replacement objects would show this machine another history than the one that was pushed.
SETTINGS = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_GRAFT_FILE": os.devnull,
}


# Of a hook that runs us: they would point git at another repository.
INHERITED = frozenset({
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_SHALLOW_FILE",
    "GIT_REPLACE_REF_BASE", "GIT_IMPLICIT_WORK_TREE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS", "GIT_QUARANTINE_PATH",
})  # fmt: skip


def environment(index: Path | None = None) -> dict[str, str]:
    """The variables for one command; `index` replaces the repository's own."""
    own = {"GIT_INDEX_FILE": str(index)} if index else {}
    given = {name: value for name, value in os.environ.items() if name not in INHERITED}
    return given | SETTINGS | _credentials() | own


def printed() -> BinaryIO:
    """A file for what git prints: a pipe would fill and empty a thousand times. It is in memory,
    where that can be: a full disk must not stop reading."""
    if sys.platform == "linux":
        return os.fdopen(os.memfd_create("git"), "w+b")
    return tempfile.TemporaryFile("w+b")


def _credentials() -> dict[str, str]:
    """GITHUB_TOKEN for requests to its own server; it is never written to a disk."""
    token, server = os.environ.get("GITHUB_TOKEN"), os.environ.get("GITHUB_SERVER_URL")
    if not token or not server:
        return {}
    place = os.environ.get("GIT_CONFIG_COUNT", "0")
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    return {
        "GIT_CONFIG_COUNT": str(int(place) + 1),
        f"GIT_CONFIG_KEY_{place}": f"http.{server}/.extraheader",
        f"GIT_CONFIG_VALUE_{place}": f"AUTHORIZATION: basic {basic}",
    }
