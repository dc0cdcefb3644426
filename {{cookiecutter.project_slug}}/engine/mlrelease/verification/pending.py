"""What main asks for and the ledger does not have yet."""

from contextlib import suppress

from mlrelease.environments import Environment, record_path
from mlrelease.errors import InputError, RefusedError
from mlrelease.files import short
from mlrelease.records import main_line
from mlrelease.records.git import BRANCH, Git
from mlrelease.records.ledger import MAX_RECORD, Ledger, branch
from mlrelease.workspace import Workspace


class RunsAlreadyError(RefusedError):
    """The environment runs this model, or main names it: what was asked for is done."""


class NotReleasedError(RefusedError):
    """What main names is not released; what ran before still runs."""


def pending(workspace: Workspace, ledger: Ledger) -> str | None:
    """The commit of main that asks for a release; None where main names what runs.

    Raises:
        NotReleasedError: main names nothing any more, or what failed.
    """
    git, current, name = workspace.git, ledger.effective, ledger.environment
    (now,) = git.objects([f"{ledger.main}:{record_path(name)}"], 0)
    if current is not None and current.record == now.oid:
        return None
    said = main_line.named(git, ledger.main, name)
    if said is None:
        return None
    if said.blob is None:
        if current is None or workspace.policy_at(ledger.main).environments[name].retired:
            return None
        raise NotReleasedError(
            f"{name}: its record was removed from main in {said.commit[:7]}; what ran before still"
            f" runs. Revert that, or set `retired: true` for {name} in policy.yaml"
        )
    entry = ledger.of_main(said.commit)
    if entry is not None and entry.outcome is not None and entry.failed:
        raise NotReleasedError(
            f"{name}: {short(entry.model)} ({said.commit[:7]}) failed its golden requests at"
            f" {entry.outcome.time:%Y-%m-%d %H:%M} UTC; what ran before still runs. Run `model"
            f" rollback {name}`, so that main names what runs"
        )
    return said.commit


def broken(git: Git, ledger: Ledger, before: str) -> str:
    """Why nothing can be released there, if so: main was rewritten, or the ledger is missing. One
    that is missing, although main named a model at `before`, was begun."""
    place = ledger.environment
    if ledger.adrift:
        return f"{ledger.adrift}; `model promote {place} --anchor` begins again from it"
    said = main_line.named(git, before, place) if ledger.tip is None else None
    if said is not None:
        why = f"{branch(place)} is missing, and main named a model before ({said.commit[:7]})"
        return (
            f"{why}: restore it with `model ledger restore {place}`; if nothing was ever released"
            f" there, `model promote {place} --anchor` begins it"
        )
    return ""


def refuse_pending(workspace: Workspace, ledger: Ledger, model: str) -> None:
    """Nothing is proposed on top of what was not released: nobody could compare it with what runs.

    Raises:
        RunsAlreadyError: It is this model that waits for its release.
        NotReleasedError: main names something else than what runs, or the ledger is not whole.
    """
    from mlrelease.records.record import Record

    git, said = workspace.git, main_line.named(workspace.git, ledger.main, ledger.environment)
    fault = broken(git, ledger, f"{said.commit}^1" if said else ledger.main)
    if fault:
        raise NotReleasedError(fault)
    commit, name = pending(workspace, ledger), ledger.environment
    if commit is not None and said and said.blob:
        with suppress(InputError):
            (file,) = git.objects([said.blob], MAX_RECORD)
            if Record.read(file.content or b"", "model.yaml").model == model:
                raise RunsAlreadyError(
                    f"{name}: main names {short(model)} already: `model deploy {name}` releases it"
                    f" or says why not, `model rollback {name}` takes it back"
                )
    if commit is not None:
        raise NotReleasedError(
            f"{name}: main names in {commit[:7]} what is not released: run `model deploy {name}`,"
            f" or undo it with `model rollback {name}`"
        )


def asked(workspace: Workspace, environment: Environment) -> tuple[str | None, str | None]:
    """The model and the commit that main names, as far as this clone can tell: for a message."""
    from mlrelease.records.record import Record

    model = commit = None
    with suppress(Exception):
        git = workspace.git
        said = main_line.named(git, git.resolve(BRANCH) or "", environment)
        if said and said.blob:
            commit = said.commit
            (file,) = git.objects([said.blob], MAX_RECORD)
            model = Record.read(file.content or b"", environment).model
    return model, commit
