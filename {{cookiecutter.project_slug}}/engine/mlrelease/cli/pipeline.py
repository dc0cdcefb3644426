"""Verbs that turn code and data into a judged candidate."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlrelease.cli.app import Environment, Json, app, echo, emit, markdown, workspace

if TYPE_CHECKING:
    from mlrelease.evaluation.evaluation import Evaluation
    from mlrelease.evaluation.gate import Finding
    from mlrelease.workspace import Workspace


@app.command("check-data")
def check_data(
    values: Annotated[
        bool, typer.Option("--values", help="Quote what is wrong; nobody else should see it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check every row against the schema of params.yaml.

    Values are quoted with --values, or where params.yaml says that the data is public.

    Example: model check-data
    """
    from mlrelease import project
    from mlrelease.training import schema

    here = workspace()
    with project.faults(here.root):
        frame = project.find(here.root).load(here.params, here.root)
    faults = schema.check(frame, here.params, values or here.params.data.public)
    named = [{"row": f.row, "column": f.column, "message": f.message} for f in faults]
    facts = {"rows": len(frame), "columns": len(frame.columns), "faults": named}
    good = f"{here.params.data.source}: {len(frame)} rows, {len(frame.columns)} columns, all valid"
    bad = f"{here.params.data.source}: {schema.describe(faults)}"
    emit(as_json, facts, bad if faults else good)
    raise typer.Exit(1 if faults else 0)


@app.command()
def train(
    force: Annotated[bool, typer.Option("--force", help="Train even if nothing changed.")] = False,
    as_json: Json = False,
) -> None:
    """Train the candidate, unless the same inputs already gave one.

    Example: model train
    """
    from mlrelease.cli.progress import working
    from mlrelease.records.record import short
    from mlrelease.training.train import input_key

    here = workspace()
    known = None if force else _known(here, input_key(here.params, here.root))
    if known:
        text = f"inputs unchanged: {short(known)} is the candidate; nothing trained"
        emit(as_json, {"model": known, "trained": False}, text)
        return
    from mlrelease.scoring.artifact import read_card
    from mlrelease.scoring.contents import read
    from mlrelease.training.train import train as fit

    with working(f"training {here.params.model.estimator}"):
        candidate = fit(here.params, here.root, here.candidate)
    text = f"trained {here.params.model.estimator}: {short(candidate.model)} in candidate/"
    copies = read_card(read(here.candidate / "model", candidate.model)).rows["copies"]
    if copies:
        text += f"\nleft out of the holdout: {copies} copies of rows that it was trained on"
    facts = {"model": candidate.model, "key": candidate.key, "trained": True, "copies": copies}
    emit(as_json, facts, text)


@app.command()
def evaluate(
    against: Annotated[
        Environment, typer.Option(help="Whose model is the champion.")
    ] = "production",
    as_json: Json = False,
) -> None:
    """Evaluate the candidate on the holdout, against the champion.

    Example: model evaluate --against staging
    """
    from mlrelease.cli.progress import working
    from mlrelease.evaluation import evaluation as figures, plots
    from mlrelease.output import claim
    from mlrelease.promotion import work_tree

    here, notes = workspace(), list[str]()
    claim(here.candidate / "evaluation.json", figures.OURS)
    with working("evaluating"):
        evaluation, scored = work_tree.evaluate_candidate(here, against, notes.append)
        plots.write(here.candidate / "plots", scored, evaluation)
    evaluation.save(here.candidate / "evaluation.json")
    for note in notes:
        echo(note, err=True)
    _show(here, evaluation, as_json)


@app.command()
def gate(as_json: Json = False) -> None:
    """Judge candidate/evaluation.json by policy.yaml.

    Exit code 1 when a rule fails.

    Example: model gate
    """
    from mlrelease.evaluation.gate import passed

    rules = _judge(workspace())
    facts = {"passed": passed(rules), "rules": rules}
    failed = [rule for rule in rules if not rule.passed]
    lines = [f"refused: {rule.name}: {rule.message}" for rule in failed]
    emit(as_json, facts, "\n".join(lines) or f"passed: all {len(rules)} rules of policy.yaml hold")
    raise typer.Exit(0 if passed(rules) else 1)


@app.command()
def report(as_json: Json = False) -> None:
    """Write and show the candidate's report.

    Example: model report > report.md
    """
    from mlrelease.evaluation import pages as html
    from mlrelease.evaluation.report import OURS, render
    from mlrelease.output import begins, claim, write

    here = workspace()
    evaluation, rules = _evaluation(here), _judge(here)
    page_text = render(evaluation, rules, plots=True)  # they lie beside it
    paths = {name: here.candidate / f"report.{name}" for name in ("md", "html")}
    pages = begins(html.head("Candidate"))
    claim(paths["html"], pages)
    write(paths["md"], page_text, OURS)
    write(paths["html"], html.page(page_text, "Candidate"), pages)
    facts = {name: str(path) for name, path in paths.items()}
    if as_json:
        emit(True, facts, "")
    else:
        markdown(render(evaluation, rules))


def _known(here: "Workspace", key: str) -> str | None:
    """The candidate that these inputs gave: in the work tree, or fetched from the store."""
    from mlrelease.errors import ModelError
    from mlrelease.promotion import work_tree
    from mlrelease.training.train import Candidate

    try:
        candidate = Candidate.read(here.candidate)
        if candidate.key == key:
            candidate.check(here.candidate)
            return candidate.model
    except ModelError:
        pass  # damaged or none: the store, or training, replaces it
    return work_tree.restore_candidate(here, key)


def _evaluation(here: "Workspace") -> "Evaluation":
    from mlrelease.errors import InputError
    from mlrelease.evaluation.evaluation import Evaluation
    from mlrelease.training.train import Candidate

    evaluation = Evaluation.read(here.candidate / "evaluation.json")
    candidate = Candidate.read(here.candidate)
    if evaluation.candidate != candidate.model:
        raise InputError("candidate/evaluation.json is of another model; run `model evaluate`")
    candidate.check(here.candidate)
    return evaluation


def _judge(here: "Workspace") -> tuple["Finding", ...]:
    from mlrelease.evaluation.gate import judge

    return judge(_evaluation(here), here.policy)


def _show(here: "Workspace", evaluation: "Evaluation", as_json: bool) -> None:
    from mlrelease.cli.tables import metrics_table

    path = os.path.relpath(here.candidate / "evaluation.json", Path.cwd())
    emit(as_json, evaluation, f"{metrics_table(evaluation)}\n{path}")


@app.command(hidden=True)
def schemas() -> None:
    """Write engine/schemas/*.json from the typed objects, for editors."""
    from pydantic import BaseModel

    from mlrelease.evaluation.evaluation import Evaluation
    from mlrelease.files import canonical_json, write_atomically
    from mlrelease.params import Params
    from mlrelease.policy import Policy
    from mlrelease.records.record import Record

    kinds: dict[str, type[BaseModel]] = {
        "params": Params,
        "policy": Policy,
        "record": Record,
        "evaluation": Evaluation,
    }
    for name, kind in kinds.items():
        path = workspace().root / "engine" / "schemas" / f"{name}.schema.json"
        write_atomically(path, canonical_json(kind.model_json_schema()))
        echo(path)
