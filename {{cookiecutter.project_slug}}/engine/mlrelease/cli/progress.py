"""Signs of life for long work: a spinner or a bar on a terminal, plain lines elsewhere."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import typer

from mlrelease.plain import lines


def watched(stream: TextIO) -> bool:
    """Whether a person looks at a terminal, and no log collects what is written."""
    return stream.isatty() and not os.environ.get("CI")


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something is going on, on standard error."""
    if not watched(sys.stderr):
        typer.echo(lines(f"{what} ..."), err=True)
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(lines(f"{what} ...")):
        yield


@contextmanager
def bar(quiet_seconds: float = 2.0, line_seconds: float = 10.0) -> Iterator[Callable[..., None]]:
    """Show how far long work is, on standard error, to be called as `show(what, share, rows)`: a
    bar once it takes longer than `quiet_seconds`, or else a line every `line_seconds`."""
    began = last = time.monotonic()
    if not watched(sys.stderr):

        def line(what: str, share: float, rows: int) -> None:
            nonlocal last
            if time.monotonic() - last >= line_seconds:
                last = time.monotonic()
                typer.echo(f"{what}: {share:.0%}, {rows:,} rows", err=True)

        yield line
        return
    from rich.console import Console
    from rich.progress import Progress

    shown = Progress(console=Console(stderr=True), transient=True)
    task = shown.add_task("")

    def move(what: str, share: float, rows: int) -> None:
        if time.monotonic() - began >= quiet_seconds:
            shown.start()  # once is enough
            shown.update(task, description=f"{what}, {rows:,} rows", completed=100 * share)

    try:
        yield move
    finally:
        shown.stop()
