"""The rows a model was fitted on go with its record, and no later model is compared on them."""

import shutil

import pytest
import yaml

from mlrelease import errors, files, workspace
from mlrelease.evaluation import evaluation, fair
from mlrelease.packages import package
from mlrelease.promotion import work_tree
from mlrelease.records import record
from mlrelease.rehearsal import sandbox
from mlrelease.scoring import artifact
from mlrelease.storage import store
from mlrelease.training import train
from mlrelease.verification import verify
from tests.engine.conftest import BETTER, PARAMS
from tests.engine.verification import changes
from tests.engine.verification.test_verify import Files, failed, record_with, tampered

DATA = yaml.safe_load(PARAMS)["data"]
FEWER = {"data": DATA | {"drop": ["mean fractal dimension"]}} | BETTER


@pytest.fixture
def lenient(world: sandbox.Sandbox) -> sandbox.Sandbox:
    """The world, with limits that a comparison on few rows keeps too."""
    content = yaml.safe_load((world.here.root / "policy.yaml").read_text())
    content["champion"] = {"roc_auc": {"margin": 0.5}}
    world.commit("policy.yaml", yaml.safe_dump(content))
    return world


def record_of(world: sandbox.Sandbox, head: str) -> record.Record:
    content = world.here.git.files(head, "deploy/staging")["model.yaml"]
    return record.Record.read(content, "model.yaml")


def lose(world: sandbox.Sandbox, digest: str | None) -> None:
    assert digest is not None
    shutil.rmtree(world.here.store.fetch(digest))


def remember_nothing(world: sandbox.Sandbox) -> None:
    shutil.rmtree(world.here.state / "verified", ignore_errors=True)
    world.look_again()


def test_rows_that_a_dropped_column_split_again_are_left_out(lenient: sandbox.Sandbox) -> None:
    lenient.candidate(FEWER)
    opened = lenient.promote("staging")
    made = lenient.here.git.files(opened.pull_request.head, "deploy/staging")
    found = evaluation.Evaluation.parse(made["evaluation.json"], "evaluation.json")
    assert found.compared_rows is not None
    assert found.compared_rows < found.rows / 2
    said = f"ompared on {found.compared_rows} of {found.rows} rows"
    assert said in opened.pull_request.body
    assert said in made["report.md"].decode()
    assert failed(lenient, opened.pull_request.head) == {}
    here, _ = work_tree.evaluate_candidate(lenient.here, "production")
    assert here.compared_rows == found.compared_rows


def test_a_record_names_the_rows_of_its_model_and_those_of_what_it_replaces(
    lenient: sandbox.Sandbox,
) -> None:
    world = lenient
    world.candidate(FEWER)
    made = record_of(world, world.promote("staging").pull_request.head)
    ours = train.Candidate.read(world.here.candidate)
    (current,) = changes.entries(world, "staging")
    assert made.data.fitted == ours.fitted == artifact.digest_of(world.here.candidate / "fitted")
    assert made.replaces.fitted == world.here.recorded(current).data.fitted
    assert made.replaces.fitted not in (None, made.data.fitted)


@pytest.mark.parametrize("other", [None, "holdout"])
def test_a_record_cannot_name_other_rows_than_the_champion_was_fitted_on(
    lenient: sandbox.Sandbox, other: str | None
) -> None:
    """To name none would be judged by a weaker rule."""
    lenient.candidate(FEWER)
    head = lenient.promote("staging").pull_request.head
    made = record_of(lenient, head)

    def change(found: Files) -> Files:
        digest = made.data.holdout if other else None
        return record_with(
            found, replaces=made.replaces.model_dump(exclude={"commit"}) | {"fitted": digest}
        )

    found = failed(lenient, tampered(lenient, head, change))
    assert {"comparison", "figures" if other else "numbers"} <= found.keys()
    assert "whose record names" in found["comparison"]


def test_rows_that_are_away_are_no_reason_for_a_weaker_rule(lenient: sandbox.Sandbox) -> None:
    world = lenient
    world.candidate(FEWER)
    head = world.promote("staging").pull_request.head
    lose(world, record_of(world, head).replaces.fitted)
    change = changes.proposed(world, head, "staging")
    outcome = verify.verify(world.here, change)
    assert [finding.name for finding in outcome.failed] == ["away"]
    assert outcome.unclear
    with pytest.raises(store.MissingError, match="is not in the store"):
        work_tree.evaluate_candidate(world.here, "staging")
    world.candidate(FEWER | {"seed": 8})
    with pytest.raises(store.MissingError, match="is not in the store"):
        world.promote("staging")


def note(world: sandbox.Sandbox, digest: str) -> record.Erased:
    """What anybody who may write to the store says of some rows."""
    told = record.Erased(rows=digest, time=world.clock, reason="asked for")
    text = files.canonical_json(told.model_dump(mode="json"))
    world.here.store.notes.write("erased", digest, text)
    return told


def test_a_note_that_rows_were_erased_counts_for_nothing_while_they_are_there(
    lenient: sandbox.Sandbox,
) -> None:
    world = lenient
    world.candidate(FEWER)
    before, _ = work_tree.evaluate_candidate(world.here, "staging")
    made = record_of(world, world.promote("staging").pull_request.head)
    note(world, str(made.replaces.fitted))
    after, _ = work_tree.evaluate_candidate(world.here, "staging")
    assert after.compared_rows == before.compared_rows
    assert after.compared_rows is not None
    head = world.promote("staging").pull_request.head
    assert failed(world, head) == {}


def test_a_champion_whose_rows_were_erased_is_compared_by_no_weaker_rule(
    lenient: sandbox.Sandbox,
) -> None:
    """Not even where the split is the same."""
    world = lenient
    (current,) = changes.entries(world, "staging")
    world.candidate(FEWER)
    world.here.store.erase(note(world, str(world.here.recorded(current).data.fitted)))
    with pytest.raises(errors.RefusedError, match=r"champion\.comparable: .* were erased") as no:
        world.promote("staging")
    assert "write `champion: {}` into policy.yaml" in str(no.value)
    found, _ = work_tree.evaluate_candidate(world.here, "staging")
    assert found.incomparable
    model = artifact.Model.load(world.here.candidate / "model")
    fair.check_split(model, model)
    with pytest.raises(errors.InputError, match="were erased"):
        fair.check_split(model, model, erased=True)


def test_a_model_whose_own_rows_are_not_in_the_store_is_not_promoted(
    lenient: sandbox.Sandbox,
) -> None:
    world = lenient
    world.candidate(FEWER)
    head = world.promote("staging").pull_request.head
    lose(world, record_of(world, head).data.fitted)
    outcome = verify.verify(world.here, changes.proposed(world, head, "staging"))
    assert [finding.name for finding in outcome.failed] == ["fitted"]
    assert outcome.unclear


def test_what_is_packaged_comes_back_whole(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    made = train.Candidate.read(world.here.candidate)
    shutil.rmtree(world.here.candidate)
    assert work_tree.restore_candidate(world.here, made.key) == made.model
    assert train.Candidate.read(world.here.candidate) == made
    assert artifact.digest_of(world.here.candidate / "fitted") == made.fitted
    lose(world, made.fitted)
    assert world.here.store.find(made.key) is None


def test_hashes_that_were_changed_are_not_packaged(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    (world.here.candidate / "fitted" / "fitted.parquet").write_bytes(b"")
    with pytest.raises(errors.RefusedError, match="fitted: content is"):
        package.package(world.here)


def test_records_of_the_version_before_can_be_read(world: sandbox.Sandbox) -> None:
    path = world.here.root / "deploy" / "staging" / "model.yaml"
    content = yaml.safe_load(path.read_text())
    del content["data"]["fitted"], content["replaces"]["fitted"]
    found = record.Record.read(yaml.safe_dump(content).encode(), "model.yaml")
    assert (found.data.fitted, found.replaces.fitted) == (None, None)
    here: workspace.Workspace = world.here
    text = (here.root / "deploy" / "staging" / "evaluation.json").read_bytes()
    facts = yaml.safe_load(text)
    for name in ("compared_rows", "refused", "refused_column"):
        del facts[name]
    old = evaluation.Evaluation.model_validate(facts)
    assert (old.compared_rows, old.refused, old.refused_column) == (None, 0, None)
