"""`model ledger VERB`: what keeps the branches of verified releases, besides `model release`."""

from pathlib import Path
from typing import Annotated

import typer

from mlrelease.cli.app import Environment, Json, app, echo, emit, workspace

ledger = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Append to, restore or begin `env/ENVIRONMENT`, where verified releases stand.",
)
app.add_typer(ledger, name="ledger")


@ledger.command("append")
def append_verb(
    drafts: Annotated[list[Path], typer.Argument(help="Files that `model release` wrote.")],
    entries: Annotated[
        Path | None, typer.Option(help="Write each new entry to this folder, to be signed.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Append what another job verified.

    It loads no model: the files are data, which may have been forged.

    Example: model ledger append drafts/staging.json
    """
    from mlrelease.errors import ModelError
    from mlrelease.output import begins, write
    from mlrelease.promotion.draft import Draft
    from mlrelease.promotion.release import attempt_append
    from mlrelease.records.ledger import FILE

    here, results, faults = workspace(), [], []
    for path in drafts:  # one that fails does not hold up the others
        try:
            done = attempt_append(here, Draft.read(path))
        except ModelError as error:  # it names no environment
            faults.append(str(error))
            continue
        results.append(done)
        if entries and done.entry:
            content = here.git.show(done.entry, FILE) or b""
            write(entries / f"{done.environment}.json", content, begins('{\n "answers":'))
    lines = [*(done.text for done in results), *(f"failed: {fault}" for fault in faults)]
    appended = any(done.entry for done in results)
    emit(as_json, {"appended": appended, "results": results, "faults": faults}, "\n".join(lines))
    raise typer.Exit(1 if faults or any(done.error for done in results) else 0)


@ledger.command("restore")
def restore_verb(
    environment: Annotated[Environment, typer.Argument(help="The environment.")],
    source: Annotated[
        str | None, typer.Option("--from", help="Another clone; default: what this one has seen.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring back a ledger that is missing or was cut.

    Example: model ledger restore production --from /srv/agent/checkout
    """
    from mlrelease.promotion.repair import restore

    tip = restore(workspace(), environment, source)
    emit(as_json, {"environment": environment, "tip": tip}, f"env/{environment} is at {tip[:7]}")


@ledger.command("migrate")
def migrate_verb(as_json: Json = False) -> None:
    """Begin the ledgers of a project that was made before there were any.

    Each record that main named is verified again; what does not verify is left out, and told.

    Example: model ledger migrate
    """
    from mlrelease.environments import ENVIRONMENTS
    from mlrelease.errors import RefusedError
    from mlrelease.promotion.repair import migrate

    here, lines = workspace(), []
    for name in ENVIRONMENTS:
        try:
            for line in migrate(here, name):
                lines.append(line)
                if not as_json:
                    echo(line)
        except RefusedError as error:
            lines.append(f"{name}: {error}")
            if not as_json:
                echo(lines[-1])
    if as_json:
        emit(True, lines, "")
    elif not lines:
        echo("main named no model yet: nothing to migrate")
