"""A record, its model, its rows and its code are one thing: what is swapped for another is refused,
however consistent the rest of the lie is."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import PolynomialFeatures

from mlrelease import errors, files
from mlrelease.packages import package
from mlrelease.params import Params
from mlrelease.promotion import work_tree
from mlrelease.records import record
from mlrelease.rehearsal import sandbox
from mlrelease.scoring import artifact, contents, features
from mlrelease.training import export, train
from mlrelease.verification import measure, rebuild, verify
from tests.engine.conftest import BETTER
from tests.engine.verification import changes

Lie = Callable[[sandbox.Sandbox, record.Provenance], dict[str, Any]]


def packaged(world: sandbox.Sandbox, model: dict[str, Any] = BETTER) -> record.Provenance:
    return world.here.store.provenance(world.candidate(model))


def refused(world: sandbox.Sandbox) -> str:
    """What refuses the promotion of the candidate."""
    with pytest.raises(errors.RefusedError) as caught:
        world.promote("staging")
    return str(caught.value)


def said(world: sandbox.Sandbox, head: str) -> dict[str, tuple[bool, str]]:
    found = verify.verify(world.here, changes.proposed(world, head, "staging"))
    return {f.name: (f.passed, f.message) for f in found.checks}


def forged(world: sandbox.Sandbox, honest: record.Provenance, **changes: Any) -> None:
    """What a person who may write to the store makes it say of the candidate."""
    world.here.store.save(honest.model_copy(update=changes))
    place = world.here.root / "candidate" / "inputs.json"
    found = train.Candidate.read(place.parent)
    content = found.__dict__ | {"model": changes.get("model", honest.model)}
    train.Candidate(**content).write(place.parent)


def easier(world: sandbox.Sandbox, of: record.Provenance) -> str:
    """A holdout with the rows that the model has right."""
    kept = world.here.store.fetch(of.data.holdout)
    rows = train.read_holdout(kept)
    model = artifact.Model.load(world.here.store.fetch(of.model))
    scores = model.scores(features.to_frame(rows, model.signature.columns))
    right = (scores >= 0.5) == (rows["diagnosis"] == "malignant")
    sure = right & (np.abs(scores - 0.5) > 0.3)
    directory = world.here.root / "easier"
    directory.mkdir()
    rows[np.asarray(sure)].to_parquet(directory / "holdout.parquet", index=False)
    digest = world.here.store.put(directory)
    shutil.rmtree(directory)
    return digest


def retold(world: sandbox.Sandbox, honest: record.Provenance, change: Callable[[Any], None]) -> str:
    """A model with changed weights whose every file agrees with them; and nothing says so."""
    kept = world.here.store.fetch(honest.model)
    model = artifact.Model.load(kept)
    change(model.estimator)
    directory = world.here.root / "retold"
    shutil.copytree(kept, directory)
    (directory / "model.skops").write_bytes(artifact.dump_estimator(model.estimator))
    (directory / "model.onnx").write_bytes(export.to_onnx(model.estimator, model.signature))
    digest = world.here.store.put(directory)
    shutil.rmtree(directory)
    return digest


def nudge(by: float) -> Callable[[Any], None]:
    def change(pipeline: Any) -> None:
        pipeline[-1].coef_ *= 1 + by

    return change


def test_an_honest_model_is_trained_again_and_its_reviewer_is_told(world: sandbox.Sandbox) -> None:
    packaged(world)
    body = world.promote("staging").pull_request.body
    assert "trained again at " in body
    assert "the same bytes" in body


def test_an_easier_holdout_is_refused(world: sandbox.Sandbox) -> None:
    honest = packaged(world)
    data = record.DataDigests(train=honest.data.train, holdout=easier(world, honest))
    forged(world, honest, data=data)
    assert "bound: the model says that it was not made from the record's holdout" in refused(world)


def test_other_training_rows_are_refused(world: sandbox.Sandbox) -> None:
    honest = packaged(world)
    data = record.DataDigests(train="sha256:" + "1" * 64, holdout=honest.data.holdout)
    forged(world, honest, data=data)
    assert "the record's training rows" in refused(world)


def test_a_backdoored_model_that_the_store_offers_for_these_inputs_is_refused(
    world: sandbox.Sandbox,
) -> None:
    honest = packaged(world)
    bad = retold(world, honest, nudge(0.3))
    forged(world, honest, model=bad)
    shutil.rmtree(world.here.candidate)
    assert work_tree.restore_candidate(world.here, honest.key) == bad, (
        "the store is believed as far as here"
    )
    assert package.package(world.here).model == bad
    assert "gives a model with another part" in refused(world)


def test_what_another_processor_would_train_is_told_and_allowed(world: sandbox.Sandbox) -> None:
    honest = packaged(world)
    forged(world, honest, model=retold(world, honest, nudge(1e-7)))
    head = world.promote("staging").pull_request.head
    passed, message = said(world, head)["rebuilt"]
    assert passed
    assert "other bytes, and " in message


def test_a_model_that_differs_only_where_the_holdout_does_not_look_is_refused(
    world: sandbox.Sandbox,
) -> None:
    """A column that is zero in the holdout: the rows that are made have it."""

    def change(pipeline: Any) -> None:
        pipeline[0].named_transformers_["numbers"][0].statistics_[0] += 100  # of what is missing

    honest = packaged(world)
    forged(world, honest, model=retold(world, honest, change))
    assert "gives a model with another part" in refused(world)


def test_a_part_that_training_does_not_make_is_refused_although_no_answer_shows_it(
    world: sandbox.Sandbox,
) -> None:
    """Such as a branch that waits for two columns at once, which no made row has."""

    def change(pipeline: Any) -> None:
        prepare, last = pipeline.steps[0][1], pipeline[-1]
        ones = pd.DataFrame(np.ones((2, 30)), columns=prepare.feature_names_in_)
        waits = PolynomialFeatures(interaction_only=True, include_bias=False)
        numbers, categories = prepare.transformers
        more = ("waits", waits, ["mean radius", "texture error"])
        made = ColumnTransformer([numbers, more, categories], verbose_feature_names_out=False)
        made.fit(ones)
        made.transformers_[0] = prepare.transformers_[0]
        last.coef_ = np.concatenate([last.coef_, np.zeros((1, 3))], axis=1)
        last.n_features_in_ += 3
        pipeline.steps[0] = ("prepare", made)

    honest = packaged(world)
    forged(world, honest, model=retold(world, honest, change))
    assert "gives a model with another structure" in refused(world)


def test_a_card_that_names_other_libraries_hides_no_graph(world: sandbox.Sandbox) -> None:
    """Those that the source commit pins are here, so its graph is made again here."""
    honest = packaged(world)
    kept = world.here.store.fetch(honest.model)
    model = artifact.Model.load(kept)
    model.estimator[-1].coef_ *= 1 + 1e-6
    directory = world.here.root / "hidden"
    shutil.copytree(kept, directory)
    (directory / "model.onnx").write_bytes(export.to_onnx(model.estimator, model.signature))
    card = files.read_json(directory / "model.json")
    card["libraries"]["onnx"] = "1.18.0"
    (directory / "model.json").write_text(files.canonical_json(card))
    forged(world, honest, model=world.here.store.put(directory))
    text = refused(world)
    assert "onnx: model.onnx is not what the fitted pipeline gives" in text


def test_a_card_that_names_other_libraries_is_refused(world: sandbox.Sandbox) -> None:
    honest = packaged(world)
    directory = world.here.root / "renamed"
    shutil.copytree(world.here.store.fetch(honest.model), directory)
    card = files.read_json(directory / "model.json")
    card["libraries"]["onnx"] = "1.18.0"
    (directory / "model.json").write_text(files.canonical_json(card))
    forged(world, honest, model=world.here.store.put(directory))
    assert "gives a model with another libraries" in refused(world)


def test_a_graph_that_is_not_the_fitted_pipeline_is_refused(world: sandbox.Sandbox) -> None:
    honest = packaged(world)
    kept = world.here.store.fetch(honest.model)
    model = artifact.Model.load(kept)
    model.estimator[-1].coef_ *= 1 + 1e-6  # far below what a comparison of answers sees
    directory = world.here.root / "graph"
    shutil.copytree(kept, directory)
    (directory / "model.onnx").write_bytes(export.to_onnx(model.estimator, model.signature))
    forged(world, honest, model=world.here.store.put(directory))
    assert "onnx: model.onnx is not what the fitted pipeline gives" in refused(world)


def test_a_file_that_belongs_to_no_model_is_refused(world: sandbox.Sandbox) -> None:
    honest = packaged(world)
    directory = world.here.root / "more"
    shutil.copytree(world.here.store.fetch(honest.model), directory)
    (directory / "weights.bin").write_bytes(b"x")
    forged(world, honest, model=world.here.store.put(directory))
    assert "onnx: the model holds 'weights.bin'" in refused(world)


def test_a_source_commit_with_other_parameters_is_refused(world: sandbox.Sandbox) -> None:
    earlier = world.here.git.base()  # on main, and with another params.yaml
    honest = packaged(world)
    source = record.Source(commit=earlier)
    forged(world, honest, source=source, version=world.here.git.version(earlier))
    assert "the model.estimator of params.yaml" in refused(world)


def built_from(world: sandbox.Sandbox, name: str, change: Callable[[str], str]) -> None:
    """Package a model, and say that a commit with another file of the package made it."""
    path = next((world.here.root / "src").glob(f"*/{name}"))
    before, place = path.read_text(), path.relative_to(world.here.root).as_posix()
    honest = packaged(world)
    world.commit(place, change(before))
    other = world.here.git.base()
    world.commit(place, before)
    forged(world, honest, source=record.Source(commit=other), version=world.here.git.version(other))


def test_a_source_commit_with_other_code_is_refused(world: sandbox.Sandbox) -> None:
    """The same params.yaml, and a training that does something else."""
    built_from(world, "model.py", lambda text: text + "\nHistGradientBoostingClassifier = None\n")
    assert "has other inputs than the record's key says" in refused(world)


def test_a_version_that_does_not_name_its_commit_is_refused(world: sandbox.Sandbox) -> None:
    honest = packaged(world)
    forged(world, honest, version="2999.01.01+cafe123")
    assert "source: " in refused(world)


def test_another_key_is_refused(world: sandbox.Sandbox) -> None:
    honest = packaged(world)
    forged(world, honest, key="sha256:" + "2" * 64)
    assert "has other inputs than the record's key says" in refused(world)


def test_a_record_without_a_key_is_refused_unless_it_was_released_so(
    world: sandbox.Sandbox,
) -> None:
    packaged(world)
    head = world.promote("staging").pull_request.head
    git = world.here.git
    found = git.files(head, "deploy/staging")
    content = yaml.safe_load(found["model.yaml"]) | {"key": None}
    found["model.yaml"] = yaml.safe_dump(content, sort_keys=False).encode()
    bad = git.commit_folder(git.base(), "deploy/staging", found, "No key")
    assert said(world, bad)["bound"] == (False, "the record has no key: run `model promote` again")


def asks(world: sandbox.Sandbox, rebuild: str) -> None:
    policy = yaml.safe_load((world.here.root / "policy.yaml").read_text())
    policy["environments"]["staging"]["rebuild"] = rebuild
    world.commit("policy.yaml", yaml.safe_dump(policy))


class TestNotRebuilt:
    """What could not be made again is said; where policy.yaml asks for it, it is refused."""

    @pytest.fixture
    def away(self, world: sandbox.Sandbox) -> sandbox.Sandbox:
        """The source commit needs a library that is not here."""
        text = (world.here.root / "engine" / "pyproject.toml").read_text()
        start = next(line for line in text.splitlines() if '"pandas==' in line)
        other = start[: start.index("==")] + '==0.1",'
        world.commit("engine/pyproject.toml", text.replace(start, other))
        packaged(world)
        return world

    def test_the_reviewer_reads_so(self, away: sandbox.Sandbox) -> None:
        body = away.promote("staging").pull_request.body
        (line,) = [line for line in body.splitlines() if line.startswith("**Can I trust it?**")]
        assert "⚠️ NOT REBUILT: " in line
        assert "pandas" in line

    @pytest.mark.parametrize("asked", ["train", "rows"])
    def test_it_is_refused_where_the_policy_asks_for_it(
        self, away: sandbox.Sandbox, asked: str
    ) -> None:
        asks(away, asked)
        assert "rebuilt: NOT REBUILT: " in refused(away)


class TestSlow:
    """Training that takes longer than verification may."""

    LATE = (
        "\nimport time\n_fit = Pipeline.fit\ndef fit(*a, **k):\n"
        "    time.sleep(60)\n    return _fit(*a, **k)\nPipeline.fit = fit\n"
    )

    def test_its_rows_are_divided_again_and_the_rest_is_said(
        self, world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rebuild, "SECONDS", 4.0)
        built_from(world, "model.py", lambda text: text + self.LATE)
        passed, message = said(world, world.promote("staging").pull_request.head)["rebuilt"]
        assert passed
        assert message.startswith("NOT REBUILT: training takes over 4 s")
        assert message.endswith("gives the same rows")

    def test_it_is_refused_where_the_policy_asks_for_it(
        self, world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rebuild, "MOST_SECONDS", 4.0)
        asks(world, "train")
        built_from(world, "model.py", lambda text: text + self.LATE)
        assert "rebuilt: NOT REBUILT: training at " in refused(world)


def test_only_rows_are_divided_again_where_the_policy_asks_for_no_more(
    world: sandbox.Sandbox,
) -> None:
    asks(world, "rows")
    honest = packaged(world)
    head = world.promote("staging").pull_request.head
    assert "the rows were divided again" in said(world, head)["rebuilt"][1]
    bad = retold(world, honest, nudge(0.3))
    forged(world, honest, model=bad)
    assert world.promote("staging").new, "that is what `rows` means"


def test_the_code_of_a_source_commit_gets_no_token(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    spy = f"\nimport os\nopen({str(seen)!r}, 'a').write(repr(os.environ))\n"
    monkeypatch.setenv("REGISTRY_PASSWORD", "s3cret")
    built_from(world, "data.py", lambda text: text + spy)
    assert "other inputs" in refused(world)
    assert "PATH" in seen.read_text(), "it ran"
    assert "s3cret" not in seen.read_text()


def test_the_code_of_a_commit_that_is_not_on_main_does_not_run(
    world: sandbox.Sandbox, tmp_path: Path
) -> None:
    """Whoever may push a branch would run code on every machine that verifies."""
    honest = packaged(world)
    seen, git = tmp_path / "seen", world.here.git
    data = next((world.here.root / "src").glob("*/data.py"))
    world.git("checkout", "--quiet", "-b", "evil")
    data.write_text(data.read_text() + f"\nopen({str(seen)!r}, 'w').close()\n")
    world.git("commit", "--quiet", "--all", "--message", "Evil")
    evil = git.run("rev-parse", "HEAD")
    world.git("checkout", "--quiet", "main")
    forged(world, honest, source=record.Source(commit=evil), version=git.version(evil))
    assert "not on main" in refused(world)
    assert not seen.exists()


def test_attributes_of_today_do_not_change_what_a_source_commit_holds(
    world: sandbox.Sandbox,
) -> None:
    packaged(world)
    (world.here.root / ".gitattributes").write_text("*.py text eol=crlf\n*.yaml text eol=crlf\n")
    info = world.here.root / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "attributes").write_text("*.py filter=other\n")
    world.git("config", "filter.other.smudge", "echo print")
    head = world.promote("staging").pull_request.head
    assert "the same bytes" in said(world, head)["rebuilt"][1]


def test_a_branch_that_somebody_pushed_to_is_looked_at_as_it_is_now(
    world: sandbox.Sandbox,
) -> None:
    packaged(world)
    opened = world.promote("staging").pull_request
    git = world.here.git
    found = git.files(opened.head, "deploy/staging")
    found["model.yaml"] = found["model.yaml"].replace(b"key: sha256:", b"key: sha256:0")
    bad = git.commit_folder(opened.head, "deploy/staging", found, "Another record")
    world.git("push", "--quiet", "origin", f"{bad}:refs/heads/{opened.branch}")
    (listed,) = world.here.pull_requests.list("staging", git.base())
    assert listed.head == bad


def test_an_image_that_was_edited_into_a_record_is_refused(world: sandbox.Sandbox) -> None:
    packaged(world)
    head = world.promote("staging").pull_request.head
    found = world.here.git.files(head, "deploy/staging")
    image = f"evil.example/image@sha256:{'cd' * 32}"
    content = yaml.safe_load(found["model.yaml"]) | {"image": image}
    found["model.yaml"] = yaml.safe_dump(content, sort_keys=False).encode()
    git = world.here.git
    bad = git.commit_folder(git.base(), "deploy/staging", found, "Another image")
    assert not said(world, bad)["image"][0]


@pytest.mark.parametrize(
    ("runtime", "pinned", "graph", "passed", "message"),
    [
        ("onnx", True, b"other", False, "is not what the fitted pipeline gives"),
        ("onnx", False, b"other", True, "NOT REBUILT: model.onnx was exported by other libraries"),
        ("onnx", True, b"graph", True, "the same bytes"),
        ("scikit-learn", True, b"graph", False, "is there, and is not served"),
        ("scikit-learn", True, None, True, "not served by ONNX"),
    ],
)
def test_the_graph_is_compared_wherever_it_can_be_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    runtime: str, pinned: bool, graph: bytes | None, passed: bool, message: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(measure, "to_onnx", lambda *_: b"graph")
    content = {} if graph is None else {"model.onnx": graph}
    read = contents.Contents(tmp_path, "sha256:", content)
    model: Any = SimpleNamespace(
        card=SimpleNamespace(runtime=runtime), estimator=None, signature=None
    )
    found = measure.exported(model, read, pinned)
    assert found.passed is passed
    assert message in found.message


def test_params_of_a_card_that_differ_are_named() -> None:
    card = artifact.ModelCard(
        signature=features.Signature("regression", (), "y"), estimator="ridge", parameters={},
        split={"by": "row", "key": []}, rows={}, libraries={}, seed=1,
        data={"train": "a", "holdout": "b"},
    )  # fmt: skip
    content = {
        "task": "regression", "data": {"source": "x.csv", "target": "y"},
        "model": {"estimator": "ridge"}, "seed": 1,
    }  # fmt: skip
    params = Params.model_validate(content)
    rows = {"train": "a", "holdout": "b"}
    assert measure.bound(card, params, rows).passed
    for key, value in {"seed": 2, "model": {"estimator": "ridge", "threshold": 0.4}}.items():
        other = Params.model_validate(content | {key: value})
        assert not measure.bound(card, other, rows).passed
    assert not measure.bound(card, params, rows | {"train": "c"}).passed
