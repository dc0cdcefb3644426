"""The one law: what runs was verified, approved and released, and is byte for byte what its record
says.

A machine takes steps that people, careless ones and hostile ones take, in any order, on two
environments. `LAW_MINUTES=60 pytest tests/release/test_law.py -k hour -s` goes on for an hour.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.engine.law.law_build import build
from tests.engine.law.law_histories import HISTORIES
from tests.engine.law.law_steps import Law

# Shrinking takes minutes; LAW_SHRINK=1 asks for it.
PHASES = (Phase.generate, *(Phase.shrink,) * ("LAW_SHRINK" in os.environ))
SLOW = HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The world that every history begins with."""
    Law.folder = tmp_path_factory.mktemp("law")
    build(Law.folder / "template")


def histories(count: int, steps: int, **more: Any) -> None:
    run_state_machine_as_test(
        Law,
        settings=settings(
            max_examples=count, stateful_step_count=steps, deadline=None, database=None,
            suppress_health_check=SLOW, phases=PHASES, print_blob=True, **more,
        ),
    )  # fmt: skip


def test_what_runs_was_released_in_one_history(template: None) -> None:
    law = Law()
    law.begin(on_github=True)
    try:
        law.by_the_book("staging", 0, None, 25)
        law.by_the_book("production", 0, None, 1)
        law.edit("production", "digest", 4, ("ann", "bob"), b"\xff", 1)
        law.forge("production", "pending", 4)
        law.deploy("production", "before append", None)
        law.undo(0, again=False, people=None)
        law.deploy("production", None, None)
        law.follow("production")
        runs = [
            machine.driver("production").services[0].record for machine in law.world.machines[:2]
        ]
        assert [record.model for record in runs] == [law.world.digests[0]] * 2
    finally:
        law.teardown()


@pytest.mark.slow
@pytest.mark.parametrize("history", HISTORIES)
def test_what_runs_was_released_in_a_history(
    template: None, history: Callable[[Law], None]
) -> None:
    law = Law()
    try:
        law.start(on_github=True, released=2)
        assert law.world.person.driver("production").services, "nothing could be released"
        history(law)
    finally:
        law.teardown()


@pytest.mark.slow
def test_what_runs_was_released_in_many_histories(template: None) -> None:
    histories(7, 25, derandomize=True)


@pytest.mark.skipif("LAW_MINUTES" not in os.environ, reason="LAW_MINUTES says for how long")
def test_what_runs_was_released_for_an_hour(template: None) -> None:
    end, seed = time.monotonic() + 60 * float(os.environ["LAW_MINUTES"]), time.time_ns()
    while time.monotonic() < end:
        seed += 1
        print(f"seed {seed}")
        hypothesis.seed(seed)(Law)
        try:
            histories(2, 25)
        finally:
            print(f"{Law.number} histories")
