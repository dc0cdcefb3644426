"""Which workflow does an event start? GitHub's rules for `on:`, which act does not apply."""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from .records import Event
from .repository import ZERO

FIRST_FILES = 300  # GitHub's path filters see no more of a diff

# The events of which only some types start a workflow that names none.
USUAL = ("opened", "synchronize", "reopened")
DEFAULT_TYPES = {"pull_request": USUAL, "pull_request_target": USUAL}
KEYS = {
    "push": {"branches", "branches-ignore", "tags", "tags-ignore", "paths", "paths-ignore"},
    "pull_request": {"types", "branches", "branches-ignore", "paths", "paths-ignore"},
    "merge_group": {"types", "branches", "branches-ignore"},
    "repository_dispatch": {"types"},
    "workflow_dispatch": {"inputs"},
    "workflow_call": {"inputs", "outputs", "secrets"},
    "schedule": {"cron"},
}
KEYS["pull_request_target"] = KEYS["pull_request"]

_SKIP = re.compile(r"\[(?:skip ci|ci skip|no ci|skip actions|actions skip)\]", re.IGNORECASE)
_SKIP_TRAILER = re.compile(r"\n\n(?:.+\n)*skip-checks: ?true\s*\Z")


def events(workflow: dict[Any, Any]) -> dict[str, Any]:
    """The events under `on:` with their filters; YAML 1.1 reads the bare key as `True`."""
    written = workflow["on"] if "on" in workflow else workflow[True]
    if isinstance(written, str):
        return {written: {}}
    if isinstance(written, list):
        return {name: {} for name in written}
    for name, filters in written.items():
        _check(name, filters)
    return {name: filters or {} for name, filters in written.items()}


def _check(name: str, filters: Any) -> None:
    for entry in filters if isinstance(filters, list) else [filters or {}]:
        if unknown := set(entry) - KEYS.get(name, {"types"}):
            raise ValueError(f"on.{name}: GitHub knows no {', '.join(sorted(unknown))} here")
        for kind in ("branches", "tags", "paths"):
            ignored = entry.get(f"{kind}-ignore")
            if kind in entry and ignored is not None:
                raise ValueError(f"on.{name}: {kind} and {kind}-ignore exclude each other")
            if any(str(pattern).startswith("!") for pattern in _list(ignored)):
                raise ValueError(f"on.{name}: {kind}-ignore takes no pattern with !")
            chosen = _list(entry.get(kind))
            if chosen and all(str(pattern).startswith("!") for pattern in chosen):
                raise ValueError(f"on.{name}: {kind} needs a pattern without !")


def _list(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


@cache
def expression(pattern: str) -> re.Pattern[str]:
    """A filter pattern as a regular expression; `?` and `+` repeat what stands before them."""
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}
    parts: list[str] = []
    for part in re.findall(r"\*\*/|\*\*|\*|\[[^\]]+\]|\\.|.", pattern, re.DOTALL):
        if part in "?+":
            if not parts:
                raise ValueError(f"{pattern}: nothing stands before {part}")
            parts[-1] = f"(?:{parts[-1]}){part}"
        elif part.startswith("[") and len(part) > 2:
            parts.append(part.replace("\\", r"\\").replace("[^", r"[\^"))
        else:
            parts.append(special.get(part) or re.escape(part[-1]))
    return re.compile("".join(parts), re.DOTALL)


def matches(patterns: Sequence[str], name: str) -> bool:
    """Is the name chosen? The last pattern that matches it decides; `!` takes it out again."""
    chosen = False
    for pattern in patterns:
        if expression(pattern.removeprefix("!")).fullmatch(name):
            chosen = not pattern.startswith("!")
    return chosen


def _chosen(filters: dict[str, Any], kind: str, name: str) -> bool:
    if kind in filters:
        return matches(_list(filters[kind]), name)
    return not matches(_list(filters.get(f"{kind}-ignore")), name)


def _paths(filters: dict[str, Any], changed: Callable[[], Iterable[str]]) -> bool:
    """Does a changed file count? With a filter and without a change nothing does."""
    if not {"paths", "paths-ignore"} & set(filters):
        return True
    return any(_chosen(filters, "paths", path) for path in list(changed())[:FIRST_FILES])


def should_trigger(
    workflow: dict[Any, Any],
    event: Event,
    changed: Callable[[], Iterable[str]] = lambda: (),
    message: Callable[[], str] = lambda: "",
) -> bool:
    """Does GitHub start this workflow for this event?

    `changed` lists the changed files, `message` is the head commit's; neither is asked in vain.
    """
    wanted = events(workflow)
    if event.name not in wanted:
        return False
    filters = wanted[event.name]
    if event.name == "schedule":
        return any(entry["cron"] == event.payload["schedule"] for entry in filters)
    types = _list(filters.get("types")) or list(DEFAULT_TYPES.get(event.name, ()))
    if types and event.action not in types:
        return False
    if not _refs(filters, event) or (event.name in ("push", "pull_request") and skipped(message())):
        return False
    is_tag = event.name == "push" and event.ref.startswith("refs/tags/")
    return is_tag or _paths(filters, changed)


def _refs(filters: dict[str, Any], event: Event) -> bool:
    if event.name == "push":
        if event.payload.get("after", event.sha) == ZERO:
            return False  # the workflow would have to come from a commit that is no more
        kind = "tags" if event.ref.startswith("refs/tags/") else "branches"
        named = {key.removesuffix("-ignore") for key in filters} & {"branches", "tags"}
        if named and kind not in named:
            return False
        return _chosen(filters, kind, re.sub(r"^refs/(heads|tags)/", "", event.ref))
    if event.name in ("pull_request", "pull_request_target"):
        return _chosen(filters, "branches", event.payload["pull_request"]["base"]["ref"])
    if event.name == "merge_group":
        base = event.payload["merge_group"]["base_ref"].removeprefix("refs/heads/")
        return _chosen(filters, "branches", base)
    return True


def skipped(message: str) -> bool:
    """Does a commit's message ask that nothing runs for it?"""
    return bool(_SKIP.search(message) or _SKIP_TRAILER.search(message))


def is_due(cron: str, moment: datetime) -> bool:
    """Does a schedule fire in this minute (of UTC)?"""
    fields = cron.split()
    if len(fields) != 5:
        raise ValueError(f"{cron!r}: a schedule has five fields: minute hour day month weekday")
    limits = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
    now = (moment.minute, moment.hour, moment.day, moment.month, moment.isoweekday() % 7)
    minute, hour, day, month, weekday = (
        value in _values(field, *limit)
        for field, limit, value in zip(fields, limits, now, strict=True)
    )
    restricted = [hit for hit, field in ((day, fields[2]), (weekday, fields[4])) if field != "*"]
    return minute and hour and month and (any(restricted) if restricted else True)


@cache
def _values(field: str, low: int, high: int) -> set[int]:
    """The numbers that one field of a schedule names."""
    found: set[int] = set()
    for part in field.split(","):
        parsed = re.fullmatch(r"(?:\*|(\d+)(?:-(\d+))?)(?:/([1-9]\d*))?", part)
        if not parsed:
            raise ValueError(f"{part!r}: not a field of a schedule (days and months: by number)")
        first, last, step = (int(number) if number else None for number in parsed.groups())
        start = low if first is None else first
        end = (high if first is None or step else start) if last is None else last
        if not low <= start <= end <= high:
            raise ValueError(f"{part!r}: outside {low}-{high}")
        found |= set(range(start, end + 1, step or 1))
    return found
