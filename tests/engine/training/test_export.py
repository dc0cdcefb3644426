"""ONNX Runtime serves a model only where it answers as scikit-learn does; else it says why not."""

import re
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given as drawn, strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler, TargetEncoder
from sklearn.tree import DecisionTreeClassifier

from dummy import model
from mlrelease import errors
from mlrelease.evaluation import evaluation, gate, parity
from mlrelease.params import Params
from mlrelease.scoring import artifact, batch, features, runtime
from mlrelease.training import export
from tests.engine.evaluation.models import PARITY

NUMBERS, TEXTS = ["age", "income", "visits"], ["plan", "region"]
PLANS = ("basic", "plus", "pro")


class Rows(NamedTuple):
    """Typed rows with missing values in every column."""

    frame: pd.DataFrame
    told: features.Signature
    truth: np.ndarray


def rows(task: str = "classification", n: int = 600) -> Rows:
    chance = np.random.default_rng(5)
    columns = tuple(features.Column(name, "number", nullable=True) for name in NUMBERS)
    columns += (
        features.Column("plan", "category", True, PLANS),
        features.Column("region", "category", True, ("north", "south")),
    )
    table: dict[str, Any] = {name: chance.lognormal(3, 1, n) for name in NUMBERS}
    table["visits"] = chance.poisson(3, n).astype(float)
    table["plan"] = chance.choice(np.array(PLANS, dtype=object), n)
    table["region"] = chance.choice(np.array(["north", "south"], dtype=object), n)
    signal = np.log(table["age"]) + (table["plan"] == "pro") + chance.normal(size=n)
    for values in table.values():
        values[chance.random(n) < 0.1] = None
    classes = ("no", "yes") if task == "classification" else ()
    told = features.Signature(
        "regression" if not classes else "classification", columns, "y", classes
    )
    truth = (signal > 3).astype(int) if classes else np.exp(signal)
    return Rows(features.to_frame(table, columns), told, truth)


def card(told: features.Signature) -> artifact.ModelCard:
    return artifact.ModelCard(told, "any", {}, {}, {}, {}, 0)


def fitted(pipeline: Any, given: Rows) -> artifact.Model:
    return artifact.Model(card(given.told), pipeline.fit(given.frame, given.truth))


def pipeline(estimator: Any, numbers: Any = None, texts: Any = None) -> Pipeline:
    """The template's preprocessing before an estimator, or another one."""
    encoder = OneHotEncoder(
        categories=[["", *PLANS], ["", "north", "south"]], handle_unknown="ignore",
        sparse_output=False, dtype=np.float32,
    )  # fmt: skip
    prepare = ColumnTransformer(
        [
            ("numbers", numbers or SimpleImputer(strategy="median"), NUMBERS),
            ("categories", texts or encoder, TEXTS),
        ]
    )
    return Pipeline([("prepare", prepare), ("estimator", estimator)])


@pytest.mark.parametrize(
    ("task", "estimator"),
    [(task, name) for task, names in model.ESTIMATORS.items() for name in names],
)
def test_every_estimator_that_is_offered_is_served_by_onnx(task: str, estimator: str) -> None:
    given = rows(task)
    params = Params.model_validate(
        {
            "task": task, "data": {"source": "rows.csv", "target": "y"},
            "model": {"estimator": estimator},
        }
    )  # fmt: skip
    trained = fitted(model.build(params, given.told.columns), given)
    found, served, graph = export.served_by(trained, given.frame)
    assert (found.runtime, found.not_onnx) == ("onnx", None)
    assert isinstance(served, runtime.OnnxRuntime)
    assert graph == export.to_onnx(trained.estimator, given.told)  # equal bytes, so equal digests


TREES = {"max_iter": 30, "random_state": 0}
# Conversions that succeed, and answer wrongly.
WRONG: dict[str, tuple[str, Any]] = {
    "poisson": ("regression", pipeline(HistGradientBoostingRegressor(loss="poisson", **TREES))),
    "category mask": (
        "classification",
        pipeline(HistGradientBoostingClassifier(categorical_features=[2], **TREES)),
    ),
    "isotonic": (
        "classification",
        pipeline(CalibratedClassifierCV(LogisticRegression(), method="isotonic", cv=3)),
    ),
    "target encoder": (
        "classification", pipeline(LogisticRegression(), numbers=TargetEncoder(random_state=0))
    ),
    "native missing": (
        "classification", pipeline(DecisionTreeClassifier(random_state=0), numbers="passthrough")
    ),
    "lda": ("classification", pipeline(LinearDiscriminantAnalysis())),
    "distance": ("classification", pipeline(KNeighborsClassifier(weights="distance"))),
    "indicator": (
        "classification",
        pipeline(LogisticRegression(), numbers=SimpleImputer(add_indicator=True)),
    ),
    "scaled trees": (
        "classification",
        pipeline(
            RandomForestClassifier(n_estimators=100, random_state=0),
            numbers=make_pipeline(SimpleImputer(strategy="median"), StandardScaler()),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("trap", WRONG)
def test_a_conversion_that_answers_wrongly_is_not_served(trap: str) -> None:
    task, wrong = WRONG[trap]
    given = rows(task)
    trained = fitted(wrong, given)
    assert export.to_onnx(trained.estimator, given.told)  # so nothing but parity stands in its way
    found, served, graph = export.served_by(trained, given.frame)
    assert (found.runtime, graph) == ("scikit-learn", None)
    assert isinstance(served, runtime.TrainingRuntime)
    assert re.search(
        r"[1-9]\d* of \d+ rows differ, by up to .* \(allowed: 1e-05\)", str(found.not_onnx)
    )


# Conversions that fail.
IMPOSSIBLE: dict[str, Any] = {
    "flatten": pipeline(VotingClassifier([("one", LogisticRegression())], voting="soft")),
    "infrequent": pipeline(
        LogisticRegression(),
        texts=OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=200),
    ),
    "text imputer": pipeline(
        LogisticRegression(),
        texts=make_pipeline(
            SimpleImputer(missing_values=np.nan, strategy="most_frequent"),
            OneHotEncoder(handle_unknown="ignore"),
        ),
    ),
    "no column transformer": Pipeline(
        [("codes", OneHotEncoder(handle_unknown="ignore")), ("last", LogisticRegression())]
    ),
}


@pytest.mark.parametrize("trap", IMPOSSIBLE)
def test_what_cannot_be_converted_is_served_by_what_trained_it(trap: str) -> None:
    given = rows()
    found, served, _ = export.served_by(fitted(IMPOSSIBLE[trap], given), given.frame)
    assert found.runtime == "scikit-learn"
    assert isinstance(served, runtime.TrainingRuntime)
    assert found.not_onnx
    assert "\n" not in found.not_onnx


# Traps of the conversion that typed columns take away: what springs them cannot reach the pipeline.
HARMLESS: dict[str, Any] = {
    "a missing category is no NaN": pipeline(
        LogisticRegression(),
        texts=OneHotEncoder(
            categories=[["", *PLANS, np.nan], ["", "north", "south", np.nan]],
            handle_unknown="ignore",
            sparse_output=False,
            dtype=np.float32,
        ),
    ),
    "no column has the type category": pipeline(
        HistGradientBoostingClassifier(categorical_features="from_dtype", **TREES)
    ),
}


@pytest.mark.parametrize("trap", HARMLESS)
def test_what_typed_columns_never_hold_springs_no_trap(trap: str) -> None:
    given = rows()
    found, _, _ = export.served_by(fitted(HARMLESS[trap], given), given.frame)
    assert (found.runtime, found.not_onnx) == ("onnx", None)


def test_protobuf_is_the_one_that_converts_gradient_boosting() -> None:
    assert version("protobuf").startswith("6.")


class Biased(runtime.TrainingRuntime):
    """Answers otherwise when asked for one row alone, as a lone missing category once did."""

    def scores(self, inputs: features.Inputs) -> np.ndarray:
        return super().scores(inputs) + (0.01 if len(inputs.numbers) == 1 else 0.0)


@pytest.fixture
def trained() -> artifact.Model:
    return fitted(pipeline(LogisticRegression()), rows())


def test_a_service_that_answers_otherwise_than_a_batch_is_found(trained: artifact.Model) -> None:
    found = parity.parity(trained, Biased(trained), rows().frame)
    assert found.different == 0
    assert found.online_different > found.online_rows / 2


class Undecided(runtime.OnnxRuntime):
    """Answers otherwise, when it is asked in a file, where a number is at a threshold."""

    def scores(self, inputs: features.Inputs) -> np.ndarray:
        found = super().scores(inputs)
        if len(inputs.numbers) == 1:
            return found
        of_numbers = [(place, value) for place, value in self.thresholds() if place < len(NUMBERS)]
        at = [inputs.numbers[:, place] == np.float32(value) for place, value in of_numbers]
        return np.where(np.any(at, axis=0), found + 0.01, found)


def test_a_file_that_is_answered_otherwise_at_a_threshold_is_found() -> None:
    given = rows()
    clear = given.frame.assign(**{name: given.frame[name] + np.float32(1 / 3) for name in NUMBERS})
    given = given._replace(frame=clear)
    tree = fitted(pipeline(HistGradientBoostingClassifier(**TREES)), given)
    served = Undecided(export.to_onnx(tree.estimator, given.told), given.told)
    assert parity.parity(tree, served, given.frame).online_different > 100


def test_a_file_with_other_labels_is_found(
    trained: artifact.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Equal probabilities are not enough: `model predict` once drew the line elsewhere."""

    def score(*given: Any, **named: Any) -> Any:
        with monkeypatch.context() as patch:
            patch.setattr(features.Signature, "limit", 2.0)
            return batch.score(*given, **named)

    monkeypatch.setattr(parity, "score", score)
    found = parity.parity(trained, runtime.TrainingRuntime(trained), rows().frame)
    assert found.different == 0
    assert found.online_different > 10


def test_values_are_compared_as_parts_of_the_largest() -> None:
    """Rows that were made are a million times larger than those of the data."""
    given = rows("regression")
    ridge = fitted(pipeline(Ridge()), given)
    served = runtime.OnnxRuntime(export.to_onnx(ridge.estimator, given.told), given.told)
    assert 0 < parity.parity(ridge, served, given.frame).largest_difference < parity.TOLERANCE


def test_the_runtime_that_trained_the_model_is_equal_to_itself(trained: artifact.Model) -> None:
    found = parity.parity(trained, runtime.TrainingRuntime(trained), rows().frame)
    assert (found.different, found.online_different, found.largest_difference) == (0, 0, 0.0)


def test_rows_are_made_with_each_column_missing(trained: artifact.Model) -> None:
    given = rows(n=40)
    full = given.frame.assign(**{c: given.frame[c].median() for c in NUMBERS})
    full = full.assign(plan="pro", region="north")
    made = pd.concat(parity.made(full, given.told))
    assert all(made[name].isna().any() for name in NUMBERS)
    assert all((made[name] == "").any() and (made[name] == parity.UNKNOWN).any() for name in TEXTS)


SMALL_FOREST = RandomForestClassifier(n_estimators=5, random_state=0)  # it takes float32 only


def test_a_row_that_overflows_has_no_answer_and_hurts_no_other(trained: artifact.Model) -> None:
    given = rows(n=20)
    inputs = features.to_inputs(given.frame, given.told)
    alone = runtime.TrainingRuntime(trained).scores(inputs)
    wrong = fitted(
        pipeline(SMALL_FOREST, numbers=make_pipeline(SimpleImputer(), StandardScaler())),
        Rows(given.frame.assign(age=np.linspace(0, 1e-6, 20, dtype=np.float32)), *given[1:]),
    )
    huge = inputs._replace(numbers=inputs.numbers.copy())
    expected = runtime.TrainingRuntime(wrong).scores(inputs._replace(numbers=huge.numbers.copy()))
    huge.numbers[3, 0] = features.FLOAT32_MAX
    found = runtime.TrainingRuntime(wrong).scores(huge)
    assert np.isnan(found).tolist() == [at == 3 for at in range(20)]
    np.testing.assert_array_equal(np.delete(found, 3), np.delete(expected, 3))
    assert not np.isnan(alone).any()


def test_a_row_that_overflows_in_float32_only_has_the_answer_of_a_linear_model() -> None:
    given = rows(n=20)
    small = given.frame.assign(age=np.linspace(0, 1e-6, 20, dtype=np.float32))
    scaled = pipeline(LogisticRegression(), make_pipeline(SimpleImputer(), StandardScaler()))
    linear = fitted(scaled, Rows(small, *given[1:]))
    huge = small.assign(age=np.float32(features.FLOAT32_MAX))
    found = runtime.TrainingRuntime(linear).scores(features.to_inputs(huge, given.told))
    assert set(np.round(found, 6)) <= {0.0, 1.0}


def test_rows_that_overflow_cost_no_call_each(trained: artifact.Model) -> None:
    """Ten thousand of them in one request would keep everybody else waiting."""
    given = rows(n=20)
    wrong = fitted(
        pipeline(SMALL_FOREST, numbers=make_pipeline(SimpleImputer(), StandardScaler())),
        Rows(given.frame.assign(age=np.linspace(0, 1e-6, 20, dtype=np.float32)), *given[1:]),
    )
    many = features.Inputs(
        *(np.repeat(array, 50, axis=0) for array in features.to_inputs(given.frame, given.told))
    )
    many.numbers[:999, 0] = features.FLOAT32_MAX
    calls: list[int] = []
    scores = wrong.scores
    wrong.scores = lambda frame: calls.append(len(frame)) or scores(frame)  # type: ignore
    found = runtime.TrainingRuntime(wrong).scores(many)
    assert np.isnan(found).tolist() == [True] * 999 + [False]
    assert len(calls) <= 2


def test_a_graph_that_is_none_is_one_clear_line() -> None:
    with pytest.raises(errors.InputError, match=r"^model\.onnx: ") as refusal:
        runtime.OnnxRuntime(b"not a graph", rows().told)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"different": 1}, "parity"),
        ({"rows": 0}, "parity"),
        ({"online_different": 1}, "online"),
        ({"online_rows": 0}, "online"),
    ],
)
def test_one_row_that_differs_refuses(change: dict[str, Any], rule: str) -> None:
    found = evaluation.Parity.model_validate(PARITY | change)
    assert [f.name for f in gate.equal_answers(found) if not f.passed] == [rule]


def test_the_gate_says_why_another_runtime_serves() -> None:
    changes = {"runtime": "scikit-learn", "not_onnx": "54 of 1001 rows differ"}
    first, _ = gate.equal_answers(evaluation.Parity.model_validate(PARITY | changes))
    assert first.passed
    assert "slower: 54 of 1001 rows differ" in first.message


@drawn(st.floats(allow_nan=False, allow_infinity=False, width=32), st.floats(-1e38, 1e38))
def test_a_rounded_threshold_sends_every_float32_the_same_way(x: float, threshold: float) -> None:
    near = np.float32(threshold)
    below, above = np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf))
    rounded = export.floor32(np.array([threshold]))[0]
    for value in (x, float(near), float(below), float(above)):
        assert (value <= rounded) == (value <= threshold)
