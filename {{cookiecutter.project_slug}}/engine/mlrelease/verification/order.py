"""The rules of promotion that are read off ledgers: order, freshness, holds, soak, freezes."""

from collections.abc import Iterator

from mlrelease.errors import InputError
from mlrelease.evaluation.gate import Finding
from mlrelease.github.repository import GitHub
from mlrelease.policy import Policy
from mlrelease.records import main_line
from mlrelease.records.change import Change
from mlrelease.records.git import Git
from mlrelease.records.ledger import branch
from mlrelease.records.record import Record, record_path, short
from mlrelease.verification.pending import broken
from mlrelease.workspace import Workspace


def ledger(git: Git, change: Change, record: Record, rollback: bool = False) -> Iterator[Finding]:
    """Whether the ledger is whole: it holds what main has seen of it, or this is the first release.

    A ledger that is missing is never taken for one that was not begun.
    """
    found, name = change.ledger, branch(change.environment)
    if record.intent == "anchor" and not rollback:
        said = f"anchored again: {record.reason}" if record.reason else "an anchor gives no reason"
        yield Finding("ledger", bool(record.reason), said)
        return
    fault = broken(git, found, change.parent)
    if fault:
        yield Finding("ledger", False, fault)
        return
    before = main_line.changes(git, change.parent, change.environment, most=1)
    restore = f"restore it with `model ledger restore {change.environment}`"
    tips = [record.replaces.tip, *(_tip(git, change, one.blob) for one in before)]
    for tip in tips:
        if tip and (found.tip is None or not git.is_ancestor(tip, found.tip)):
            text = f"{name} does not hold {tip[:7]}, which it did: it was cut; {restore}"
            yield Finding("ledger", False, text)
            return
    count = len(found.entries)
    yield Finding("ledger", True, f"{name} is whole: {count} release{'s' if count != 1 else ''}")


def old(git: Git, change: Change) -> Iterator[Finding]:
    """Whether a record of the version before may still be verified: it was merged before ledgers
    were. Clocks of that time are not known, so soak and freezes are not judged."""
    start = main_line.adopted(git, change.ledger.main or change.parent)
    ok = git.is_ancestor(change.head, start)
    text = f"of the time before {start[:7]}, which brought the ledger; soak and freezes not judged"
    yield Finding("ledger", ok, text if ok else "the record is of an older version: promote again")


def comparison(workspace: Workspace, change: Change, record: Record) -> Finding:
    """Whether the reviewer compared with what runs, and left out the rows it was fitted on."""
    current, where = change.ledger.effective, change.environment
    expected = (current.model, current.commit) if current else (None, None)
    said = record.replaces
    compared = (said.model, said.entry)
    if record.schema_version == 1 and current:
        expected = (current.model, current.released.main)
        compared = (said.model, said.commit)
    if expected == compared:
        fitted = workspace.recorded(current).data.fitted if current else None
        if said.fitted != fitted:
            text = f"takes {short(said.fitted)} for the rows that {short(expected[0])} was fitted"
            text += f" on, whose record names {short(fitted)}; run `model promote {where}` again"
            return Finding("comparison", False, text)
        text = f"compared with what {where} runs, {short(expected[0])}"
        return Finding("comparison", True, text)
    gone = change.recorded is not None and change.ledger.find(said.entry) is None
    if record.intent == "anchor" and gone:
        text = f"compared with {short(said.model)}, of a main that is gone"
        return Finding("comparison", True, text)
    if change.recorded is None and record.model == expected[0]:
        text = f"{short(record.model)} runs in {where}, by another record: somebody edited this one"
        return Finding("comparison", False, f"{text}; take that back")
    seen, now = (commit[:7] if commit else "nothing" for commit in (compared[1], expected[1]))
    return Finding(
        "comparison",
        False,
        f"stale: compared with {short(compared[0])} ({seen}), but {where} is at"
        f" {short(expected[0])} ({now}); run `model promote {where}` again",
    )


def source(git: Git, change: Change, record: Record, github: GitHub | None) -> Finding:
    """Whether the model was built from main, and is called after that. A rebase brings commits
    there that main never stood at: what one does and the next takes back was seen by nobody."""
    commit = record.source.commit
    on_main = commit in git.line(change.parent)
    built = f"built from {commit[:7]}, which is {'' if on_main else 'not '}on main"
    if on_main and change.recorded is None and record.version != (name := git.version(commit)):
        return Finding("source", False, f"{built}, and is not called {name} after it")
    if on_main and github is not None and (number := github.middle(commit)):
        built += f", but in the middle of #{number}, of which people saw the end"
        return Finding("source", False, f"{built}; train again at its last commit or a later one")
    return Finding("source", on_main, built)


def hold(change: Change, record: Record) -> Iterator[Finding]:
    """Whether the model was released here and replaced: only a person brings it back."""
    entry = change.ledger.held().get(record.model)
    if entry is None or not change.confirmed(entry):
        return
    end = change.ledger.ended_by(entry)
    failed = "failed its golden requests" if entry.failed else f"until {end.time:%Y-%m-%d %H:%M}"
    ran = "it " if entry.failed else "it ran "
    text = f"held: {ran}{failed} in {change.environment}, entry {entry.commit[:7]}"
    yield Finding("hold", bool(record.reason), text + _overruled(record))


def alike(change: Change, record: Record, answers: dict[str, float]) -> Iterator[Finding]:
    """Whether another held model gives the same answers: the same model under another digest."""
    for model, entry in change.ledger.held().items():
        if model != record.model and same_answers(answers, dict(entry.released.answers)):
            text = f"held: it answers like {short(model)}, which is held here"
            yield Finding("hold", bool(record.reason), text + _overruled(record))
            return


def same_answers(a: dict[str, float], b: dict[str, float]) -> bool:
    """Whether two models answer the rows that both were asked alike, to a millionth of the largest
    answer: a processor loses digits of what is summed, also where the sum is small."""
    shared = a.keys() & b.keys()
    largest = max((abs(answer[row]) for answer in (a, b) for row in shared), default=0.0)
    return len(shared) >= min(16, len(a), len(b)) > 0 and all(
        abs(a[row] - b[row]) <= 1e-6 * largest for row in shared
    )


def timing(change: Change, record: Record, policy: Policy) -> Iterator[Finding]:
    """Freezes, the environment before, and the soak time; a hotfix waits for none of them."""
    rules = policy.environments[change.environment]
    if record.intent == "hotfix":
        said = f"soak time and freezes do not hold it up: {record.reason}"
        yield Finding("hotfix", bool(record.reason), said if record.reason else "gives no reason")
        return
    for freeze in rules.freeze:
        if freeze.first <= change.time.date() <= freeze.last:
            yield Finding("freeze", False, f"{freeze.first} to {freeze.last}: {freeze.reason}")
    if rules.needs is None:
        return
    before = change.ledgers(rules.needs)
    current, since = before.effective, before.since()
    same = current is not None and current.model == record.model
    runs = short(current.model) if current else "nothing"
    message = f"the same bytes as {rules.needs}" if same else f"{rules.needs} runs {runs}"
    yield Finding(f"{rules.needs} first", same, message)
    if not same:
        return
    if since is None:
        yield Finding("soak", not rules.soak_hours, f"not yet seen to run in {rules.needs}")
        return
    hours = (change.time - since).total_seconds() / 3600
    unseen = "" if before.observed else ", counted from its release: nobody looks whether it runs"
    message = f"{hours:.1f} h in {rules.needs}, needs {rules.soak_hours:g} h{unseen}"
    yield Finding("soak", hours >= rules.soak_hours, message)


def _overruled(record: Record) -> str:
    return f"; overruled: {record.reason}" if record.reason else '; --reason "..." overrules'


def _tip(git: Git, change: Change, blob: str | None) -> str | None:
    """The tip that an earlier record names; one that cannot be read was never released."""
    content = git.objects([blob], 65_536)[0].content if blob else None
    try:
        place = record_path(change.environment)
        return Record.read(content, place).replaces.tip if content else None
    except InputError:
        return None
