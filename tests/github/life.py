"""A generated repository on the GitHub stand-in, and the hands of the people who use it."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from .act import tool
from .actions import Actions, Run
from .repository import Repository
from .standin import GitHub

NAME = "acme/my-model"
SIMPLE = {"estimator": "random_forest", "parameters": {"n_estimators": 20, "max_depth": 3}}
WORSE = {"estimator": "random_forest", "parameters": {"n_estimators": 1, "max_depth": 1}}
Row = dict[str, Any]
DAMAGE = """
import sys

if any(word.endswith("serving.app") for word in sys.orig_argv):
    import onnxruntime

    right = onnxruntime.InferenceSession.run

    def wrong(*arguments):
        return [1 - found if found.dtype.kind == "f" else found for found in right(*arguments)]

    onnxruntime.InferenceSession.run = wrong
"""


class Life:
    """One repository, its runner, Ann, who administers it, and Ben, who develops."""

    def __init__(
        self,
        github: GitHub,
        project: Path,
        root: Path,
        variables: Mapping[str, str],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.github = github
        self.state = root / "state"
        self.files = {
            path.relative_to(project).as_posix(): path.read_bytes()
            for path in sorted(project.rglob("*"))
            if path.is_file() and "__pycache__" not in path.parts
        }
        self.repository: Repository = github.create_repository(NAME)
        self.ann, self.ben = github.user("ann", "admin"), github.user("ben", "write")
        github.private_members.add("ann")
        self.actions = Actions(
            github,
            self.repository,
            root / "runs",
            {"REGISTRY": github.registry, "MODEL_STATE": str(self.state)} | dict(variables),
            seconds=600,
            environment=environment,
        )
        self.api, self.api_of_ben = (
            httpx.Client(
                base_url=f"{github.api_url}/repos/{NAME}",
                headers={"Authorization": f"Bearer {token}"},
                timeout=60,
            )
            for token in (self.ann, self.ben)
        )
        self.runs: list[Run] = []
        self.first = ""  # the first record of production

    # What people do.

    def set_up(self) -> None:
        """What `model setup-github` does."""
        rules = [json.loads(self.files[f".github/rulesets/{n}.json"]) for n in ("main", "env")]
        allowed = {
            "default_workflow_permissions": "read",
            "can_approve_pull_request_reviews": True,
        }
        assert self.api.put("/actions/permissions/workflow", json=allowed).status_code == 204
        for one in rules:
            assert self.api.post("/rulesets", json=one).status_code == 201

    def push(self, files: Mapping[str, str | bytes | None], message: str = "Change") -> list[Run]:
        """Commit to main as Ann, who may, and let GitHub work until it is quiet."""
        self.github.commit(self.repository, files, message=message, by=self.ann)
        return self.wait()

    def propose(
        self, files: Mapping[str, str | bytes | None], branch: str
    ) -> tuple[Row, list[Run]]:
        """Open a pull request from a branch of Ben's."""
        self.github.commit(self.repository, files, branch=branch, by=self.ben)
        return self.open(branch), self.wait()

    def open(self, branch: str, head: str = "") -> Row:
        content = {"title": f"Merge {branch}", "head": head or branch, "base": "main", "body": ""}
        answer = self.api_of_ben.post("/pulls", json=content)
        assert answer.status_code == 201, answer.text
        pull: Row = answer.json()
        return pull

    def approve(self, number: int) -> None:
        answer = self.api.post(f"/pulls/{number}/reviews", json={"event": "APPROVE"})
        assert answer.status_code == 200, answer.text

    def merge(self, number: int) -> httpx.Response:
        return self.api.put(f"/pulls/{number}/merge", json={"merge_method": "merge"})

    def accept(self, number: int) -> list[Run]:
        """Approve and merge."""
        self.approve(number)
        answer = self.merge(number)
        assert answer.status_code == 200, answer.text
        return self.wait()

    def close(self, number: int) -> list[Run]:
        assert self.api.patch(f"/pulls/{number}", json={"state": "closed"}).status_code == 200
        return self.wait()

    def dispatch(
        self, workflow: str, *, by: httpx.Client | None = None, **inputs: str
    ) -> list[Run]:
        """*Run workflow*, as Ann, or as `by`: who asks for a promotion does not approve it."""
        path = f"/actions/workflows/{workflow}/dispatches"
        answer = (by or self.api).post(path, json={"ref": "main", "inputs": inputs})
        assert answer.status_code == 204, answer.text
        return self.wait()

    def tick(self, cron: str) -> list[Run]:
        """The clock strikes."""
        found = self.actions.deliver(self.actions.schedule(cron)) + self.actions.run_until_quiet()
        self.runs += found
        return found

    def wait(self) -> list[Run]:
        found = self.actions.run_until_quiet()
        self.runs += found
        return found

    # What people see.

    def params(self, model: Row | None = None, **changes: Any) -> dict[str, str]:
        """params.yaml with another model."""
        content = yaml.safe_load(self.files["params.yaml"]) | changes
        content |= {"model": model} if model else {}
        return {"params.yaml": yaml.safe_dump(content, sort_keys=False)}

    def pulls(self, start: str, state: str = "open") -> list[Row]:
        """Pull requests whose branch starts so, the newest first."""
        rows: list[Row] = self.api.get("/pulls", params={"state": state, "per_page": 100}).json()
        return [row for row in rows if row["head"]["ref"].startswith(start)]

    def issues(self, label: str, state: str = "open") -> list[Row]:
        rows: list[Row] = self.api.get("/issues", params={"labels": label, "state": state}).json()
        return [row for row in rows if "pull_request" not in row]

    def comments(self, number: int) -> list[Row]:
        rows: list[Row] = self.api.get(f"/issues/{number}/comments").json()
        return rows

    def statuses(self, commit: str) -> dict[str, str]:
        """The newest status of each context."""
        rows: list[Row] = self.api.get(f"/commits/{commit}/statuses").json()
        return {row["context"]: row["state"] for row in reversed(rows)}

    def deployments(self, environment: str) -> list[str]:
        """The newest state of each deployment, the newest first."""
        rows = self.api.get("/deployments", params={"environment": environment}).json()
        return [
            self.api.get(f"/deployments/{row['id']}/statuses").json()[0]["state"] for row in rows
        ]

    def record(self, environment: str) -> Row | None:
        """What main says."""
        content = self.show(f"deploy/{environment}/model.yaml")
        return yaml.safe_load(content) if content else None

    def show(self, path: str, ref: str = "main") -> bytes | None:
        command = ["git", "-C", str(self.repository.path), "cat-file", "blob", f"{ref}:{path}"]
        done = subprocess.run(command, capture_output=True, check=False, timeout=30)
        return done.stdout if done.returncode == 0 else None

    def git(self, *arguments: str) -> str:
        """git in the bare repository."""
        command = ["git", "-C", str(self.repository.path), *arguments]
        done = subprocess.run(command, capture_output=True, check=True, text=True, timeout=30)
        return done.stdout

    def branches(self) -> set[str]:
        return set(self.git("branch", "--format=%(refname:short)").split())

    def heads(self) -> str:
        """Every branch, and where it is."""
        return self.git("for-each-ref", "refs/heads")

    def folder(self, environment: str, ref: str = "main") -> dict[str, str | bytes | None]:
        """The files of a record at a commit, with a None for what is only there now."""
        place = f"deploy/{environment}"

        def names(at: str) -> list[str]:
            return self.git("ls-tree", "-r", "--name-only", at, "--", place).split()

        return dict.fromkeys(names("main")) | {name: self.show(name, ref) for name in names(ref)}

    def ledger(self, environment: str) -> list[Row]:
        """What stands on the branch, oldest first: entries, and how they came out."""
        branch = f"env/{environment}"
        if branch not in self.branches():
            return []
        commits = self.git("rev-list", "--first-parent", "--reverse", branch).split()
        notes = [json.loads(self.show("ledger.json", commit) or b"") for commit in commits]
        return [note | {"commit": at} for note, at in zip(notes, commits, strict=True)]

    def released(self, environment: str, commit: str = "") -> str:
        """The tree that a commit of the ledger released: what it holds but for its own note."""
        at = commit or f"env/{environment}"
        lines = self.git("ls-tree", at).splitlines(keepends=True)
        kept = "".join(line for line in lines if not line.endswith("\tledger.json\n"))
        command = ["git", "-C", str(self.repository.path), "mktree"]
        done = subprocess.run(
            command, input=kept, capture_output=True, check=True, text=True, timeout=30
        )
        return done.stdout.strip()

    def entries(self, environment: str) -> list[Row]:
        """Those of its commits that are releases, each with how it came out."""
        rows = self.ledger(environment)
        outcomes = {row["entry"]: row["outcome"] for row in rows if row["kind"] == "outcome"}
        entries = [row for row in rows if row["kind"] == "entry"]
        return [entry | {"outcome": outcomes.get(entry["commit"])} for entry in entries]

    def running(self, environment: str) -> str | None:
        """The digest of the model that answers."""
        for path in (self.state / "environments" / environment).glob("process-*.json"):
            port = json.loads(path.read_text())["port"]
            try:
                facts = httpx.get(f"http://127.0.0.1:{port}/model", timeout=5, trust_env=False)
            except httpx.TransportError:
                continue
            if facts.json()["listening"]["public"]:
                return str(facts.json()["digest"])
        return None

    def predictions(self, log: Path, model: str, moved: float, rows: int = 400) -> None:
        """A prediction log whose rows look like the training rows, moved by so many deviations."""
        place = self.state / "store" / "sha256" / model.removeprefix("sha256:")
        profile = json.loads((place / "profile.json").read_text())
        chance = random.Random(7)  # noqa: S311 - rows, not secrets

        def value(column: Row) -> float:
            quantiles = column["quantiles"]
            return float(chance.choice(quantiles) + moved * (max(quantiles) - min(quantiles)) / 4)

        lines = []
        for number in range(rows):
            row = {name: value(column) for name, column in profile["columns"].items()}
            answer = {"probability": float(chance.choice(profile["score"]["quantiles"]))}
            entry = {"time": "2026-11-21T12:00:00+00:00", "model": model, "request_id": str(number)}
            lines.append(json.dumps(entry | {"row": row, "answer": answer}))
        log.write_text("\n".join(lines) + "\n")

    @contextmanager
    def damaged_host(self) -> Iterator[None]:
        """Meanwhile ONNX Runtime computes wrong, but only in a service: the host is at fault, not
        what was released."""
        place = self.state.parent / "damage"
        place.mkdir()
        (place / "sitecustomize.py").write_text(DAMAGE)
        self.actions.environment["PYTHONPATH"] = str(place)
        try:
            yield
        finally:
            del self.actions.environment["PYTHONPATH"]
            shutil.rmtree(place)

    def granted(self) -> dict[str, dict[str, str]]:
        """The permissions of each job that ever ran, by its name."""
        return {
            token.job: dict(token.permissions or {})
            for token in self.github.tokens.values()
            if token.kind == "job" and token.job != "test"
        }

    def end(self) -> None:
        """Stop the services that deployments left running."""
        for path in self.state.glob("environments/*/process-*.json"):
            number = json.loads(path.read_text())["pid"]
            for name in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.kill(number, name)
                except ProcessLookupError:
                    break
                deadline = time.monotonic() + 5
                while Path(f"/proc/{number}").exists() and time.monotonic() < deadline:
                    time.sleep(0.05)


def by_workflow(runs: list[Run]) -> dict[str, Run]:
    """The last run of each workflow, by its file without the ending."""
    return {run.workflow.rpartition("/")[2].removesuffix(".yml"): run for run in runs}


def times(runs: list[Run]) -> str:
    """Seconds of each run, for people."""
    return "\n".join(
        f"{run.seconds:7.1f} s  {run.workflow.rpartition('/')[2]:<20} {run.event.name:<18}"
        f" {run.conclusion}"
        for run in runs
    )


def compiled_cache(folder: Path) -> Path:
    """uv's cache, by hard links, with bytecode in it: what a job installs need not be compiled by
    its first import."""
    asked = [tool("uv"), "cache", "dir"]
    cache = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=30).stdout

    def link(source: str, target: str) -> None:
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copy2(source, target)

    copy = folder / "uv-cache"
    shutil.copytree(cache.strip(), copy, copy_function=link, symlinks=True)
    command = [sys.executable, "-m", "compileall", "-q", "-j", "0", str(copy / "archive-v0")]
    subprocess.run(command, capture_output=True, check=False, timeout=600)  # not all are Python 3
    return copy
