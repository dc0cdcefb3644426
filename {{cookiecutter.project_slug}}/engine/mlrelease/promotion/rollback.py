"""`model rollback`: propose that an environment runs again what it ran before."""

from mlrelease.environments import Environment
from mlrelease.errors import InputError, RefusedError
from mlrelease.evaluation.markdown import code, escape
from mlrelease.plain import message
from mlrelease.promotion.proposal import Opened, Proposal, find_open, publish
from mlrelease.records import main_line
from mlrelease.records.ledger import FILE, Entry, Ledger
from mlrelease.records.record import folder, short
from mlrelease.verification.confirm import confirmed, settle, unrefuted
from mlrelease.verification.pending import broken
from mlrelease.workspace import Workspace


def rollback(
    workspace: Workspace,
    environment: Environment,
    *,
    to: str | None = None,
    reason: str,
    loads: bool = True,
) -> Opened:
    """Open a pull request that restores the folder as it was; freezes and limits do not apply.

    Raises:
        RefusedError: There is nothing to go back to, or its artefact is gone.
        InputError: `to` is no release that this one goes back to.
    """
    prepared = prepare(workspace, environment, to=to, reason=reason, loads=loads)
    return prepared if isinstance(prepared, Opened) else publish(workspace, prepared)


def prepare(
    workspace: Workspace,
    environment: Environment,
    *,
    to: str | None = None,
    reason: str,
    loads: bool = True,
) -> Proposal | Opened:
    """What `rollback` would open, or the same one that is open already. Where it `loads` no model,
    the ledger is verified as far as that goes; the release verifies it in any case.

    Where main names something else than what runs (it was refused, failed or removed), that is
    undone first: main names again what runs.
    """
    git = workspace.git
    base = git.base()
    recorded = workspace.ledger(environment, base)
    ledger = (settle if loads else unrefuted)(workspace, recorded)
    current, said = ledger.effective, main_line.named(git, base, environment)
    if current is None or said is None:
        nothing = f"{environment} ran nothing before; there is nothing to roll back to"
        raise RefusedError(broken(git, recorded, base) or nothing)
    astray = said.blob != current.record
    target = current if astray and to is None else _find(ledger, to)
    if target is None:
        raise RefusedError(f"{environment} ran nothing before; there is nothing to roll back to")
    if loads and not confirmed(workspace, ledger, target):
        raise RefusedError(
            f"{environment}: {short(target.model)} was released in {target.commit[:7]}, which does"
            " not verify any more; name another with --to"
        )
    after = short(target.model)
    branch = f"rollback/{environment}/{after}-{said.commit[:7]}"
    already = find_open(workspace, environment, branch, base)
    if already is not None:
        return already
    workspace.store.fetch(target.model)
    files = git.files(target.commit, "")
    files.pop(FILE)
    undo = said if target is current else None
    merge = workspace.pull_requests.how_to_merge(branch)
    title = f"Roll {environment} back to {after}"
    if undo:
        title = f"Let main name what {environment} runs: {after}"
    return Proposal(
        kind="rollback",
        environment=environment,
        branch=branch,
        title=title,
        message=message(reason),
        body=body(environment, current, target, reason, merge, undo),
        base=base,
        files=files,
    )


def body(
    environment: str, current: Entry, target: Entry, reason: str, merge: str,
    undo: main_line.Named | None = None,
) -> str:  # fmt: skip
    """What its pull request says: back to `target`, or only the end of what main says instead."""
    why, place = escape(reason, most=2000), code(f"{folder(environment)}/")
    return f"""\
{_undo(environment, undo, current, why) if undo else _back(current, target, why)}
- The change restores {place} byte for byte as it was released; its artefact is in \
the store.

**Merge** with {code(merge, 500)}, then {code(f"model deploy {environment}")}.
"""


def _undo(environment: str, said: main_line.Named, current: Entry, why: str) -> str:
    runs = escape(short(current.model))
    return f"""\
**Undo {escape(said.commit[:7])}: {escape(environment)} goes on with {runs}.** {why}

- What that commit names was never released, or failed. {runs} runs; `main` shall
  name it again. Nothing is deployed.\
"""


def _back(current: Entry, target: Entry, why: str) -> str:
    before, after = escape(short(current.model)), escape(short(target.model))
    released = target.released
    since = f"{target.live or target.time:%Y-%m-%d %H:%M}"
    return f"""\
**Roll {escape(released.environment)} back: {before} -> {after}.** {why}

- {after} (version {code(released.version)}) ran here since {since} UTC; it was released in entry \
{escape(target.commit[:7])} for {escape(released.main[:7])}.
- Before it runs, form, artefact, approval and golden requests are checked. Limits, soak time and
  freezes do not hold up a rollback.
- {before} is held afterwards: automation does not propose it again, a person may, with a reason.\
"""


def _find(ledger: Ledger, to: str | None) -> Entry | None:
    earlier = list(ledger.earlier())
    if to is None:
        return earlier[0] if earlier else None
    prefix = to.removeprefix("sha256:")
    found = [entry for entry in earlier if prefix and short(entry.model).startswith(prefix[:12])]
    if found:
        return found[0]
    if prefix and any(short(model).startswith(prefix[:12]) for model in ledger.held()):
        raise InputError(
            f"{to!r} was rolled back from in {ledger.environment}, and is held: `model promote"
            f' {ledger.environment} --model {to} --reason "..."` brings it back'
        )
    known = ", ".join(dict.fromkeys(short(entry.model) for entry in earlier)) or "none"
    raise InputError(f"{to!r} names no earlier release of {ledger.environment}; earlier: {known}")
