"""What answers: ONNX Runtime, or the runtime that trained the model where that cannot stand in.

Both take typed columns and give scores; neither knows requests, files of rows or git.
"""

from typing import TYPE_CHECKING, Protocol

import numpy as np

from mlrelease.errors import InputError
from mlrelease.scoring.artifact import ONNX_FILE, Model, ModelCard
from mlrelease.scoring.contents import Contents
from mlrelease.scoring.features import Inputs, Signature, from_inputs

if TYPE_CHECKING:
    import pandas as pd


class Runtime(Protocol):
    """Scores of shape (n,), float64: P(positive class), or the predicted value."""

    def scores(self, inputs: Inputs) -> np.ndarray:
        """Score n rows, each as if it were alone; NaN where there is no finite float32."""


def load(files: Contents, card: ModelCard) -> Runtime:
    """The runtime that serves what was read of a model directory, as its card says.

    Raises:
        RefusedError: The model file holds a type that is not trusted.
        InputError: A file is missing or damaged, or this environment has not that runtime.
    """
    try:
        if card.runtime == "onnx":
            return OnnxRuntime(files[ONNX_FILE], card.signature)
        return TrainingRuntime(Model.of(files))
    except ImportError as error:
        raise InputError(
            f"{files.directory}: runs in {card.runtime}, and {error.name} is not installed here; an"
            f" image for it is built with --build-arg RUNTIME={card.runtime}"
        ) from None


class OnnxRuntime:
    """ONNX Runtime on one thread: workers share the cores, and sums keep their order."""

    def __init__(self, graph: bytes, signature: Signature) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors, and they are raised
        self.graph = graph
        try:  # from bytes, so that a model cannot name further files of this machine
            self.session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its own derive from nothing narrower
            raise InputError(f"{ONNX_FILE}: {' '.join(str(error).split())[:200]}") from None
        self.names = [item.name for item in self.session.get_inputs()]
        if not set(self.names) <= set(Inputs._fields):
            raise InputError(f"{ONNX_FILE}: takes {', '.join(self.names)}, not numbers, categories")
        self.outputs = [self.session.get_outputs()[0].name]
        self.positive = 1 if signature.task == "classification" else 0

    def scores(self, inputs: Inputs) -> np.ndarray:
        asked = _in_company(inputs, 2)
        feed = {name: getattr(asked, name) for name in self.names}
        found: np.ndarray = self.session.run(self.outputs, feed)[0]
        return _finite(found[: len(inputs.numbers), self.positive])

    def thresholds(self) -> list[tuple[int, float]]:
        """What trees compare the columns of their input with: (place, value), each once, sorted."""
        import onnx

        found: set[tuple[int, float]] = set()
        for node in onnx.load_from_string(self.graph).graph.node:
            told = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
            if "nodes_featureids" in told:
                places, values = told["nodes_featureids"], told["nodes_values"]
                modes = told["nodes_modes"]
                found |= {
                    (p, v) for p, v, m in zip(places, values, modes, strict=True) if m != b"LEAF"
                }
        return sorted(found)


class TrainingRuntime:
    """The fitted pipeline, on a DataFrame such as it was fitted on."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def scores(self, inputs: Inputs) -> np.ndarray:
        rows = len(inputs.numbers)
        frame = from_inputs(_in_company(inputs, 16), self.model.signature)
        try:
            with np.errstate(all="ignore"):
                return _finite(self.model.scores(frame)[:rows])
        except ValueError:  # scikit-learn refuses all rows where one overflows on its way
            if rows == 1:
                return np.full(1, np.nan)
        bad = self._overflowing(frame)[:rows]
        if not bad.any():  # it is something else: look for it in each half
            bad[rows // 2 :] = True
            return np.concatenate([self.scores(_rows(inputs, part)) for part in (~bad, bad)])
        found = np.full(rows, np.nan)
        if not bad.all():
            found[~bad] = self.scores(_rows(inputs, ~bad))
        return found

    def _overflowing(self, frame: "pd.DataFrame") -> np.ndarray:
        """Which rows the last step of the pipeline would refuse; none where that cannot be seen.
        Halving alone would ask the model twice for each of them."""
        try:
            with np.errstate(all="ignore"):
                made = self.model.estimator[:-1].transform(frame)
            made = made.toarray() if hasattr(made, "toarray") else np.asarray(made)
            return np.logical_not(np.isfinite(made.astype(np.float32)).all(axis=1))
        except Exception:  # no pipeline, or a step that refuses such rows itself
            return np.zeros(len(frame), dtype=bool)


def _rows(inputs: Inputs, mask: np.ndarray) -> Inputs:
    return Inputs(inputs.numbers[mask], inputs.categories[mask])


def _in_company(inputs: Inputs, of: int) -> Inputs:
    """As many rows as `of` or a multiple of it, the last one repeated. Linear models sum a row in
    another order where it is alone, or left over: the last bit of its answer would hang on how many
    rows are asked with it."""
    rows = len(inputs.numbers)
    lacking = -rows % of
    if not lacking:
        return inputs
    places = np.arange(rows + lacking).clip(max=rows - 1)
    return Inputs(inputs.numbers[places], inputs.categories[places])


def _finite(scores: np.ndarray) -> np.ndarray:
    narrow = scores
    if scores.dtype != np.float32:  # as ONNX Runtime gives it, it is narrow already
        with np.errstate(over="ignore"):
            narrow = scores.astype(np.float32)
    finite, wide = np.isfinite(narrow), scores.astype(np.float64)
    return wide if finite.all() else np.where(finite, wide, np.nan)
