"""A git repository's loose objects and branches, read and written without git.

It is fast, may write what git itself would refuse, and shares no code with what it judges.
"""

import hashlib
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

File = tuple[str, str]  # mode, object
Files = Mapping[str, File]
PLAIN, LINK, MODULE = "100644", "120000", "160000"


class Objects:
    """The bare repository at `root`, which was never packed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.get = cache(self._get)

    def put(self, kind: str, content: bytes) -> str:
        """Write an object; its name."""
        whole = f"{kind} {len(content)}\0".encode() + content
        name = hashlib.sha1(whole).hexdigest()  # noqa: S324 - git's own
        path = self.root / "objects" / name[:2] / name[2:]
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(zlib.compress(whole, 1))
        return name

    def _get(self, name: str) -> tuple[str, bytes]:
        whole = zlib.decompress((self.root / "objects" / name[:2] / name[2:]).read_bytes())
        head, _, content = whole.partition(b"\0")
        return head.split()[0].decode(), content

    def branch(self, name: str) -> str | None:
        """The commit of a branch."""
        path = self.root / "refs" / "heads" / name
        return path.read_text().strip() if path.is_file() else None

    def move(self, name: str, commit: str | None) -> None:
        """Let a branch name a commit, whatever it named; None deletes it."""
        path = self.root / "refs" / "heads" / name
        if commit is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{commit}\n")

    def parents(self, commit: str) -> list[str]:
        head = self.get(commit)[1].partition(b"\n\n")[0]
        return [x[7:].decode() for x in head.split(b"\n") if x.startswith(b"parent ")]

    def line(self, commit: str | None) -> list[str]:
        """The first-parent history, newest first."""
        found = []
        while commit:
            found.append(commit)
            commit = next(iter(self.parents(commit)), None)
        return found

    def ancestors(self, commit: str | None) -> set[str]:
        found, waiting = set[str](), [commit] if commit else []
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += self.parents(one)
        return found

    def files(self, commit: str, folder: str = "") -> dict[str, File]:
        """Every file of a commit by its path, or of a folder by the path inside it."""
        tree = self.get(commit)[1][5:45].decode()
        every = self._tree(tree, "")
        start = f"{folder}/" if folder else ""
        return {p.removeprefix(start): f for p, f in every.items() if p.startswith(start)}

    def read(self, commit: str, path: str) -> bytes | None:
        """The content of a file at a commit."""
        mode, name = self.files(commit).get(path, (MODULE, ""))
        return self.get(name)[1] if mode != MODULE else None

    def _tree(self, name: str, start: str) -> dict[str, File]:
        found: dict[str, File] = {}
        content = self.get(name)[1]
        while content:
            head, _, rest = content.partition(b"\0")
            mode, _, path = head.decode().partition(" ")
            child, content = rest[:20].hex(), rest[20:]
            if mode == "40000":
                found |= self._tree(child, f"{start}{path}/")
            else:
                found[f"{start}{path}"] = (mode, child)
        return found

    def tree(self, files: Files) -> str:
        """Write the tree of these files."""
        here: dict[str, File] = {}
        below: dict[str, dict[str, File]] = {}
        for path, file in files.items():
            first, _, rest = path.partition("/")
            if rest:
                below.setdefault(first, {})[rest] = file
            else:
                here[first] = file
        here |= {name: ("40000", self.tree(inner)) for name, inner in below.items()}
        ordered = sorted(here, key=lambda n: n + "/" * (here[n][0] == "40000"))
        lines = (f"{here[n][0]} {n}\0".encode() + bytes.fromhex(here[n][1]) for n in ordered)
        return self.put("tree", b"".join(lines))

    def commit(
        self, files: Files, parents: list[str], message: bytes, seconds: int = 1_700_000_000
    ) -> str:
        """Write a commit; no branch moves."""
        lines = [f"tree {self.tree(files)}", *(f"parent {p}" for p in parents)]
        lines += [f"{who} Ann <ann@localhost> {seconds} +0000" for who in ("author", "committer")]
        return self.put("commit", "\n".join([*lines, "", ""]).encode() + message)


def difference(old: Files, new: Files) -> dict[str, tuple[File | None, File | None]]:
    """What each path was and is, where that differs."""
    paths = sorted(old.keys() | new.keys())
    return {p: (old.get(p), new.get(p)) for p in paths if old.get(p) != new.get(p)}


def applied(
    files: Files, changes: Mapping[str, tuple[File | None, File | None]]
) -> dict[str, File] | None:
    """The files after a change; None where it conflicts."""
    found = dict(files)
    for path, (old, new) in changes.items():
        if found.get(path) not in (old, new):
            return None
        if new is None:
            found.pop(path, None)
        else:
            found[path] = new
    return found
