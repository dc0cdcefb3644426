"""Before a service is ready: does this machine answer as the one that trained, and how fast?"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mlrelease.errors import RefusedError
from mlrelease.scoring.artifact import ModelCard
from mlrelease.scoring.features import Inputs, Signature
from mlrelease.scoring.request_rows import Batch, RequestError
from mlrelease.scoring.runtime import Runtime
from mlrelease.serving.golden import equal, largest_value

LOOP_SECONDS = 0.005  # that one call may keep the event loop from all else
TIMED_ROWS, MOST_INLINE = 64, 1000


def warm_up(
    card: ModelCard,
    runtime: Runtime,
    golden: Sequence[Mapping[str, Any]],
    decode: Callable[[bytes], Batch],
) -> int:
    """Score the golden rows, or one made row. Returns how many rows may be scored on the loop, 0
    for a runtime that is too slow for that.

    Raises:
        RefusedError: A golden row gets another answer than when the model was trained.
    """
    import msgspec

    inputs = _made(card.signature)
    if golden:
        try:
            inputs = decode(msgspec.json.encode([item["row"] for item in golden])).inputs
        except RequestError as error:
            raise RefusedError(f"golden.json: {error}; train the model again") from None
    scores = runtime.scores(inputs)
    answers = card.signature.answers(scores)
    for number, (item, answer) in enumerate(zip(golden, answers, strict=False)):
        if not equal(answer, item["answer"], largest_value(golden)):
            raise RefusedError(
                f"golden row {number}: expected {item['answer']}, got {answer}: not the answers of"
                " the machine that trained this model; not served"
            )
    if card.runtime != "onnx":
        return 0
    places = np.arange(TIMED_ROWS) % len(inputs.numbers)
    many = Inputs(inputs.numbers[places], inputs.categories[places])
    runtime.scores(many)
    begun = time.perf_counter()
    runtime.scores(many)
    each = (time.perf_counter() - begun) / TIMED_ROWS
    return min(MOST_INLINE, int(LOOP_SECONDS / max(each, 1e-9)))


def _made(signature: Signature) -> Inputs:
    names, texts = signature.names()
    return Inputs(np.zeros((1, len(names)), np.float32), np.full((1, len(texts)), "", object))
