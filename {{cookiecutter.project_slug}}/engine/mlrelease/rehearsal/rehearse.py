"""`model rehearse`: the whole life of a model in a throw-away copy, with the real parts.

A real git repository with a bare origin, the real gate, store, verification and service. Nothing is
played: a step that does not come out as the rules say ends the rehearsal with exit code 1.
"""

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import typer

from mlrelease.deployment.deploy import deploy, prediction_log, stop
from mlrelease.documents import parse_yaml
from mlrelease.environments import ENVIRONMENTS, Environment
from mlrelease.errors import ModelError, RefusedError
from mlrelease.evaluation import gate, report
from mlrelease.evaluation.markdown import block, escape
from mlrelease.evaluation.pages import page
from mlrelease.monitoring.monitor import markdown, monitor
from mlrelease.output import Folder
from mlrelease.plain import lines, message
from mlrelease.promotion import work_tree
from mlrelease.records.record import short
from mlrelease.rehearsal.sandbox import Sandbox, sandbox
from mlrelease.scoring.artifact import read_card
from mlrelease.scoring.features import refused, to_frame
from mlrelease.serving.prediction_log import read
from mlrelease.training.train import read_holdout

SIMPLE: dict[str, Any] = {"n_estimators": 20, "max_depth": 3}
WORSE: dict[str, Any] = {"n_estimators": 1, "max_depth": 1}


@dataclass(frozen=True)
class Step:
    """One line of the rehearsal."""

    name: str
    seconds: float
    outcome: str


class Rehearsal:
    """The play: its steps, and the pages to look at afterwards."""

    def __init__(self, scene: Sandbox, quiet: bool) -> None:
        self.scene, self.quiet = scene, quiet
        self.steps: list[Step] = []
        self.pages: list[str] = []
        self.plots: dict[str, bytes] = {}

    def step(self, name: str, action: Callable[[], str]) -> None:
        """Run one step and print its line; it must not fail."""
        started = time.monotonic()
        outcome = action()
        done = Step(name, round(time.monotonic() - started, 2), outcome)
        self.steps.append(done)
        self.say(f"{len(self.steps):>2}  {done.seconds:5.1f} s  {name:<34} {outcome}")

    def refused(self, name: str, action: Callable[[], object], *rules: str) -> None:
        """Run one step that must be refused, by one of these rules."""

        def refuse() -> str:
            try:
                action()
            except RefusedError as error:
                reason = str(error)
                if any(rule in reason for rule in rules):
                    self.pages.append(f"## 🛑 {name}\n\n{block(reason)}\n")
                    return "refused\n" + "\n".join(f"      {x}" for x in reason.splitlines()[:6])
                raise
            raise ModelError(f"{name}: was not refused, although {' or '.join(rules)} asks for it")

        self.step(name, refuse)

    def say(self, text: str) -> None:
        if not self.quiet:
            typer.echo(lines(text))

    def release(self, environment: Environment, show: bool = False) -> str:
        """Promote, review, merge, deploy."""
        proposal = self.scene.promote(environment)
        head = proposal.pull_request.head
        if show:
            self.say(f"\n{report.summary(proposal.pull_request.body)}\n")
        text = self.scene.here.git.show(head, f"deploy/{environment}/report.md") or b""
        folder = f"plots/{len(self.pages)}"
        for name, content in self.scene.here.git.files(head, f"deploy/{environment}/plots").items():
            self.plots[f"{folder}/{name}"] = content
        self.pages.append(text.decode().replace('src="plots/', f'src="{folder}/'))
        self.scene.merge(proposal.pull_request.branch)
        done = deploy(self.scene.here, environment)
        return f"{short(done.model)} is live at {done.url}"


def rehearse(root: Path, output: Path, quiet: bool = False) -> list[Step]:
    """Play every step; write `output/report.md`, `report.html` and plots; return the steps.

    Raises:
        ModelError: A step came out otherwise than the rules say.
        RefusedError: A file of somebody else is where a page would be written.
    """
    folder = Folder(output, r"report\.(md|html)|plots/\d+/\w+\.png")
    folder.check(("report.md", "report.html"))  # now, rather than after a minute of work
    with sandbox(root) as scene:
        play = Rehearsal(scene, quiet)
        own = parse_yaml((root / "params.yaml").read_bytes(), "params.yaml")["model"]
        try:
            _play(play, own)
        finally:
            for environment in ENVIRONMENTS:
                stop(scene.here, environment)
    text = document(play.steps, play.pages)
    pages = {"report.md": text.encode(), "report.html": page(text, "Rehearsal").encode()}
    folder.write(play.plots | pages)
    total = sum(done.seconds for done in play.steps)
    play.say(f"\n{len(play.steps)} steps, {total:.1f} s: the rules hold.")
    return play.steps


def document(steps: Sequence[Step], pages: Sequence[str]) -> str:
    """The steps as a table, and the pages of Markdown that they left."""
    table = ["| | step | s | outcome |", "|--:|:--|--:|:--|"]
    for number, done in enumerate(steps, 1):
        first = escape((done.outcome.splitlines() or [""])[0])
        table.append(f"| {number} | {escape(done.name)} | {done.seconds:.1f} | {first} |")
    return "\n".join(["# Rehearsal", "", *table, "", *pages])


def _play(play: Rehearsal, own: dict[str, Any]) -> None:
    day = dt.timedelta(hours=play.scene.here.policy.environments["production"].soak_hours + 1)
    simple = {"estimator": "random_forest", "parameters": SIMPLE}
    play.step("train a first, simple model", lambda: _first(play, simple, own))
    play.step("promote it to staging, deploy", lambda: play.release("staging"))
    if day > dt.timedelta(hours=1):
        play.refused(
            "production, before it has soaked", lambda: play.scene.promote("production"), "soak"
        )
        play.scene.clock += day
    play.step(
        f"production, {day.total_seconds() / 3600:g} h later", lambda: play.release("production")
    )
    worse = {"estimator": "random_forest", "parameters": WORSE}
    play.step("train a worse model", lambda: short(play.scene.candidate({"model": worse})))
    play.refused(
        "promote it to staging", lambda: play.scene.promote("staging"), "metrics.", "champion."
    )
    play.step(
        "train a better one: params.yaml", lambda: short(play.scene.candidate({"model": own}))
    )
    play.step("promote it to staging, deploy", lambda: play.release("staging"))
    play.scene.clock += day
    play.step("and to production", lambda: play.release("production", show=True))
    play.step("roll production back, deploy", lambda: _roll_back(play))
    play.refused("propose the same model again", lambda: play.scene.promote("production"), "hold")
    play.step("send requests that drifted", lambda: _drift(play))
    play.step("history of production", lambda: _history(play))


def _first(play: Rehearsal, simple: dict[str, Any], own: dict[str, Any]) -> str:
    """The simple model where policy.yaml lets it pass, else today's with another seed."""
    digest = play.scene.candidate({"model": simple})
    evaluation, _ = work_tree.evaluate_candidate(play.scene.here, "production")
    rules = gate.judge(evaluation, play.scene.here.policy)
    if not gate.passed(rules):
        digest = play.scene.candidate({"model": own, "seed": play.scene.here.params.seed + 1})
        evaluation, _ = work_tree.evaluate_candidate(play.scene.here, "production")
        rules = gate.judge(evaluation, play.scene.here.policy)
    return f"{short(digest)}  {report.headline(evaluation, message)}"


def _roll_back(play: Rehearsal) -> str:
    before = deploy(play.scene.here, "production").model
    opened = play.scene.roll_back("production")
    play.pages.append(opened.pull_request.body)
    done = deploy(play.scene.here, "production")
    return f"rolled back from {short(before)}: {short(done.model)} is live at {done.url}"


def _drift(play: Rehearsal) -> str:
    """Ask production about the holdout with its numbers moved by two standard deviations."""
    done = deploy(play.scene.here, "production")
    model = play.scene.here.store.fetch(str(done.model))
    told = read_card(play.scene.here.store.read(str(done.model))).signature
    rows = read_holdout(play.scene.here.candidate / "holdout")
    strange = {fault.row for fault in refused(to_frame(rows, told.columns), told)}
    rows = rows.drop([row for row in strange if row is not None])
    moved = {
        c.name: rows[c.name] + 2 * float(rows[c.name].std()) if c.type == "number" else rows[c.name]
        for c in told.columns
    }
    table = pd.DataFrame(moved).astype(object)
    body = table.where(table.notna() & (table != ""), None).to_dict("records")
    httpx.post(f"{done.url}/predict", json=body, timeout=30, trust_env=False).raise_for_status()
    log = prediction_log(play.scene.here, "production")
    logged = _logged(log, done.model, len(body))
    limits = play.scene.here.policy.drift.model_copy(update={"min_rows": 1})
    found = monitor(model, logged, limits, str(done.model))
    if not found.drifted:
        raise ModelError("numbers moved by two standard deviations were not seen as drift")
    text = markdown(found)
    play.pages.append(text)
    return next(line for line in text.splitlines() if line.strip()).strip("#* ")


def _logged(log: Path, model: str | None, rows: int) -> pd.DataFrame:
    """The log, once it holds so many rows: it is written a moment after the answer."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        if log.exists() and len(found := read(log, model)) >= rows:
            return found
        time.sleep(0.05)
    raise ModelError(f"{log}: {rows} rows were answered, and are not in it after ten seconds")


def _history(play: Rehearsal) -> str:
    here = play.scene.here
    entries = here.ledger("production", here.git.base()).entries[::-1]
    back = {"rollback": " rollback"}
    return " <- ".join(f"{short(e.model)}{back.get(e.released.change, '')}" for e in entries)
