"""A service that would answer otherwise than recorded does not start."""

from typing import Any

import numpy as np
import pytest

from mlrelease import errors, files
from mlrelease.scoring import decoder, features
from mlrelease.serving import warm_up
from tests.engine.trained import Trained


@pytest.fixture
def recorded(trained: Trained) -> list[dict[str, Any]]:
    return list(files.read_json(trained.directory / "golden.json"))


def warm(model: Trained, golden: list[dict[str, Any]]) -> int:
    decode = decoder.Decoder(model.card.signature)
    return warm_up.warm_up(model.card, model.load(), golden, decode)


def test_the_recorded_answers_pass_and_the_time_of_a_row_sets_the_limit(
    trained: Trained, recorded: list[dict[str, Any]]
) -> None:
    assert 10 < warm(trained, recorded) <= warm_up.MOST_INLINE
    assert warm(trained, []) > 0


def test_the_runtime_that_trained_is_never_run_on_the_loop(
    fallback: Trained, recorded: list[dict[str, Any]]
) -> None:
    assert warm(fallback, recorded) == 0


def test_another_answer_than_the_recorded_one_is_refused(
    trained: Trained, recorded: list[dict[str, Any]]
) -> None:
    recorded[3]["answer"]["probability"] += 1e-4
    with pytest.raises(errors.RefusedError, match="golden row 3: expected .* not served"):
        warm(trained, recorded)


def test_a_golden_row_that_no_caller_could_send_is_refused(
    trained: Trained, recorded: list[dict[str, Any]]
) -> None:
    recorded[1]["row"]["ward"] = "none such"
    with pytest.raises(errors.RefusedError, match=r"golden.json: rows\[1\].ward: unknown category"):
        warm(trained, recorded)


def test_a_slow_model_leaves_the_loop_alone(trained: Trained) -> None:
    class Slow:
        def scores(self, inputs: features.Inputs) -> np.ndarray:
            return np.full(len(inputs.numbers), 0.5)

    clock = iter([0.0, 1.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("time.perf_counter", lambda: next(clock))
        decode = decoder.Decoder(trained.card.signature)
        assert warm_up.warm_up(trained.card, Slow(), [], decode) == 0
