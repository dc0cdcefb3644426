"""Read the results of a run from what act printed."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .triggers import events
from .workflows import Job, Plan

Result = Literal["success", "failure", "skipped", "cancelled"]


@dataclass
class JobResult:
    """One job, one leg of a matrix, or (`calls`) the call of a workflow with what it came to."""

    id: str
    result: Result
    outputs: dict[str, str] = field(default_factory=dict)
    summary: str = ""
    log: str = ""
    seconds: float = 0.0
    calls: bool = False


def worst(jobs: Iterable[JobResult]) -> Result:
    """What several jobs come to; one that was skipped counts as success beside others."""
    results = {job.result for job in jobs}
    order: tuple[Result, ...] = ("failure", "cancelled", "success", "skipped")
    return next(result for result in order if result in results)


@dataclass
class _Lines:
    """What act printed about one job."""

    job: Job
    prefix: str  # of the calling jobs, as GitHub shows them
    name: str
    matrix: dict[str, Any]
    lines: list[dict[str, Any]] = field(default_factory=list)


def read(log: Path, plan: Plan, finished: bool, tokens: Iterable[str]) -> dict[str, JobResult]:
    """The results by name, as GitHub shows the names."""
    text = log.read_text(encoding="utf-8", errors="replace")
    for token in tokens:
        text = text.replace(token, "***")
    entries = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    groups: dict[tuple[str, str], _Lines] = {}
    contexts = list(_contexts(plan, "", ""))
    for entry in entries:
        if "jobID" not in entry:
            continue
        key = (entry["jobID"], entry["job"].rstrip())
        if key not in groups:
            groups[key] = _find(contexts, *key, entry.get("matrix") or {})
        groups[key].lines.append(entry)
    return _results(plan, "", list(groups.values()), finished)


def _pattern(name: str) -> str:
    return "(.*?)".join(re.escape(part) for part in re.split(r"\$\{\{.*?\}\}", name))


def _contexts(plan: Plan, callers: str, before: str) -> Iterator[tuple[Plan, str, str]]:
    """Each workflow of a run with how act begins, and GitHub ends, the names of its jobs."""
    yield plan, before + re.escape(plan.name) + "/", callers
    for job in plan.jobs.values():
        if job.called:
            own = f"{callers}{job.name} / "
            yield from _contexts(job.called, own, re.escape(job.name) + "/")


def _find(
    contexts: list[tuple[Plan, str, str]], key: str, shown: str, matrix: dict[str, Any]
) -> _Lines:
    for plan, before, callers in contexts:
        job = plan.jobs.get(key)
        found = job and re.fullmatch(f"{before}(?P<name>{_pattern(job.name)}(-\\d+)?)", shown)
        if job and found:
            return _Lines(job, callers, found["name"], matrix)
    raise RuntimeError(f"act ran a job that is not in the workflow: {key} ({shown})")


def _results(plan: Plan, prefix: str, groups: list[_Lines], finished: bool) -> dict[str, JobResult]:
    found: dict[str, JobResult] = {}
    for job in plan.jobs.values():
        legs = [group for group in groups if group.job is job]
        if job.called:
            found |= _call(job, f"{prefix}{job.name}", groups, legs, finished)
            continue
        ran = [group for group in legs if not _is_skipped(group)]
        for leg in ran:
            found[prefix + _leg_name(leg, len(legs))] = _result(leg, finished)
        if not ran:
            result: Result = "skipped" if legs or finished else "cancelled"
            found[f"{prefix}{job.name}"] = JobResult(job.id, result)
    return found


def _is_skipped(group: _Lines) -> bool:
    return any(line.get("jobResult") == "skipped" for line in group.lines)


def _leg_name(leg: _Lines, legs: int) -> str:
    """A matrix shows in the name: where the name itself says so, or in brackets behind it."""
    name = re.sub(r"-\d+$", "", leg.name) if legs > 1 else leg.name
    if not leg.matrix or re.search(r"\$\{\{[^}]*\bmatrix\.", leg.job.name):
        return name
    written = (
        [key for key in leg.job.matrix if key in leg.matrix]
        if isinstance(leg.job.matrix, dict)
        else []
    )
    values = {key: leg.matrix[key] for key in [*written, *leg.matrix]}
    return f"{name} ({', '.join(str(value) for value in values.values())})"


def _call(
    job: Job, name: str, groups: list[_Lines], own: list[_Lines], finished: bool
) -> dict[str, JobResult]:
    assert job.called
    inside = _results(job.called, f"{name} / ", groups, finished)
    lines = [
        line for group in groups if group.prefix.startswith(f"{name} / ") for line in group.lines
    ]
    if not lines:
        result: Result = "skipped" if own or finished else "cancelled"
        return {name: JobResult(job.id, result, calls=True)}
    came_to = worst(inside.values())
    last = [line["jobResult"] for line in lines if line.get("jobResult") in ("success", "failure")]
    if came_to == "failure" and last[-1] != "failure":
        raise RuntimeError(
            f"{name}: act reports success, as its last job ended well; GitHub: failure"
        )
    declared = events(job.called.written)["workflow_call"].get("outputs") or {}
    written = {key: value["value"] for key, value in declared.items()}
    seconds = sum(entry.seconds for entry in inside.values() if not entry.calls)
    values = _outputs(written, lines)
    return {name: JobResult(job.id, came_to, values, seconds=seconds, calls=True)} | inside


def _result(group: _Lines, finished: bool) -> JobResult:
    lines = group.lines
    reported = [line["jobResult"] for line in lines if "jobResult" in line]
    result: Result = "cancelled"
    if reported:
        # act has one result for a whole matrix: a leg's own is in its steps.
        result = "failure" if reported[-1] == "failure" and _failed(group) else "success"
    elif finished:
        result = "failure"
    times = [line.get("executionTime", 0) for line in lines if len(line.get("stepID", [])) == 1]
    printed = [
        line.get("raw", line["msg"])
        for line in lines
        if line.get("raw_output")
        or line.get("command") in ("error", "warning", "notice")
        or (line["level"] == "error" and "command" not in line)
    ]
    return JobResult(
        group.job.id,
        result,
        _outputs(group.job.written.get("outputs") or {}, lines),
        "".join(_summaries(lines)),
        "".join(text if text.endswith("\n") else f"{text}\n" for text in printed),
        sum(times) / 1e9,
    )


def _summaries(lines: list[dict[str, Any]]) -> Iterator[str]:
    """What steps wrote; act repeats a composite's last one for the composite itself."""
    composites = {tuple(line["stepID"][:-1]) for line in lines if "stepID" in line}
    for line in lines:
        if line.get("command") == "summary" and tuple(line["stepID"]) not in composites:
            yield line["content"]


def _failed(group: _Lines) -> bool:
    """Did a step of this leg fail? One that may (`continue-on-error`) says so just before."""
    if not group.matrix:
        return True
    forgiven: set[str] = set()
    failed = False
    for line in group.lines:
        step = line.get("stepID") or line.get("stepid") or []
        if len(step) != 1:
            continue
        broke = line["level"] == "error" and not {"command", "stage"} & set(line)
        if line["msg"] == "Failed but continue next step":
            forgiven.add(step[0])
        elif broke or (line.get("stepResult") == "failure" and step[0] not in forgiven):
            failed = True
    return failed


def _outputs(written: dict[str, Any], lines: list[dict[str, Any]]) -> dict[str, str]:
    """The outputs as act evaluated them, which only its own notes tell."""
    rewritten: dict[str, str] = {}
    evaluated: dict[str, str] = {}
    for line in lines:
        message = line["msg"]
        if found := re.fullmatch(r"expression '(.*)' rewritten to '(.*)'", message, re.DOTALL):
            rewritten[found[1]] = found[2]
        elif found := re.fullmatch(
            r"expression '(.*)' evaluated to '%!t\(string=(.*)\)'", message, re.DOTALL
        ):
            evaluated[found[1]] = found[2]
    values = {name: str(value) for name, value in written.items()}
    return {
        name: evaluated.get(rewritten.get(value, ""), "") if "${{" in value else value
        for name, value in values.items()
    }
