"""How fast `model predict` scores a Parquet file, and in how much memory.

    .venv/bin/python benchmarks/predict.py --project ../my-model       # 10,000,000 rows

It uses the model that `model train` left in the project (candidate/model), and makes rows for its
columns. Then it compares, on fewer rows, with what people write by hand: pandas.read_parquet, the
scikit-learn pipeline on the whole table, to_parquet. Each runs as a process of its own, in turn.
Figures move with the machine: compare ratios of one run. Exits with 1 when it takes more than 1 GB.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PIECE = 1 << 20  # rows that are made at once, and a row group
MOST_MB = 1_000  # of memory, however many rows there are
BY_HAND = """
import importlib, sys
from pathlib import Path
import pandas as pd
model, source, target = sys.argv[1:]
Model = importlib.import_module("mlrelease.scoring.artifact").Model
model = Model.load(Path(model))
frame = pd.read_parquet(source)
names = [column.name for column in model.signature.columns]
rows = frame[names].copy()
for column in model.signature.columns:
    if column.type == "category":
        rows[column.name] = rows[column.name].astype(object).fillna("")
    else:
        rows[column.name] = rows[column.name].astype("float32")
frame["score"] = model.scores(rows)
frame.to_parquet(target)
"""


def make(path: Path, card: dict[str, Any], rows: int) -> None:
    """Rows with an `id` and the model's columns; 3 % missing where that is allowed."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    random = np.random.default_rng(0)
    writer = None
    for start in range(0, rows, PIECE):
        n = min(PIECE, rows - start)
        table: dict[str, Any] = {"id": np.arange(start, start + n)}
        for column in card["signature"]["columns"]:
            if column["type"] == "number":
                values = random.normal(50, 10, n)
            else:
                values = np.array(column["categories"], dtype=object)
                values = values[random.integers(0, len(values), n)]
            missing = random.random(n) < (0.03 if column["nullable"] else 0)
            table[column["name"]] = pa.array(values, mask=missing)
        piece = pa.table(table)
        writer = writer or pq.ParquetWriter(path, piece.schema)
        writer.write_table(piece, row_group_size=n)
    if writer:
        writer.close()


def run(command: list[str], env: dict[str, str]) -> tuple[float, float, float, str]:
    """Seconds, seconds of the processor, peak of resident memory in MB, and the output."""
    began = time.perf_counter()
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)  # this process alone, unlike getrusage
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command[:4]} ended with {process.returncode}")
    peak = usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, peak, output


def main() -> int:
    """Print the figures of a large file, and the ratio to the work by hand on a smaller one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--compared-rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison, alternating")
    parser.add_argument("--project", type=Path, default=Path(), help="a generated project")
    parser.add_argument("--model", type=Path, help="another model directory than candidate/model")
    options = parser.parse_args()
    project = options.project.resolve()
    source = os.pathsep.join(str(project / name) for name in ("engine", "src"))
    model = (options.model or options.project / "candidate" / "model").resolve()
    if not (project / "engine").is_dir() or not (model / "model.json").exists():
        sys.exit(f"{options.project}: is no generated project, or `model train` never ran there")
    card = json.loads((model / "model.json").read_text())
    kinds = [column["type"] for column in card["signature"]["columns"]]
    env = {**os.environ, "PYTHONPATH": source}
    python = sys.executable
    print(
        f"{card['estimator']} in {card['runtime']}: {kinds.count('number')} numbers,"
        f" {kinds.count('category')} categories; {os.cpu_count()} cores, load"
        f" {os.getloadavg()[0]:.1f}, Python {platform.python_version()}",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="predict-") as temporary:
        place = Path(temporary)
        rows, out = place / "in.parquet", place / "out.parquet"

        def ours() -> tuple[float, float, float, str]:
            command = [python, "-m", "mlrelease", "predict", str(rows), str(out)]
            return run([*command, "--model", str(model), "--json"], env)

        def by_hand() -> tuple[float, float, float, str]:
            return run([python, "-c", BY_HAND, str(model), str(rows), str(out)], env)

        make(rows, card, options.rows)
        seconds, busy, peak, output = ours()
        told = json.loads(output)
        sizes = [path.stat().st_size / 1e6 for path in (rows, out)]
        print(f"{told['scored']:>12,} rows scored, {told['rejected']:,} rejected")
        print(f"{told['scored'] / seconds:>12,.0f} rows/s with start-up, {seconds:.1f} s")
        print(f"{told['scored'] / busy:>12,.0f} rows per second of the processor, {busy:.1f} s")
        held = peak < MOST_MB
        print(
            f"{peak:>12,.0f} MB of resident memory at most; under {MOST_MB:,}: "
            f"{'holds' if held else 'MISSED'}"
        )
        print(f"{sizes[0]:>12,.0f} MB in, {sizes[1]:,.0f} MB out", flush=True)
        make(rows, card, options.compared_rows)
        pairs = [(ours()[:3], by_hand()[:3]) for _ in range(options.rounds)]
        mine, theirs = (
            [statistics.median(pair[side][n] for pair in pairs) for n in range(3)]
            for side in range(2)
        )
        print(f"{options.compared_rows:,} rows, median of {options.rounds} alternating rounds:")
        for name, one in (("model predict", mine), ("pandas and scikit-learn", theirs)):
            print(f"{one[0]:>8.2f} s {one[1]:8.2f} s busy {one[2]:8.0f} MB  {name}")
        time_, busy_, peak_ = (b / a for a, b in zip(mine, theirs, strict=True))
        print(f"by hand: {time_:.1f} times the time, {busy_:.1f} the work, {peak_:.1f} the memory")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
