"""GitHub Actions for the stand-in: events start workflows, act executes them.

    with Actions(github, repository, tmp_path) as actions:
        github.commit(repository, {"data/train.csv": rows})
        for run in actions.run_until_quiet():
            assert run.conclusion == "success", run.log

What is not GitHub's: the jobs of a run share HOME, and so what they leave there; steps have a
terminal; runs go one after the other; `fail-fast`, job-level `concurrency`, `environment` and a
job's `timeout-minutes` have no effect (a whole run has a limit). What would otherwise differ is
refused with an error, or put right here (see `workflows.py` and `results.py`).
"""

import json
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from .act import clean_environment, end, execute, tool
from .commits import Commits
from .concurrency import group
from .records import Event
from .repository import ZERO, Repository, environment
from .results import JobResult, Result, read, worst
from .standin import GitHub
from .triggers import should_trigger
from .workflows import Workflows, read_only

STANDINS = Path(__file__).parent / "standins"
REPORTED = ("push", "pull_request", "merge_group")  # a dispatched run satisfies no required check
ON_DEFAULT_BRANCH = ("schedule", "repository_dispatch", "issues", "issue_comment")


@dataclass
class Run:
    """A run of a workflow: its jobs by name, as GitHub shows them."""

    workflow: str
    event: Event
    jobs: dict[str, JobResult] = field(default_factory=dict)
    seconds: float = 0.0
    conclusion: Result = "cancelled"
    folder: Path | None = None

    @property
    def log(self) -> str:
        """What every job printed, for a failed assertion."""
        parts = [f"{self.workflow} ({self.event.name}): {self.conclusion}"]
        for name, job in self.jobs.items():
            parts.append(f"--- {name}: {job.result}\n{job.log}")
        return "\n".join(parts)

    @property
    def summary(self) -> str:
        return "\n".join(job.summary for job in self.jobs.values() if job.summary)

    @property
    def artifacts(self) -> dict[str, Path]:
        """The uploaded folders by name."""
        found = sorted((self.folder / "artifacts").iterdir()) if self.folder else []
        return {path.name: path for path in found}

    @property
    def attestations(self) -> list[dict[str, Any]]:
        """The inputs of each call of actions/attest."""
        file = self.folder / "attestations.jsonl" if self.folder else None
        lines = file.read_text(encoding="utf-8").splitlines() if file and file.exists() else []
        return [json.loads(line) for line in lines]


@dataclass
class _Started:
    """A run that was created and may have to wait."""

    path: str
    written: dict[Any, Any]
    event: Event
    commit: str
    group: str = ""
    cancelled: bool = False


class Actions:
    """The runner of one repository."""

    def __init__(
        self,
        github: GitHub,
        repository: Repository,
        root: Path,
        variables: Mapping[str, str] | None = None,
        secrets: Mapping[str, str] | None = None,
        seconds: float = 300,
        environment: Mapping[str, str] | None = None,
        standins: Path = STANDINS,
    ) -> None:
        self.github = github
        self.repository = repository
        self.root = root
        self.variables = dict(variables or {})
        self.secrets = dict(secrets or {})
        self.seconds = seconds
        self.environment = dict(environment or {})
        self.standins = standins
        self.commits = Commits(repository.path)
        self._delivered = 0
        self._mark = str(uuid.uuid4())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the services that steps have left behind on purpose."""
        end("STANDIN_RUNNER", self._mark)

    # Which workflows run.

    def should_trigger(self, workflow: dict[Any, Any], event: Event) -> bool:
        """Would GitHub start this workflow for this event?"""
        head = event.sha
        if event.name == "pull_request":
            head = event.payload["pull_request"]["head"]["sha"]
        return should_trigger(
            workflow, event, lambda: self.commits.changed(event), lambda: self.commits.message(head)
        )

    def schedule(self, cron: str) -> Event:
        """The event that a schedule makes, on the default branch."""
        return self._event("schedule", {"schedule": cron})

    def _event(self, name: str, payload: dict[str, Any]) -> Event:
        branch = self.repository.default_branch
        sha = self.repository.branch(branch) or ZERO
        shown = {"full_name": self.repository.full_name, "default_branch": branch}
        whole = {"repository": shown, "sender": {"login": "octocat"}} | payload
        full_name = self.repository.full_name
        return Event(name, None, full_name, f"refs/heads/{branch}", sha, "octocat", whole)

    def _started(self, event: Event) -> Iterator[_Started]:
        """The runs that an event creates, from the workflow files that it uses."""
        commit = event.sha
        if event.name in ON_DEFAULT_BRANCH:
            commit = self.repository.branch(self.repository.default_branch) or ZERO
        if commit == ZERO:
            return
        for path, written in self.commits.workflows(commit):
            if event.name == "workflow_dispatch":
                named = str(event.payload["workflow"]).rpartition("/")[2]
                if path.rpartition("/")[2] != named:
                    continue
            if self.should_trigger(written, event):
                yield _Started(path, written, event, commit)

    # Running them.

    def deliver(self, event: Event) -> list[Run]:
        """Run every workflow that the event starts, one after the other."""
        return [self._run(started) for started in self._started(event)]

    def run_until_quiet(self, limit: int = 20) -> list[Run]:
        """Deliver the stand-in's events, and those that runs cause, until there is none left.

        Runs are in the order in which they ended; one that had to give way has no jobs.
        """
        runs: list[Run] = []
        going: list[_Started] = []
        waiting: dict[str, _Started] = {}
        while True:
            for started in self._new():
                started.group, cancels = group(started.written, self._contexts(started))
                busy = next((one for one in going if started.group == one.group != ""), None)
                if busy is None:
                    going.append(started)
                    continue
                if old := waiting.pop(started.group, None):
                    runs.append(Run(old.path, old.event))
                if cancels:
                    going[going.index(busy)] = started
                    runs.append(Run(busy.path, busy.event))
                else:
                    waiting[started.group] = started
            if not going:
                return runs
            if len(runs) >= limit:
                names = ", ".join(run.workflow.rpartition("/")[2] for run in runs)
                raise RuntimeError(f"still not quiet after {limit} runs, a loop?: {names}")
            next_one = going.pop(0)
            runs.append(self._run(next_one))
            if next_one.group in waiting:
                going.append(waiting.pop(next_one.group))

    def forget(self) -> None:
        """Start nothing for what has happened so far."""
        self._delivered = len(self.github.events)

    def _new(self) -> Iterator[_Started]:
        """The runs of the events that nobody has delivered yet."""
        while self._delivered < len(self.github.events):
            event = self.github.events[self._delivered]
            self._delivered += 1
            if event.repository == self.repository.full_name:
                yield from self._started(event)

    def _contexts(self, started: _Started) -> dict[str, Any]:
        event = started.event
        known = {
            "event": event.payload,
            "event_name": event.name,
            "workflow": started.written["name"],
        }
        known |= {"ref": event.ref, "ref_name": _short(event.ref), "sha": started.commit}
        if event.name == "pull_request":
            known["head_ref"] = event.payload["pull_request"]["head"]["ref"]
        return {
            "github": known,
            "inputs": event.payload.get("inputs") or {},
            "vars": self.variables,
        }

    def _run(self, started: _Started) -> Run:
        """Run one workflow and report it to the stand-in, also when it cannot be run at all."""
        event, begin = started.event, time.monotonic()
        pull = event.payload.get("pull_request") if event.name == "pull_request" else None
        head: dict[str, Any] = (
            pull["head"] if pull else {"sha": started.commit, "ref": _short(event.ref)}
        )
        foreign = pull is not None and head["repo"]["full_name"] != self.repository.full_name
        reported = self.github.add_run(
            self.repository, started.path, event.name, head["sha"], head["ref"], actor=event.actor
        )
        run = Run(started.path, event, folder=self.root / f"run-{reported.id}")
        try:
            run.jobs = self._jobs(started, self.root / f"run-{reported.id}", reported.id, foreign)
        except Exception:
            self.github.finish_run(reported, {}, "failure")
            raise
        run.conclusion = worst(run.jobs.values())
        run.seconds = time.monotonic() - begin
        checks: dict[str, str | None] = {
            name: job.result
            for name, job in run.jobs.items()
            if event.name in REPORTED and (not job.calls or job.result == "skipped")
        }
        self.github.finish_run(reported, checks, run.conclusion)
        return run

    def _jobs(
        self, started: _Started, folder: Path, number: int, foreign: bool
    ) -> dict[str, JobResult]:
        clone, home, log = folder / "clone", folder / "home", folder / "act.jsonl"
        for part in (home, folder / "artifacts"):
            part.mkdir(parents=True)
        self._clone(started.commit, clone)

        def token(granted: dict[str, str], job: str) -> str:
            held = read_only(granted) if foreign else granted
            return self.github.job_token(self.repository, held, job)

        workflows = Workflows(clone, self.standins, token)
        plan = workflows.prepare(started.path)
        payload = json.dumps(started.event.payload)
        (folder / "event.json").write_text(payload, encoding="utf-8")
        variables = self._environment(started, folder, number)
        command = self._command(started, workflows, folder, variables, foreign)
        code = execute(command, log, variables, folder, self.seconds)
        shutil.rmtree(home, ignore_errors=True)
        jobs = read(log, plan, code is not None, workflows.tokens)
        failed = any(job.result == "failure" for job in jobs.values())
        if code is not None and (code != 0) != failed:
            said = log.with_suffix(".err").read_text(encoding="utf-8", errors="replace")
            shown = [line for line in said.splitlines() if '"level":"debug"' not in line][-5:]
            raise RuntimeError(f"{started.path}: act ended with {code}:\n" + "\n".join(shown))
        return jobs

    def _clone(self, commit: str, clone: Path) -> None:
        """The commit alone; what the jobs see they check out themselves."""
        source = str(self.repository.path)
        for arguments in (
            ["init", "--quiet", str(clone)],
            ["-C", str(clone), "fetch", "--quiet", "--depth=1", source, commit],
            ["-C", str(clone), "checkout", "--quiet", "--detach", commit],
        ):
            subprocess.run(["git", *arguments], check=True, env=environment(), timeout=60)

    def _environment(self, started: _Started, folder: Path, number: int) -> dict[str, str]:
        path = f"{self.repository.full_name}/{started.path}@{started.event.ref}"
        return {
            **clean_environment(folder / "home"),
            **self.environment,
            "GITHUB_RUN_ID": str(number),
            "GITHUB_TRIGGERING_ACTOR": started.event.actor,
            "GITHUB_WORKFLOW_REF": path,
            "GITHUB_WORKFLOW_SHA": started.commit,
            "RUNNER_ENVIRONMENT": "github-hosted",
            "RUNNER_TRACKING_ID": f"github_{uuid.uuid4()}",
            "STANDIN_ARTIFACTS": str(folder / "artifacts"),
            "STANDIN_ATTESTATIONS": str(folder / "attestations.jsonl"),
            "STANDIN_PYTHON": tool("python"),
            "STANDIN_RUNNER": self._mark,
            "STANDIN_UV": tool("uv"),
        }

    def _command(
        self,
        started: _Started,
        workflows: Workflows,
        folder: Path,
        variables: Mapping[str, str],
        foreign: bool,
    ) -> list[str]:
        event, clone = started.event, folder / "clone"
        told = {
            "GITHUB_API_URL": self.github.api_url,
            "GITHUB_SERVER_URL": self.github.url,
            "GITHUB_GRAPHQL_URL": f"{self.github.url}/api/graphql",
            "GITHUB_REPOSITORY": self.repository.full_name,
            "GITHUB_RUN_ID": variables["GITHUB_RUN_ID"],
            "GITHUB_REF": event.ref,
            "GITHUB_REF_NAME": _short(event.ref),
            "GITHUB_REF_TYPE": "tag" if event.ref.startswith("refs/tags/") else "branch",
            "RUNNER_TRACKING_ID": variables["RUNNER_TRACKING_ID"],
        }
        options = {
            "--directory": [str(clone)],
            "--workflows": [str(clone / started.path)],
            "--eventpath": [str(folder / "event.json")],
            "--actor": [event.actor],
            "--env": [f"{name}={value}" for name, value in told.items()],
            "--var": [f"{name}={value}" for name, value in self.variables.items()],
            "--local-repository": [f"{name}={path}" for name, path in workflows.actions.items()],
            "--platform": [
                f"{label}=-self-hosted"
                for label in sorted(workflows.labels | set(self.variables.values()))
                if re.fullmatch(r"[\w.-]+", label)
            ],
        }
        if not foreign:
            options["--secret"] = [f"{name}={value}" for name, value in self.secrets.items()]
        for kind in ("env", "secret", "var", "input"):
            options[f"--{kind}-file"] = ["/dev/null"]  # none that happens to lie in the repository
        alone = ["--json", "--verbose", "--action-offline-mode", "--no-skip-checkout"]
        given = [
            part for name, values in options.items() for value in values for part in (name, value)
        ]
        return [tool("act"), event.name, *alone, "--no-cache-server", *given]


def _short(ref: str) -> str:
    for prefix in ("refs/heads/", "refs/tags/", "refs/pull/"):
        ref = ref.removeprefix(prefix)
    return ref
