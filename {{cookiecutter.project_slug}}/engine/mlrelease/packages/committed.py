"""Whether HEAD holds what a candidate was made from, byte for byte.

`git status` is not asked: it says nothing of files that are ignored, outside the repository, in a
submodule, behind a link, or marked `assume-unchanged` or `skip-worktree`; and it takes a file for
unchanged whose line ends git converts, although a checkout elsewhere has other bytes.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mlrelease import project
from mlrelease.errors import RefusedError
from mlrelease.files import sha256
from mlrelease.params import Params
from mlrelease.records.git import Git
from mlrelease.records.large_files import pointed
from mlrelease.source_files import FOLDERS, SOURCE, made_by_tools
from mlrelease.training.inputs import ENGINE, engine, files_below, sources


def refuse_uncommitted(git: Git, root: Path, params: Params) -> None:
    """Compare with HEAD: params.yaml, pyproject.toml, everything below src/ and engine/, the code
    that runs, and the file of the rows.

    Raises:
        RefusedError: HEAD has other bytes of one of them, or none; the first, and how many more.
    """
    faults = list(_faults(git, root, params))
    if faults:
        more = f" ({len(faults) - 1} more like this)" if len(faults) > 1 else ""
        raise RefusedError(faults[0] + more)


def _faults(git: Git, root: Path, params: Params) -> Iterator[str]:
    tree = git.tree("HEAD")
    names = ["params.yaml"]
    if (root / "pyproject.toml").exists() or "pyproject.toml" in tree:
        names.append("pyproject.toml")
    here = [p.relative_to(root).as_posix() for f in FOLDERS for p in files_below(root / f)]
    source = params.data.source
    if ":" not in source or (root / source).exists():  # else its fingerprint says what it held
        inside = PurePosixPath(source)
        if inside.is_absolute() or ".." in inside.parts:
            yield (
                f"params.yaml: data.source: {source!r} leads outside the repository; put the file"
                " below the folder of params.yaml, commit it, and name it from there"
            )
        else:
            names.append(inside.as_posix())
    strange = {n for n in (*tree, *here) if n.split("/")[0] in FOLDERS and made_by_tools(n)}
    for name in sorted(strange):
        yield (
            f"{name}: is bytecode or a file of another tool, which may run instead of the code;"
            " remove it, and if it is committed, with `git rm --force`"
        )
    for name in [*names, *(name for name in here if name not in strange)]:
        if fault := _fault(git, root, tree, name):
            yield fault
    for name in sorted(tree):
        lost = name.split("/")[0] in FOLDERS and not (root / name).exists()
        if lost and name not in strange:
            yield f"{name}: is in HEAD, and missing here; restore it, or commit that it is gone"
    own = project.folder(root)
    if own.resolve() != (root / SOURCE / own.name).resolve():  # installed, not editable
        for name, path in sources(root).items():
            if not _same(git, tree, name, path.read_bytes()):
                yield f"{name}: HEAD holds another than the one that runs, {path}; run `make setup`"
    place = root / "engine" / ENGINE.name
    if place.is_dir() and engine(place) != engine():
        yield f"engine/: HEAD holds another than the one that runs, {ENGINE}; run `make setup`"


def _fault(git: Git, root: Path, tree: dict[str, str], name: str) -> str | None:
    """What is wrong with a file of the work tree, and what to do."""
    path = root / name
    above = [parent.as_posix() for parent in PurePosixPath(name).parents][:-1]
    if linked := next((n for n in (*above[::-1], name) if (root / n).is_symlink()), None):
        where = "" if linked == name else f", below {name}"
        return f"{linked}: is a link{where}; put the file itself there, and commit it"
    if module := next((n for n in (*above, name) if tree.get(n, "").startswith("160000")), None):
        return (
            f"{name}: lies in the submodule {module}, so no commit here holds it; put the file"
            " itself into this repository, and commit it"
        )
    if not path.is_file():
        return f"{name}: is no file; put a plain file there, and commit it"
    if name not in tree:
        if git.ok("check-ignore", "--quiet", "--no-index", "--", name):
            return (
                f"{name}: not committed, and git ignores it; commit it with `git add --force`, or"
                " move it away"
            )
        return f"{name}: not committed; commit first, so that git can say what made the model"
    content = path.read_bytes()
    if _same(git, tree, name, content):
        return None
    marked = git.run("--literal-pathspecs", "ls-files", "-v", "--", name)[:1]
    if marked == "S" or marked.islower():
        return (
            f"{name}: not committed, and git was told not to look: `git update-index"
            f" --no-assume-unchanged --no-skip-worktree {name}`, then commit it"
        )
    if git.run("hash-object", "--", name) == tree[name].split()[2]:
        return (
            f"{name}: git stores other bytes than were read, because it converts line ends or"
            f" filters; add `{name} -text -filter` to .gitattributes, `git add --renormalize`"
            " it, and commit both"
        )
    return f"{name}: not committed as it is; commit first, so that git can say what made the model"


def _same(git: Git, tree: dict[str, str], name: str, content: bytes) -> bool:
    """Whether HEAD has these bytes at that name, or the Git LFS pointer that names them."""
    if not tree.get(name, "").startswith("100"):  # a link, or a submodule
        return False
    oid = tree[name].split()[2]
    digest = hashlib.new("sha256" if len(oid) == 64 else "sha1", usedforsecurity=False)
    digest.update(b"blob %d\0" % len(content) + content)
    if digest.hexdigest() == oid:
        return True
    return pointed(git.show("HEAD", name) or b"") == sha256(content).removeprefix("sha256:")
