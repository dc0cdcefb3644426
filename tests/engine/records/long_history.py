"""Years of promotions in a second: a history that reads as if the product had written it."""

import random
import re
import subprocess
from collections.abc import Mapping

from msgspec.structs import replace

from mlrelease.environments import ENVIRONMENTS, Environment
from mlrelease.records import ledger, ledger_branch, record
from mlrelease.rehearsal import sandbox
from mlrelease.verification import confirm


def grow(world: sandbox.Sandbox, promotions: int, unrelated: int = 0) -> None:
    """So many more promotions to each environment by merges, each released and live, between so
    many other commits of main. Their models are in no store, but the last brings back the one that
    runs. This machine remembers that it verified them."""
    here, main, dice = world.here, world.here.git.base(), random.Random(0)  # noqa: S311
    lines = [_Line(world, name, main) for name in ENVIRONMENTS]
    first = max(line.ledger.entries[-1].time for line in lines)
    step = (world.clock - first) / (promotions + 1)
    importer = Importer(world)
    for number in range(1, promotions + 1):
        importer.time = first + number * step
        for at in range(unrelated * (number - 1) // promotions, unrelated * number // promotions):
            main = importer.commit("main", {"notes.txt": b"%d\n" % at}, main)
        model = None if number == promotions else f"sha256:{dice.getrandbits(256):064x}"
        answers = [round(dice.random(), 9) for _ in range(64)]
        for line in lines:
            main = line.add(importer, main, model, number, answers)
    importer.finish()
    names = [line.name for line in lines]
    branches = [f"refs/imported/{name}:refs/heads/env/{name}" for name in names]
    world.git("push", "--quiet", "origin", f"{main}:refs/heads/main", *branches)
    for name in ("main", "proposed", *names):
        world.git("update-ref", "-d", f"refs/imported/{name}")
    world.git("reset", "--quiet", "--hard", main)  # and as git itself tidies up now and then:
    for folder in (here.root, here.root.parent / "origin.git"):
        subprocess.run(["git", "-C", str(folder), "gc", "--quiet"], check=True)


class Importer:
    """`git fast-import`: a commit in microseconds."""

    def __init__(self, world: sandbox.Sandbox) -> None:
        command = ["git", "-C", str(world.here.root), "fast-import", "--quiet", "--force"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.marks: dict[str, str] = {}
        self.time = world.clock

    def commit(self, branch: str, files: Mapping[str, bytes], *parents: str) -> str:
        """A commit in which these files changed since its first parent; the branch names it."""
        assert self.process.stdin
        assert self.process.stdout
        who = f"committer T <t@localhost> {int(self.time.timestamp())} +0000"
        mark = f":{len(self.marks) + 1}"
        places = [self.marks.get(parent, parent) for parent in parents]
        links = [f"{word} {p}" for word, p in zip(("from", "merge"), places, strict=False)]
        head = [f"commit refs/imported/{branch}", f"mark {mark}", who, "data 0", *links]
        text = "\n".join([*head, ""]).encode()
        for path, content in files.items():
            text += b"M 100644 inline %b\ndata %d\n%b\n" % (path.encode(), len(content), content)
        self.process.stdin.write(text + f"\nget-mark {mark}\n".encode())
        self.process.stdin.flush()
        made = self.process.stdout.readline().decode().strip()
        self.marks[made] = mark
        return made

    def finish(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.wait() == 0


class _Line:
    """One environment: its last release, which the next are like."""

    def __init__(self, world: sandbox.Sandbox, name: Environment, main: str) -> None:
        self.here, self.name, self.path = world.here, name, record.record_path(name)
        self.ledger = world.here.ledger(name, main)
        self.entry, self.tip = self.ledger.entries[-1].commit, str(self.ledger.tip)
        self.like = self.ledger.entries[-1].released
        self.text = world.here.git.show(main, self.path) or b""

    def add(
        self, importer: Importer, main: str, model: str | None, number: int, answers: list[float]
    ) -> str:
        """Propose, merge, release, note that it is live; the commit of main."""
        model = model or self.like.model
        text = self.text.replace(self.like.model.encode(), model.encode(), 1)
        text = text.replace(b"\nversion: ", b"\nversion: %d-" % number, 1)
        for key, commit in (("entry", self.entry), ("tip", self.tip)):
            text = re.sub(rf"\n  {key}: .*".encode(), f"\n  {key}: {commit}".encode(), text)
        proposed = importer.commit("proposed", {self.path: text}, main)
        main = importer.commit("main", {self.path: text}, main, proposed)
        note = replace(
            self.like, main=main, model=model, replaces=self.entry, time=importer.time,
            answers=dict(zip(self.like.answers, answers, strict=True)),
        )  # fmt: skip
        files = {"model.yaml": text, ledger.FILE: ledger_branch.encode(note)}
        self.entry = importer.commit(self.name, files, self.tip)
        live = ledger.Outcome(self.entry, "live", note.time, "model deploy, process", None, None)
        self.tip = importer.commit(self.name, {ledger.FILE: ledger_branch.encode(live)}, self.entry)
        confirm.remember(self.here, self.name, self.entry)
        return main
