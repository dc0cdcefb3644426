"""Models that must not pass, really trained: each is refused, and for its own reason alone."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mlrelease.evaluation import evaluate, gate
from mlrelease.params import Params
from mlrelease.policy import Policy
from mlrelease.scoring import artifact
from mlrelease.training import train

FEATURES = ["x1", "x2", "x3"]


def rows(count: int, seed: int) -> pd.DataFrame:
    """Patients of three sites; x1 to x3 say whether they are sick, at every site alike."""
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(random.normal(size=(count, 3)), columns=FEATURES)
    frame["site"] = random.choice(["a", "b", "c"], count, p=[0.5, 0.42, 0.08])
    logit = 2 * frame["x1"] + 2 * frame["x2"] + frame["x3"] - 1
    sick = random.uniform(size=count) < 1 / (1 + np.exp(-2 * logit))
    return frame.assign(id=range(count), sick=np.where(sick, "yes", "no"))


TRAIN, HOLDOUT = rows(4000, 1), rows(2000, 2)
POLICY = Policy.model_validate(
    {
        "metrics": {"roc_auc": {"min": 0.85}, "calibration_error": {"max": 0.08}},
        "champion": {"roc_auc": {"margin": 0.1}},
        "slices": {"metric": "accuracy", "margin": 0.1, "min_rows": 100},
        "budgets": {"size_mb": 20, "latency_ms": 5000},
        "environments": {"staging": {}, "production": {}},
    }
)


def fit(folder: Path, frame: pd.DataFrame, **changes: object) -> Path:
    """Train on these rows and return the model directory."""
    folder.mkdir()
    frame.to_csv(folder / "rows.csv", index=False)
    data = {"source": "rows.csv", "target": "sick", "positive": "yes", "key": ["id"]}
    content = {
        "task": "classification",
        "data": data | changes,
        "split": {"by": "row", "holdout": 0.1},
        "model": {"estimator": "random_forest", "parameters": {"n_estimators": 30, "max_depth": 7}},
    }
    train.train(Params.model_validate(content), folder, folder / "candidate")
    return folder / "candidate" / "model"


def refused(candidate: Path, champion: Path | None) -> set[str]:
    """The rules that the candidate breaks on the holdout."""
    digests = [artifact.digest_of(path) if path else None for path in (candidate, champion)]
    evaluation, _ = evaluate.evaluate(
        candidate,
        champion,
        HOLDOUT,
        candidate_digest=str(digests[0]),
        champion_digest=digests[1],
        holdout_digest="sha256:" + "0" * 64,
        slices=["site"],
        slice_metric="accuracy",
        min_rows=100,
        resamples=200,
    )
    return {f.name for f in gate.judge(evaluation, POLICY) if not f.passed}


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("champion") / "c", TRAIN)


def test_an_honest_model_passes(champion: Path, tmp_path: Path) -> None:
    assert refused(fit(tmp_path / "c", rows(4000, 3)), champion) == set()


def test_shuffled_labels_are_refused(champion: Path, tmp_path: Path) -> None:
    shuffled = TRAIN.assign(sick=TRAIN["sick"].sample(frac=1, random_state=0).to_numpy())
    found = refused(fit(tmp_path / "c", shuffled), champion)
    assert {"metrics.roc_auc.min", "champion.roc_auc.margin"} <= found


def test_shuffled_labels_are_refused_without_a_champion_too(tmp_path: Path) -> None:
    shuffled = TRAIN.assign(sick=TRAIN["sick"].sample(frac=1, random_state=0).to_numpy())
    assert "metrics.roc_auc.min" in refused(fit(tmp_path / "c", shuffled), None)


def test_a_model_worse_in_one_slice_only_is_refused_for_that_slice(
    champion: Path, tmp_path: Path
) -> None:
    flipped = {"yes": "no", "no": "yes"}
    site = TRAIN["site"] == "c"
    wrong = TRAIN.assign(sick=TRAIN["sick"].mask(site, TRAIN["sick"].map(flipped)))
    assert refused(fit(tmp_path / "c", wrong), champion) == {"slices[site = c].margin"}


def test_a_better_but_miscalibrated_model_is_refused_for_its_calibration(tmp_path: Path) -> None:
    weak = fit(tmp_path / "weak", TRAIN, drop=["x2", "x3"])
    sick = TRAIN[TRAIN["sick"] == "yes"]
    more = pd.concat([TRAIN, *[sick] * 8], ignore_index=True)
    oversampled = fit(tmp_path / "c", more.assign(id=range(len(more))))
    broken = refused(oversampled, weak)
    assert broken == {"metrics.calibration_error.max"}
