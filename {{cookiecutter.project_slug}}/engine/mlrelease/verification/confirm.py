"""An entry of a ledger that is about to be used is verified again, as of its day.

Somebody who may push to `env/*` can append what looks like a release. It counts for a champion, a
rollback or what runs only if the change of main that it names verifies as of its own parent and
policy. This machine remembers what it verified.
"""

from functools import cache

from mlrelease.environments import Environment
from mlrelease.errors import InputError, RefusedError, UnclearError
from mlrelease.evaluation.gate import Finding
from mlrelease.files import canonical_json, write_atomically
from mlrelease.records.change import Change, Ledgers, parent_on_main
from mlrelease.records.ledger import Entry, Ledger
from mlrelease.verification import order
from mlrelease.verification.figures import LOADED
from mlrelease.verification.verify import Told, Verification, verify
from mlrelease.workspace import Workspace

Faults = dict[str, tuple[Finding, ...]]  # what entries failed, by their commit
LEFT_OUT = "left out"
BY_MODEL = (*LOADED, "released", "figures", "answers", "soak")  # soak: another ledger, settled


def settled(workspace: Workspace, main: str, faults: Faults | None = None) -> Ledgers:
    """The ledger of each environment whose effective entry verifies; read once, when asked for.
    What is left out is noted in `faults`."""

    @cache
    def ledger(environment: Environment) -> Ledger:
        return settle(workspace, workspace.ledger(environment, main), faults)

    return ledger


def settle(workspace: Workspace, ledger: Ledger, faults: Faults | None = None) -> Ledger:
    """Leave out the newest entries that do not verify, down to one that does."""
    while (last := ledger.effective) is not None and not confirmed(workspace, ledger, last, faults):
        ledger = ledger.without(last)
    return ledger


def unrefuted(workspace: Workspace, ledger: Ledger) -> Ledger:
    """The same by all that can be told without a model: for jobs that load none."""
    while (last := ledger.effective) is not None and refuted(workspace, ledger, last):
        ledger = ledger.without(last)
    return ledger


def shown(workspace: Workspace, ledger: Ledger) -> tuple[Ledger, str]:
    """What `settle` gives, for verbs that decide nothing; where it cannot be told now, what
    `unrefuted` gives, and a word on it."""
    try:
        return settle(workspace, ledger), ""
    except UnclearError as error:
        return unrefuted(workspace, ledger), f"not verified here: {error}"


def confirmed(
    workspace: Workspace, ledger: Ledger, entry: Entry, faults: Faults | None = None
) -> bool:
    """Whether this entry verifies, as of its day; remembered where it does. Else, what it failed is
    noted in `faults`.

    Raises:
        UnclearError: It cannot be told now: what is away is not taken for what is forged.
    """
    if workspace.remembers(ledger.environment, entry.commit):
        return True
    noted = {} if faults is None else faults
    try:
        change = _as_of(workspace, ledger, entry)
    except (InputError, RefusedError):  # its commit of main is gone, or the first of all
        noted[entry.commit] = ()
        return False
    outcome = verify(workspace, change)
    if outcome.unclear:
        raise UnclearError(
            f"{ledger.environment}: entry {entry.commit[:7]} cannot be verified now: {outcome.away}"
        )
    failed = outcome.failed
    if outcome.passed and not _as_recorded(change, entry, outcome):
        text = "the entry names another release, or other answers than the model gives"
        failed = (Finding("answers", False, text),)
    if failed or not outcome.passed:
        noted[entry.commit] = failed
        return False
    remember(workspace, ledger.environment, entry.commit)
    return True


def refuted(
    workspace: Workspace, ledger: Ledger, entry: Entry, told: tuple[Finding, ...] = ()
) -> bool:
    """Whether an entry does not verify, by all that can be told without a model; or by what a job
    that loads models `told`: else nothing could be released after an entry that only a model
    refutes."""
    if workspace.remembers(ledger.environment, entry.commit):
        return False
    failed = (one.name for one in told if not one.passed)
    if any(name in BY_MODEL or name.endswith(" first") for name in failed):
        return True
    try:
        change = _as_of(workspace, ledger, entry, loads=False)
    except (InputError, RefusedError):
        return True
    fine = tuple(Finding(name, True, "taken as told") for name in (*LOADED, "released"))
    outcome = verify(workspace, change, Told(fine, dict(entry.released.answers), {}))
    if outcome.unclear:
        return False
    return not outcome.passed or not _as_recorded(change, entry, outcome)


def without(
    workspace: Workspace, ledger: Ledger, told: Faults
) -> tuple[Ledger, tuple[Finding, ...]]:
    """The ledger without the newest entries that a job that loads models found not to verify, and
    what the next entry says of them.

    Raises:
        RefusedError: One of them verifies here: else it would be judged against an older ledger.
    """
    said = []
    while (last := ledger.effective) is not None and last.commit in told:
        commit, failed = last.commit[:7], told[last.commit]
        if not refuted(workspace, ledger, last, failed):
            text = f"{ledger.environment}: the draft leaves out {commit}, which verifies here"
            raise RefusedError(text)
        ledger = ledger.without(last)
        names = ", ".join(one.name for one in failed if not one.passed)[:100] or "its commit"
        text = f"entry {commit} does not verify ({names}), and does not count"
        said.append(Finding(LEFT_OUT, True, text))
    return ledger, tuple(said)


def _as_recorded(change: Change, entry: Entry, outcome: Verification) -> bool:
    """Whether the entry says of its change what verification says."""
    told, then = entry.released, change.ledger.effective
    if outcome.record is None or outcome.record.model != told.model:
        return False
    if told.change == "rollback":
        back = outcome.restores.commit if outcome.restores else None
        replaced = then.commit if then else None
        return outcome.kind == "rollback" and (back, replaced) == (told.restores, told.replaces)
    answers = outcome.answers | outcome.again
    return outcome.kind == "promotion" and (
        not answers or order.same_answers(answers, dict(told.answers))
    )


def remember(workspace: Workspace, environment: str, commit: str) -> None:
    """Note that this machine verified an entry."""
    write_atomically(workspace.memory(environment, commit), canonical_json({"entry": commit}))


def _as_of(workspace: Workspace, ledger: Ledger, entry: Entry, loads: bool = True) -> Change:
    told = [check.message for check in entry.released.checks if check.name == LEFT_OUT]

    def counts(within: Ledger, one: Entry) -> bool:
        if loads:
            return confirmed(workspace, within, one)
        return not any(said.startswith(f"entry {one.commit[:7]} ") for said in told)

    environment = ledger.environment
    before = ledger.before(entry)
    claimed = entry.released.replaces
    while (last := before.effective) is not None and last.commit != claimed:
        if counts(before, last):
            break  # it was overtaken: the comparison says so
        before = before.without(last)

    def then(name: Environment) -> Ledger:
        if name == environment:
            return before
        other = workspace.ledger(name, ledger.main)
        if other.tip is None:
            raise UnclearError(
                f"env/{name} is missing: restore it with `model ledger restore {name}`"
            )
        then = other.at(entry.time)
        return settle(workspace, then) if loads else then

    return Change(
        environment,
        entry.released.main,
        parent_on_main(workspace.git, environment, entry.released.main),
        entry.time,
        cache(then),
        lambda one: counts(before, one),
        merged=True,
        recorded=entry,
    )
