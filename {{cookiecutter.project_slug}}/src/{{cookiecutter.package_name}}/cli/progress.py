"""Signs of life for long work: a spinner on a terminal, plain lines elsewhere."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show that something is going on, on standard error."""
    if not sys.stderr.isatty() or os.environ.get("CI"):
        typer.echo(f"{what} ...", err=True)
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} ..."):
        yield
