"""What stands in for models, processes and GitHub's API in the test of the one law."""

import datetime as dt
from collections.abc import Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from mlrelease.github import repository as github
from mlrelease.scoring import contents
from tests.engine.law.law_objects import PLAIN

if TYPE_CHECKING:
    from tests.engine.law.law_world import World

WRITERS = ("ann", "bob", "rehearsal")


class Killed(BaseException):
    """kill -9, as far as Python can."""


@dataclass(frozen=True)
class Kind:
    """What the table says of a model."""

    auc: float
    answers: int
    golden: bool = True
    says: int | None = None  # as which other it says that it was made
    graph: str = ""  # its ONNX graph, where that is not what its pipeline gives


SWAPPED, GRAFTED = 6, 7  # somebody put these into the store
KINDS = (
    Kind(0.955, 1), Kind(0.97, 2), Kind(0.98, 3), Kind(0.97, 2), Kind(0.8, 5),
    Kind(0.975, 6, False), Kind(0.99, 7, says=2), Kind(0.99, 8, says=2, graph="a graph"),
)  # fmt: skip


@dataclass
class Service:
    """A process that would serve."""

    record: Any
    port: int
    public: int | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serves(self, wanted: Any) -> bool:
        return bool(self.record.model == wanted.model)

    def public_port(self) -> int | None:
        return self.public


@dataclass
class Driver:
    """A machine's processes of one environment."""

    world: "World"
    services: list[Service] = field(default_factory=list)
    started: list[Any] = field(default_factory=list)

    def exclusive(self) -> AbstractContextManager[None]:
        return nullcontext()

    def recover(self) -> None:
        """Nothing ends here but what is killed."""

    def running(self) -> tuple[Service, ...]:
        return tuple(self.services)

    def public_port(self, wanted: int) -> int:
        return wanted or 8000

    def start(self, wanted: Any, directory: Path, _: int) -> Service:
        self.world.passes("before load")
        card = contents.read(directory, wanted.model).json("model.json")  # as the process does
        assert self.world.digests[card["number"]] == wanted.model, (
            "other bytes than the record names"
        )
        self.world.passes("before start")
        self.services.append(made := Service(wanted, 9000 + len(self.started)))
        self.started.append(wanted)
        self.world.passes("after start")
        return made

    def take_over(self, service: Service, public_port: int) -> None:
        for other in self.services:
            other.public = None
        service.public = public_port
        self.world.passes("after take-over")

    def keep(self, service: Service) -> None:
        """It runs."""

    def stop(self, service: Service) -> None:
        self.services = [other for other in self.services if other is not service]


@dataclass(frozen=True)
class Pull:
    """How a commit came to main."""

    number: int
    head: str
    author: str
    approved_by: tuple[str, ...]
    merged_at: dt.datetime
    added: tuple[str, ...] = ()  # what was changed in the merge itself


class GitHub:
    """What GitHub says of commits, from a table."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.repository = SimpleNamespace(name="acme/churn", token="")

    def clock(self) -> dt.datetime:
        return self.world.true

    def blob(self, commit: str, path: str) -> str | None:
        return self.world.origin.files(commit).get(path, (PLAIN, None))[1]

    def middle(self, _: str) -> int | None:
        """Here a pull request brings one commit."""
        return None

    def approvals(
        self, commit: str, exclude: Collection[str] = (), permitted: bool = True
    ) -> github.Review | None:
        pull = self.world.pulls.get(commit)
        if pull is None:
            return None
        nobodies = {name.lower() for name in (pull.author, *exclude)}
        people = (n for n in pull.approved_by if n.lower() not in nobodies)
        names = tuple(n for n in people if not permitted or n in WRITERS)
        return github.Review(pull.number, pull.head, pull.author, names, pull.merged_at)
