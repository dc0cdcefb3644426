"""What was promoted on one processor is verified, released and served on another."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from mlrelease.deployment import deploy, drivers as driver
from mlrelease.environments import ENVIRONMENTS
from mlrelease.rehearsal import sandbox
from mlrelease.training import train
from mlrelease.verification import order
from tests.engine.conftest import BETTER, PYTHONPATH
from tests.engine.evaluation import processor


@pytest.fixture
def promoted(world: sandbox.Sandbox) -> Iterator[sandbox.Sandbox]:
    """A linear model, promoted to staging and merged here."""
    if not processor.KERNELS:
        pytest.skip("no kernels are known for this kind of processor")
    processor.there(processor.KERNELS[0], ".")  # skips, if this is its only one
    world.candidate(BETTER)
    world.merge(world.promote("staging").pull_request.branch)
    try:
        yield world
    finally:
        for environment in ENVIRONMENTS:
            deploy.stop(world.here, environment)


def model(world: sandbox.Sandbox, *arguments: str) -> Any:
    """A verb on the other processor; its exit code is 0."""
    package = deploy.__name__.split(".")[0]
    done = subprocess.run(
        [sys.executable, "-m", package, *arguments, "--json"],
        cwd=world.here.root,
        env=os.environ
        | processor.variables(processor.KERNELS[0])
        | {
            "PYTHONPATH": PYTHONPATH,
            "MODEL_STATE": str(world.here.state),
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_a_promotion_of_here_is_verified_and_deployed_there(promoted: sandbox.Sandbox) -> None:
    said = model(promoted, "verify", "staging")
    named = {finding["name"]: finding for finding in said["findings"]}
    assert named["numbers"]["passed"], named["numbers"]
    assert named["rendered"]["passed"], named["rendered"]
    model(promoted, "deploy", "staging")
    (service,) = driver.driver(promoted.here, "staging", "process").running()
    assert service.digest == train.Candidate.read(promoted.here.candidate).model


def test_answers_are_alike_to_a_millionth_of_the_largest() -> None:
    """Also where terms of a thousand sum to almost nothing, or where all answers are small."""
    rows = [f"{at:016x}" for at in range(20)]
    for size in (1000.0, 1.0, 1e-6):
        one = {row: size * at / 19 for at, row in enumerate(rows)}
        near = {row: value + 5e-7 * size for row, value in one.items()}
        other = {row: value + 2e-6 * size for row, value in one.items()}
        assert order.same_answers(one, near)
        assert order.same_answers(near, one)
        assert not order.same_answers(one, other)
        assert not order.same_answers(other, one)
