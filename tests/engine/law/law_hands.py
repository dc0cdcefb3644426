"""What people, careless ones and hostile ones do to `main`, to `env/*` and to the store."""

import hashlib
import shutil
from itertools import pairwise

from tests.engine.law.law_build import POLICY
from tests.engine.law.law_objects import LINK, MODULE, PLAIN, File, applied, difference
from tests.engine.law.law_standins import Pull
from tests.engine.law.law_world import World

PEOPLE = ((), ("ann",), ("ann", "bob"), ("rehearsal",), ("stranger",))
HOWS = ("merge", "resolved", "squash", "fast-forward", "direct")
SUBJECTS = (b"Merge it", b"\x01\x02 odd", b"\xff\xfe not UTF-8", b"Merge pull request #1")
DATES = (1_700_000_000, 1, 4_000_000_000)
EDITS = (
    "digest", "tag", "garbage", "deep", "long number", "yaml tag", "bad date", "oversized",
    "deleted", "extra", "link", "module", "other environment", "control", "comment", "forged",
    "reason", "hotfix", "latin-1",
)  # fmt: skip
WORKFLOW = ".github/workflows/deploy.yml"
POLICIES = ("weak", "no soak", "no approvals", "garbage", "workflow", "merge")


class Hands:
    """Every push that is not the code's."""

    def __init__(self, world: World) -> None:
        self.world, self.origin = world, world.origin
        self.vault: list[str] = []

    def main(self) -> str:
        return self.origin.branch("main") or ""

    def merge(
        self, head: str, how: str, approved_by: tuple[str, ...] = (), subject: bytes = b"Merge",
        seconds: int = 1_700_000_000,
    ) -> str | None:  # fmt: skip
        """Bring a branch to main; None where it conflicts, or is there."""
        past = self.origin.ancestors(self.main())
        if head in past:
            return None
        fork = next((c for c in self.origin.line(head) if c in past), None)
        if fork is None:
            return None
        if how == "fast-forward":
            if fork != self.main():
                return None
            new = head
        else:
            changes = difference(self.origin.files(fork), self.origin.files(head))
            files = applied(self.origin.files(self.main()), changes)
            if files is None and how == "resolved":  # for the branch, by hand
                files = self.origin.files(self.main()) | {
                    path: new for path, (_, new) in changes.items() if new
                }
            if files is None:
                return None
            parents = [self.main(), head] if how == "merge" else [self.main()]
            new = self.origin.commit(files, parents, subject, seconds)
        self.origin.move("main", new)
        if how != "direct":
            self.pull(new, head, approved_by)
        return new

    def pull(
        self, commit: str, head: str, approved_by: tuple[str, ...], added: tuple[str, ...] = ()
    ) -> None:
        found = Pull(
            len(self.world.pulls) + 1, head, "model-bot", approved_by, self.world.true, added
        )
        self.world.pulls[commit] = found

    def push(
        self, changes: dict[str, bytes | File | None], approved_by: tuple[str, ...] | None = None,
        subject: bytes = b"Change it", seconds: int = 1_700_000_000,
    ) -> str:  # fmt: skip
        """Commit files on main; with the approval of these, as a pull request."""
        files = self.origin.files(self.main())
        for path, new in changes.items():
            if new is None:
                files.pop(path, None)
            elif isinstance(new, bytes):
                files[path] = (PLAIN, self.origin.put("blob", new))
            else:
                files[path] = new
        commit = self.origin.commit(files, [self.main()], subject, seconds)
        self.origin.move("main", commit)
        if approved_by is not None:
            self.pull(commit, commit, approved_by)
        return commit

    def edited(self, name: str, what: str, model: str) -> dict[str, bytes | File | None]:
        """The record of an environment, by hand."""
        folder = f"deploy/{name}"
        path, files = f"{folder}/model.yaml", self.origin.files(self.main())
        there = path in files and files[path][0] == PLAIN
        text = self.origin.get(files[path][1])[1] if there else b"model: none\n"
        other = "production" if name == "staging" else "staging"
        lines = text.split(b"\n")

        def line(key: bytes, value: bytes) -> bytes:
            return b"\n".join(key + b": " + value if x.startswith(key + b":") else x for x in lines)

        if what == "forged":
            return self._forged(name, text, model)
        found: dict[str, dict[str, bytes | File | None]] = {
            "digest": {path: line(b"model", model.encode())},
            "tag": {path: line(b"model", b"latest")},
            "garbage": {path: b"\x00\xff{{{"},
            "deep": {path: b"[" * 3000},
            "long number": {path: line(b"version", b"9" * 5000)},
            "yaml tag": {path: b"!!python/object/apply:os.system ['true']\n"},
            "bad date": {path: line(b"version", b"2026-99-99")},
            "oversized": {path: text + b"#" * 70_000},
            "deleted": {p: None for p in files if p.startswith(f"{folder}/")},
            "extra": {f"{folder}/evil.py": b"import os\n", path: text + b"# and\n"},
            "link": {path: (LINK, self.origin.put("blob", b"../../policy.yaml"))},
            "module": {path: (MODULE, "1" * 40)},
            "control": {path: line(b"version", b'"0\\x01\\n\\u2028"')},
            "comment": {path: text + b"# by hand\n"},
            "reason": {path: line(b"reason", b"because")},
            "hotfix": {path: line(b"intent", b"hotfix")},
            "latin-1": {path: line(b"version", b"\xe9")},
            "other environment": {
                p.replace(other, name): f for p, f in files.items()
                if p.startswith(f"deploy/{other}/")
            },
        }  # fmt: skip
        return found[what]

    def _forged(self, name: str, text: bytes, model: str) -> dict[str, bytes | File | None]:
        """Another model under figures that nobody measured, all digests right."""
        good = max(self.world.kinds.items(), key=lambda item: item[1].auc)[0]
        figures = self.world.figures(good, None).model_copy(update={"candidate": model})
        evaluation = figures.write().encode()
        digest = "sha256:" + hashlib.sha256(evaluation).hexdigest()
        known = {b"model": model, b"evaluation": digest}
        lines = [
            key + b": " + known[key].encode() if key in known else line
            for line in text.split(b"\n")
            for key in (line.partition(b":")[0],)
        ]
        folder = f"deploy/{name}"
        files: dict[str, bytes | File | None] = {f"{folder}/model.yaml": b"\n".join(lines)}
        return files | {f"{folder}/evaluation.json": evaluation}

    def policy(self, what: str, approved_by: tuple[str, ...] | None) -> None:
        """Change what decides."""
        weak = {
            "weak": POLICY.replace("0.95", "0.1").replace("0.02", "0.9"),
            "no soak": POLICY.replace("soak_hours: 24", "soak_hours: 0"),
            "no approvals": POLICY.replace("approvals: 1", "approvals: 0"),
            "garbage": "metrics: [",
        }
        if what == "workflow":
            self.push({WORKFLOW: b"on: push\n"}, approved_by)
        elif what == "merge":
            self._add_in_merge(approved_by or ())
        else:
            self.push({"policy.yaml": weak.get(what, POLICY).encode()}, approved_by)

    def _add_in_merge(self, approved_by: tuple[str, ...]) -> None:
        """Merge a branch that people may have approved, and a workflow with it."""
        files, main = self.origin.files(self.main()), self.main()
        text = self.origin.read(main, "policy.yaml") or b""
        files["policy.yaml"] = (PLAIN, self.origin.put("blob", text + b"# and\n"))
        head = self.origin.commit(files, [main], b"On a branch")
        files[WORKFLOW] = (PLAIN, self.origin.put("blob", b"on: [push]\n"))
        merge = self.origin.commit(files, [main, head], b"Merge it")
        self.origin.move("main", merge)
        self.pull(merge, head, approved_by, added=(WORKFLOW,))

    def undo(self, back: int, again: bool, approved_by: tuple[str, ...] | None) -> None:
        """Revert a commit of main, or cherry-pick it again."""
        line = self.origin.line(self.main())
        if back + 1 >= len(line):
            return
        old, new = (self.origin.files(c) for c in (line[back + 1], line[back]))
        changes = difference(old, new) if again else difference(new, old)
        files = applied(self.origin.files(self.main()), changes)
        if files is None:
            return
        commit = self.origin.commit(files, [self.main()], b'Revert "it"')
        self.origin.move("main", commit)
        if approved_by is not None:
            self.pull(commit, commit, approved_by)

    def named(self, name: str) -> tuple[str, dict[str, File], str]:
        """The newest commit of main that changed a record, its folder and the model it names."""
        path, line = f"deploy/{name}/model.yaml", self.origin.line(self.main())
        changed = (
            c for c, p in pairwise(line)
            if self.origin.files(c).get(path) != self.origin.files(p).get(path)
        )  # fmt: skip
        main = next(changed, line[0])
        content = self.origin.read(main, path) or b""
        model = next((x[7:] for x in content.split(b"\n") if x.startswith(b"model: ")), b"")
        return main, self.origin.files(main, f"deploy/{name}"), model.decode(errors="replace")

    def append(self, name: str, files: dict[str, File], raw: bytes) -> str:
        """Append a commit to a ledger."""
        branch, origin = f"env/{name}", self.origin
        tip, files = origin.branch(branch), dict(files)
        files["ledger.json"] = (PLAIN, origin.put("blob", raw))
        commit = origin.commit(files, [tip] if tip else [], b"Promote it")
        origin.move(branch, commit)
        return commit

    def lose(self, digest: str, tamper: bool) -> None:
        """Delete or change an artefact."""
        place = self.world.person.state / "store" / "sha256" / digest.removeprefix("sha256:")
        kept = self.world.root / "vault" / place.name
        if not kept.exists() and place.exists():
            shutil.copytree(place, kept)
            if tamper:
                (place / "model.json").write_text("{}")
            else:
                shutil.rmtree(place)

    def swap(self, digest: str, other: str) -> None:
        """Put the files of another artefact in its place."""
        self.lose(digest, tamper=False)
        folder = self.world.person.state / "store" / "sha256"
        shutil.copytree(folder / other[7:], folder / digest[7:])

    def lost(self) -> bool:
        """Whether an artefact is gone."""
        return any((self.world.root / "vault").glob("*"))

    def find_again(self) -> None:
        """Bring every artefact back."""
        for kept in (self.world.root / "vault").glob("*"):
            place = self.world.person.state / "store" / "sha256" / kept.name
            shutil.rmtree(place, ignore_errors=True)
            kept.rename(place)

    def unreachable(self, away: bool) -> None:
        """Let the machines find no origin."""
        for machine in self.world.machines:
            config = machine.root / ".git" / "config"
            text = config.read_text().replace("../nowhere.git", "../origin.git")
            if away:
                text = text.replace("../origin.git", "../nowhere.git")
            config.write_text(text)
