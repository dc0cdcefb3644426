"""`model github VERB`: what workflows do on GitHub besides the verbs that people use."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlrelease.cli.app import Environment, Json, app, echo, emit, workspace

if TYPE_CHECKING:
    from mlrelease.github.repository import GitHub
    from mlrelease.promotion.release import Result
    from mlrelease.workspace import Workspace

github = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Comments, records and issues that the workflows keep. Needs GITHUB_TOKEN.",
)
app.add_typer(github, name="github")


@github.command("comment")
def comment(
    number: Annotated[int, typer.Argument(help="The pull request.")],
    evaluation: Annotated[Path, typer.Argument(help="Its evaluation.json.")],
    policy: Annotated[Path, typer.Argument(help="Its policy.yaml.")],
) -> None:
    """Keep the one comment that holds the candidate's report.

    The report is made here: a job that ran other people's code could write any page.

    Example: model github comment 12 candidate/evaluation.json policy.yaml
    """
    from mlrelease.errors import InputError
    from mlrelease.evaluation.evaluation import Evaluation
    from mlrelease.evaluation.gate import judge
    from mlrelease.evaluation.report import MAX_BODY, render
    from mlrelease.objects import read
    from mlrelease.policy import Policy

    found = Evaluation.read(evaluation)
    try:
        text = render(found, judge(found, read(policy, Policy)))
    except LookupError:
        raise InputError(f"{evaluation}: names metrics that there are not") from None
    if len(text) > MAX_BODY - 100:
        text = text[: MAX_BODY - 200] + "\n\n... cut: the whole report is in the job summary.\n"
    _github(workspace()).comment(number, "candidate", text)
    echo(f"commented on #{number}")


@github.command("dispatch")
def dispatch(
    workflow: Annotated[str, typer.Argument(help="Its file, such as promote.yml.")],
    inputs: Annotated[list[str] | None, typer.Argument(help="name=value ...")] = None,
) -> None:
    """Start a workflow on main.

    An input without a value is left out.

    Example: model github dispatch promote.yml environment=staging model=sha256:...
    """
    from mlrelease.errors import InputError

    pairs = [item.partition("=") for item in inputs or []]
    wrong = [name for name, sign, _ in pairs if not sign]
    if wrong:
        raise InputError(f"{wrong[0]!r}: write name=value")
    given = {name: value for name, _, value in pairs if value}
    _github(workspace()).dispatch(workflow, given)
    echo(f"started {workflow}: {given}")


@github.command("record")
def record(
    results: Annotated[
        list[Path], typer.Argument(help="What release, ledger append and deploy printed as JSON.")
    ],
) -> None:
    """Record releases and deployments, and issues.

    Opens a revert where golden requests failed.

    Example: model github record results/*.json
    """
    from mlrelease.automation import follow_up
    from mlrelease.errors import InputError

    here, deployments, faults = workspace(), [], []
    refusals: dict[Environment, Result] = {}
    for path in results:  # one that cannot be read does not hold up the others
        try:
            found = follow_up.read(path.name, _text(path))
        except InputError as error:
            faults.append(str(error))
            continue
        if isinstance(found, tuple):
            refusals |= {result.environment: result for result in found if result.error}
        else:
            deployments.append(found)
    client = _github(here)
    for result in refusals.values():
        echo("\n".join(follow_up.record_refusal(client, result)))
    for done in deployments:
        refused = done.environment in refusals
        echo("\n".join(follow_up.record(here, client, done, refused)))
    for line in follow_up.mark_stale(here, client):
        echo(line)
    if faults:
        raise InputError("; ".join(faults))


@github.command("advance")
def advance() -> None:
    """Offer to production what has soaked in staging.

    Example: model github advance
    """
    from mlrelease.automation import follow_up

    here = workspace()
    count = 0
    for environment, model in follow_up.due(here, _github(here), here.now()):
        inputs = {"environment": environment, "model": model, "intent": "promote"}
        _github(here).dispatch("promote.yml", inputs)
        echo(f"{model} is offered to {environment}")
        count += 1
    if not count:
        echo("nothing is due")


@github.command("drift")
def drift(
    environment: Annotated[Environment, typer.Argument(help="Whose predictions.")],
    report: Annotated[Path, typer.Argument(help="What `model monitor --json` printed.")],
) -> None:
    """Keep the issue of an environment's drift.

    Starts `train` when it is severe.

    Example: model github drift production drift.json
    """
    from mlrelease.automation import follow_up
    from mlrelease.monitoring.drift import DriftReport
    from mlrelease.monitoring.monitor import markdown

    here = workspace()
    found = DriftReport.parse(_text(report), report.name)
    policy, facts = here.policy_at(here.git.base()), (bool(found.drifted), found.severe)
    client, page = _github(here), markdown(found)
    echo(follow_up.drift(client, environment, page, *facts, policy.drift, here.now()))


@github.command("update-template")
def update_template(as_json: Json = False) -> None:
    """Open a pull request when the template has moved.

    Example: model github update-template
    """
    from mlrelease.automation.template import update

    here = workspace()
    done = update(here.root, here.git, _github(here))
    emit(as_json, {"outcome": done}, done)


def _github(here: "Workspace") -> "GitHub":
    from mlrelease.errors import InputError

    if here.github is None:
        raise InputError(
            "GitHub is not known here: `origin` must be a repository on it, and GITHUB_TOKEN set"
        )
    return here.github


def _text(path: Path) -> str:
    from mlrelease.errors import InputError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
