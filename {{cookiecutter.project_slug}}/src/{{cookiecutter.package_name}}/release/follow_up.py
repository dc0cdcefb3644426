"""What follows on GitHub from a deployment or a drift report: records, issues, the next promotion.

These jobs may write and load no model: results of other jobs are data to them.
"""

import datetime as dt
from collections.abc import Iterator

from ..config import DriftLimits
from ..errors import InputError, ModelError
from .deploy import Deployment
from .github import GitHub
from .history import history, live, live_since
from .proposal import find_open
from .record import Record, record_path, short
from .rollback import rollback
from .workspace import Workspace

AGAIN = dt.timedelta(days=1)  # what was refused is not asked for more often


def record(workspace: Workspace, github: GitHub, done: Deployment) -> Iterator[str]:
    """Record how a deployment went: as a GitHub deployment, and as an issue when it failed."""
    place, commit = done.environment, done.commit
    if commit is None:
        yield f"{place}: nothing to record"
        return
    label = f"deployment-{place}"
    if done.error is None:
        words = f"{short(done.model)} was verified and answers its golden requests"
        new = github.deployment(place, commit, "success", words)
        github.close_issue(label, f"{words}, since {commit[:7]}.")
        yield f"{place}: {'recorded' if new else 'recorded already'}: {words}"
    else:
        github.deployment(place, commit, "failure", done.error)
        plan = _revert(workspace, done) if done.action == "failed" else (
            "Nothing is switched: what ran before still runs. Mend `main`: revert the change, or"
            " promote again. The runbook lists each check: `docs/runbook.md`."
        )  # fmt: skip
        title = f"{place}: {short(done.model)} does not run"
        body = f"`main` names {short(done.model)} since {commit[:7]}, and it was {done.action}:\n\n"
        error = done.error.replace("```", "`` `")  # it quotes files, and must not end the block
        number = github.issue(label, title, f"{body}```text\n{error}\n```\n\n{plan}\n")
        yield f"{place}: failed, see #{number}"


def _revert(workspace: Workspace, done: Deployment) -> str:
    reason = f"The golden requests failed after deployment of {short(done.model)}."
    try:
        opened = rollback(workspace, done.environment, reason=reason)
    except ModelError as error:
        return f"No revert is proposed: {error}"
    return f"Merge {opened.pull_request.address}, so that `main` says what runs."


def mark_stale(workspace: Workspace, github: GitHub) -> Iterator[str]:
    """Open promotions that main has overtaken must not look mergeable: compared with what ran
    before, or waiting for production with what staging does not run any more."""
    git = workspace.git
    base = git.base()
    for environment, rules in workspace.policy_at(base).environments.items():
        entries = history(git, base, environment)
        before = live(history(git, base, rules.needs)) if rules.needs else None
        for request in workspace.pull_requests.list(environment, base):
            content = git.show(request.head, record_path(environment))
            if content is None or not request.branch.startswith("promote/"):
                continue
            try:
                proposed = Record.read(content, request.branch)
            except InputError:
                continue  # somebody edited it: `ci` says so, and no status of ours is on that head
            compared = proposed.replaces.commit == (entries[0].commit if entries else None)
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
        before = history(git, base, rules.needs)
        record, since = live(before), live_since(before)
        soak = dt.timedelta(hours=rules.soak_hours)
        if record is None or since is None or now - since < soak:
            continue
        lived = {e.record.model for e in history(git, base, environment) if e.record}
        branch = f"promote/{environment}/{short(record.model)}"
        if (
            record.model not in lived
            and github.runs(rules.needs, before[0].commit)
            and find_open(workspace, environment, branch, base) is None
            and not requests.refused(branch, base)
            and github.offer(before[0].commit, environment, now, AGAIN)
        ):
            yield environment, record.model


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
