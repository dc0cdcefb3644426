"""What loads a model to check it. It runs in a process of its own, within limits: see limits.py."""

import math
from collections.abc import Mapping
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import Params
from ..features import to_frame, to_inputs
from ..files import canonical_json
from ..pipeline.artifact import MODEL_FILES, ONNX_FILE, Model, ModelCard
from ..pipeline.contents import Contents, read
from ..pipeline.evaluate import evaluate
from ..pipeline.export import to_onnx
from ..pipeline.fitted import read_fitted
from ..pipeline.gate import Finding
from ..pipeline.metrics import Scored
from ..pipeline.parity import apart, at_thresholds, made
from ..pipeline.train import read_holdout
from ..runtime import TrainingRuntime, load
from .answers import answers_of

ARRAYS = ("y", "candidate", "champion", "compared", "places")
ALIKE = ("signature", "estimator", "parameters", "split", "rows", "seed", "data", "runtime")
FILES = ("golden.json", "profile.json")
# Of answers, as in parity.py: solvers amplify the last bits in which processors differ.
TOLERANCE = 1e-3
EXPORTERS = ("numpy", "onnx", "protobuf", "scikit-learn", "skl2onnx")


def measure(arguments: Mapping[str, Any], output: Path) -> None:
    """Evaluate a model on its holdout: write `evaluation.json`, `scored.npz` and `facts.json`."""
    directory, champion = Path(arguments["model"]), arguments["champion"]
    holdout = read_holdout(Path(arguments["holdout"]), arguments["data"]["holdout"])
    fitted = arguments["fitted"]
    fitted = read_fitted(Path(fitted[0]), fitted[1]) if fitted else None
    evaluation, scored = evaluate(
        directory, Path(champion) if champion else None, holdout, fitted=fitted,
        **arguments["options"],
    )  # fmt: skip
    files = read(directory, arguments["options"]["candidate_digest"])
    model, params = Model.of(files), Params.model_validate(arguments["params"])
    checks = [bound(model.card, params, arguments["data"]), exported(model, files)]
    facts = {
        "answers": answers_of(holdout, scored),
        "findings": [check.__dict__ for check in checks],
        "scored": {k: v for k, v in scored.__dict__.items() if k not in ARRAYS},
    }
    evaluation.save(output / "evaluation.json")
    arrays = {name: getattr(scored, name) for name in ARRAYS}
    np.savez(output / "scored.npz", **{k: v for k, v in arrays.items() if v is not None})
    (output / "facts.json").write_text(canonical_json(facts))


def read_scored(facts: Mapping[str, Any], path: Path) -> Scored:
    """The scores that `measure` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Scored(**facts, **{name: arrays[name] for name in arrays.files if name in ARRAYS})


def bound(card: ModelCard, params: Params, data: Mapping[str, str]) -> Finding:
    """Whether the model says itself that it was made from these rows and this params.yaml."""
    told, split = card.signature, params.split.model_dump(mode="json")
    split["key"] = list(params.data.key)
    pairs = {
        "task": (told.task, params.task),
        "data.target": (told.target, params.data.target),
        "split": (card.split, {name: split.get(name) for name in card.split}),
        "model.estimator": (card.estimator, params.model.estimator),
        "model.parameters": (card.parameters, params.model.parameters),
        "model.threshold": (told.threshold, params.model.threshold),
        "seed": (card.seed, params.seed),
    }
    if params.data.positive is not None:
        pairs["data.positive"] = (told.classes[-1:], (params.data.positive,))
    wrong = [f"the {name} of params.yaml" for name, (a, b) in pairs.items() if a != b]
    names = {"train": "training rows", "holdout": "holdout", "fitted": "hashes of training rows"}
    wrong += [f"the record's {names[at]}" for at in names if card.data.get(at) != data.get(at)]
    if not card.data:
        message = (
            "the model does not say which rows it was made from, as older versions: train again"
        )
        return Finding("bound", False, message)
    good = "the model itself names these rows, and the params.yaml of its source commit"
    message = f"the model says that it was not made from {', nor from '.join(wrong)}"
    return Finding("bound", not wrong, message if wrong else good)


def exported(model: Model, files: Contents) -> Finding:
    """Whether the ONNX graph is what the fitted pipeline gives, byte for byte where the same
    versions export; else its answers are compared, as `parity` does for every model."""
    if strange := sorted(files.files.keys() - set(MODEL_FILES)):
        return Finding("onnx", False, f"the model holds {strange[0][:80]!a}, which belongs to none")
    if model.card.runtime != "onnx":
        served = ONNX_FILE in files
        message = f"{ONNX_FILE} is there, and is not served" if served else "not served by ONNX"
        return Finding("onnx", not served, message)
    same = to_onnx(model.estimator, model.signature) == files[ONNX_FILE]
    if same:
        return Finding("onnx", True, f"{ONNX_FILE} was exported again: the same bytes")
    then = model.card.libraries
    other = [f"{name} {then.get(name)}" for name in EXPORTERS if then.get(name) != version(name)]
    if other:
        message = f"{ONNX_FILE} was exported by {', '.join(other)}: only its answers were compared"
        return Finding("onnx", True, message)
    return Finding("onnx", False, f"{ONNX_FILE} is not what the fitted pipeline gives; train again")


def compare(arguments: Mapping[str, Any], output: Path) -> None:
    """How far two models are apart, on the holdout and on rows made from it: `apart.json`. Each is
    a folder and the digest that its content must have when it is read."""
    places = {name: (Path(path), digest) for name, (path, digest) in arguments.items()}
    every = [read(*places[name]) for name in ("model", "again")]
    models = [Model.of(files) for files in every]
    a, b = (model.card for model in models)
    facts = {"libraries": a.libraries == b.libraries, "rows": 0, "largest": 0.0}
    others = [name for name in ALIKE if getattr(a, name) != getattr(b, name)]
    if not others:
        frame = to_frame(read_holdout(*places["holdout"]), a.signature.columns)
        near = [
            at_thresholds(frame, a.signature, load(files, card))
            for files, card in zip(every, (a, b), strict=True)
        ]
        rows = pd.concat([frame, *made(frame, a.signature), *chain(*near)])
        inputs = to_inputs(rows, a.signature)
        x, y = (TrainingRuntime(model).scores(inputs) for model in models)
        known = np.isfinite(x) & np.isfinite(y)
        largest = float(np.abs(x[known]).max(initial=1.0))
        differ = apart(x[known], y[known], largest, a.signature).max(initial=0.0)
        same = bool((np.isfinite(x) == np.isfinite(y)).all())
        facts |= {"rows": len(rows), "largest": float(differ) if same else 1.0}
        others += [n for n in FILES if not _close(*(files.json(n) for files in every))]
    (output / "apart.json").write_text(canonical_json(facts | {"others": others}))


def _close(a: Any, b: Any) -> bool:
    """Whether two values of JSON are the same, but for what a tolerance allows numbers."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_close(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_close, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(a == b)
