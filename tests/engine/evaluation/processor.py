"""The same models, asked on what stands for another processor: other kernels in another process."""

import json
import os
import platform
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

from dummy import model
from mlrelease.evaluation import evaluate, evaluation, metrics, parity, reproduce
from mlrelease.scoring import artifact, contents, features, runtime
from mlrelease.verification import answers
from tests.engine.evaluation.models import Built, fit, judge

PLATFORM = platform.machine()
SMALL = {"random_forest": {"n_estimators": 20}, "hist_gradient_boosting": {"max_iter": 20}}
NAMES = [f"{task} {name}" for task, names in model.ESTIMATORS.items() for name in names]
# What OpenBLAS knows of each kind of processor, the oldest first.
KNOWN = {"x86_64": ("Prescott", "Nehalem", "Haswell"), "aarch64": ("ARMV8", "NEOVERSEN1")}
KERNELS = KNOWN.get({"AMD64": "x86_64", "arm64": "aarch64"}.get(PLATFORM, PLATFORM), ())
PROGRAM = "import sys; from tests.engine.evaluation.processor import main; main(*sys.argv[1:])"


def rows(task: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to fit on and held-out rows, with all columns: the longer the sums, the more of their
    order is seen."""
    if task == "classification":
        bunch = load_breast_cancer(as_frame=True)
        frame = bunch.data.assign(y=bunch.target_names[bunch.target])
    else:
        bunch = load_diabetes(as_frame=True, scaled=False)
        frame = bunch.data.assign(y=bunch.target.astype(float))
    return frame[::2].reset_index(drop=True), frame[1::2].reset_index(drop=True)


def make(directory: Path, name: str) -> None:
    """A candidate, a champion that knows half of the columns, and their evaluation here."""
    task, estimator = name.split()
    frame, _ = rows(task)
    columns = list(frame.columns[:-1])
    classes = ("benign", "malignant") if task == "classification" else ()
    for which, chosen in (("candidate", columns), ("champion", columns[::2])):
        fit(
            directory / name / which, frame, chosen, "y", classes, estimator=estimator,
            parameters=SMALL.get(estimator),
        )  # fmt: skip
    evaluated(directory, name)[0].save(directory / name / "evaluation.json")


def evaluated(
    directory: Path, name: str, towards: int = 0
) -> tuple[evaluation.Evaluation, metrics.Scored]:
    """What `evaluate` gives, with few rows for what is tested elsewhere."""
    places = [directory / name / which for which in ("candidate", "champion")]
    candidate, champion = (Built(place, artifact.digest_of(place)) for place in places)
    _, holdout = rows(name.split()[0])
    slices = list(holdout.columns[:2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate, "LATENCY_ROWS", 3)
        patch.setattr(parity, "THRESHOLDS", 5)
        patch.setattr(parity, "ONLINE_ROWS", 5)
        return judge(candidate, champion, holdout, slices=slices, towards=towards)


def asked(directory: Path, name: str) -> dict[str, Any]:
    """Scores of both runtimes, and the fingerprint of a ledger's entry. `narrow`: how it was before
    numbers were widened."""
    place = directory / name / "candidate"
    loaded = artifact.Model.load(place)
    _, holdout = rows(name.split()[0])
    frame = features.to_frame(holdout, loaded.signature.columns)
    inputs = features.to_inputs(frame, loaded.signature)
    scores, ask = loaded.scores(frame), loaded.estimator
    scored = metrics.Scored(task="regression", y=scores, candidate=scores)
    narrow = ask.predict_proba(frame)[:, 1] if "class" in name else ask.predict(frame)
    return {
        "scores": scores.tolist(),
        "narrow": narrow.astype(float).tolist(),
        "served": runtime.load(contents.read(place), loaded.card).scores(inputs).tolist(),
        "answers": answers.answers_of(holdout, scored, [b"secret"], set())[0],
    }


def differ(
    directory: Path, name: str, here: evaluation.Evaluation, claimed: evaluation.Evaluation
) -> list[str]:
    """What does not reproduce here of an evaluation that was made elsewhere."""
    return reproduce.same_numbers(here, claimed, lambda to: evaluated(directory, name, to))


def kernel() -> str:
    """What OpenBLAS multiplies with in this process."""
    np.ones((2, 2)) @ np.ones((2, 2))
    told = [lib.get("architecture") for lib in import_module("threadpoolctl").threadpool_info()]
    return ", ".join(sorted({name for name in told if name})) or "none that is known"


def main(directory: str, *names: str) -> None:
    """In the other process: print what comes out there, and what it says of what came out here."""
    found: dict[str, Any] = {"kernel": kernel()}
    for name in names:
        claimed = evaluation.Evaluation.read(Path(directory) / name / "evaluation.json")
        here, _ = evaluated(Path(directory), name)
        found[name] = asked(Path(directory), name) | {
            "evaluation": here.model_dump(mode="json"),
            "differ": differ(Path(directory), name, here, claimed),
        }
    sys.stdout.write(json.dumps(found))


def variables(name: str) -> dict[str, str]:
    """The variables that stand for another processor: its kernels, and how many threads it has."""
    if name == "one thread":
        return {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if name == "numpy without quick loops":
        quick = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
        return {"NPY_DISABLE_CPU_FEATURES": " ".join(quick)}
    return {"OPENBLAS_CORETYPE": name, "OMP_NUM_THREADS": "2"}


def there(name: str, *arguments: str) -> dict[str, Any]:
    """Run `main` as on another processor; skip where this one has no other kernel."""
    settings = os.environ | variables(name) | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command, root = [sys.executable, "-c", PROGRAM, *arguments], Path(__file__).parents[3]
    done = subprocess.run(
        command, env=settings, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    if "OPENBLAS_CORETYPE" in variables(name) and found["kernel"] == kernel():
        pytest.skip(f"this processor has no other kernel than {kernel()}")
    return found
