"""The command `model`: one verb, one name, everywhere. Heavy imports happen inside the verbs."""

import dataclasses
import gc
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlrelease.cli.progress import watched
from mlrelease.environments import Environment as Environment
from mlrelease.errors import ModelError, unexpected
from mlrelease.plain import json as json_text, lines

if TYPE_CHECKING:
    from mlrelease.workspace import Workspace

app = typer.Typer(
    name="model",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help, in half the time
    help="Git decides which model runs. Start with `model train`, or watch `model rehearse`.",
    epilog="Exit codes: 0 done, 1 refused or failed, 2 misuse, 3 drift. MODEL_DEBUG=1: tracebacks.",
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def workspace() -> "Workspace":
    """The project around the current directory."""
    from mlrelease.workspace import Workspace

    return Workspace.find(Path.cwd())


def echo(text: object, err: bool = False) -> None:
    """Print text, whoever wrote it: nothing in it moves the cursor or is a command to GitHub."""
    typer.echo(lines(str(text)), err=err)


def emit(as_json: bool, facts: Any, text: str) -> None:
    """Print the outcome, for machines or for people; in GitHub Actions, set step outputs too."""
    outputs = os.environ.get("GITHUB_OUTPUT")
    document = ""
    if as_json or outputs:
        document = json.dumps(facts, indent=1, ensure_ascii=False, default=_plain)
    echo(json_text(document) if as_json else text)
    if outputs:
        _set_outputs(Path(outputs), json.loads(document))


def _set_outputs(path: Path, facts: Any) -> None:
    """The plain facts as `name=value`; a text with a line break could forge another output."""
    with path.open("a", encoding="utf-8") as stream:
        for name, value in facts.items() if isinstance(facts, dict) else ():
            if isinstance(value, bool):
                stream.write(f"{name}={str(value).lower()}\n")
            elif isinstance(value, str) and len(value.splitlines()) == 1:
                stream.write(f"{name}={value}\n")


def markdown(text: str) -> None:
    """Print a report: rendered on a terminal, as it is elsewhere."""
    if not watched(sys.stdout):
        echo(text)
        return
    from rich.console import Console
    from rich.markdown import Markdown

    visible = [line for line in lines(text).splitlines() if not line.startswith(("<", "<!--"))]
    Console().print(Markdown("\n".join(visible)))


def _plain(value: Any) -> Any:
    """What JSON has no word for: our frozen objects by their fields, the rest as text."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else str(value)


def verbs() -> typer.Typer:
    """The command with all its verbs: importing their modules adds them."""
    from mlrelease.cli import (  # noqa: F401
        forget,
        github,
        history,
        ledger,
        pipeline,
        promotion,
        release,
        service,
        settings,
    )

    return app


def main() -> None:
    """Run a verb; a fault that a person can fix is one line, without a traceback."""
    gc.set_threshold(100_000, 10, 10)  # what start-up makes stays: looking for cycles in it is slow
    try:
        verbs()()
    except ModelError as error:
        if os.environ.get("MODEL_DEBUG"):
            raise
        echo(f"model: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `model history production | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get("MODEL_DEBUG"):
            raise
        text = unexpected(error)
        more = " (MODEL_DEBUG=1 shows all of it)" if text.startswith("unexpected ") else ""
        echo(f"model: {text}{more}", err=True)
        sys.exit(1)
