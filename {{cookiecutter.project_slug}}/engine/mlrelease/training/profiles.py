"""`profile.json`: how the training rows were distributed, to measure drift against later.

Numbers are compared as float32; one that is not finite counts as missing.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pandas as pd

from mlrelease.errors import InputError
from mlrelease.scoring.contents import Contents
from mlrelease.scoring.features import Column

STEPS = 200
Kind = Literal["number", "category"]
Rows = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
MOST = 3.4028235e38  # fits float32
Number = Annotated[float, msgspec.Meta(ge=-MOST, le=MOST)]
Spread = Annotated[float, msgspec.Meta(ge=0, le=MOST)]


class Shares(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a report shows of one column; `rows` have a value. `shares` are of each category in
    `values`, or of the bins between the deciles."""

    type: Kind
    rows: Rows
    missing: Share
    shares: tuple[Share, ...] = ()
    values: tuple[str, ...] = ()
    mean: Number = 0.0
    sd: Spread = 0.0


class Distribution(Shares, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One column, with what others are compared with. Bins are (edges[i-1], edges[i]]; `quantiles`
    stand at 0, 1/200, ..., 1. The first and the last are rounded away from the others, as the
    smallest and largest value are of one person."""

    edges: tuple[Number, ...] = ()
    quantiles: tuple[Number, ...] = ()

    def __post_init__(self) -> None:
        numeric = self.type == "number" and self.rows > 0
        bins = len(self.edges) + 1 if numeric else len(self.values)
        fit = (len(self.quantiles), len(self.shares)) == (numeric * (STEPS + 1), bins)
        rise = all([*x] == sorted(x) for x in (self.values, self.edges, self.quantiles))
        if not (fit and rise and abs(sum(self.shares) - (self.rows > 0)) < 1e-6):
            raise ValueError("rows, shares, values, edges and quantiles do not fit together")


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reference distributions: of the inputs by column, and of the model's score."""

    rows: Rows
    columns: dict[str, Distribution]
    score: Distribution


def profile(frame: pd.DataFrame, columns: Sequence[Column], scores: np.ndarray) -> dict[str, Any]:
    """The content of `profile.json` for typed training rows (n, columns) and their scores (n,)."""
    inputs = {c.name: describe(frame[c.name].to_numpy(), c.type) for c in columns}
    return dict(msgspec.to_builtins(Profile(len(frame), inputs, describe(scores, "number"))))


def read_profile(files: Contents, columns: Sequence[Column]) -> Profile:
    """What `profile.json` of a model directory says, which must describe exactly these columns.

    Raises:
        InputError: It is missing, damaged, or of other columns.
    """
    path, content = files.directory / "profile.json", files["profile.json"]
    try:
        found = msgspec.json.decode(content, type=Profile)
    except ValueError as error:
        raise InputError(f"{path}: {error}; train the model again") from None
    if {name: d.type for name, d in found.columns.items()} != {c.name: c.type for c in columns}:
        raise InputError(f"{path}: describes other columns than model.json; train the model again")
    return found


def describe(values: np.ndarray, kind: Kind, like: Distribution | None = None) -> Distribution:
    """The distribution of one column of shape (n,), in the bins of `like` where given."""
    if kind == "category":
        counts = pd.Series(values, dtype=object).value_counts().drop("", errors="ignore")
        rows, known = int(counts.sum()), like.values if like else ()
        names = sorted({*counts.index, *known}) if rows else []
        found = counts.reindex(names, fill_value=0).to_numpy()
        missing, *shares = _rounded([1 - rows / max(len(values), 1), *(found / max(rows, 1))])
        return Distribution(kind, rows, missing, tuple(shares), tuple(names))
    ordered = ascending(values)
    if not (rows := len(ordered)):
        return Distribution(kind, 0, 1.0)
    # Inverted CDF: a quantile is a value of the data, so repeated values stay exactly themselves.
    points = ordered[np.maximum((np.arange(STEPS + 1) * rows - 1) // STEPS, 0)]
    edges = np.asarray(
        like.edges if like and like.rows else np.unique(points[20:-1:20]), np.float32
    )
    parts = np.diff(np.searchsorted(ordered, edges, side="right"), prepend=0, append=rows) / rows
    wide = ordered.astype(np.float64)  # sums of float32 are exact in it: a constant has no spread
    mean, sd, missing = _rounded([wide.mean(), wide.std(), 1 - rows / len(values)])
    bins, cuts, exact = _rounded(parts), _rounded(edges), _rounded(points)
    stand = (_outward(exact[0], ROUND_FLOOR), *exact[1:-1], _outward(exact[-1], ROUND_CEILING))
    return Distribution(kind, rows, missing, bins, (), mean, sd, cuts, stand)


def _outward(value: float, rounding: str) -> float:
    """Two digits of a number, no nearer to the others than it is: KS stays a lower bound."""
    exact = Decimal(f"{value:.9g}")
    rounded = exact.quantize(Decimal(1).scaleb(exact.adjusted() - 1), rounding)
    return max(-MOST, min(MOST, float(rounded)))


def ascending(values: np.ndarray) -> np.ndarray:
    """The finite values as float32, sorted."""
    with np.errstate(over="ignore"):
        narrow = np.asarray(values, dtype=np.float32)
    return np.sort(narrow[np.isfinite(narrow)])


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    """Nine digits bring float32 back exactly; -0.0 becomes 0.0."""
    return tuple(float(f"{value:.9g}") + 0.0 for value in values)
