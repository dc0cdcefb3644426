"""A setting as it is and as it should be, and the request that makes it so."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from mlrelease.github.api import Json
from mlrelease.github.settings import Check

SETUP = "model setup-github"


@dataclass(frozen=True)
class Difference:
    """A setting as it is, and as it should be; `old` is None where it is not there."""

    name: str
    old: str | None
    new: str

    def __str__(self) -> str:
        if self.old is not None:
            return f"~ {self.name}: {self.old} -> {self.new}"
        return f"+ {self.name}{f': {self.new}' if self.new else ''}"


@dataclass(frozen=True)
class Step:
    """One request, and the differences that it removes."""

    differences: tuple[Difference, ...]
    method: Literal["POST", "PUT", "PATCH", "DELETE"]
    path: str
    content: Json

    def __str__(self) -> str:
        return "\n".join(map(str, self.differences))


def differences(pairs: dict[str, tuple[Any, Any]]) -> tuple[Difference, ...]:
    """Of settings by name, as they are and as they should be."""
    return tuple(
        Difference(name, _shown(old), _shown(new))
        for name, (old, new) in pairs.items()
        if old != new
    )


def faults(name: str, steps: list[Step], good: str, page: str) -> Iterator[Check]:
    """What `model setup-github` would change; one check that all is good, where it is nothing."""
    all_of = [difference for step in steps for difference in step.differences]
    missing = [d.name.rpartition(" ")[2] for d in all_of if d.old is None]
    said = [f"missing: {', '.join(missing)}"] * bool(missing)
    said += [f"{d.name}: {d.old}; should be {d.new}" for d in all_of if d.old is not None]
    for fault in said:
        yield Check(name, "FAILED", fault.removeprefix(f"{name} "), (SETUP, page))
    if not said:
        yield Check(name, "ok", good)


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value)
