"""The verb that erases rows."""

import datetime as dt
import sys
from typing import Annotated

import typer

from mlrelease.cli.app import Json, app, echo, emit, workspace

LEFT = """\
Rows may still be in: copies on other machines (run this there too), prediction logs, the git
history of a data file, backups, a registry until it collects its garbage: see docs/runbook.md."""
UNTIL = """\
A pull request lists the releases that verified with them. Until it is merged, a machine that does
not remember these releases starts none of them."""


@app.command("forget")
def forget_verb(
    models: Annotated[
        list[str] | None, typer.Argument(help="Models whose rows to erase: digests.")
    ] = None,
    before: Annotated[
        dt.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Rows of all models made before this day."),
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="Rows with this digest; may be repeated.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; it is kept. Name nobody.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also rows of a model that runs now.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Erase holdout rows from the store; ledgers keep their digests.

    Example: model forget --before 2026-01-01 --reason "kept for a year" --dry-run
    """
    from mlrelease.cli.progress import working
    from mlrelease.errors import InputError
    from mlrelease.promotion.forget import chosen, forget

    if not (models or before or data):
        raise InputError("name models, --before a day, or --data by digest")
    here = workspace()
    rows = chosen(here, models or (), before.date() if before else None, data or ())
    lines = [str(one) for one in rows] or ["nothing to erase"]
    facts = {"rows": rows, "erased": False}
    if dry_run or not rows:
        emit(as_json, facts, "\n".join(lines))
        return
    if not reason:
        raise InputError('say why, without naming anybody: --reason "..."')
    if not as_json:
        echo("\n".join(lines))
    asked = not yes and not as_json and sys.stdin.isatty()
    if not yes and not (asked and typer.confirm("Erase these rows for good?")):
        emit(as_json, facts, "nothing was erased; --yes does it")
        raise typer.Exit(1)
    with working("verifying what names them"):
        done = forget(here, rows, reason, force)
    lines = [*map(str, done.notes), *done.left_out, LEFT]
    if done.branch:
        lines.append(f"{UNTIL}\nmerge:  {done.merge}")
    emit(as_json, facts | {"erased": True, "branch": done.branch}, "\n".join(lines))
