"""Which files of a commit are its source, and which ones tools write, so that no key holds them."""

from fnmatch import fnmatch
from pathlib import PurePosixPath

SOURCE = "src"
FOLDERS = (SOURCE, "engine")
MADE_BY_TOOLS = ("__pycache__", "*.egg-info", ".*_cache", ".ipynb_checkpoints", ".DS_Store")
BYTECODE = ("*.pyc", "*.pyo")  # what Python runs instead of a source, whatever that says


def made_by_tools(name: str) -> bool:
    """Whether a path of the repository is none of its source: Python's bytecode, and below `src`
    and `engine` all else that no key holds."""
    parts = PurePosixPath(name).parts
    patterns = MADE_BY_TOOLS if parts[0] in FOLDERS else MADE_BY_TOOLS[:1]
    found = any(fnmatch(part, pattern) for part in parts for pattern in patterns)
    return found or any(fnmatch(name, pattern) for pattern in BYTECODE)
