"""How long drift takes on 1,000,000 rows x 30 columns, ours and, on request, our peers'.

    .venv/bin/python benchmarks/drift.py            # in a generated project's environment
    .venv/bin/python benchmarks/drift.py --peers    # installs each peer into its own temporary one

25 columns are numbers, 5 are categories; the reference has as many rows. Figures move with the
machine: compare ratios of one run. Reading files is not timed, for anybody.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBERS, CATEGORIES = 25, 5
# What each peer needs beside itself: none of them runs with pandas 3.
PEERS = {
    "evidently": (["evidently==0.7.23", "pandas<3", "pyarrow"], "3.11"),
    "nannyml": (["nannyml==0.13.1", "statsmodels", "pandas<3", "pyarrow", "setuptools<81"], "3.11"),
}
RUN = {
    "evidently": """
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
kinds = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
run = lambda: Report([DataDriftPreset()]).run(
    Dataset.from_pandas(current, kinds), Dataset.from_pandas(reference, kinds)
)
""",
    "nannyml": """
import nannyml
def run():
    calculator = nannyml.UnivariateDriftCalculator(
        column_names=[*numbers, *categories], chunk_number=1,
        continuous_methods=["kolmogorov_smirnov", "wasserstein"],
        categorical_methods=["jensen_shannon"],
    )
    return calculator.fit(reference).calculate(current)
""",
}
PEER = """
import sys, time
import pandas
reference, current = (pandas.read_parquet(path) for path in sys.argv[1:3])
categories = [name for name in current if name.startswith("category")]
numbers = [name for name in current if name.startswith("number")]
{run}
start = time.perf_counter()
run()
print("seconds", time.perf_counter() - start)
"""


def table(rows: int, seed: int, shift: float) -> Any:
    """Rows of which every fifth number has moved by `shift` standard deviations."""
    import numpy as np
    import pandas as pd

    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {}
    for i in range(NUMBERS):
        columns[f"number {i}"] = random.normal(shift * (i % 5 == 0), 1, rows)
    for i in range(CATEGORIES):
        names = np.array([f"value {j}" for j in range(4 * (i + 1))], dtype=object)
        columns[f"category {i}"] = random.choice(names, rows)
    return pd.DataFrame(columns)


def ours(reference: Any, current: Any, repeats: int) -> dict[str, float]:
    """Median seconds of each step."""
    import msgspec
    import numpy as np

    from mlrelease.monitoring import drift
    from mlrelease.policy import DriftLimits
    from mlrelease.scoring import features
    from mlrelease.training import profiles as profile

    columns = [features.Column(name, name.split()[0]) for name in current]
    scores = np.linspace(0, 1, len(current))
    seconds: dict[str, list[float]] = {}

    def timed(step: str, work: Callable[..., Any], *inputs: Any) -> Any:
        start = time.perf_counter()
        result = work(*inputs)
        seconds.setdefault(step, []).append(time.perf_counter() - start)
        return result

    for _ in range(repeats):
        typed = features.to_frame(reference, columns)
        facts = timed("profile the training rows, once", profile.profile, typed, columns, scores)
        known = msgspec.convert(facts, profile.Profile)
        frame = timed("type the current rows", features.to_frame, current, columns)
        inputs = (known, frame, scores, DriftLimits(), "sha256:0")
        report = timed("compare them with the profile", drift.compare, *inputs)
        if set(report.drifted) != {f"number {i}" for i in range(0, NUMBERS, 5)}:
            sys.exit(f"Wrong columns were found to have drifted: {report.drifted}")
    return {step: statistics.median(times) for step, times in seconds.items()}


def peer(name: str, files: list[Path], directory: Path) -> tuple[float | None, str]:
    """Seconds of a peer in an environment of its own, or None and the reason."""
    requirements, version = PEERS[name]
    python = directory / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    steps = [
        ["uv", "venv", "--quiet", "--python", version, str(directory / name)],
        ["uv", "pip", "install", "--quiet", "--python", str(python), *requirements],
        [str(python), "-c", PEER.format(run=RUN[name]), *map(str, files)],
    ]
    # Neither usage data nor a look at the project's own environment.
    quiet = {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}} | quiet
    for command in steps:
        try:
            done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=1800)
        except (OSError, subprocess.TimeoutExpired) as error:
            return None, str(error)
        if done.returncode:
            return None, (done.stderr.strip().splitlines() or ["failed without a word"])[-1]
    return float(done.stdout.split("seconds")[-1]), ""


def main() -> None:
    """Print one line per step and peer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="install and run the peers as well")
    options = parser.parse_args()
    reference, current = table(options.rows, 0, 0.0), table(options.rows, 1, 1.0)
    print(
        f"{options.rows:,} rows x {NUMBERS + CATEGORIES} columns, {os.cpu_count()} cores,", end=" "
    )
    print(f"Python {platform.python_version()}, median of {options.repeats}", flush=True)
    found = ours(reference, current, options.repeats)
    for step, seconds in found.items():
        print(f"{seconds:8.2f} s  ours: {step}", flush=True)
    total = sum(seconds for step, seconds in found.items() if "once" not in step)
    print(f"{total:8.2f} s  ours: rows to report")
    if not options.peers:
        return
    with tempfile.TemporaryDirectory(prefix="drift-peers-") as temporary:
        directory = Path(temporary)
        files = [directory / "reference.parquet", directory / "current.parquet"]
        for frame, path in zip((reference, current), files, strict=True):
            frame.to_parquet(path)
        del reference, current
        for name in PEERS:
            theirs, reason = peer(name, files, directory)
            if theirs is None:
                print(f"       -    {name}: {reason}", flush=True)
            else:
                print(f"{theirs:8.2f} s  {name}: {theirs / total:.0f} times ours", flush=True)


if __name__ == "__main__":
    main()
