"""Files of a commit, written byte for byte as it holds them: no attribute and no filter of
today, or of this machine, decides what is trained with or what serves."""

from collections.abc import Mapping
from pathlib import Path

from mlrelease.errors import RefusedError
from mlrelease.records.git import Git
from mlrelease.records.large_files import pointed, write
from mlrelease.source_files import made_by_tools
from mlrelease.storage.archive import MAX_BYTES, below


def write_files(git: Git, commit: str, files: Mapping[str, str], directory: Path) -> None:
    """Write files, given by path with what `Git.tree` says of them. Content in Git LFS is written
    where it is here; what tools make, bytecode too, is left out.

    Raises:
        RefusedError: One of them is no plain file, or too large.
        GitError: An object is not here.
    """
    wanted = {name: facts.split() for name, facts in files.items() if not made_by_tools(name)}
    found = git.objects([oid for _, _, oid in wanted.values()], MAX_BYTES)
    for (name, (mode, _, _)), file in zip(wanted.items(), found, strict=True):
        if file.content is None or not mode.startswith("100") or not below(name):
            text = f"source commit {commit[:7]}: holds {ascii(name)[:100]}, not a plain file"
            raise RefusedError(f"{text}; nothing was kept")
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        large = pointed(file.content)
        if not (large and write(git, name, large, target)):
            target.write_bytes(file.content)
