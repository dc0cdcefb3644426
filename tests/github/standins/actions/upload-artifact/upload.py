"""Copy the files that the patterns name below their common folder, as upload-artifact does."""

import glob
import hashlib
import os
import re
import shutil
import sys
from pathlib import Path

NAME, IF_NONE = os.environ["NAME"], os.environ["IF_NONE"]
PATTERNS = [line.strip() for line in os.environ["PATHS"].splitlines() if line.strip()]
HIDDEN = os.environ["HIDDEN"] == "true"


def files(pattern: str) -> set[Path]:
    """What a pattern names; of a folder, everything in it. Links to folders are not followed."""
    found: set[Path] = set()
    whole = str(Path(pattern).expanduser())  # may be absolute: nothing for Path.glob
    for name in glob.glob(whole, recursive=True, include_hidden=True):  # noqa: PTH207
        path = Path(name)
        found |= {path} if path.is_file() else {one for one in path.rglob("*") if one.is_file()}
    return {path.absolute() for path in found}


def start(pattern: str) -> Path:
    """The folder (or file) in which a pattern starts to search."""
    parts = Path(pattern).expanduser().absolute().parts
    plain = [at for at, part in enumerate(parts) if glob.has_magic(part)]
    return Path(*parts[: plain[0]] if plain else parts)


def main() -> str | None:
    if re.search(r'["<>|*?:\r\n\\/]', NAME) or not NAME:
        return f"{NAME!r} is not a valid name of an artifact"
    wanted = [pattern for pattern in PATTERNS if not pattern.startswith("!")]
    found = set().union(*map(files, wanted))
    found -= set().union(*(files(pattern[1:]) for pattern in PATTERNS if pattern.startswith("!")))
    starts = [start(pattern) for pattern in wanted]
    root = Path(os.path.commonpath(starts)) if starts else Path.cwd()
    root = root if root.is_dir() else root.parent
    if not HIDDEN:
        found = {
            path
            for path in found
            if not any(part.startswith(".") for part in path.relative_to(root).parts)
        }
    if not found:
        print(f"::{'error' if IF_NONE == 'error' else 'warning'}::no files found: {PATTERNS}")
        return "nothing to upload" if IF_NONE == "error" else None
    target = Path(os.environ["STANDIN_ARTIFACTS"]) / NAME
    if target.exists():
        if os.environ["OVERWRITE"] != "true":
            return f"an artifact with this name already exists in this run: {NAME}"
        shutil.rmtree(target)
    whole = hashlib.sha256()
    for path in sorted(found):
        copy = target / path.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)  # without its mode: artifacts lose it
        whole.update(copy.read_bytes())
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") as outputs:
        outputs.write(f"artifact-id={target.stat().st_ino}\nartifact-digest={whole.hexdigest()}\n")
    return None


sys.exit(main())
