"""Verbs that use a model: answer requests, score files, watch for drift, rehearse it all."""

import os
from pathlib import Path
from typing import Annotated

import typer

from .app import Environment, Json, app, emit, markdown, workspace

Directory = Annotated[Path, typer.Option(help="A model directory.")]
CANDIDATE = Path("candidate/model")


@app.command("serve")
def serve_verb(
    model: Directory = CANDIDATE,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    log: Annotated[Path | None, typer.Option(help="Write each prediction to this file.")] = None,
) -> None:
    """Answer HTTP requests with a model directory.

    GET /model, /healthz, /openapi.json; POST /predict.

    Example: model serve --port 8080 --log predictions.jsonl
    """
    from ..serving.app import serve

    serve(model, None, version="candidate", host=host, port=port, log=log)


@app.command("predict")
def predict_verb(
    source: Annotated[Path, typer.Argument(help="Rows: .csv or .parquet.")],
    target: Annotated[Path, typer.Argument(help="Rows with answers: .csv or .parquet.")],
    model: Directory = CANDIDATE,
    as_json: Json = False,
) -> None:
    """Add the model's answers to a file of rows.

    Example: model predict new.csv scored.csv
    """
    from ..serving.predict import predict

    rows = predict(model, source, target)
    emit(as_json, {"rows": rows, "file": str(target)}, f"{rows} rows scored: {target}")


@app.command("monitor")
def monitor_verb(
    environment: Annotated[Environment, typer.Argument(help="Whose predictions.")] = "production",
    log: Annotated[
        str | None, typer.Option(help="Another prediction log; {environment} is filled in.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Write the report to this .md file.")] = None,
    exit_zero: Annotated[bool, typer.Option("--exit-zero", help="Exit 0 also on drift.")] = False,
    as_json: Json = False,
) -> None:
    """Compare what the model sees with what it was trained on.

    Exit code 3 when it drifted.

    Example: model monitor production --output drift.md
    """
    from ..errors import RefusedError
    from ..files import write_atomically
    from ..monitoring.monitor import markdown as render, monitor
    from ..release.deploy import prediction_log
    from ..release.history import history, live
    from ..serving.prediction_log import read

    here = workspace()
    record = live(history(here.git, here.git.base(), environment))
    if record is None:
        raise RefusedError(f"{environment} runs nothing yet: there is nothing to compare with")
    path = prediction_log(here, environment)
    if log is None and not path.exists():
        path = Path(os.devnull)  # nobody has asked yet
    elif log is not None:
        path = Path(log.replace("{environment}", environment))
    rows = read(path, record.model)
    model = here.store.fetch(record.model)
    report = monitor(model, rows, here.policy.drift, record.model)
    text = render(report)
    if output:
        write_atomically(output, text)
    if as_json:
        typer.echo(report.to_json())
    else:
        markdown(text)
    raise typer.Exit(3 if report.drifted and not exit_zero else 0)


@app.command("rehearse")
def rehearse_verb(
    output: Annotated[Path, typer.Option(help="Keep reports and pages here.")] = Path("rehearsal"),
    as_json: Json = False,
) -> None:
    """Play the whole life of a model, in a throw-away copy.

    It needs no GitHub and no network.

    Example: model rehearse
    """
    from ..rehearse import rehearse

    steps = rehearse(workspace().root, output.resolve(), quiet=as_json)
    where = os.path.relpath(output / "report.html")
    emit(as_json, steps, f"Look at {where}")
