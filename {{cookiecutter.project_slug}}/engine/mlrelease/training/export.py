"""The fitted pipeline as an ONNX graph with two inputs: all numbers, all categories.

Converted is not equal: some conversions are silently wrong. So a model is served by ONNX Runtime
only where `parity` finds no difference, and by the runtime that trained it elsewhere.
"""

import copy
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from mlrelease.errors import ModelError
from mlrelease.evaluation.parity import TOLERANCE, parity
from mlrelease.scoring.artifact import Model, ModelCard
from mlrelease.scoring.features import Signature
from mlrelease.scoring.runtime import OnnxRuntime, Runtime, TrainingRuntime

if TYPE_CHECKING:
    import pandas as pd

# What onnxruntime and skl2onnx both know; fixed, so that equal pipelines give equal bytes.
OPSETS = {"": 21, "ai.onnx.ml": 3}


class ExportError(ModelError):
    """The pipeline cannot be written as ONNX; the message is one line that says why."""


def served_by(model: Model, rows: "pd.DataFrame") -> tuple[ModelCard, Runtime, bytes | None]:
    """What serves a model: ONNX Runtime if it answers alike on typed rows and on rows made from
    them. Returns the card that says so, the runtime, and the graph if it is ONNX Runtime."""
    try:
        graph = to_onnx(model.estimator, model.signature)
        served = OnnxRuntime(graph, model.signature)
        found = parity(model, served, rows)
        if found.different + found.online_different == 0:
            return msgspec.structs.replace(model.card, runtime="onnx"), served, graph
        reason = f"{found.different} of {found.rows} rows differ, by up to"
        reason += f" {found.largest_difference:.2g} (allowed: {TOLERANCE:g})"
    except ModelError as error:
        reason = str(error)
    card = msgspec.structs.replace(model.card, not_onnx=reason)
    return card, TrainingRuntime(model), None


def to_onnx(pipeline: Any, signature: Signature) -> bytes:
    """Convert a fitted pipeline; equal pipelines give equal bytes.

    Its one output has shape (n, 2), probabilities of both classes, or (n, 1), values.

    Raises:
        ExportError: It holds something that cannot be converted.
    """
    import skl2onnx
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType
    from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs

    names, texts = signature.names()
    inputs = [("numbers", FloatTensorType([None, len(names)]))] if names else []
    inputs += [("categories", StringTensorType([None, len(texts)]))] if texts else []
    by_place = _by_place(pipeline, {name: place for place, name in enumerate([*names, *texts])})
    classifier = signature.task == "classification"
    try:
        graph = skl2onnx.convert_sklearn(
            by_place,
            "model",
            inputs,
            target_opset=OPSETS,
            options={"zipmap": False} if classifier else None,
        )
        if classifier:  # without the label: `Signature.answers` draws the line
            graph = select_model_inputs_outputs(graph, ["probabilities"])
    except Exception as error:  # whatever a converter stumbles over
        reason = " ".join(str(error).split())
        raise ExportError(f"{type(error).__name__}: {reason[:200]}") from None
    # The converter keeps these in a set, so their order would hang on PYTHONHASHSEED.
    opsets = sorted(graph.opset_import, key=lambda item: item.domain)
    del graph.opset_import[:]
    graph.opset_import.extend(opsets)
    content: bytes = graph.SerializeToString(deterministic=True)
    return content


def _by_place(pipeline: Any, places: dict[str, int]) -> Any:
    """A copy for the converter, which knows two inputs and no names: its first step selects columns
    by place, and its trees compare with float32 (see `floor32`)."""
    from sklearn.compose import ColumnTransformer

    found = copy.deepcopy(pipeline)
    first, last = (found[0], found[-1]) if hasattr(found, "steps") else (found, found)
    if isinstance(first, ColumnTransformer):
        first.transformers_ = [
            (name, step, columns if isinstance(step, str) else [places[c] for c in columns])
            for name, step, columns in first.transformers_
        ]
    for tree in np.ravel(getattr(last, "estimators_", [last])):
        if hasattr(tree, "tree_"):
            tree.tree_.threshold[:] = floor32(tree.tree_.threshold)
    for tree in (tree for stage in getattr(last, "_predictors", []) for tree in stage):
        tree.nodes["num_threshold"] = floor32(tree.nodes["num_threshold"])
    return found


def floor32(thresholds: np.ndarray) -> np.ndarray:
    """The greatest float32 that is not above: x <= threshold stays what it is for each float32 x.
    The converter would round to the nearest, and the value there would take the other branch."""
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
