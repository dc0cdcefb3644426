"""Verbs that show what was released, and what runs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrelease.cli.app import Environment, Json, app, echo, emit, workspace
from mlrelease.cli.release import Driver

if TYPE_CHECKING:
    from mlrelease.records.ledger import Released

Where = Annotated[Environment, typer.Argument(help="The environment.")]


@app.command("status")
def status_verb(driver: Driver = "process", as_json: Json = False) -> None:
    """Show what was released and what runs, side by side.

    Example: model status
    """
    from mlrelease.cli.tables import table
    from mlrelease.deployment.status import status
    from mlrelease.files import short

    found = status(workspace(), driver)
    rows = [
        (s.environment, short(s.released), short(s.running), s.url or "-", s.advice or "in step")
        for s in found
    ]
    text = table(("environment", "released", "running", "address", ""), rows)
    for state in found:
        text += "".join(f"\nopen: {branch}" for branch in state.open_promotions)
        if state.held:
            more = state.holds - len(state.held)
            text += f"\nheld in {state.environment}: {', '.join(state.held)}"
            text += f" and {more} more" if more else ""
        text += f"\n{state.environment}: {state.pinned}" if state.pinned else ""
        if not state.verified and "not verified here" not in state.advice:
            text += f"\n{state.environment}: {short(state.released)} is not verified here"
        for fault in state.skipped:
            text += f"\nnot counted in env/{state.environment}: {fault}"
    emit(as_json, found, text)


@app.command("history")
def history_verb(environment: Where, as_json: Json = False) -> None:
    """List what was released to an environment, newest first.

    Example: model history production
    """
    from msgspec import to_builtins

    from mlrelease.cli.tables import table
    from mlrelease.files import short

    here = workspace()
    base, away = here.known_main()
    entries = here.ledger(environment, base).entries[::-1]
    if away:
        echo(away, err=True)
    rows = [
        (
            f"{e.time:%Y-%m-%d %H:%M}",
            short(e.model),
            e.released.change,
            ", ".join(e.released.approved_by) or "-",
            f"live {e.live:%m-%d %H:%M}" if e.live else "failed" if e.failed else "not seen live",
            e.released.main[:7],
        )
        for e in entries
    ]
    heads = ("released (UTC)", "model", "change", "approved by", "outcome", "main")
    facts = [
        {"entry": e.commit, **_plain(e.released), "outcome": to_builtins(e.outcome)}
        for e in entries
    ]
    emit(as_json, facts, table(heads, rows) if rows else f"{environment} has run nothing yet")


def _plain(released: "Released") -> dict[str, Any]:
    from msgspec import structs, to_builtins

    facts = to_builtins(structs.replace(released, checks=(), answers={}))
    return {name: facts[name] for name in facts if name not in ("checks", "answers")}
