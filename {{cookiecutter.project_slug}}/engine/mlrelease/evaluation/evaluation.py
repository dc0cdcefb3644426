"""`evaluation.json`: how good the candidate is, and how it compares, as typed objects."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import FailFast

from mlrelease.documents import JSON_BYTES, parse_json, read_bytes
from mlrelease.errors import InputError
from mlrelease.files import canonical_json
from mlrelease.objects import Digest, Strict, validate
from mlrelease.output import begins, write

OURS = begins('{\n "candidate": "sha256:')


class Estimate(Strict):
    """A value with its 95 % interval (percentile bootstrap over holdout rows; calibration errors
    are centred on the value, because resampling adds the noise of their bins again)."""

    value: float
    low: float
    high: float


class Metric(Strict):
    """One metric on one holdout. `difference` is candidate - champion, resampled in pairs."""

    candidate: Estimate
    champion: Estimate | None = None
    difference: Estimate | None = None


class Slice(Strict):
    """One metric on the rows where `column` has `value` (a category, or a range of numbers)."""

    column: str
    value: str
    rows: int
    metric: str
    candidate: float | None
    champion: float | None = None
    difference: Estimate | None = None


class Decisions(Strict):
    """How many holdout rows get another decision than from the champion."""

    rows: int
    flipped: int
    to_positive: int
    to_negative: int


class Cost(Strict):
    """Size of the model directory, and milliseconds to predict a single row."""

    size_bytes: int
    latency_p50_ms: float
    latency_p99_ms: float


class Parity(Strict):
    """What serves the model, and whether it answers as what trained it; `not_onnx` says why that is
    not ONNX Runtime. `online`: whether the service answers single rows as a batch does."""

    runtime: Literal["onnx", "scikit-learn"]
    not_onnx: str | None = None
    rows: int
    different: int
    largest_difference: float
    online_rows: int
    online_different: int


class Evaluation(Strict):
    """The candidate, and the champion where there is one, on the same holdout.

    `incomparable` says why a champion that exists could not be compared fairly. `compared_rows`: on
    how many rows it was, because it was fitted on the others; differences, decisions and the
    champion's figures are of these. `refused`: rows that the service would refuse, most of them for
    `refused_column`; all figures are of the others. `copies`: rows that training left out of the
    holdout, as copies of what the candidate was fitted on; no `rows`.
    """

    schema_version: Literal[1] = 1
    task: Literal["classification", "regression"]
    candidate: Digest
    champion: Digest | None = None
    holdout: Digest
    rows: int
    metrics: dict[str, Metric]
    slices: Annotated[tuple[Slice, ...], FailFast()] = ()  # a file of faults takes no seconds
    decisions: Decisions | None = None
    parity: Parity
    cost: Cost
    champion_cost: Cost | None = None
    incomparable: str | None = None
    compared_rows: int | None = None
    refused: int = 0
    refused_column: str | None = None
    copies: int = 0

    def write(self) -> str:
        """The file's text; equal evaluations give equal bytes."""
        return canonical_json(self.model_dump(mode="json"))

    def save(self, path: Path) -> None:
        """Write the file whole or not at all.

        Raises:
            RefusedError: A file that is no evaluation is there.
        """
        write(path, self.write(), OURS)

    @classmethod
    def read(cls, path: Path) -> "Evaluation":
        """Read and validate the file.

        Raises:
            InputError: Missing, not JSON, or not of this schema.
        """
        try:
            content = read_bytes(path, JSON_BYTES)
        except OSError:
            raise InputError(f"{path}: missing; run `model evaluate`") from None
        return cls.parse(content, str(path))

    @classmethod
    def parse(cls, content: bytes, name: str) -> "Evaluation":
        """Validate the content of the file called `name`."""
        return validate(parse_json(content, name), cls, name)
