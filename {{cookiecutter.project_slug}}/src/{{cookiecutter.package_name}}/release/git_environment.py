"""The variables that git runs with: those of this process, what we rely on, and a job's token."""

import base64
import os
from pathlib import Path

# Replacement objects would show this machine another history than the one that was pushed.
SETTINGS = {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_REPLACE_OBJECTS": "1"}


def environment(index: Path | None = None) -> dict[str, str]:
    """The variables for one command; `index` replaces the repository's own."""
    own = {"GIT_INDEX_FILE": str(index)} if index else {}
    return os.environ | SETTINGS | _credentials() | own


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
