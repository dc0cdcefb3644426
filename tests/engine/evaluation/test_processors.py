"""A model that was evaluated on one processor is the same model on another, whatever it is made of.

MLAS, which multiplies in ONNX Runtime, chooses its kernel by itself: here it is always this
processor's. For it, the tolerances of golden requests and of parity speak.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlrelease.evaluation import evaluation
from mlrelease.scoring import artifact, contents
from mlrelease.serving import golden
from mlrelease.verification import order
from tests.engine.evaluation import processor

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("models")
    for name in processor.NAMES:
        processor.make(directory, name)
    return directory


@pytest.fixture(
    scope="module", params=[*processor.KERNELS, "one thread", "numpy without quick loops"]
)
def found(request: pytest.FixtureRequest, models: Path) -> dict[str, Any]:
    """What the other processor says."""
    return processor.there(request.param, str(models), *processor.NAMES)


@pytest.mark.parametrize("name", processor.NAMES)
def test_every_estimator_is_the_same_model_on_another_processor(
    found: dict[str, Any], models: Path, name: str
) -> None:
    here, there = processor.asked(models, name), found[name]
    scores = np.array(here["scores"])
    np.testing.assert_allclose(
        there["scores"], scores, rtol=0, atol=1e-12 * np.abs(scores).max(), err_msg="not float64"
    )
    assert there["differ"] == []
    ours = evaluation.Evaluation.read(models / name / "evaluation.json")
    theirs = evaluation.Evaluation.model_validate(there["evaluation"])
    assert processor.differ(models, name, ours, theirs) == []
    assert order.same_answers(here["answers"], there["answers"])
    told = artifact.read_card(contents.read(models / name / "candidate")).signature
    answers = [{"answer": answer} for answer in told.answers(np.array(here["served"]))]
    again = told.answers(np.array(there["served"]))
    largest = golden.largest_value(answers)
    assert all(
        golden.equal(one, other["answer"], largest)
        for one, other in zip(again, answers, strict=True)
    )


@pytest.mark.parametrize("name", ["classification logistic_regression", "regression ridge"])
def test_what_stands_for_another_processor_is_one(
    found: dict[str, Any], models: Path, name: str
) -> None:
    """In float32, as it was, the last digits of sums do differ: the test above would see it."""
    if found["kernel"] != next(iter(processor.KERNELS), None):
        pytest.skip("the oldest kernel shows it; others may sum in the same order")
    assert found[name]["narrow"] != processor.asked(models, name)["narrow"]
