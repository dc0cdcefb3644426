"""Training: the same inputs give the same bytes; wrong inputs give one line and no file."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from sklearn.pipeline import Pipeline

from dummy import data
from mlrelease import errors
from mlrelease.params import Params
from mlrelease.scoring import artifact, contents, features, runtime
from mlrelease.training import train
from tests.engine.conftest import PARAMS, PYTHONPATH

CODE = """
import pathlib, sys
from mlrelease.objects import read
from mlrelease.params import Params
from mlrelease.training import train
root = pathlib.Path(sys.argv[1])
done = train.train(read(root / "params.yaml", Params), root, root / sys.argv[2])
print(done.model, done.holdout, done.train)
"""
ESTIMATORS = ["logistic_regression", "random_forest", "hist_gradient_boosting"]


def params(**changes: object) -> Params:
    return Params.model_validate(yaml.safe_load(PARAMS) | changes)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_two_processes_give_the_same_digest(project: Path, estimator: str) -> None:
    content = yaml.safe_load(PARAMS) | {"model": {"estimator": estimator}}
    (project / "params.yaml").write_text(yaml.safe_dump(content))
    outputs = [
        subprocess.run(
            [sys.executable, "-c", CODE, str(project), name],
            capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed,
            "PYTHONPATH": PYTHONPATH, "MLRELEASE_PROJECT": "dummy.project:project"},
        ).stdout
        for name, seed in (("one", "1"), ("two", "14194"))
    ]  # fmt: skip
    assert outputs[0] == outputs[1]
    assert outputs[0].startswith("sha256:")


def test_a_saved_model_answers_as_its_golden_requests_say(project: Path) -> None:
    train.train(params(), project, project / "candidate")
    directory = project / "candidate" / "model"
    saved = contents.read(directory, artifact.digest_of(directory))
    card, golden = artifact.read_card(saved), saved.json("golden.json")
    told = card.signature
    assert len(str(golden[0]["row"]["mean radius"])) <= 8, "as people write it"
    rows = {tuple(row) for row in data.load(params(), project)[[*golden[0]["row"]]].to_numpy()}
    assert not rows & {tuple(g["row"].values()) for g in golden}
    table = {c.name: [g["row"][c.name] for g in golden] for c in told.columns}
    inputs = features.to_inputs(features.to_frame(table, told.columns), told)
    answers = told.answers(runtime.load(saved, card).scores(inputs))
    assert answers == [g["answer"] for g in golden]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"estimator": "svm"}}, "estimator: 'svm' is unknown"),
        (
            {"model": {"estimator": "logistic_regression", "parameters": {"c": 1}}},
            ": c is unknown",
        ),
        ({"model": {"estimator": "logistic_regression", "parameters": {"C": -1}}}, "C"),
        ({"split": {"holdout": 0.001}}, "at least"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    project: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(errors.InputError, match=message) as refusal:
        train.train(params(**changes), project, project / "candidate")
    assert "\n" not in str(refusal.value)
    assert not (project / "candidate" / "inputs.json").exists()


def test_the_input_key_changes_with_what_decides_the_model(project: Path) -> None:
    keys = {
        train.input_key(params(**changes), project)
        for changes in ({}, {"seed": 8}, {"split": {"holdout": 0.2}}, {"model": {"estimator": "x"}})
    }
    assert len(keys) == 4
    assert train.input_key(params(slices=[]), project) == train.input_key(params(), project)


def test_the_input_key_changes_with_the_data(project: Path) -> None:
    path = project / "rows.csv"
    here = params(data={"source": "rows.csv", "target": "y"})
    path.write_text("x,y\n1,a\n")
    before = train.input_key(here, project)
    path.write_text("x,y\n1,b\n")
    assert train.input_key(here, project) != before


@pytest.mark.parametrize("content", [None, "{", '{"key": 1}'])
def test_a_missing_or_damaged_candidate_says_what_to_do(project: Path, content: str | None) -> None:
    if content is not None:
        (project / "inputs.json").write_text(content)
    with pytest.raises(errors.InputError, match="model train|cannot be read"):
        train.Candidate.read(project)


@pytest.mark.parametrize("name", ["model", "holdout", "fitted"])
def test_what_is_not_ours_in_a_candidate_is_not_replaced(project: Path, name: str) -> None:
    place = project / "candidate" / name
    place.mkdir(parents=True)
    (place / "notes.txt").write_text("mine")
    with pytest.raises(errors.RefusedError, match="was not written by `model train`"):
        train.train(params(), project, project / "candidate")
    assert (place / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["model", "holdout", "fitted"])
def test_a_link_in_a_candidate_is_refused_before_anything_is_written(
    project: Path, name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (project / "candidate").mkdir()
    (project / "candidate" / name).symlink_to(elsewhere)
    with pytest.raises(errors.RefusedError, match="is a link"):
        train.train(params(), project, project / "candidate")
    assert [path.name for path in (project / "candidate").iterdir()] == [name]


@pytest.mark.parametrize("public", [True, False])
def test_what_an_estimator_says_of_rows_is_quoted_only_where_everybody_may_see_them(
    project: Path, public: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise ValueError("could not convert string to float: 'Zebulon'")

    monkeypatch.setattr(Pipeline, "fit", fit)
    told = params()
    told = told.model_copy(update={"data": told.data.model_copy(update={"public": public})})
    with pytest.raises(errors.InputError, match="does not take these rows") as refusal:
        train.train(told, project, project / "candidate")
    assert ("Zebulon" in str(refusal.value)) is public
