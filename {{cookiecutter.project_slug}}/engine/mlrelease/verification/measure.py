"""What loads a model to check it. It runs in a process of its own, within limits: see limits.py."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlrelease.evaluation.evaluate import evaluate
from mlrelease.evaluation.evaluation import Evaluation
from mlrelease.evaluation.fitted import read_fitted
from mlrelease.evaluation.gate import NOT_REBUILT, Finding
from mlrelease.evaluation.metrics import Scored
from mlrelease.files import canonical_json, read_json
from mlrelease.params import Params
from mlrelease.scoring.artifact import MODEL_FILES, ONNX_FILE, Model, ModelCard
from mlrelease.scoring.contents import Contents, read
from mlrelease.training.export import to_onnx
from mlrelease.training.train import read_holdout
from mlrelease.verification.answers import answers_of, secret_of

ARRAYS = ("y", "candidate", "champion", "compared", "places")


def measure(arguments: Mapping[str, Any], output: Path) -> None:
    """Evaluate a model on its holdout: write `evaluation.json`, `scored.npz` and `facts.json`."""
    holdout, evaluation, scored = _evaluated(arguments)
    files = read(Path(arguments["model"]), arguments["options"]["candidate_digest"])
    model, params = Model.of(files), Params.model_validate(arguments["params"])
    checks = [
        bound(model.card, params, arguments["data"]),
        exported(model, files, arguments["pinned"]),
    ]
    keyed = [(arguments["holdout"], arguments["data"]["holdout"]), *arguments["others"]]
    secrets = [secret_of(read(Path(place), digest)) for place, digest in keyed]
    answers, again = answers_of(holdout, scored, secrets, set(arguments["wanted"]))
    facts = {
        "answers": answers,
        "again": again,
        "findings": [check.__dict__ for check in checks],
    }
    _write(output, evaluation, scored, facts)


def judge(arguments: Mapping[str, Any], output: Path) -> None:
    """The same of a candidate that nobody claims anything of: the figures alone."""
    _, evaluation, scored = _evaluated(arguments)
    _write(output, evaluation, scored, {})


def read_evaluated(folder: Path) -> tuple[Evaluation, Scored, dict[str, Any]]:
    """What `measure` or `judge` wrote: figures, scores and facts."""
    facts = dict(read_json(folder / "facts.json"))
    with np.load(folder / "scored.npz", allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files if name in ARRAYS}
        scored = Scored(**facts["scored"], **found)
    return Evaluation.read(folder / "evaluation.json"), scored, facts


def _evaluated(arguments: Mapping[str, Any]) -> tuple[pd.DataFrame, Evaluation, Scored]:
    champion, fitted = arguments["champion"], arguments["fitted"]
    holdout = read_holdout(Path(arguments["holdout"]), arguments["options"]["holdout_digest"])
    fitted = read_fitted(Path(fitted[0]), fitted[1]) if fitted else None
    evaluation, scored = evaluate(
        Path(arguments["model"]), Path(champion) if champion else None, holdout, fitted=fitted,
        **arguments["options"],
    )  # fmt: skip
    return holdout, evaluation, scored


def _write(output: Path, evaluation: Evaluation, scored: Scored, facts: Mapping[str, Any]) -> None:
    evaluation.save(output / "evaluation.json")
    arrays = {name: getattr(scored, name) for name in ARRAYS}
    np.savez(output / "scored.npz", **{k: v for k, v in arrays.items() if v is not None})
    told = {k: v for k, v in scored.__dict__.items() if k not in ARRAYS}
    (output / "facts.json").write_text(canonical_json({**facts, "scored": told}))


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


def exported(model: Model, files: Contents, pinned: bool) -> Finding:
    """Whether the ONNX graph is what the fitted pipeline gives, byte for byte. Only where what the
    source commit pins is not installed (`pinned`), its answers alone are compared, as `parity` does
    for every model."""
    if strange := sorted(files.files.keys() - set(MODEL_FILES)):
        return Finding("onnx", False, f"the model holds {strange[0][:80]!a}, which belongs to none")
    if model.card.runtime != "onnx":
        served = ONNX_FILE in files
        message = f"{ONNX_FILE} is there, and is not served" if served else "not served by ONNX"
        return Finding("onnx", not served, message)
    if to_onnx(model.estimator, model.signature) == files[ONNX_FILE]:
        return Finding("onnx", True, f"{ONNX_FILE} was exported again: the same bytes")
    if not pinned:
        message = f"{NOT_REBUILT}{ONNX_FILE} was exported by other libraries than are here"
        return Finding("onnx", True, f"{message}: only its answers were compared")
    return Finding("onnx", False, f"{ONNX_FILE} is not what the fitted pipeline gives; train again")
