"""What a thousand promotions cost: processor time of the verbs that read ledgers.

    .venv/bin/python benchmarks/ledger.py --project ../my-model     # 6 minutes

It makes two repositories with a bare origin, of 10 and of 1,000 promotions to each environment, the
last two with real models, among 5,000 other commits of main. Each verb runs as a process of its
own, as people run it; counted is the processor time of it and of every git that it starts, the
best of some rounds that alternate between both. Exits with 1 when a bar is missed. Linux or macOS.
"""

import argparse
import datetime as dt
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

FEW, MANY, UNRELATED = 10, 1_000, 5_000
SECONDS = 0.5  # of status and history, with MANY
GROWTH = 1.10  # of the others, from FEW to MANY
NAME = {"staging": "staging", "production": "production"}


class History:
    """A folder with `project`, `origin.git` and `state`, in the states that the verbs begin with.

    `asked`: a candidate runs in staging, ready for production. `opened`: its promotion is open.
    `merged`: that is merged. `served`: and it runs."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def verb(self, folder: str, *arguments: str) -> float:
        """Processor seconds of one command, which must not fail."""
        root = self.place / folder / "project"
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join(str(root / name) for name in ("engine", "src")),
            "MODEL_STATE": str(self.place / folder / "state"),
        }
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "mlrelease", *arguments],
            cwd=root, env=env, capture_output=True, text=True, check=False,
        )  # fmt: skip
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            sys.exit(f"model {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime

    def copy(self, old: str, new: str) -> None:
        """Begin again from a state."""
        shutil.rmtree(self.place / new, ignore_errors=True)
        shutil.copytree(self.place / old, self.place / new, symlinks=True)

    def forget(self, folder: str) -> None:
        """A machine that verified nothing yet, such as a job's."""
        shutil.rmtree(self.place / folder / "state" / "verified")

    def git(self, folder: str, *arguments: str) -> None:
        """A person's git command."""
        subprocess.run(["git", "-C", str(self.place / folder / "project"), *arguments], check=True)

    def promote(self) -> float:
        """From `asked`, in `work`."""
        self.copy("asked", "work")
        return self.verb("work", "promote", "production")

    def promote_anew(self) -> float:
        """The same where nothing is remembered."""
        self.copy("asked", "work")
        self.forget("work")
        return self.verb("work", "promote", "production")

    def release(self) -> float:
        """`model deploy` of what was merged; its service is stopped again."""
        self.copy("merged", "work")
        used = self.verb("work", "deploy", "production")
        self.verb("work", "deploy", "production", "--down")
        return used

    def follow_anew(self) -> float:
        """`model release` of what was released, where nothing is remembered."""
        self.copy("merged", "work")
        self.forget("work")
        return self.verb("work", "release", "staging")


def build(place: Path, count: int, tests: Any) -> str:
    """Make the states `asked`, `opened` and `merged`; the branch of the promotion."""
    conftest, history, observe, sandbox = tests
    source = place / "source"
    source.mkdir(parents=True)
    conftest.add_code(source)
    (source / "params.yaml").write_text(conftest.PARAMS)
    (source / "policy.yaml").write_text(conftest.POLICY)
    with sandbox.sandbox(source) as play:
        play.git("remote", "set-url", "origin", "../origin.git")
        play.clock -= dt.timedelta(days=60)

        def release(environment: str) -> None:
            play.merge(play.promote(environment).pull_request.branch)
            entry = play.release(environment)
            observe.observe(play.here, environment, entry.commit, "live", "benchmark")
            play.clock += dt.timedelta(hours=25)

        play.candidate(conftest.SIMPLE)
        for environment in NAME:
            release(environment)
        play.clock += dt.timedelta(days=30)
        history.grow(play, count - 2, UNRELATED)
        play.candidate(conftest.BETTER)
        for environment in NAME:
            release(environment)
        play.candidate(conftest.BETTER | {"seed": 3, "slices": ["mean texture"]})
        release("staging")
        shutil.copytree(play.here.root.parent, place / "asked")
        branch = str(play.promote("production").pull_request.branch)
        shutil.copytree(play.here.root.parent, place / "opened")
        play.merge(branch)
        shutil.copytree(play.here.root.parent, place / "merged")
    return branch


def main() -> int:
    """Build, measure, print each figure with its bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="make the repositories here, and keep them")
    options = parser.parse_args()
    template = Path(__file__).resolve().parents[1]
    places = ("{{cookiecutter.project_slug}}/engine", "tests/engine/project/src")
    sys.path[:0] = [str(template), *(str(template / place) for place in places)]
    from mlrelease.deployment import observe
    from mlrelease.rehearsal import sandbox
    from tests.engine import conftest
    from tests.engine.records import long_history

    with tempfile.TemporaryDirectory(prefix="ledger-") as temporary:
        place = options.keep or Path(temporary)
        made = []
        for count in (FEW, MANY):
            one = History(place / str(count))
            if not (one.place / "merged").exists():
                print(f"making {count:,} promotions ...", file=sys.stderr, flush=True)
                build(one.place, count, (conftest, long_history, observe, sandbox))
            made.append(one)
        return measure(made, options.rounds)


def measure(made: list[History], rounds: int) -> int:
    """The table; 1 where a bar is missed."""
    verbs: dict[str, tuple[Callable[[History], float], str]] = {
        "status": (lambda h: h.verb("asked", "status"), "seconds"),
        "history production": (lambda h: h.verb("asked", "history", "production"), "seconds"),
        "promote production": (History.promote, "growth"),
        "verify production": (
            lambda h: h.verb("merged", "verify", "production"), "growth",
        ),
        "deploy production, a new release": (History.release, "growth"),
        "deploy production, unchanged": (
            lambda h: h.verb("served", "deploy", "production"), "growth",
        ),
        "promote, nothing remembered": (History.promote_anew, ""),
        "release, nothing remembered": (History.follow_anew, ""),
    }  # fmt: skip
    print(
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python"
        f" {platform.python_version()}; seconds of the processor, best of {rounds}"
    )
    print(f"{'':<34}{FEW:>8,}{MANY:>8,}   ratio", flush=True)
    for history in made:
        history.copy("merged", "served")
        history.verb("served", "deploy", "production")
    held = True
    try:
        for name, (measured, bar) in verbs.items():
            pairs = [tuple(measured(history) for history in made) for _ in range(rounds)]
            few, many = (min(column) for column in zip(*pairs, strict=True))
            good = {"seconds": many <= SECONDS, "growth": many < few * GROWTH}.get(bar)
            text = {"seconds": f"at most {SECONDS} s", "growth": f"under {GROWTH}"}.get(bar, "")
            told = "" if good is None else f"  {text}: {'holds' if good else 'MISSED'}"
            print(f"{name:<34}{few:>8.3f}{many:>8.3f}{many / few:>8.2f}{told}", flush=True)
            held = held and good is not False
    finally:
        for history in made:
            history.verb("served", "deploy", "production", "--down")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
