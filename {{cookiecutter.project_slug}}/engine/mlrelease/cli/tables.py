"""Tables for people: aligned text that fits 80 columns, with colour where there is a terminal."""

import shutil
import sys
from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

import typer

from mlrelease.cli.progress import watched

if TYPE_CHECKING:
    from mlrelease.evaluation.evaluation import Evaluation

WIDTH = 100  # where there is no terminal
NARROWEST = 20  # the last column


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under a header, as text; the last column is folded where a line gets too long."""
    cells = [[_printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    terminal = watched(sys.stdout)
    indent = sum(widths[:-1]) + 2 * len(widths[:-1])
    room = max((shutil.get_terminal_size().columns if terminal else WIDTH) - indent, NARROWEST)
    lines: list[str] = []
    for row in cells:
        start = "".join(f"{cell:<{w}}  " for cell, w in zip(row[:-1], widths, strict=False))
        first, *more = [row[-1]] if len(row[-1]) <= room else wrap(row[-1], room)
        lines += [(start + first).rstrip(), *(" " * indent + part for part in more)]
    if terminal:
        lines[0] = typer.style(lines[0], bold=True)
    return "\n".join(lines)


def metrics_table(evaluation: "Evaluation") -> str:
    """Each metric of the candidate, and of the champion on the same rows."""
    from mlrelease.evaluation.gate import got_worse, interval
    from mlrelease.evaluation.judged_rows import notes
    from mlrelease.evaluation.report import LABELS

    rows = []
    for name, metric in evaluation.metrics.items():
        change = worse = ""
        if metric.difference:
            change = interval(metric.difference, signed=True)
            worse = "worse" if got_worse(metric.difference, name) else ""
        live = interval(metric.champion) if metric.champion else "-"
        rows.append((LABELS[name], live, interval(metric.candidate), change, worse))
    said = [_printable(note.replace("*", "")) for note in notes(evaluation)]
    return "\n".join([table(("metric", "live", "candidate", "change", ""), rows), *said])


def _printable(cell: str) -> str:
    """Names in a ledger may be anybody's: none of them moves the cursor."""
    if cell.isprintable():
        return cell
    return "".join(c if c.isprintable() else " " for c in cell)
