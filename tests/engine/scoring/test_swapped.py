"""Whoever was given a digest uses the bytes that have it, whatever is put in their place later."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlrelease import errors
from mlrelease.deployment import deploy
from mlrelease.monitoring import monitor
from mlrelease.objects import read
from mlrelease.packages import image, package
from mlrelease.params import Params
from mlrelease.policy import DriftLimits
from mlrelease.predicting import predict
from mlrelease.promotion import work_tree
from mlrelease.records import record
from mlrelease.rehearsal import sandbox
from mlrelease.scoring import artifact, contents
from mlrelease.serving import golden
from mlrelease.storage import store
from mlrelease.training import train
from mlrelease.verification import figures
from tests.engine.conftest import BETTER
from tests.engine.evaluation.models import Built, cancer, fit, judge
from tests.engine.scoring.swap import swap_after_check

COLUMNS = ("mean radius", "mean texture", "clinic")


@dataclass(frozen=True)
class Pair:
    """Two models for the same rows: the one whose digest is given, and the one put in its place."""

    honest: Built
    other: Built
    holdout: pd.DataFrame
    place: Path


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    rows, holdout = cancer()
    honest = fit(tmp_path / "model", rows, COLUMNS)
    other = fit(tmp_path / "other", rows, COLUMNS, classes=("malignant", "benign"))
    return Pair(honest, other, holdout, tmp_path)


def test_a_model_is_the_one_that_was_checked(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    swapped = swap_after_check(monkeypatch, pair.honest.path, pair.other.path)
    loaded = artifact.Model.load(pair.honest.path, pair.honest.digest)
    assert swapped
    assert loaded.signature.classes == ("benign", "malignant")
    with pytest.raises(errors.RefusedError, match="not loaded"):
        artifact.Model.load(pair.honest.path, pair.honest.digest)


def test_a_candidate_is_evaluated_from_the_bytes_that_were_checked(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, expected = judge(pair.honest, None, pair.holdout)
    swapped = swap_after_check(monkeypatch, pair.honest.path, pair.other.path)
    found, scored = judge(pair.honest, None, pair.holdout)
    assert swapped == [pair.honest.path]  # it was read once
    assert found.metrics == before.metrics
    assert np.array_equal(scored.candidate, expected.candidate)
    assert (found.parity, found.cost.size_bytes) == (before.parity, before.cost.size_bytes)


def test_a_champion_is_evaluated_from_the_bytes_that_were_checked(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = Built(shutil.copytree(pair.honest.path, pair.place / "champion"), pair.honest.digest)
    before, expected = judge(pair.honest, rival, pair.holdout)
    swapped = swap_after_check(monkeypatch, rival.path, pair.other.path)
    found, scored = judge(pair.honest, rival, pair.holdout)
    assert swapped == [rival.path]
    assert (found.metrics, found.incomparable) == (before.metrics, None)
    assert scored.champion is not None
    assert expected.champion is not None
    assert np.array_equal(scored.champion, expected.champion)


def test_a_holdout_is_the_one_that_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("holdout", "easier"):
        (tmp_path / name).mkdir()
        pd.DataFrame({"rows": [name]}).to_parquet(tmp_path / name / "holdout.parquet")
    digest = artifact.digest_of(tmp_path / "holdout")
    swap_after_check(monkeypatch, tmp_path / "holdout", tmp_path / "easier")
    assert train.read_holdout(tmp_path / "holdout", digest)["rows"].tolist() == ["holdout"]
    with pytest.raises(errors.RefusedError, match="not loaded"):
        train.read_holdout(tmp_path / "holdout", digest)


def test_drift_is_measured_against_the_profile_that_was_checked(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = train.train(read(project / "params.yaml", Params), project, project / "c")
    rows, limits = train.read_holdout(project / "c" / "holdout"), DriftLimits()
    before = monitor.monitor(project / "c" / "model", rows, limits, made.model)
    other = Path(shutil.copytree(project / "c" / "model", project / "other"))
    profile = json.loads((other / "profile.json").read_text())
    profile["columns"].popitem()
    (other / "profile.json").write_text(json.dumps(profile))
    swapped = swap_after_check(monkeypatch, project / "c" / "model", other)
    assert monitor.monitor(project / "c" / "model", rows, limits, made.model) == before
    assert len(swapped) == 1


def test_a_file_of_rows_is_answered_by_the_model_that_was_checked(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = pair.place / "in.csv", pair.place / "out.csv"
    pair.holdout.head(20).to_csv(source, index=False)
    predict.predict(pair.honest.path, source, out, digest=pair.honest.digest)
    expected = out.read_bytes()
    swapped = swap_after_check(monkeypatch, pair.honest.path, pair.other.path)
    predict.predict(pair.honest.path, source, out, digest=pair.honest.digest, overwrite=True)
    assert out.read_bytes() == expected
    assert len(swapped) == 1


def test_the_store_keeps_what_it_names(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    here = store.Store(pair.place / "store")
    swapped = swap_after_check(monkeypatch, pair.honest.path, pair.other.path)
    assert here.put(pair.honest.path) == pair.honest.digest
    assert swapped
    assert contents.digest_of(here.fetch(pair.honest.digest)) == pair.honest.digest


def test_a_packaged_candidate_and_its_image_are_what_was_checked(
    world: sandbox.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in image.SOURCES[:-2]:
        (world.here.root / name).write_text("3.11\n")
    world.git("add", *image.SOURCES)
    digest = world.candidate(BETTER)
    shutil.rmtree(world.here.store.fetch(digest))
    place, other = world.here.candidate / "model", Path(shutil.copytree(
        world.here.candidate / "model", tmp_path / "other"
    ))  # fmt: skip
    requests = json.loads((place / "golden.json").read_text())
    (other / "golden.json").write_text("[]")
    built, asked = list[str](), list[Any]()

    def docker(*command: str, **_: Any) -> str:
        """It has what is sent to it, and builds nothing."""
        built.append(contents.digest_of(Path(command[-1]) / "candidate" / "model"))
        option = next(text for text in command if text.startswith("--iidfile="))
        Path(option.partition("=")[2]).write_text("an image")
        return ""

    monkeypatch.setattr(image, "docker", docker)
    monkeypatch.setattr(image, "bridge", dict)
    monkeypatch.setattr(package, "published", lambda *_: None)
    monkeypatch.setattr(package, "smoke_test", lambda *given: asked.append(given[1]))
    monkeypatch.setattr(package, "push", lambda *_: f"localhost:1/acme/m@{digest}")
    swapped = swap_after_check(monkeypatch, place, other)
    assert package.package(world.here, image="localhost:1/acme/m").model == digest
    assert swapped == [place]
    assert contents.digest_of(world.here.store.fetch(digest)) == digest
    assert (built, asked) == ([digest], [requests])


def test_a_candidate_that_is_swapped_after_it_was_checked_does_not_come_back(
    world: sandbox.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = world.candidate(BETTER)
    known = train.Candidate.read(world.here.candidate)
    other = Path(shutil.copytree(world.here.candidate / "model", tmp_path / "other"))
    (other / "golden.json").write_text("[]")
    shutil.rmtree(world.here.candidate)
    swapped = swap_after_check(monkeypatch, world.here.store.fetch(digest), other)
    assert work_tree.restore_candidate(world.here, known.key) is None
    assert swapped
    assert not (world.here.candidate / "model").exists()


@pytest.mark.parametrize("what", ["model", "holdout"])
def test_a_stored_artefact_that_is_swapped_after_it_was_fetched_is_not_evaluated(
    world: sandbox.Sandbox, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.candidate(BETTER)
    known = world.here.store.provenance(train.Candidate.read(world.here.candidate).model)
    place = world.here.store.fetch(known.model if what == "model" else known.data.holdout)
    other = Path(shutil.copytree(place, tmp_path / "other"))
    (other / "more").write_text("and one easy row less")
    swapped = swap_after_check(monkeypatch, place, other)
    with pytest.raises(errors.RefusedError, match="not loaded"):
        figures.measured(
            world.here,
            known.model,
            record.Replaces(),
            known.data,
            known.source.commit,
            world.here.policy,
        )
    assert swapped


def test_a_service_is_asked_the_golden_requests_that_were_checked(
    world: sandbox.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = world.candidate(BETTER)
    place = world.here.store.fetch(digest)
    requests = json.loads((place / "golden.json").read_text())
    other = Path(shutil.copytree(place, tmp_path / "other"))
    (other / "golden.json").write_text(json.dumps(requests[:1]))
    asked = list[Any]()

    def check(_: str, requests: Any, *__: object) -> list[str]:
        asked.append(requests)
        return []

    monkeypatch.setattr(golden, "check", check)
    swap_after_check(monkeypatch, place, other)
    service = type("Service", (), {"url": "http://127.0.0.1:1"})()
    assert deploy._smoke_test(world.here, service, digest) == []
    assert asked == [requests]
