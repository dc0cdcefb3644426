"""`model deploy`: make what runs equal to main, as often as you like.

Every run looks at what is there and does what is missing, so that a run that was killed at any
point loses nothing: the next one goes on from the state that it finds.
"""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..config import Environment
from ..errors import ModelError, RefusedError
from ..files import read_json
from ..serving import golden
from .history import Entry, history
from .record import Record, short
from .rollback import rollback
from .supervisor import Process, Processes
from .verify import Change, verify
from .workspace import Workspace


@dataclass(frozen=True)
class Deployment:
    """What a run found or did. `url` is the environment's public address."""

    environment: Environment
    action: Literal["nothing", "unchanged", "deployed", "refused", "failed"]
    model: str | None = None
    commit: str | None = None
    url: str | None = None
    rollback: bool = False
    error: str | None = None


class SmokeTestError(RefusedError):
    """The golden requests failed; the previous model still runs."""


def deploy(workspace: Workspace, environment: Environment, revert: bool = True) -> Deployment:
    """Serve what main names, after verifying it again. `revert`: propose the model before, when
    this one does not answer as it did when it was trained.

    Raises:
        RefusedError: main names something that must not run; what ran before still does.
        SmokeTestError: It does not answer so.
    """
    processes = Processes(workspace.state / "environments" / environment)
    with processes.exclusive():
        base = workspace.git.base()
        entries = history(workspace.git, base, environment)
        if not entries:
            return Deployment(environment, "nothing")
        wanted = entries[0]
        if wanted.record is None:
            raise RefusedError(f"{environment}: {wanted.fault}; what ran before still runs")
        model = wanted.record.model
        rules = workspace.policy_at(base).environments[environment]
        port = processes.public_port(rules.port)
        url = f"http://127.0.0.1:{port}"
        serving = _serving(processes, model, port)
        if serving and not _smoke_test(workspace, serving, model):
            _stop_others(processes, serving)
            return Deployment(environment, "unchanged", model, wanted.commit, url)
        was_rollback = _verified(workspace, environment, wanted)
        process = _start(workspace, processes, wanted.record, port, revert)
        processes.take_over(process, port)
        _stop_others(processes, process)
        return Deployment(environment, "deployed", model, wanted.commit, url, was_rollback)


def attempt(workspace: Workspace, environment: Environment, revert: bool = True) -> Deployment:
    """`deploy`, with a failure as an outcome: `refused` before it ran, or `failed` its test."""
    try:
        return deploy(workspace, environment, revert)
    except ModelError as error:
        entries = history(workspace.git, workspace.git.base(), environment)
        record = entries[0].record if entries else None
        return Deployment(
            environment,
            "failed" if isinstance(error, SmokeTestError) else "refused",
            record.model if record else None,
            entries[0].commit if entries else None,
            error=str(error),
        )


def stop(workspace: Workspace, environment: Environment) -> int:
    """End every process of an environment; how many there were."""
    processes = Processes(workspace.state / "environments" / environment)
    with processes.exclusive():
        running = processes.running()
        for process in running:
            processes.stop(process)
        return len(running)


def _serving(processes: Processes, model: str, port: int) -> Process | None:
    for process in processes.running():
        if process.digest == model and process.public_port() == port:
            return process
    return None


def _smoke_test(workspace: Workspace, process: Process, model: str) -> list[str]:
    requests = read_json(workspace.store.fetch(model) / "golden.json")
    return golden.check(process.url, requests, model)


def _verified(workspace: Workspace, environment: Environment, wanted: Entry) -> bool:
    """Verify the change that made main name this model; whether it was a rollback."""
    outcome = verify(workspace, Change.on_main(workspace.git, environment, wanted))
    if not outcome.passed:
        lines = "\n".join(f"  {f.name}: {f.message}" for f in outcome.failed)
        raise RefusedError(
            f"{environment}: {wanted.commit[:7]} is refused; what ran before still runs\n{lines}"
        )
    return outcome.rollback


def _start(
    workspace: Workspace, processes: Processes, record: Record, port: int, revert: bool
) -> Process:
    """A process with this model that passed the golden requests, before anybody is sent to it."""
    directory = workspace.store.fetch(record.model)
    for left in processes.running():  # by a deployment that was killed, or it answers no more
        if left.digest == record.model:
            processes.stop(left)
    process = processes.start(directory, record.model, record.version, port)
    faults = _smoke_test(workspace, process, record.model)
    if not faults:
        return process
    processes.stop(process)
    message = f"{record.environment}: {short(record.model)} failed the golden requests: {faults[0]}"
    message += "; what ran before still runs"
    if not revert:
        raise SmokeTestError(message)
    try:
        reason = f"The golden requests failed after deployment: {faults[0]}"
        proposed = rollback(workspace, record.environment, reason=reason).pull_request
        proposal = f"; a revert is proposed: {proposed.branch}"
    except ModelError as error:
        proposal = f"; no revert is proposed: {error}"
    raise SmokeTestError(message + proposal)


def _stop_others(processes: Processes, keep: Process) -> None:
    for process in processes.running():
        if process.pid != keep.pid:
            processes.stop(process)


def prediction_log(workspace: Workspace, environment: Environment) -> Path:
    """Where the service of an environment writes what it was asked and what it answered."""
    return workspace.state / "environments" / environment / "predictions.jsonl"


def now() -> dt.datetime:
    """The present, for the rules that depend on it."""
    return dt.datetime.now(dt.UTC)
