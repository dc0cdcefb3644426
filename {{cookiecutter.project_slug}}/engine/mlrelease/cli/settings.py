"""Verbs for the settings of the repository on GitHub."""

import sys
import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from mlrelease.cli.app import Json, app, echo, emit, workspace

if TYPE_CHECKING:
    from mlrelease.github.settings import Check


@app.command("doctor")
def doctor_verb(as_json: Json = False) -> None:
    """Check the repository's settings, and say what to do.

    It changes nothing. Exit code 1 when a check fails.

    Example: model doctor
    """
    from mlrelease.cli.progress import working
    from mlrelease.settings.doctor import examine

    here = workspace()
    with working("asking GitHub"):
        found = [*examine(here)]
    failed = sum(check.state == "FAILED" for check in found)
    repository = here.github.repository if here.github else None
    name = f"{repository.name} on {repository.server}" if repository else str(here.root)
    lines = [name, "", *map(_line, found), "", f"{failed} FAILED" if failed else "nothing FAILED"]
    facts = {"repository": name, "passed": not failed, "checks": found}
    emit(as_json, facts, "\n".join(lines))
    raise typer.Exit(1 if failed else 0)


@app.command("setup-github")
def setup_verb(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Let only a deploy key append to env/*.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Apply the settings that the API can.

    Rulesets, labels, environments, rights of workflows and TRUST. It shows a plan first; what is as
    it should be is left alone.

    Example: model setup-github --yes
    """
    from mlrelease.cli.progress import working
    from mlrelease.github.settings import Check
    from mlrelease.settings import doctor, setup

    here = workspace()
    with working("asking GitHub"):
        settings = doctor.settings_of(here)
        steps = setup.plan(settings, strict)
        rest = [*doctor.by_hand(settings, strict)]
    lines = [f"{settings.name} on {settings.server}", ""]
    lines += [_wrapped(str(d), then="    ") for step in steps for d in step.differences]
    lines += ["nothing to do"] * (not steps)
    lines += ["", "by hand:", *map(_line, rest)] * bool(rest)
    facts = {"repository": settings.name, "plan": steps, "by_hand": rest}
    if not steps:
        emit(as_json, facts | {"changed": 0, "failed": []}, "\n".join(lines))
        return
    if not as_json:
        echo("\n".join([*lines, ""]))
    if not yes and (as_json or not sys.stdin.isatty()):
        emit(as_json, facts | {"changed": 0, "failed": []}, "nothing was changed; --yes does it")
        return
    if not yes and not typer.confirm("Change these settings?"):
        echo("nothing was changed")
        return
    with working("changing settings"):
        done = [*setup.apply(settings, steps)]
    faults = [(step, fault) for step, fault in done if fault]
    changed = len(done) - len(faults)
    text = [_line(Check(step.differences[0].name, "FAILED", fault)) for step, fault in faults]
    text += [f"{changed} of {len(steps)} steps done"]
    text += ["run it again: what is done stays done"] * bool(changed < len(steps))
    failed = [{"step": step, "fault": fault} for step, fault in faults]
    emit(as_json, facts | {"changed": changed, "failed": failed}, "\n".join(text))
    raise typer.Exit(0 if changed == len(steps) else 1)


def _line(check: "Check") -> str:
    """A check in 80 columns, and under it what to do."""
    start = " " * 7
    first = _wrapped(f"{check.state:6} {check.name}: {check.message}", then=start)
    return "\n".join([first, *(_wrapped(line, start, f"{start}  ") for line in check.remedy)])


def _wrapped(text: str, first: str = "", then: str = "") -> str:
    """Lines of at most 80 columns; an address stays whole."""
    if text.startswith(("http://", "https://")):
        return first + text
    return textwrap.fill(
        text, 80, initial_indent=first, subsequent_indent=then,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
