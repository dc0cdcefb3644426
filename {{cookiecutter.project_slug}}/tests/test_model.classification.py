"""Yours: what holds of the model. The last test is about policy.yaml: leave it in."""

import numpy as np
import pytest
from mlrelease import InputError
from mlrelease.project import find
from mlrelease.testing import Case

INPUT, STEP, DIRECTION = "mean concavity", 0.2, 1  # more of it makes the positive class likelier
LITTLE = 1e-6


def test_training_twice_gives_the_same_bytes(case: Case) -> None:
    assert case.trained("again") == case.digest


def test_it_beats_a_model_that_gives_everybody_the_same_answer(case: Case) -> None:
    assert case.metric("brier") < case.baseline["brier"] / 2


def test_more_of_an_input_moves_the_answers_as_it_should(case: Case) -> None:
    """Directional: copy it for each input whose effect you know."""
    rows = case.divided[1]
    moved = case.scores(rows.assign(**{INPUT: rows[INPUT] + STEP})) - case.scores(rows)
    assert (DIRECTION * moved >= -LITTLE).mean() > 0.95


def test_the_order_of_the_rows_changes_no_answer(case: Case) -> None:
    """Invariance: copy it for whatever must not matter."""
    rows = case.divided[1]
    assert np.allclose(case.scores(rows[::-1]), case.scores(rows)[::-1], atol=LITTLE)


def test_an_estimator_that_is_not_offered_is_named(case: Case) -> None:
    model = case.params.model.model_copy(update={"estimator": "oracle"})
    with pytest.raises(InputError, match="'oracle' is unknown"):
        find(case.root).build(case.params.model_copy(update={"model": model}), ())


def test_the_policy_refuses_a_model_that_learned_nothing(case: Case) -> None:
    """It is fitted on the same rows with shuffled answers."""
    assert case.let_through() == ""
