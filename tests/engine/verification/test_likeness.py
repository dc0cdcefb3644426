"""A model that training again did not give is refused, however little of it was changed; one that
another processor gave is not."""

import copy
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml

from mlrelease.params import Params
from mlrelease.scoring import artifact, contents
from mlrelease.training import again, export, train
from mlrelease.verification import compare, likeness
from tests.engine.conftest import PYTHONPATH
from tests.engine.evaluation import processor

FLAG, SMALL = "flag", "capacity"  # of four training rows; in farad
Change = Callable[[Any], None]
PROGRAM = "import sys; from tests.engine.verification.test_likeness import fit; fit(*sys.argv[1:])"


def table() -> pd.DataFrame:
    """Columns of very different sizes, and a flag that no row of the holdout has."""
    random, n = np.random.default_rng(3), 600
    rows = pd.DataFrame(random.normal(size=(n, 6)), columns=[f"x{at}" for at in range(6)])
    rows["area"] = np.round(2500 * random.random(n), 1)
    rows[SMALL] = 1e-8 * (5 + random.random(n))
    rows[FLAG], rows["id"] = 0, range(n)
    chance = rows["x0"] + rows["area"] / 1000 + (rows[SMALL] * 1e8 - 5.5) + random.normal(size=n)
    rows["y"] = np.where(chance > 1.25, "bad", "good")
    rows["size"] = 1e-9 * chance
    return rows


def params(estimator: str, source: str, **parameters: Any) -> Params:
    regression = estimator == "ridge"
    target = "size" if regression else "y"
    if source.startswith("sklearn:"):
        target = "target"
    else:
        drop = ["y" if regression else "size"]
    data = {"source": source, "target": target, "public": True}
    data |= {} if source.startswith("sklearn:") else {"key": ["id"], "drop": [*drop, "id"]}
    return Params.model_validate(
        {
            "task": "regression" if regression else "classification", "data": data,
            "split": {"by": "row", "holdout": 0.3}, "seed": 7,
            "model": {"estimator": estimator, "parameters": parameters},
        }
    )  # fmt: skip


def fit(root: str, name: str, estimator: str, source: str, parameters: str) -> None:
    """Train into `root/name`, on what stands for this processor."""
    warnings.simplefilter("ignore")  # `max_iter` is reached
    given = params(estimator, source, **json.loads(parameters))
    train.train(given, Path(root), Path(root) / name)


@dataclass
class Made:
    """What training gave, and the rows that it was fitted on."""

    root: Path

    def apart(self, model: Path, rows: bool = True) -> dict[str, Any]:
        """What `compare` says of another model."""
        candidate = self.root / "candidate"
        places = {"model": model, "again": candidate / "model", "holdout": candidate / "holdout"}
        given: dict[str, Any] = {n: [str(p), artifact.digest_of(p)] for n, p in places.items()}
        given["rows"] = str(self.root / "rows.parquet") if rows else None
        compare.compare(given, self.root)
        return dict(json.loads((self.root / "apart.json").read_text()))

    def changed(self, change: Change, place: Path, **card: Any) -> Path:
        """The model with a changed pipeline, exported honestly."""
        files = contents.read(self.root / "candidate" / "model")
        model = artifact.Model.of(files)
        estimator = copy.deepcopy(model.estimator)
        change(estimator)
        graph = export.to_onnx(estimator, model.signature) if model.card.runtime == "onnx" else None
        profile, golden = files.json("profile.json"), files.json("golden.json")
        told = msgspec.structs.replace(model.card, **card)
        artifact.write_model(place / "model", told, estimator, profile, golden, graph)
        return place / "model"

    def told(self, name: str, change: Change, place: Path) -> Path:
        """The model with a changed file that describes it."""
        directory = self.changed(lambda _: None, place)
        content = json.loads((directory / name).read_text())
        change(content)
        (directory / name).write_text(json.dumps(content))
        return directory


def made(root: Path, estimator: str, source: str = "rows.csv", **parameters: Any) -> Made:
    rows = table()
    held_out = train.divide(params(estimator, write(rows, root)), root)[1]["id"]
    fitted = rows.index[~rows["id"].isin(held_out)]
    rows.loc[fitted[:4], FLAG] = 1
    write(rows, root)
    given = params(estimator, source, **parameters)
    content = given.model_dump(mode="json", exclude_defaults=True)
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    (root / "src").mkdir()
    again.make({"root": str(root)}, root)
    again.rows({"root": str(root)}, root)
    return Made(root)


def write(rows: pd.DataFrame, root: Path) -> str:
    rows.to_csv(root / "rows.csv", index=False)
    return "rows.csv"


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("linear"), "logistic_regression")


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("forest"), "random_forest", n_estimators=5)


@pytest.fixture(scope="module")
def boosting(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("boosting"), "hist_gradient_boosting", max_iter=5)


@pytest.fixture(scope="module")
def ridge(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(tmp_path_factory.mktemp("ridge"), "ridge")


def numbers(pipeline: Any) -> tuple[Any, Any]:
    """Imputer and scaler."""
    imputer, scaler = pipeline[0].named_transformers_["numbers"]
    return imputer, scaler


def place(pipeline: Any, column: str) -> int:
    return list(pipeline.feature_names_in_).index(column)


def a_threshold(pipeline: Any) -> None:
    tree = pipeline[-1].estimators_[0].tree_
    tree.threshold[0] = np.nextafter(tree.threshold[0], np.inf)


def a_leaf(pipeline: Any) -> None:
    tree = pipeline[-1].estimators_[0].tree_
    tree.value[tree.children_left < 0] *= 1.001


def a_bin(pipeline: Any) -> None:
    nodes = pipeline[-1]._predictors[0][0].nodes
    nodes["num_threshold"][0] = np.nextafter(nodes["num_threshold"][0], np.inf)


def the_scale_of_a_rare_flag(pipeline: Any) -> None:
    _, scaler = numbers(pipeline)
    at = place(pipeline, FLAG)
    scaler.mean_[at] *= 1e-3
    scaler.scale_[at] *= 1e-3
    scaler.var_[at] *= 1e-6


def the_coefficient_of_a_rare_flag(pipeline: Any) -> None:
    pipeline[-1].coef_[0, place(pipeline, FLAG)] += 0.05


def a_median_in_farad(pipeline: Any) -> None:
    imputer, _ = numbers(pipeline)
    imputer.statistics_[place(pipeline, SMALL)] *= 1.01


def a_mean_in_farad(pipeline: Any) -> None:
    _, scaler = numbers(pipeline)
    scaler.mean_[place(pipeline, SMALL)] *= 1.01


def the_intercept(pipeline: Any) -> None:
    pipeline[-1].intercept_ += 1e-10  # of answers that spread over 5e-9


@pytest.mark.parametrize(
    ("model", "change", "part"),
    [
        ("forest", a_threshold, "tree_.nodes"),
        ("forest", a_leaf, "tree_.values"),
        ("boosting", a_bin, "_predictors.0.0.nodes"),
        ("linear", the_scale_of_a_rare_flag, "mean_"),
        ("linear", the_coefficient_of_a_rare_flag, "coef_"),
        ("linear", a_median_in_farad, "statistics_"),
        ("linear", a_mean_in_farad, "mean_"),
        ("ridge", the_intercept, "intercept_"),
    ],
)
def test_a_part_that_was_changed_is_named(
    request: pytest.FixtureRequest, tmp_path: Path, model: str, change: Change, part: str
) -> None:
    honest: Made = request.getfixturevalue(model)
    bad = honest.changed(change, tmp_path)
    for rows in (True, False):
        (said, *_) = honest.apart(bad, rows)["others"]
        assert said.startswith("part (")
        assert said.endswith(f"{part})")


@pytest.mark.parametrize("model", ["linear", "forest", "boosting", "ridge"])
def test_what_was_not_changed_is_alike(request: pytest.FixtureRequest, model: str) -> None:
    honest: Made = request.getfixturevalue(model)
    said = honest.apart(honest.root / "candidate" / "model")
    assert (said["others"], said["largest"]) == ([], 0.0)
    assert said["rows"] > 600, "the holdout, the training rows, and rows that are made"


def test_last_bits_of_a_solver_are_alike(linear: Made, tmp_path: Path) -> None:
    def nudge(pipeline: Any) -> None:
        pipeline[-1].coef_ *= 1 + 1e-6

    said = linear.apart(linear.changed(nudge, tmp_path))
    assert said["others"] == []
    assert 0 < said["largest"] < likeness.TOLERANCE


def test_thresholds_may_differ_by_last_bits_only_behind_a_transformer_that_does() -> None:
    one, other = np.array([1.5, -2.0]), np.array([1.5 + 1e-12, -2.0])
    assert likeness._of_tree("threshold", one, other, moved=True)
    assert not likeness._of_tree("threshold", one, other, moved=False)
    assert not likeness._of_tree("threshold", one, other + 1e-6, moved=True)


def test_a_training_row_that_is_answered_otherwise_is_seen(
    linear: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the parts say: the flag is set in training rows only."""
    monkeypatch.setattr(compare, "difference", lambda *_: [])
    monkeypatch.setattr(compare, "_ends", lambda *_: [])
    bad = linear.changed(the_scale_of_a_rare_flag, tmp_path)
    assert linear.apart(bad)["largest"] > 0.1
    assert linear.apart(bad, rows=False)["largest"] < likeness.TOLERANCE


def test_a_rare_flag_is_asked_at_both_values(
    linear: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of rows that do not have it."""
    monkeypatch.setattr(compare, "difference", lambda *_: [])
    bad = linear.changed(the_scale_of_a_rare_flag, tmp_path)
    held_out = train.read_holdout(linear.root / "candidate" / "holdout")
    assert not held_out[FLAG].any()
    monkeypatch.setattr(compare, "chain", lambda rows, _: rows)
    assert linear.apart(bad)["largest"] > likeness.TOLERANCE


def larger(content: Any) -> None:
    column = content["columns"][SMALL]
    column["mean"], column["sd"] = column["mean"] * 40, column["sd"] * 40


def quantiles(content: Any) -> None:
    column = content["columns"][SMALL]
    column["quantiles"] = [value * 1.001 for value in column["quantiles"]]


def scores(content: Any) -> None:
    points = content["score"]["quantiles"]
    content["score"]["quantiles"] = [points[0], *(p + 0.03 for p in points[1:-1]), points[-1] + 0.1]


def shares(content: Any) -> None:
    first, second, *rest = content["score"]["shares"]
    content["score"]["shares"] = [first + 0.05, second - 0.05, *rest]


def label(content: Any) -> None:
    content[0]["answer"]["label"] = "bad" if content[0]["answer"]["label"] == "good" else "good"


def probability(content: Any) -> None:
    content[0]["answer"]["probability"] += 0.05


def row(content: Any) -> None:
    content[0]["row"]["x0"] = 1.25


def nothing(content: Any) -> None:
    content.clear()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *(("profile.json", change) for change in (larger, quantiles, scores, shares, nothing)),
        *(("golden.json", change) for change in (label, probability, row, nothing)),
    ],
)
def test_a_file_that_describes_another_model_is_named(
    linear: Made, tmp_path: Path, name: str, change: Change
) -> None:
    assert linear.apart(linear.told(name, change, tmp_path))["others"] == [name]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"libraries": {"python": "3.11\n\nchecked by hand"}}, "libraries"),
        ({"libraries": {"python": ""}}, "libraries"),
        ({"runtime": "scikit-learn", "not_onnx": "[approved](http://x)"}, "not_onnx"),
        ({"runtime": "scikit-learn"}, "not_onnx"),
        ({"seed": 8}, "seed"),
    ],
)
def test_a_card_that_says_something_else_is_named(
    linear: Made, tmp_path: Path, changes: dict[str, Any], name: str
) -> None:
    card = artifact.Model.load(linear.root / "candidate" / "model").card
    if "libraries" in changes:
        changes = {"libraries": card.libraries | changes["libraries"]}
    assert linear.apart(linear.changed(lambda _: None, tmp_path, **changes))["others"] == [name]


def test_a_card_cannot_say_why_onnx_does_not_serve_what_it_serves(linear: Made) -> None:
    card = artifact.Model.load(linear.root / "candidate" / "model").card
    assert card.runtime == "onnx"
    with pytest.raises(ValueError, match="says why ONNX Runtime does not serve"):
        msgspec.structs.replace(card, not_onnx="approved")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "source", "parameters"),
    [
        ("logistic_regression", "sklearn:breast_cancer", {"max_iter": 1000}),
        ("logistic_regression", "sklearn:breast_cancer", {"C": 1e4, "max_iter": 1000}),
        ("logistic_regression", "sklearn:breast_cancer", {"C": 100.0, "max_iter": 30}),
        ("logistic_regression", "sklearn:breast_cancer", {"C": 100.0, "solver": "newton-cg"}),
        ("logistic_regression", "rows.csv", {"max_iter": 1000}),
        ("ridge", "sklearn:diabetes", {"alpha": 1e-6}),
        ("ridge", "rows.csv", {"alpha": 1e-9}),
    ],
)
def test_what_another_processor_trains_is_alike(
    tmp_path: Path, estimator: str, source: str, parameters: dict[str, Any]
) -> None:
    if not processor.KERNELS:
        pytest.skip("no kernels are known for this kind of processor")
    honest = made(tmp_path, estimator, source, **parameters)
    given = [str(tmp_path), "there", estimator, source, json.dumps(parameters)]
    settings = os.environ | processor.variables(processor.KERNELS[1])
    settings["PYTHONPATH"] = os.pathsep.join([PYTHONPATH, *sys.path])
    subprocess.run([sys.executable, "-c", PROGRAM, *given], env=settings, check=True)
    there = tmp_path / "there" / "model"
    if artifact.digest_of(there) == artifact.digest_of(tmp_path / "candidate" / "model"):
        pytest.skip("the same bytes")
    said = honest.apart(there)
    assert said["others"] == []
    assert said["largest"] <= likeness.TOLERANCE, said
