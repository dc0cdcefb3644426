"""How fast the generated service answers, beside what people use today, and whether rightly.

    .venv/bin/python benchmarks/serving.py            # 8 minutes, after 5 to install the peers once
    .venv/bin/python benchmarks/serving.py --quick    # 2 minutes, one short round
    .venv/bin/python benchmarks/serving.py --only ours fastapi-pandas --json figures.json

One model (histogram gradient boosting, 10 numbers and 6 categories, some missing), the same rows as
JSON over keep-alive connections, one worker each. Our service is a bake's `model-service` in an
environment of its run-time dependencies alone, with validation, metrics and prediction log on. One
server runs at a time, all of them in every round, so that ratios hold when the machine drifts.
Every answer is compared with what the peers' pipeline says of all rows at once. Linux only.

Exits with 1 when a bar is missed, or when something that was asked for could not be measured.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import sys
from pathlib import Path
from typing import Any

from peers.process import BenchmarkError, other_work
from peers.servers import HERE, ROOT, SERVERS, Installation, Server
from peers.table import bars, show
from peers.visit import visit

# Seconds of load after a warm-up: one connection, 16 connections, batches.
FULL, QUICK = (2.0, 5.0, 4.0), (1.0, 2.5, 2.5)
FIGURES = ("rate", "p99", "p50", "batches", "start", "resident")
WORST = ("wrong", "wrong elsewhere", "changed", "unlogged", "uncounted")


def main() -> int:
    """Install, measure in rounds, print the table and the bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    keys = [server.key for server in SERVERS]
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", nargs="+", choices=keys, default=keys, metavar="NAME",
                        help=f"servers to measure: {', '.join(keys)}")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--cache", type=Path, metavar="FOLDER", help="where environments are kept",
                        default=ROOT / "build" / "benchmarks" / "serving")  # fmt: skip
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops servers like Ctrl-C
    try:
        report = measure(options)
    except BenchmarkError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; no server is left", file=sys.stderr)
        return 130
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    held = all(bar["holds"] is not False for bar in report["bars"])
    return 0 if held and not report["not measured"] else 1


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every figure, by server and round."""
    here = Installation(options.cache.resolve())
    chosen = [server for server in SERVERS if server.key in options.only]
    missing = prepare(here, chosen)
    chosen = [server for server in chosen if server.key not in missing]
    asked = json.loads((here.files / "rows.json").read_text(encoding="utf-8"))
    rounds = 1 if options.quick else 3
    busy: list[float] = []
    found: dict[str, list[dict[str, Any]]] = {server.key: [] for server in chosen}
    for number in range(rounds):
        for server in chosen:
            if server.key in missing:
                continue
            busy.append(other_work())
            try:
                one = visit(here, server, asked, QUICK if options.quick else FULL)
            except BenchmarkError as error:
                missing[server.key] = str(error)
                say(f"{server.title}: {error}")
                continue
            found[server.key].append(one)
            say(f"round {number + 1}/{rounds}  {server.title:<32}{one['rate']:>9,.0f} requests/s")
    medians = {
        key: {name: statistics.median(one[name] for one in visits) for name in FIGURES}
        | {name: max(one[name] for one in visits) for name in WORST if name in visits[0]}
        for key, visits in found.items()
        if key not in missing
    }
    return {
        "machine": f"{os.cpu_count()} cores, Linux {platform.release()} {platform.machine()}, "
        f"Python {platform.python_version()}",
        "other work": statistics.mean(busy),
        "rounds": rounds,
        "nulls": len(asked["null"]["rows"]),
        "versions": {server.key: here.versions(server.environment) for server in chosen},
        "visits": found,
        "medians": medians,
        "not measured": missing,
        "bars": bars(medians),
    }


def prepare(here: Installation, chosen: list[Server]) -> dict[str, str]:
    """Make the project, the model and the environments; return what cannot be, and why."""
    say("baking the project and training its model")
    here.bake()
    here.install("training", here.training, project=True)
    shutil.rmtree(here.files, ignore_errors=True)
    here.files.mkdir(parents=True)
    script = str(HERE / "prepare.py")
    python = str(here.python("training"))
    here.run([python, script, str(here.project), str(here.files)], here.project)
    shutil.copytree(here.project / "candidate" / "model", here.files / "model")
    here.install("load", list(SERVERS[-1].needs))
    missing = {}
    for server in chosen:
        say(f"installing {server.title}, unless it is there")
        try:
            install(here, server)
        except BenchmarkError as error:
            missing[server.key] = str(error)
            say(f"{server.title}: {error}")
    return missing


def install(here: Installation, server: Server) -> None:
    """Make the environment of one server; ours holds what its image holds, and no more."""
    if server.key == "ours":
        here.install("service", here.service, project=True)
        unwanted = {"pandas", "scikit-learn", "pydantic"} & set(here.versions("service"))
        if unwanted:
            raise BenchmarkError(f"its environment holds {', '.join(sorted(unwanted))}")
    elif server.environment not in {"training", "load"}:
        here.install(server.environment, list(server.needs))
    if server.key == "mlflow":
        files = [here.files / "pipeline.joblib", here.project / "data" / "benchmark.csv"]
        python, target = str(here.python("mlflow")), here.files / "mlflow"
        here.run([python, str(HERE / "mlflow_model.py"), *map(str, files), str(target)])


def say(text: str) -> None:
    """Progress, apart from the table."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
