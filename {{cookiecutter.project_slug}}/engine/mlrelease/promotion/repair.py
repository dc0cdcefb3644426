"""Ledgers of projects that had none, and of branches that were lost."""

import re
from collections.abc import Iterator

from mlrelease.environments import Environment
from mlrelease.errors import InputError, ModelError, RefusedError
from mlrelease.promotion.release import on_main, write
from mlrelease.records import main_line
from mlrelease.records.ledger import MAX_RECORD, Ledger, branch
from mlrelease.records.ledger_branch import seen
from mlrelease.records.record import short
from mlrelease.verification.verify import verify
from mlrelease.workspace import Workspace


def migrate(workspace: Workspace, environment: Environment) -> Iterator[str]:
    """Begin the ledger of a project that was made before there were any: each record that main
    named is verified as of its own parent. What does not verify is left out, and told.

    Raises:
        RefusedError: There is a ledger already.
    """
    git = workspace.git
    main = git.base()
    if workspace.ledger(environment, main).tip is not None:
        raise RefusedError(f"{branch(environment)} is there already: nothing to migrate")

    said = main_line.changes(git, main, environment)
    for file in git.objects([one.blob for one in said if one.blob], MAX_RECORD):
        if re.search(rb"(?m)^schema_version: 2$", file.content or b""):
            raise RefusedError(
                f"{branch(environment)} is missing, and was begun: `model ledger restore"
                f" {environment}` brings it back"
            )

    def ledgers(name: Environment) -> Ledger:
        return workspace.ledger(name, main)

    for named in reversed(said):
        if named.blob is None:
            yield f"{environment}: {named.commit[:7]} removed the record: left out"
            continue
        try:
            outcome = verify(workspace, on_main(workspace, environment, named.commit, ledgers))
            why = "; ".join(f"{f.name}: {f.message}" for f in outcome.failed[:3])
            if not why and outcome.kind == "in step":
                why = "names what ran already"
            if not why and outcome.record is not None:
                ledger = ledgers(environment)
                entry = write(workspace, ledger, named.commit, outcome, outcome.record)
                yield f"{environment}: {short(outcome.record.model)} is entry {entry[:7]}"
                continue
        except ModelError as error:
            why = str(error)
        yield f"{environment}: {named.commit[:7]} left out: {why}"


def restore(workspace: Workspace, environment: Environment, source: str | None) -> str:
    """Bring a ledger back that is missing or shorter than it was, from what this clone has seen or
    from another clone, and only ever forward; its new tip.

    Raises:
        InputError: Nobody has seen more than there is.
        RefusedError: What is there now is no part of it.
    """
    git, name = workspace.git, branch(environment)
    git.base()
    if source:
        places = (seen(environment), f"refs/remotes/origin/{name}", f"refs/heads/{name}")
        kept = next((c for p in places if (c := git.fetched(source, p))), None)
    else:
        kept = git.run("for-each-ref", "--format=%(objectname)", seen(environment)) or None
    if kept is None:
        where = source or "this clone"
        raise InputError(
            f"{where} has seen nothing of {name}: name a clone or an agent's checkout with --from"
        )
    now = git.resolve_exactly(name)
    if now is not None and git.is_ancestor(kept, now):
        raise InputError(f"{name} is at {now[:7]}, which holds all that was seen: {kept[:7]}")
    if now is not None and not git.is_ancestor(now, kept):
        raise RefusedError(
            f"{name} is at {now[:7]}, which is no part of {kept[:7]}: somebody rewrote it. Look at"
            f" both, let an administrator delete {name}, and run this again"
        )
    git.advance(name, kept, now)
    return kept
