"""What follows on GitHub from a deployment or a drift report: records, issues, the next promotion.

These jobs may write and load no model: results of other jobs are data to them.
"""

import datetime as dt
from collections.abc import Iterator

import msgspec

from mlrelease.deployment.deploy import Deployment
from mlrelease.deployment.observe import observe
from mlrelease.errors import InputError, ModelError
from mlrelease.evaluation.markdown import block, code, escape
from mlrelease.github.repository import GitHub
from mlrelease.plain import message
from mlrelease.policy import DriftLimits
from mlrelease.promotion.proposal import find_open
from mlrelease.promotion.release import Result
from mlrelease.promotion.rollback import rollback
from mlrelease.records.record import Record, record_path, short
from mlrelease.verification.confirm import unrefuted
from mlrelease.workspace import Workspace

AGAIN = dt.timedelta(days=1)  # what was refused is not asked for more often
NOTHING_SWITCHED = (
    "Nothing is switched: what ran before still runs. Correct `main`: `model rollback {place}` lets"
    " it name again what runs, or promote again. The runbook lists each check: `docs/runbook.md`."
)


class _Results(msgspec.Struct):
    results: tuple[Result, ...]


def read(name: str, text: str) -> Deployment | tuple[Result, ...]:
    """What `model deploy --json`, or `model release --json` and `model ledger append --json`,
    printed in another job. To this one it is data, which may have been forged.

    Raises:
        InputError: It is neither.
    """
    try:
        kind = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if "results" in kind:
            return msgspec.json.decode(text, type=_Results).results
        return msgspec.json.decode(text, type=Deployment)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InputError(f"{name}: is no result of a release or deployment: {error}") from None


def record(
    workspace: Workspace, github: GitHub, done: Deployment, refused: bool = False
) -> Iterator[str]:
    """Record how a deployment went: in the ledger, as a GitHub deployment, and as an issue when it
    failed. What it says is believed of the release that the ledger has, and of no other. The issue
    stays open where what main names was `refused`."""
    place = done.environment
    ledger = workspace.ledger(place, workspace.git.base())
    entry = ledger.find(done.entry)
    if done.error is None:
        if entry is None or entry is not unrefuted(workspace, ledger).effective:
            yield f"{place}: nothing to record"
            return
        observe(workspace, place, entry.commit, "live", "deploy.yml")
        words = f"{short(entry.model)} was verified and answers its golden requests"
        new = github.deployment(place, entry.released.main, "success", words)
        if not refused:
            github.close_issue(label(place), f"{words}, since {entry.released.main[:7]}.")
        yield f"{place}: {'recorded' if new else 'recorded already'}: {words}"
        return
    if entry is not None:  # what was refused was not deployed
        github.deployment(place, entry.released.main, "failure", done.error)
    plan = NOTHING_SWITCHED.format(place=place)
    if done.action == "failed" and entry is not None:
        observe(workspace, place, entry.commit, "failed", "deploy.yml", done.error)
        plan = _revert(workspace, done)
    commit = entry.released.main if entry else done.commit
    yield _issue(github, place, done.action, done.model, commit, done.error, plan)


def record_refusal(github: GitHub, found: Result) -> Iterator[str]:
    """Keep the issue that says why what main names was not released."""
    if found.error is not None:
        place, plan = found.environment, NOTHING_SWITCHED.format(place=found.environment)
        yield _issue(github, place, "refused", found.model, found.commit, found.error, plan)


def label(environment: str) -> str:
    """Of the one issue about what main names for an environment and what does not run."""
    return f"deployment-{environment}"


def _issue(
    github: GitHub, place: str, action: str, model: str | None, commit: str | None, error: str,
    plan: str,
) -> str:  # fmt: skip
    title, body = told(place, action, model, commit, error, plan)
    number = github.issue(label(place), title, body)
    return f"{place}: {action}, see #{number}"


def told(
    place: str, action: str, model: str | None, commit: str | None, error: str, plan: str
) -> tuple[str, str]:
    """The title and the body of that issue. What failed may quote anybody's files."""
    since = f" since {escape(commit[:7])}" if commit else ""
    body = f"`main` names {code(short(model))}{since}, and it was {escape(action)}:\n\n"
    title = message(f"{place}: {short(model)} does not run")
    return title, f"{body}{block(error)}\n\n{plan}\n"


def _revert(workspace: Workspace, done: Deployment) -> str:
    reason = f"The golden requests failed after deployment of {short(done.model)}."
    try:
        opened = rollback(workspace, done.environment, reason=reason, loads=False)
    except ModelError as error:
        return f"No revert is proposed: {escape(str(error), most=2000)}"
    return f"Merge {opened.pull_request.address}, so that `main` says what runs."


def mark_stale(workspace: Workspace, github: GitHub) -> Iterator[str]:
    """Open promotions that main has overtaken must not look mergeable: compared with what ran
    before, or waiting for production with what staging does not run any more."""
    git = workspace.git
    base = git.base()
    for environment, rules in workspace.policy_at(base).environments.items():
        current = unrefuted(workspace, workspace.ledger(environment, base)).effective
        needed = unrefuted(workspace, workspace.ledger(rules.needs, base)) if rules.needs else None
        before = needed.effective if needed else None
        for request in workspace.pull_requests.list(environment, base):
            content = git.show(request.head, record_path(environment))
            if content is None or not request.branch.startswith("promote/"):
                continue
            try:
                proposed = Record.read(content, request.branch)
            except InputError:
                continue  # somebody edited it: `ci` says so, and no status of ours is on that head
            compared = proposed.replaces.entry == (current.commit if current else None)
            taken = rules.needs is None or (before is not None and before.model == proposed.model)
            if compared and (taken or proposed.intent == "hotfix"):
                continue
            moved = rules.needs if compared else environment
            github.status(request.head, "failure", f"stale: {moved} moved; promote again")
            yield f"{environment}: {request.branch} is stale"


def due(workspace: Workspace, github: GitHub, now: dt.datetime) -> Iterator[tuple[str, str]]:
    """Environments, and the model that each may now be offered: it runs, and has soaked, in the one
    before; nobody said no to it; and it was not offered within a day."""
    git, requests = workspace.git, workspace.pull_requests
    base = git.base()
    for environment, rules in workspace.policy_at(base).environments.items():
        if rules.needs is None or any(f.first <= now.date() <= f.last for f in rules.freeze):
            continue
        before = unrefuted(workspace, workspace.ledger(rules.needs, base))
        entry, since = before.effective, before.since()
        soak = dt.timedelta(hours=rules.soak_hours)
        if entry is None or since is None or now - since < soak:
            continue
        lived = {one.model for one in workspace.ledger(environment, base).entries}
        branch = f"promote/{environment}/{short(entry.model)}"
        if (
            entry.model not in lived
            and github.runs(rules.needs, entry.released.main)
            and find_open(workspace, environment, branch, base) is None
            and not requests.refused(branch, base)
            and github.offer(entry.released.main, environment, now, AGAIN)
        ):
            yield environment, entry.model


def drift(
    github: GitHub, environment: str, page: str, drifted: bool, severe: bool,
    limits: DriftLimits, now: dt.datetime,
) -> str:  # fmt: skip
    """Keep the one issue of an environment's drift; train again when it is severe."""
    label = f"drift-{environment}"
    if not drifted:
        github.close_issue(label, "The newest report shows no drift above the limits.")
        return f"{environment}: no drift above the limits"
    number = github.issue(label, f"{environment}: the inputs have drifted", page)
    if not severe:
        return f"{environment}: drift, see #{number}"
    last = github.last_dispatch("train.yml")
    if last and now - last < dt.timedelta(days=limits.cool_down_days):
        return f"{environment}: severe drift, see #{number}; trained {last:%Y-%m-%d} already"
    github.dispatch("train.yml", {"issue": str(number)})
    return f"{environment}: severe drift, see #{number}; training starts"
