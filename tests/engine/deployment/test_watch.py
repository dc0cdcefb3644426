"""An agent looks again and again: calmly where something is wrong, and until it is told to stop."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from hypothesis import given, strategies as st

from mlrelease.deployment import deploy, watch
from mlrelease.rehearsal import sandbox
from tests.engine.conftest import PYTHONPATH

EVERY = st.floats(0.1, 3600)


@given(EVERY, st.integers(0, 2000))
def test_a_pause_is_never_long_and_never_nothing(every: float, failures: int) -> None:
    assert every * 0.75 <= watch.pause(every, failures) <= max(every, watch.MOST)


@given(EVERY, st.integers(0, 2000))
def test_pauses_grow_with_each_failure_until_the_longest(every: float, failures: int) -> None:
    grown = min(every * 2.0 ** min(failures, 30), max(every, watch.MOST))
    assert grown * 0.75 <= watch.pause(every, failures) <= grown


def test_two_agents_do_not_come_back_together() -> None:
    assert len({watch.pause(10, 3) for _ in range(20)}) > 1


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_after_the_look_in_hand_and_before_the_next(name: signal.Signals) -> None:
    before = signal.getsignal(name)
    seen: list[str] = []

    def first() -> bool:
        os.kill(os.getpid(), name)
        seen.append("finished")
        return True

    def second() -> bool:
        seen.append("next")
        return True

    watch.watch([first, second], every=60)
    assert seen == ["finished"]
    assert signal.getsignal(name) is before


def test_a_signal_ends_a_pause() -> None:
    timer = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGTERM])
    timer.start()
    started = time.monotonic()
    watch.watch([lambda: False], every=60)
    timer.join()
    assert time.monotonic() - started < 30


@pytest.mark.slow
def test_an_agent_tells_each_change_once_and_outlives_an_origin_that_is_away(
    world: sandbox.Sandbox,
) -> None:
    """As the command, in JSON; SIGTERM ends it, and the model serves on."""
    package = deploy.__name__.split(".")[0]
    origin = world.here.git.run("remote", "get-url", "origin")
    agent = subprocess.Popen(
        [
            *(sys.executable, "-m", package, "deploy", "production"),
            *("--watch", "--every", "0.1", "--json"),
        ],
        cwd=world.here.root,
        env=os.environ
        | {
            "PYTHONPATH": PYTHONPATH,
            "MODEL_STATE": str(world.here.state),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert agent.stdout
        first = json.loads(agent.stdout.readline())
        time.sleep(1)  # for looks that have nothing to tell
        world.git("remote", "set-url", "origin", "/nowhere")
        away = json.loads(agent.stdout.readline())
        time.sleep(1)
        world.git("remote", "set-url", "origin", origin)
        again = json.loads(agent.stdout.readline())
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(60) == 0
        assert agent.stdout.read() == ""
        assert [told["action"] for told in (first, away, again)] == [
            "deployed",
            "unchanged",
            "unchanged",
        ]
        assert away["warning"].startswith("git fetch:")
        assert again["warning"] is None
        assert {told["model"] for told in (first, away, again)} == {first["model"]}
        assert deploy.deploy(world.here, "production").action == "unchanged"
    finally:
        agent.kill()
        agent.wait()
        deploy.stop(world.here, "production")
