"""`profile.json`: how the training rows were distributed, to measure drift against later.

Numbers are compared as float32; one that is not finite counts as missing.
"""

from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from itertools import pairwise
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import pandas as pd

from mlrelease.errors import InputError
from mlrelease.evaluation.slices import FEW
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
    stand at 0, 1/200, ..., 1, of `shared` values. The first and the last are rounded away from the
    others, to half a standard deviation or more, as the smallest and largest value are of one
    person."""

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
    inputs = {c.name: _public(describe(frame[c.name].to_numpy(), c.type)) for c in columns}
    return dict(msgspec.to_builtins(Profile(len(frame), inputs, describe(scores, "number"))))


def _public(told: Distribution) -> Distribution:
    """Nothing is told of numbers that fewer than FEW rows have: even their mean would be theirs."""
    hidden = told.type == "number" and told.rows < FEW
    return Distribution("number", 0, 1.0) if hidden else told


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
    values_of_many = shared(ordered)
    # Inverted CDF: a quantile is one of these values, so what many have stays exactly itself.
    points = values_of_many[np.maximum((np.arange(STEPS + 1) * rows - 1) // STEPS, 0)]
    edges = np.asarray(
        like.edges if like and like.rows else np.unique(points[20:-1:20]), np.float32
    )
    parts = np.diff(np.searchsorted(ordered, edges, side="right"), prepend=0, append=rows) / rows
    wide = ordered.astype(np.float64)  # sums of float32 are exact in it: a constant has no spread
    mean, sd, missing = _rounded([wide.mean(), wide.std(), 1 - rows / len(values)])
    bins, cuts, inner = _rounded(parts), _rounded(edges), _rounded(points[1:-1])
    least, most = _rounded(ordered[[0, -1]])
    stand = (_outward(least, sd, ROUND_FLOOR), *inner, _outward(most, sd, ROUND_CEILING))
    return Distribution(kind, rows, missing, bins, (), mean, sd, cuts, stand)


def shared(ordered: np.ndarray) -> np.ndarray:
    """Sorted values, none of which is of one person: what at least FEW rows have stays itself. Of
    others, FEW neighbours or more, below 2 * FEW, get their mean; where fewer stand between what
    many have, they get the value before."""
    _, counts = np.unique(ordered, return_counts=True)
    rare = np.repeat(counts < FEW, counts)
    found, rows = ordered.astype(np.float64), len(ordered)
    starts = np.flatnonzero(np.diff(rare, prepend=not rare[0]))
    for start, end in pairwise([*starts.tolist(), rows]):
        size = end - start
        if rare[start] and size < min(FEW, rows):
            found[start:end] = ordered[start - 1 if start else end]
        elif rare[start]:
            blocks = max(size // FEW, 1)
            cuts = np.arange(blocks) * size // blocks
            sizes = np.diff(cuts, append=size)
            found[start:end] = np.repeat(np.add.reduceat(found[start:end], cuts) / sizes, sizes)
    return found.astype(np.float32)


def _outward(value: float, sd: float, rounding: str) -> float:
    """No nearer to the other values than it is, so that KS stays a lower bound: a multiple of 1, 2
    or 5 times a power of ten, which is at least half a standard deviation."""
    if not sd:
        return value  # of all
    power = Decimal(1).scaleb(Decimal(sd / 2).adjusted())
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= Decimal(sd / 2))
    rounded = (Decimal(value) / step).quantize(Decimal(1), rounding) * step
    return max(-MOST, min(MOST, float(f"{rounded:.9g}") + 0.0))


def ascending(values: np.ndarray) -> np.ndarray:
    """The finite values as float32, sorted."""
    with np.errstate(over="ignore"):
        narrow = np.asarray(values, dtype=np.float32)
    return np.sort(narrow[np.isfinite(narrow)])


def _rounded(values: Iterable[float]) -> tuple[float, ...]:
    """Nine digits bring float32 back exactly; -0.0 becomes 0.0."""
    return tuple(float(f"{value:.9g}") + 0.0 for value in values)
