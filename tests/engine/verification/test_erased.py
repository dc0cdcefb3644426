"""Erased rows excuse a release only where main lists that it verified with them."""

import copy
import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from mlrelease import errors, files
from mlrelease.deployment import follow
from mlrelease.promotion import forget, release
from mlrelease.records import record
from mlrelease.rehearsal import sandbox
from mlrelease.scoring import artifact
from mlrelease.training import export, train
from mlrelease.verification import confirm, erased, verify
from tests.engine.conftest import BETTER
from tests.engine.promotion.test_forget import WHY, fresh, holdout_of, running
from tests.engine.verification.changes import entries, merge_both, named
from tests.engine.verification.test_approval import Reviews, reviews
from tests.engine.verification.test_verify import Files, record_with, tampered

__all__ = ["reviews"]


def forgotten(world: sandbox.Sandbox, model: str, force: bool = True) -> forget.Forgotten:
    return forget.forget(world.here, forget.chosen(world.here, [model]), WHY, force)


def plant(world: sandbox.Sandbox, digest: str) -> None:
    """What whoever may write to the store can do: delete rows, and note that they are erased."""
    world.here.store.erase(record.Erased(rows=digest, time=world.clock, reason="asked to"))


def follow_there(world: sandbox.Sandbox, folder: Path, environment: str = "production") -> str:
    """The model that a machine without memory would run."""
    found = follow.wanted(fresh(world, folder), environment)  # type: ignore[arg-type]  # a name
    assert found is not None
    return found.record.model


def negated(world: sandbox.Sandbox, folder: Path) -> str:
    """A copy of the candidate that says the opposite, in the store."""
    known = world.here.store.provenance(train.Candidate.read(world.here.candidate).model)
    there = world.here.store.read(known.model)
    model = artifact.Model.of(there)
    model.estimator[-1].coef_ *= -1
    model.estimator[-1].intercept_ *= -1
    golden = copy.deepcopy(there.json("golden.json"))
    graph = export.to_onnx(model.estimator, model.signature)
    profile = there.json("profile.json")
    digest = artifact.write_model(folder, model.card, model.estimator, profile, golden, graph)
    assert world.here.store.put(folder) == digest
    world.here.store.save(known.model_copy(update={"model": digest}))
    return digest


@pytest.fixture
def evil(world: sandbox.Sandbox, tmp_path: Path) -> str:
    """A record of another model under honest figures was merged, and an entry of it forged."""
    honest = world.candidate(BETTER)
    opened = world.promote("staging").pull_request
    digest = negated(world, tmp_path / "negated")

    def swap(found: Files) -> Files:
        text = found["evaluation.json"].replace(honest.encode(), digest.encode())
        changed = {"model": digest, "evaluation": files.sha256(text)}
        return record_with(found | {"evaluation.json": text}, **changed)

    head = tampered(world, opened.head, swap)
    world.git("merge", "--quiet", "--no-ff", "--message", "A careless merge", head)
    world.git("push", "--quiet", "origin", "main")
    git, main = world.here.git, world.here.git.base()
    change = release.on_main(
        world.here, "staging", named(world, "staging").commit, confirm.settled(world.here, main)
    )
    outcome = verify.verify(world.here, change)
    assert "numbers" in {finding.name for finding in outcome.failed}
    assert outcome.record is not None
    passed = dataclasses.replace(outcome, answers={})
    ledger = world.here.ledger("staging", main)
    commit = release.write(world.here, ledger, change.head, passed, outcome.record)
    world.here.memory("staging", commit).unlink()
    assert git.resolve("env/staging") == commit
    return digest


def test_a_planted_note_makes_no_unverified_entry_count(
    world: sandbox.Sandbox, evil: str, tmp_path: Path
) -> None:
    assert entries(world, "staging")[0].model == evil
    honest = running(world)
    assert follow_there(world, tmp_path / "before", "staging") == honest
    runs = follow.wanted(world.here, "staging")
    assert runs is not None
    follow.remember(world.here, runs)  # as a deployment does
    plant(world, holdout_of(world, evil))
    with pytest.raises(errors.UnclearError, match=r"deploy/erased/\w+.json on main does not list"):
        follow_there(world, tmp_path / "after", "staging")
    kept = follow.wanted(world.here, "staging")
    assert kept is not None
    assert kept.record.model == honest  # what runs goes on


def test_an_entry_that_does_not_verify_is_not_listed(
    world: sandbox.Sandbox, evil: str, tmp_path: Path
) -> None:
    """An honest person erases rows that a forged entry names too."""
    forged = entries(world, "staging")[0].commit
    done = forgotten(world, evil)
    assert done.left_out == (f"staging: entry {forged[:7]} is not verified here",)
    assert done.branch is not None  # the honest releases have the same rows
    world.merge(done.branch)
    told = erased.listed(world.here, world.here.git.base(), holdout_of(world, evil))
    assert told is not None
    assert forged not in told.entries
    with pytest.raises(errors.UnclearError, match="does not list entry"):
        follow_there(world, tmp_path / "fresh", "staging")


def test_erased_rows_excuse_nothing_until_the_list_is_merged(
    world: sandbox.Sandbox, tmp_path: Path
) -> None:
    model = running(world)
    done = forgotten(world, model)
    with pytest.raises(errors.UnclearError, match="Run `model forget` where it was released"):
        follow_there(world, tmp_path / "before")
    kept = follow.wanted(world.here, "production")
    assert kept is not None
    assert kept.record.model == model  # what this machine verified goes on
    assert done.branch is not None
    world.merge(done.branch)
    assert follow_there(world, tmp_path / "after") == model
    assert follow_there(world, tmp_path / "staging", "staging") == model


def test_the_list_names_the_releases_with_the_first_note(world: sandbox.Sandbox) -> None:
    model = running(world)
    done = forgotten(world, model)
    assert done.branch is not None
    git = world.here.git
    head = git.resolve(done.branch)
    assert head is not None
    (body,) = (world.here.state / "pull-requests").glob("forget-*.md")
    released = {entries(world, name)[0].commit for name in ("staging", "production")}
    for note in done.notes:
        told = erased.listed(world.here, head, note.rows)
        assert told is not None
        assert set(told.entries) == released
        assert (told.time, told.reason) == (note.time, WHY)
        assert str(note) in body.read_text()
    forgotten(world, model)  # before it is merged: the approved commit stays as it is
    assert git.resolve(done.branch) == head


def test_what_main_lists_of_other_entries_or_other_rows_excuses_nothing(
    world: sandbox.Sandbox, tmp_path: Path
) -> None:
    model = running(world)
    done = forgotten(world, model)
    assert done.branch is not None
    world.merge(done.branch)
    path = f"{erased.FOLDER}/{erased.file_of(holdout_of(world, model))}"
    good = json.loads((world.here.root / path).read_text())
    early = "2001-01-01T00:00:00Z"
    for number, bad in enumerate(
        ({"entries": ["0" * 40]}, {"rows": "sha256:" + "0" * 64}, {"time": early}, {"more": 1})
    ):
        world.commit(path, json.dumps(good | bad))
        with pytest.raises(errors.UnclearError, match="does not list entry"):
            follow_there(world, tmp_path / str(number))
    world.commit(path, json.dumps(good))
    assert follow_there(world, tmp_path / "good") == model


def test_rows_are_not_erased_while_a_release_cannot_be_verified(
    world: sandbox.Sandbox, tmp_path: Path
) -> None:
    """Not by a machine without memory, while the model is away; unless somebody insists."""
    model = running(world)
    there = fresh(world, tmp_path / "fresh")
    shutil.move(world.here.store.fetch(model), tmp_path / "away")
    rows = [dataclasses.replace(one, runs=()) for one in forget.chosen(there, [model])]
    with pytest.raises(errors.UnclearError, match="cannot be verified now"):
        forget.forget(there, rows, WHY)
    assert there.store.fetch(holdout_of(world, model))
    done = forget.forget(there, rows, WHY, force=True)
    assert (done.branch, len(done.left_out)) == (None, 2)


def test_the_list_must_be_approved_as_the_release_must(
    world: sandbox.Sandbox, reviews: Reviews, tmp_path: Path
) -> None:
    model = merge_both(world, BETTER)
    assert world.release("production")
    done = forgotten(world, model)
    assert done.branch is not None
    world.merge(done.branch)
    merged = world.here.git.base()
    reviews.known[merged] = None  # pushed past the rules
    with pytest.raises(errors.UnclearError, match=r"and 1 must approve deploy/erased/"):
        follow_there(world, tmp_path / "pushed")
    del reviews.known[merged]
    assert follow_there(world, tmp_path / "approved") == model
    path = f"{erased.FOLDER}/{erased.file_of(holdout_of(world, model))}"
    world.commit(path, (world.here.root / path).read_text().replace(WHY, "another reason"))
    reviews.approve(world.here.git.base(), head=merged)  # approved was what stood before
    with pytest.raises(errors.UnclearError, match="had when it was approved"):
        follow_there(world, tmp_path / "edited")


def test_a_machine_that_lost_its_memory_lists_nothing_by_a_note(
    world: sandbox.Sandbox, tmp_path: Path
) -> None:
    """Rows that are gone already are no proof that anything verified with them."""
    model = running(world)
    plant(world, holdout_of(world, model))
    shutil.rmtree(world.here.state / "verified")
    world.look_again()
    done = forgotten(world, model)
    assert done.branch is None
    assert len(done.left_out) == 2
    with pytest.raises(errors.UnclearError):
        follow_there(world, tmp_path / "fresh")
