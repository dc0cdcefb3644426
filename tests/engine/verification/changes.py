"""What tests of releases ask of a repository: its ledger, and a change as verification sees it."""

import datetime as dt

from mlrelease.promotion import release
from mlrelease.records import change, ledger, main_line
from mlrelease.rehearsal import sandbox
from mlrelease.verification import confirm, verify


def entries(world: sandbox.Sandbox, environment: str = "production") -> tuple[ledger.Entry, ...]:
    """What was released, newest first."""
    here = world.here
    return here.ledger(environment, here.git.base()).entries[::-1]  # type: ignore[arg-type]  # a name


def live(world: sandbox.Sandbox, environment: str = "production") -> str:
    """The model that runs, or shall."""
    here = world.here
    found = here.ledger(environment, here.git.base()).effective  # type: ignore[arg-type]  # a name
    assert found is not None
    return found.model


def named(world: sandbox.Sandbox, environment: str = "production") -> main_line.Named:
    """What main says."""
    found = main_line.named(world.here.git, world.here.git.base(), environment)
    assert found is not None
    return found


def on_main(world: sandbox.Sandbox, environment: str = "production") -> change.Change:
    """The change that main asks to be released."""
    here = world.here
    commit, ledgers = named(world, environment).commit, confirm.settled(here, here.git.base())
    return release.on_main(here, environment, commit, ledgers)  # type: ignore[arg-type]  # a name


def proposed(world: sandbox.Sandbox, head: str, environment: str = "production") -> change.Change:
    """What merging a branch would change."""
    return release.proposed(world.here, environment, head, world.here.git.base())  # type: ignore[arg-type]  # a name


def failed(world: sandbox.Sandbox, one: change.Change) -> dict[str, str]:
    """The checks that refuse a change."""
    return {f.name: f.message for f in verify.verify(world.here, one).failed}


def release_both(world: sandbox.Sandbox, model: dict[str, object]) -> str:
    """Train a model and take it through staging to production, a day later."""
    digest = merge_both(world, model)
    world.release("production")
    world.clock += dt.timedelta(hours=1)
    return digest


def merge_both(world: sandbox.Sandbox, model: dict[str, object]) -> str:
    """Train a model, take it through staging, and merge its promotion to production."""
    digest = world.candidate(model)
    world.merge(world.promote("staging").pull_request.branch)
    world.release("staging")
    world.clock += dt.timedelta(hours=25)
    world.merge(world.promote("production").pull_request.branch)
    return digest
