"""How far the rows in service have moved from the rows the model was trained on.

Decided on effect sizes, not p-values: a measure must exceed its limit in the policy. But small
samples move by themselves: without any drift, the PSI of n rows against m is (bins - 1)(1/n + 1/m)
on average. So each limit is raised to what chance exceeds in at most one report of a hundred; this
vanishes as rows grow. It holds for independent rows: an hour of a seasonal stream is no sample.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import pandas as pd
from scipy.special import chdtri, ndtri, rel_entr

from mlrelease.errors import InputError
from mlrelease.evaluation.slices import FEW
from mlrelease.files import canonical_json
from mlrelease.policy import DriftLimits
from mlrelease.training.profiles import STEPS, Distribution, Profile, Shares, ascending, describe

Numbers = Sequence[float] | np.ndarray
MEASURES = frozenset({"psi", "ks", "wasserstein", "jensen_shannon", "missing"})
FALSE_ALARMS = 0.01  # the share of reports without drift that may say drift
TAIL = 1.3  # measured at 100 rows: the tails of PSI and Jensen-Shannon, in chi-squared quantiles


class ColumnDrift(msgspec.Struct, frozen=True, kw_only=True):
    """One column. A measure is None where too few `rows` have a value; `missing` is the change of
    the missing share; `exceeded` has the worst measure first, which is `excess` times its limit."""

    column: str
    kind: Literal["number", "category", "score"]
    rows: int
    psi: float | None = None
    ks: float | None = None
    wasserstein: float | None = None
    jensen_shannon: float | None = None
    missing: float
    limits: dict[str, float]
    exceeded: tuple[str, ...]
    excess: float
    reference: Shares
    current: Shares

    def named(self) -> set[str]:
        """The categories that enough rows have to be named: a rarer one may be one person's."""
        return {
            value
            for side in (self.reference, self.current)
            if side.type == "category"
            for value, share in zip(side.values, side.shares, strict=True)
            if round(share * side.rows) >= FEW
        }


class DriftReport(msgspec.Struct, frozen=True):
    """`drifted` has the worst column first; `severe`: so far above its limit that newer rows are
    called for. Without `enough` rows nothing was compared."""

    model: str
    rows: int
    min_rows: int
    enough: bool
    columns: tuple[ColumnDrift, ...] = ()
    drifted: tuple[str, ...] = ()
    severe: bool = False

    @classmethod
    def parse(cls, text: str, name: str) -> "DriftReport":
        """What `to_json` gave, or somebody forged; `name` is for messages.

        Raises:
            InputError: It is no such report.
        """
        try:
            found = msgspec.json.decode(text, type=cls)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InputError(f"{name}: is no drift report: {error}") from None
        columns = {column.column: column for column in found.columns}
        named = found.drifted if found.enough else ()
        measured = all(
            m in MEASURES and m in c.limits and getattr(c, m) is not None
            for c in found.columns for m in c.exceeded
        )  # fmt: skip
        if not measured or not all(n in columns and columns[n].exceeded for n in named):
            raise InputError(f"{name}: is no drift report: its columns do not fit together")
        return found

    def to_json(self) -> str:
        """The report for machines, without the quantiles and what few rows have."""
        content = msgspec.to_builtins(self)
        for column, shown in zip(content["columns"], self.columns, strict=True):
            named = shown.named()
            for name in ("reference", "current"):
                told = column[name]
                told.pop("quantiles", None)
                if told["type"] == "category":
                    pairs = zip(told.get("values", ()), told.get("shares", ()), strict=True)
                    kept = {value: share for value, share in pairs if value in named}
                    told |= {"values": [*kept], "shares": [*kept.values()]}
        return canonical_json(content)


def compare(
    known: Profile, frame: pd.DataFrame, scores: np.ndarray | None, limits: DriftLimits, model: str
) -> DriftReport:
    """Compare typed rows (n, columns), and their scores (n,) if known, with the profile of a model
    (its digest)."""
    rows = len(frame)
    if rows < limits.min_rows:
        return DriftReport(model, rows, limits.min_rows, enough=False)
    alpha = FALSE_ALARMS / (4 * len(known.columns) + 4)  # Bonferroni: four measures a column
    columns = [
        _column(name, old, frame[name].to_numpy(), known.rows, limits, alpha)
        for name, old in known.columns.items()
    ]
    if scores is not None:
        score = _column("score", known.score, scores, known.rows, limits, alpha)
        columns.append(msgspec.structs.replace(score, kind="score"))
    drifted = sorted((c for c in columns if c.exceeded), key=lambda c: -c.excess)
    names = tuple(c.column for c in drifted)
    severe = bool(drifted) and drifted[0].excess >= limits.retrain_at
    return DriftReport(model, rows, limits.min_rows, True, tuple(columns), names, severe)


def psi(reference: Numbers, current: Numbers, rows: tuple[int, int]) -> float:
    """Population stability index of the shares of `rows` rows (Siddiqi 2006, Credit Risk
    Scorecards: above 0.25 a major change). An empty bin counts as half a row, so it is finite."""
    p, q = np.maximum(reference, 0.5 / rows[0]), np.maximum(current, 0.5 / rows[1])
    return float((rel_entr(p, q) + rel_entr(q, p)).sum())


def ks(quantiles: Numbers, ordered: np.ndarray, rows: int) -> float:
    """Kolmogorov-Smirnov distance of sorted values to the sample of `rows` rows with these 201
    quantiles: never above the exact distance, and at most 1/200 + 18 / rows below it, as a quantile
    is a mean of up to nine neighbours (see `shared`)."""
    points, shares = np.asarray(quantiles, dtype=ordered.dtype), np.arange(STEPS + 1) / STEPS
    # F(q-) <= p <= F(q) is exact for the sample whose quantile at p is q.
    above = shares - np.searchsorted(ordered, points, side="right") / len(ordered)
    below = np.searchsorted(ordered, points, side="left") / len(ordered) - shares
    return float(max(max(above.max(), below.max()) - (2 * FEW - 1) / rows, 0))


def wasserstein(reference: Numbers, current: Numbers) -> float:
    """Wasserstein-1 distance of two lists of 201 quantiles, in the column's unit: exact for a
    shift, else within 1/200 of both ranges, but for what the means of nine neighbours hide. Of
    tails only the 0.5 and 99.5 % points count, so that one absurd value is no drift."""
    gaps = np.abs(np.subtract(current, reference))[1:-1]
    return float((gaps.sum() + (gaps[0] + gaps[-1]) / 2) / STEPS)


def jensen_shannon(reference: Numbers, current: Numbers) -> float:
    """Jensen-Shannon distance of two lists of shares, 0..1 (base 2; Endres and Schindelin 2003)."""
    p, q = np.asarray(reference), np.asarray(current)
    bits = (rel_entr(p, (p + q) / 2) + rel_entr(q, (p + q) / 2)).sum() / 2 / np.log(2)
    return float(np.sqrt(np.clip(bits, 0, 1)))


def _column(
    name: str, old: Distribution, values: np.ndarray, total: int, limits: DriftLimits, alpha: float
) -> ColumnDrift:
    """Measure one column against `total` training rows, and judge it."""
    now = describe(values, old.type, old)
    share = (now.missing * len(values) + old.missing * total) / (len(values) + total)
    spread = np.sqrt(share * (1 - share) * (1 / len(values) + 1 / total))
    found = {"missing": (now.missing - old.missing, -ndtri(alpha / 2) * spread)}
    if old.rows and now.rows >= limits.min_rows:
        found |= _measures(old, now, values, alpha)
    bounds = {m: max(getattr(limits, m), float(chance)) for m, (_, chance) in found.items()}
    times = {m: abs(value) / bounds[m] for m, (value, _) in found.items() if value}
    return ColumnDrift(
        column=name,
        kind=old.type,
        rows=now.rows,
        limits=bounds,
        exceeded=tuple(sorted((m for m in times if times[m] > 1), key=lambda m: -times[m])),
        excess=max(times.values(), default=0.0),
        reference=old,
        current=now,
        **{m: round(float(value), 6) for m, (value, _) in found.items()},
    )


def _measures(
    old: Distribution, now: Distribution, values: np.ndarray, alpha: float
) -> dict[str, tuple[float, float]]:
    """Each measure, and what chance may reach."""
    noise = 1 / old.rows + 1 / now.rows
    if old.type == "category":
        known = dict(zip(old.values, old.shares, strict=True))
        p, q = [known.get(value, 0.0) for value in now.values], now.shares
        # A category too rare to be seen adds less than a degree of freedom.
        cells = np.minimum(1, np.add(p, q) * 4 * np.log(2) / noise).sum()
        chance = np.sqrt(TAIL * noise * chdtri(max(cells - 1, 1), alpha) / (8 * np.log(2)))
        return {"jensen_shannon": (jensen_shannon(p, q), chance)}
    # Without drift PSI / noise is chi-squared, with one degree less than bins (Yurdakul 2018).
    chance = TAIL * noise * chdtri(max(len(old.edges), 1), alpha)
    found = {"psi": (psi(old.shares, now.shares, (old.rows, now.rows)), chance)}
    # Dvoretzky, Kiefer and Wolfowitz 1956, with Massart's constant.
    distance, chance = (
        ks(old.quantiles, ascending(values), old.rows),
        np.sqrt(np.log(2 / alpha) / 2 * noise),
    )
    found["ks"] = (distance, chance)
    if old.sd:
        shift = wasserstein(old.quantiles, now.quantiles) / old.sd
        # Heavy tails move it without bound, so it counts where KS rules chance out.
        found["wasserstein"] = (shift, 0.0 if distance > chance else shift)
    return found
