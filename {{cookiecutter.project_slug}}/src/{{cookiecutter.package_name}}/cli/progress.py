"""Signs of life for long work: a spinner on a terminal, plain lines elsewhere."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import typer


def watched(stream: TextIO) -> bool:
    """Whether a person looks at a terminal, and no log collects what is written."""
    return stream.isatty() and not os.environ.get("CI")


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something is going on, on standard error."""
    if not watched(sys.stderr):
        typer.echo(f"{what} ...", err=True)
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} ..."):
        yield
