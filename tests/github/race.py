"""A hundred promotions, merges, rollbacks and deployments at once, some of them killed.

Runs in a baked project's environment. `test_race.py` makes the plan, and starts this beside the
GitHub stand-in: `python race.py PACKAGE URL REPOSITORY JOB-TOKEN PERSON-TOKEN PLAN`.

Each action is a process of its own on a fresh clone, as a job is; a deployment works on the host's
own state, as an agent does. Git, GitHub's API, the store, records, verification, supervision, the
server with its lock and its listeners are the real ones. Figures are computed once, and the service
answers without a model: neither is what races.
"""

import dataclasses
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

PACKAGE, URL, REPOSITORY, TOKEN, PERSON, PLAN = sys.argv[1:]
AT_ONCE, MODELS = 4, 6
STUB = Path(__file__).with_name("race_service.py")
os.environ.update(GITHUB_TOKEN=TOKEN, GITHUB_SERVER_URL=URL, GITHUB_API_URL=f"{URL}/api/v3")
Plan = list[tuple[str, str, float | None]]


def load(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


deploy, supervisor = load("deployment.deploy"), load("deployment.processes")
promote, rollback = load("promotion.promote"), load("promotion.rollback")
figures, package = load("verification.figures"), load("packages.package")
workspace, main_line, record = load("workspace"), load("records.main_line"), load("records.record")
errors, train, golden = load("errors"), load("training.train"), load("serving.golden")
Workspace: Any = workspace.Workspace


class World:
    """One repository on the stand-in, and one machine that serves it."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root = name, root
        self.remote = f"{URL}/{name}.git"
        self.state, self.store = root / "state", root / "store"
        self.agent = self.clone("agent")
        self.ran = root / "ran"
        self.person = httpx.Client(
            base_url=f"{URL}/api/v3/repos/{name}",
            headers={"Authorization": f"Bearer {PERSON}"},
            timeout=60,
        )

    def clone(self, name: str) -> Path:
        place = self.root / name
        subprocess.run(["git", "clone", "-q", self.remote, str(place)], check=True)
        return place

    def here(self, place: Path) -> Any:
        """A workspace on one clone. All share the store, as jobs share a registry."""
        return Workspace(place, self.state)

    def models(self) -> list[str]:
        return sorted(path.stem for path in (self.state / "store" / "candidates").glob("*.json"))


def prepare(world: World) -> None:
    """Candidates whose bytes differ; their figures are one real evaluation's."""
    here = world.here(world.agent)
    train.train(here.params, here.root, here.candidate)
    first = package.package(here)
    found = here.store.fetch(first.model)
    for number in range(MODELS):
        copy = world.root / f"model-{number}"
        shutil.copytree(found, copy)
        (copy / "number.json").write_text(str(number))
        digest = here.store.put(copy)
        key = record.short(digest).ljust(64, "0")
        here.store.save(first.model_copy(update={"model": digest, "key": f"sha256:{key}"}))
    alone, compared = (
        figures.measured(
            here, first.model, record.Replaces(model=champion), first.data, first.source.commit,
            here.policy,
        )
        for champion in (None, first.model)
    )  # fmt: skip

    def known(_: Any, model: str, replaces: Any, *__: Any, **___: Any) -> Any:
        found = compared if replaces.model else alone
        named = {"candidate": model, "champion": replaces.model}
        moved = int(model[7:15], 16) / 2**32  # else each would be held for answering like another
        return dataclasses.replace(
            found,
            evaluation=found.evaluation.model_copy(update=named),
            scored=dataclasses.replace(found.scored, candidate=found.scored.candidate + moved),
            answers={row: answer + moved for row, answer in found.answers.items()},
        )

    for module in (promote, figures):
        module.measured = known
    load("verification.rebuild").check = lambda *_, **__: load("evaluation.gate").Finding(
        "rebuilt", True, "not asked here"
    )
    plots = load("evaluation.plots")
    drawn = {
        found.scored.champion is None: plots.draw(found.scored, found.evaluation)
        for found in (alone, compared)
    }
    plots.draw = lambda scored, _: drawn[scored.champion is None]
    golden.check = lambda *_: []
    real = subprocess.Popen

    class Small(real):  # type: ignore[valid-type,misc]
        def __init__(self, command: Any, *rest: Any, **named: Any) -> None:
            if f"{PACKAGE}.serving.app" in command:
                command = [sys.executable, str(STUB), PACKAGE, str(world.ran), *command[3:]]
            super().__init__(command, *rest, **named)

    supervisor.subprocess.Popen = Small


def act(world: World, kind: str, environment: str, chance: random.Random, number: int) -> None:
    """One action, as a job would take it; a refusal is an answer."""
    try:
        if kind == "deploy":
            deploy.attempt(world.here(world.agent), environment, revert=False)
            return
        here = world.here(world.clone(f"job-{number}"))
        if kind == "promote":
            digest = f"sha256:{chance.choice(world.models())}"
            model = digest if environment == "staging" else None
            reason = chance.choice([None, "we looked again"])
            promote.promote(here, environment, model=model, reason=reason)
        else:
            rollback.rollback(here, environment, reason="a bad day")
    except errors.ModelError as error:
        print(f"  {number:>3} {kind} {environment}: {str(error).splitlines()[0][:110]}")


def merge(world: World, chance: random.Random) -> None:
    """Ann approves and merges an open pull request; GitHub may say no."""
    open_ones = world.person.get("/pulls", params={"state": "open"}).json()
    if not open_ones:
        return
    number = chance.choice(open_ones)["number"]
    world.person.post(f"/pulls/{number}/reviews", json={"event": "APPROVE"})
    if chance.random() < 0.9:
        world.person.put(f"/pulls/{number}/merge", json={})
    else:
        world.person.patch(f"/pulls/{number}", json={"state": "closed"})


def race(world: World, plan: Plan, seed: int) -> int:
    """Take every action, some at once, killing those with a time to live; how many were killed."""
    chance = random.Random(seed)  # noqa: S311 - a plan, not a secret
    going: dict[int, float] = {}
    killed = 0
    for number, (kind, environment, lifetime) in enumerate(plan):
        if kind == "merge":
            merge(world, chance)
            continue
        child = os.fork()
        if child == 0:
            os.setsid()
            try:
                act(world, kind, environment, random.Random(seed + number), number)  # noqa: S311
            finally:
                os._exit(0)
        going[child] = time.monotonic() + lifetime if lifetime is not None else float("inf")
        while len(going) >= AT_ONCE or (number == len(plan) - 1 and going):
            killed += reap(going)
            time.sleep(0.01)
    while going:
        killed += reap(going)
        time.sleep(0.01)
    return killed


def reap(going: dict[int, float]) -> int:
    """Forget who ended, kill whose time is up."""
    killed = 0
    for child, deadline in list(going.items()):
        if os.waitpid(child, os.WNOHANG)[0]:
            del going[child]
        elif time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            del going[child]
            killed += 1
    return killed


def agree(world: World, environment: str) -> str | None:
    """Deploy until main, the ledger and the world agree. Where main names what may not run (staging
    moved while a promotion to production was open, say), a person undoes it first; the digest that
    runs."""
    outcome = deploy.attempt(world.here(world.agent), environment, revert=False)
    if outcome.action == "refused":
        undo(world, environment)
    for _ in range(2):
        outcome = deploy.attempt(world.here(world.agent), environment, revert=False)
    assert outcome.error is None, outcome
    here = world.here(world.agent)
    main = here.git.base()
    ledger, said = here.ledger(environment, main), main_line.named(here.git, main, environment)
    live = ledger.effective
    place = world.state / "environments" / environment
    running = supervisor.Processes(place, here.git).running()
    public = [process.digest for process in running if process.public_port()]
    assert public == ([live.model] if live else []), (environment, outcome, public, live)
    assert len(running) == len(public), "a process was forgotten"
    assert (said.blob if said else None) == (live.record if live else None)
    assert ledger.skipped == ()
    changes = [entry.released.main for entry in ledger.entries]
    assert len(changes) == len(set(changes)), "a change was released twice"
    return live.model if live else None


def undo(world: World, environment: str) -> None:
    """A person lets main name again what runs, or (nothing ran yet) something that may."""
    here = world.here(world.clone(f"undo-{environment}"))
    if here.ledger(environment, here.git.base()).effective:
        opened = rollback.rollback(here, environment, reason="it was refused").pull_request
    else:
        model = f"sha256:{world.models()[0]}" if environment == "staging" else None
        named = {"model": model, "reason": "the first one was refused", "intent": "anchor"}
        opened = promote.promote(here, environment, **named).pull_request
    number = opened.address.rpartition("/")[2]
    world.person.post(f"/pulls/{number}/reviews", json={"event": "APPROVE"})
    world.person.put(f"/pulls/{number}/merge", json={}).raise_for_status()


def check(world: World) -> dict[str, Any]:
    """Main, the ledger and the world agree, and nothing ever ran that was not released."""
    facts: dict[str, Any] = {
        environment: record.short(agree(world, environment))
        for environment in ("staging", "production")
    }
    here = world.here(world.agent)
    entries = [
        entry
        for environment in ("staging", "production")
        for entry in here.ledger(environment, here.git.base()).entries
    ]
    released = {entry.model for entry in entries}
    ran = set(world.ran.read_text().split()) if world.ran.exists() else set()
    assert ran <= released, f"ran without a release: {ran - released}"
    return facts | {"ran": len(ran), "released": len(entries)}


def main() -> None:
    given = json.loads(Path(PLAN).read_text())
    with tempfile.TemporaryDirectory(prefix="race-") as directory:
        world = World(REPOSITORY, Path(directory))
        prepare(world)
        started = time.monotonic()
        try:
            killed = race(world, given["plan"], given["seed"])
            facts = check(world)
        finally:
            for environment in ("staging", "production"):
                deploy.stop(world.here(world.agent), environment)
        seconds = round(time.monotonic() - started, 1)
        print(json.dumps(facts | {"actions": len(given["plan"]), "killed": killed, "s": seconds}))


main()
