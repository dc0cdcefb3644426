"""One visit to one server: what it is asked, and what is found."""

import json
import shutil
from dataclasses import dataclass
from typing import Any

from .process import BenchmarkError, ask, free_port, running, status, watched
from .servers import Installation, Server

SINGLES, BATCH, CONNECTIONS = 200, 100, 16
TOLERANCE = 1e-5  # of a probability: what the parity rule of the gate allows


@dataclass(frozen=True)
class Asked:
    """Requests of `size` rows each for one server, and the scores that are right."""

    server: Server
    rows: list[dict[str, Any]]
    scores: list[float]
    size: int = 1

    @property
    def path(self) -> str:
        """Where they are sent."""
        return self.server.many if self.size > 1 else self.server.one

    @property
    def bodies(self) -> list[str]:
        """What is sent."""
        parts = (self.rows[i : i + self.size] for i in range(0, len(self.rows), self.size))
        return [json.dumps(self.server.body(part, self.size > 1)) for part in parts]

    def wrong(self, answers: list[str | None]) -> list[int]:
        """Which rows were answered wrongly. A slow server may not have come to all of them."""
        found = []
        for number, answer in enumerate(answers):
            if answer is not None and self.server.key != "constant":
                first = number * self.size
                right = self.scores[first : first + self.size]
                try:
                    given = self.server.scores(json.loads(answer), self.size > 1)
                    pairs = enumerate(zip(given, right, strict=True))
                    found += [first + i for i, (a, b) in pairs if not abs(a - b) <= TOLERANCE]
                except (ValueError, LookupError, TypeError):
                    raise BenchmarkError(f"no such answer was expected: {answer[:200]}") from None
        return found


def visit(
    here: Installation, server: Server, rows: dict[str, Any], seconds: tuple[float, float, float]
) -> dict[str, Any]:
    """Start a server, check its answers, measure it under load, stop it."""
    logged = here.files / "log"
    shutil.rmtree(logged, ignore_errors=True)
    logged.mkdir()
    nulls = Asked(server, **rows["null"])
    batches = Asked(server, **rows["ordinary"], size=BATCH)
    singles = Asked(server, **{name: part[:SINGLES] for name, part in rows["ordinary"].items()})
    jobs: list[tuple[Asked, dict[str, Any]]] = [
        (nulls, {"connections": 1, "once": True}),
        (singles, {"connections": 1, "seconds": seconds[0], "warmup": 0.5}),
        (singles, {"connections": CONNECTIONS, "seconds": seconds[1], "warmup": 1.0}),
        (batches, {"connections": CONNECTIONS, "seconds": seconds[2], "warmup": 1.0}),
    ]
    port, python = free_port(), here.python("load")
    command, environ = here.start(server, port)
    log, first = here.logs / f"{server.key}.log", singles.bodies[0]
    with running(command, port, environ, log, server.one, first) as process:
        results = []
        for asked, job in jobs:
            job |= {"port": port, "path": asked.path, "bodies": asked.bodies}
            results.append(ask(python, here.environ, job))
        figures = {"start": process.seconds, "resident": process.resident_mb()}
        if server.ours:
            answered, dropped = watched(port)
            bad = json.dumps(singles.rows[0] | {"number_0": "much"})
            if status(port, server.one, bad) != 422:
                raise BenchmarkError("it does not refuse a text for a number")
    wrong = [x.wrong(result["answers"]) for (x, _), result in zip(jobs, results, strict=True)]
    whole = [i for i in wrong[1] + wrong[2] if None not in singles.rows[i].values()]
    if whole:
        raise BenchmarkError(f"it answers rows without a null wrongly: {len(whole)}")
    if server.ours:
        requests = sum(result["answered"] for result in results)
        pairs = zip(jobs, results, strict=True)
        sent = sum(asked.size * result["answered"] for (asked, _), result in pairs)
        size = sum(path.stat().st_size for path in logged.iterdir())
        figures["unlogged"] = dropped / sent if size else 1.0
        figures["uncounted"] = max(0.0, 1 - answered / requests)
    shutil.rmtree(logged)
    return figures | {
        "rate": results[2]["rate"],
        "p99": results[2]["p99"],
        "p50": results[1]["p50"],
        "batches": results[3]["rate"],
        "wrong": len(wrong[0]),
        "wrong elsewhere": len(set(wrong[1] + wrong[2])) + len(wrong[3]),
        "changed": sum(result["changed"] for result in results),
    }
