"""`model monitor`: rows seen in service against the model's profile, and a report for a person."""

from math import ceil
from pathlib import Path

import pandas as pd

from mlrelease.errors import InputError
from mlrelease.evaluation.markdown import code
from mlrelease.monitoring.drift import ColumnDrift, DriftReport, compare
from mlrelease.output import begins
from mlrelease.policy import DriftLimits
from mlrelease.scoring.artifact import read_card
from mlrelease.scoring.contents import read
from mlrelease.scoring.features import InvalidRowsError, numbers, to_frame
from mlrelease.training.profiles import read_profile

LABELS = {
    "psi": "PSI", "ks": "KS", "wasserstein": "Wasserstein / sd", "jensen_shannon": "Jensen-Shannon",
    "missing": "missing",
}  # fmt: skip
SIDES = ("training", "now")
BLOCKS = "·▁▂▃▄▅▆▇█"  # the dot is no row at all
OURS = begins(
    "**Not enough data: ", "**No drift above the limits**", "**Drift: "
)  # a report's start
MOST = 100  # rows of a table: the report must fit into an issue
TODO = """
**What to do**

1. Look for a fault first: a unit, a join, a default or a source that changed. Mend the source.
2. Has the world changed? Add newer rows to the source, and train on them (`model train`): the gate
   compares the new model. With `split.by: time` move `holdout_from` in `params.yaml` to a later day
   first: otherwise all newer rows are held out, and the model learns nothing from them.
3. Expected and harmless? Raise the limit under `drift` in `policy.yaml`: its owners review that."""
LEGEND = """
Bars: share of rows per decile of the training rows, low to high, on one scale. Wasserstein is in
training sd, `missing` is the change of the share; empty: too few values. For few rows a limit is
raised to what chance reaches in one report of a hundred.

</details>
"""


def monitor(directory: Path, rows: pd.DataFrame, limits: DriftLimits, digest: str) -> DriftReport:
    """Compare raw rows with the profile of the model in a directory. A column `score` holds the
    model's answers, unless an input of the model has that name.

    Raises:
        RefusedError: The directory's content has another digest.
        InputError: A file is damaged, or a row does not fit the model.
    """
    files = read(directory, digest)
    columns = read_card(files).signature.columns
    profile = read_profile(files, columns)
    if rows.empty:
        rows = pd.DataFrame(columns=[column.name for column in columns])
    scored = "score" in rows and "score" not in profile.columns
    try:
        frame = to_frame(rows, columns)
        scores = numbers(rows["score"], "score") if scored else None
    except InvalidRowsError as error:
        first = error.faults[0]
        place = first.column if first.row is None else f"row {first.row}, {first.column}"
        raise InputError(f"{place}: {first.message} ({error}); mend the rows") from None
    return compare(profile, frame, scores, limits, digest)


def markdown(report: DriftReport) -> str:
    """The report in GitHub-flavoured Markdown: the decision, what moved, what to do, the rest."""
    if not report.enough:
        return f"**Not enough data: {report.rows:,} of {report.min_rows:,} rows**\n"
    columns = {c.column: c for c in report.columns}
    drifted = [columns[name] for name in report.drifted]
    decision = "No drift above the limits"
    if drifted:
        worst = f"{_name(drifted[0].column)} ({_above(drifted[0])[0]})"
        decision = f"Drift: {len(drifted)} of {len(columns)} columns above the limit, worst {worst}"
    moved = {bool(c.exceeded) for c in report.columns if c.kind == "score"}
    scores = "have moved" if True in moved else "have not moved" if moved else "are not known"
    seen = f"{report.rows:,} rows against the training rows of model {code(report.model[:19])}."
    lines = [f"**{decision}**", "", f"{seen} Its scores {scores}."]
    if drifted:
        rows = [[_name(c.column), "; ".join(_above(c)), _moved(c), *_bars(c)] for c in drifted]
        lines += [*_table(["column", "above its limit", "what moved", *SIDES], rows), TODO]
    rows = [
        [_name(c.column), f"{c.rows:,}", *(_value(c, m) for m in LABELS), *_bars(c)]
        for c in report.columns
    ]
    lines += ["", f"<details><summary>All {len(columns)} columns</summary>"]
    return "\n".join([*lines, *_table(["column", "rows", *LABELS.values(), *SIDES], rows), LEGEND])


def _value(column: ColumnDrift, measure: str) -> str:
    value = getattr(column, measure)
    return "" if value is None else f"{value:+.2f}" if measure == "missing" else f"{value:.2f}"


def _above(column: ColumnDrift) -> list[str]:
    """Each exceeded measure with its limit, the worst first."""
    limits = column.limits
    return [f"{LABELS[m]} {_value(column, m)}, limit {limits[m]:.2f}" for m in column.exceeded]


def _moved(column: ColumnDrift) -> str:
    """What moved, in words: missing values, then three categories, or mean and spread."""
    old, now, words = column.reference, column.current, list[str]()
    if "missing" in column.exceeded:
        words.append(f"missing {old.missing:.1%} → {now.missing:.1%}")
    if column.exceeded == ("missing",):
        return words[0]
    was = dict(zip(old.values, old.shares, strict=False))
    moves = [(q - was.get(v, 0.0), q, v) for v, q in zip(now.values, now.shares, strict=False)]
    for _, share, value in sorted(moves, key=lambda move: -abs(move[0]))[:3]:
        before = f"{was[value]:.1%}" if value in was else "never seen"
        shown = _name(value) if value in column.named() else "a rare value"
        words.append(f"{shown} {before} → {share:.1%}")
    if old.type == "number":
        size = f"{(now.mean - old.mean) / old.sd:+z.1f} sd" if old.sd else "was constant"
        words.append(f"mean {old.mean:.3g} → {now.mean:.3g} ({size})")
        if old.sd and not 0.8 < now.sd / old.sd < 1.25:
            words.append(f"spread (sd) {old.sd:.3g} → {now.sd:.3g}")
    return ", ".join(words)


def _bars(column: ColumnDrift) -> list[str]:
    """Both distributions of a number, on one scale."""
    sides = (column.reference.shares, column.current.shares)
    if column.reference.type == "category" or not all(sides):
        return ["", ""]
    top = max(sides[0] + sides[1]) / 8
    return [f"`{''.join(BLOCKS[ceil(share / top)] for share in side)}`" for side in sides]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows[:MOST])]
    more = [f"\n{len(rows) - MOST} more stand in the JSON report."] if len(rows) > MOST else []
    return ["", *lines, *more]


def _name(text: str) -> str:
    return code(text, most=41)
