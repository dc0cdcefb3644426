"""Verbs that use a model: answer requests, score files, watch for drift, rehearse it all."""

import os
from pathlib import Path
from typing import Annotated

import typer

from mlrelease.cli.app import Environment, Json, app, echo, emit, markdown, workspace

Directory = Annotated[Path, typer.Option(help="A model directory.")]
CANDIDATE = Path("candidate/model")


@app.command("serve")
def serve_verb(
    model: Directory = CANDIDATE,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    log: Annotated[Path | None, typer.Option(help="Write each prediction to this file.")] = None,
    log_sample: Annotated[
        float, typer.Option(min=0, max=1, help="The part of the requests to write.")
    ] = 1.0,
    access_log: Annotated[
        bool, typer.Option("--access-log", help="A line for each request, not only refused ones.")
    ] = False,
    token_file: Annotated[
        Path | None, typer.Option(help="Ask callers for the token in it; also MODEL_TOKEN.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
    start_seconds: Annotated[
        float, typer.Option(min=1, help="Give up if the model is not ready by then.")
    ] = 120.0,
) -> None:
    """Answer HTTP requests with a model directory.

    POST /predict; GET /docs, /openapi.json, /model, /healthz, /readyz, /metrics.

    Example: model serve --port 8080 --log predictions.jsonl
    """
    from mlrelease.serving.app import serve

    code = serve(
        model,
        None,
        version="candidate",
        host=host,
        port=port,
        log=log,
        log_sample=log_sample,
        access_log=access_log,
        token_file=token_file,
        workers=workers,
        start_seconds=start_seconds,
    )
    raise typer.Exit(code)


@app.command("predict")
def predict_verb(
    source: Annotated[Path, typer.Argument(help="Rows: .csv or .parquet.")],
    target: Annotated[Path, typer.Argument(help="Rows with answers: .csv or .parquet.")],
    model: Directory = CANDIDATE,
    digest: Annotated[str | None, typer.Option(help="Refuse a model with another digest.")] = None,
    version: Annotated[
        str, typer.Option(envvar="MODEL_VERSION", help="The model's version, for the output.")
    ] = "candidate",
    prefix: Annotated[str, typer.Option(help="Put this before the names of the answers.")] = "",
    max_rejects: Annotated[
        int | None,
        typer.Option(min=0, help="Write nothing if more rows get no answer. Default: if all do."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace TARGET if it is there already.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Add the model's answers to a file of rows.

    A row that the service would refuse goes to TARGET.rejects.csv: its number, counted from 0
    without the header, the column, the reason, and its values. Start a run that was killed again,
    and it goes on where it was.

    Example: model predict new.csv scored.csv
    """
    from mlrelease.cli.progress import bar
    from mlrelease.predicting.predict import predict

    with bar() as progress:
        found = predict(
            model,
            source,
            target,
            digest=digest,
            version=version,
            prefix=prefix,
            max_rejects=max_rejects,
            overwrite=overwrite,
            say=lambda line: echo(line, err=True),
            progress=progress,
        )
    lines = [
        f"{found.scored:,} rows scored in {found.seconds:.1f} s"
        f" ({found.rows_per_second:,} rows/s): {target}",
        f"by model {found.model}",
    ]
    if found.rejects:
        lines += [f"{found.rejected:,} rows rejected: {found.rejects}"]
        lines += [f"  {count:,}  {reason}" for reason, count in found.reasons.items()]
    emit(as_json, found, "\n".join(lines))


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
    from mlrelease.deployment.deploy import prediction_log
    from mlrelease.errors import RefusedError
    from mlrelease.monitoring.monitor import OURS, markdown as render, monitor
    from mlrelease.output import claim, write
    from mlrelease.serving.prediction_log import read
    from mlrelease.verification.confirm import settle

    here = workspace()
    if output:
        claim(output, OURS)
    entry = settle(here, here.ledger(environment, here.git.base())).effective
    if entry is None:
        raise RefusedError(f"{environment} runs nothing yet: there is nothing to compare with")
    path = prediction_log(here, environment)
    if log is None and not path.exists():
        path = Path(os.devnull)  # nobody has asked yet
    elif log is not None:
        path = Path(log.replace("{environment}", environment))
    rows = read(path, entry.model)
    model = here.store.fetch(entry.model)
    report = monitor(model, rows, here.policy.drift, entry.model)
    text = render(report)
    if output:
        write(output, text, OURS)
    if as_json:
        echo(report.to_json())
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
    from mlrelease.rehearsal.rehearse import rehearse

    steps = rehearse(workspace().root, output.resolve(), quiet=as_json)
    where = os.path.relpath(output / "report.html")
    emit(as_json, steps, f"Look at {where}")
