"""Tables for people: aligned text that fits 80 columns, with colour where there is a terminal."""

import io
import sys
from collections.abc import Iterable, Sequence

from ..pipeline.evaluation import Evaluation
from ..pipeline.gate import got_worse, interval
from ..pipeline.report import LABELS
from .progress import watched


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under a header, as text."""
    from rich.console import Console
    from rich.table import Table

    result = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        result.add_column(name, overflow="fold")
    for row in rows:
        result.add_row(*row)
    stream = io.StringIO()
    terminal = watched(sys.stdout)
    Console(file=stream, width=None if terminal else 100, force_terminal=terminal).print(result)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def metrics_table(evaluation: Evaluation) -> str:
    """Each metric of the candidate, and of the champion on the same rows."""
    rows = []
    for name, metric in evaluation.metrics.items():
        change = worse = ""
        if metric.difference:
            change = interval(metric.difference, signed=True)
            worse = "worse" if got_worse(metric.difference, name) else ""
        live = interval(metric.champion) if metric.champion else "-"
        rows.append((LABELS[name], live, interval(metric.candidate), change, worse))
    return table(("metric", "live", "candidate", "change", ""), rows)
