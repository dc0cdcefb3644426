"""policy.yaml as a typed, validated object: what a model must reach before a person is asked."""

import datetime as dt
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mlrelease.environments import ENVIRONMENTS, Environment
from mlrelease.objects import Strict
from mlrelease.params import Fraction

MetricName = Literal[
    "roc_auc", "pr_auc", "log_loss", "brier", "calibration_error", "accuracy", "f1",
    "r2", "mae", "rmse", "mape",
]  # fmt: skip


HIGHER_IS_BETTER: frozenset[str] = frozenset({"roc_auc", "pr_auc", "accuracy", "f1", "r2"})


class MetricLimit(Strict):
    """A limit that holds without a champion."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give `min` or `max`")
        return self


class ChampionLimit(Strict):
    """A limit on the paired difference, judged at the bad end of its 95 % interval.

    `margin`: worse by at most this (non-inferiority). `min_gain`: better by at least this.
    """

    margin: Annotated[float, Field(ge=0)] | None = None
    min_gain: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.margin is None) == (self.min_gain is None):
            raise ValueError("give either `margin` or `min_gain`")
        return self


class SliceLimits(Strict):
    """Limits for each slice with at least `min_rows` rows, judged on the value itself."""

    columns: tuple[str, ...] = Field(
        (),
        description="columns whose slices must be judged; with none, those of params.yaml",
    )

    metric: MetricName
    min: float | None = None
    max: float | None = None
    margin: Annotated[float, Field(ge=0)] | None = None
    min_rows: Annotated[int, Field(ge=1)] = 30

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.min is None and self.max is None and self.margin is None:
            raise ValueError("give `min`, `max` or `margin`")
        return self


class Budgets(Strict):
    """What a model may cost. Milliseconds are the median for one row: on a busy machine the
    slowest of a few rows says more about the machine than about the model."""

    size_mb: Annotated[float, Field(gt=0)]
    latency_ms: Annotated[float, Field(gt=0)]
    refused: Fraction = Field(
        0.05, description="the largest share of holdout rows that the service may refuse"
    )


class Freeze(Strict):
    """Days, first and last included (UTC), on which nothing is promoted. Rollback still works."""

    first: dt.date
    last: dt.date
    reason: str

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.last < self.first:
            raise ValueError("`last` is before `first`")
        return self


class EnvironmentRules(Strict):
    """What one environment asks for besides the model's quality."""

    needs: Environment | None = Field(None, description="take only what this environment runs")
    soak_hours: Annotated[float, Field(ge=0)] = 0
    approvals: Annotated[int, Field(ge=0)] = Field(0, description="asked of GitHub at deployment")
    rollback_approvals: Annotated[int, Field(ge=0)] | None = Field(
        None, description="approvals of a rollback; default: as `approvals`"
    )
    freeze: tuple[Freeze, ...] = ()
    port: Annotated[int, Field(ge=0, lt=65536)] = Field(
        0, description="embedded deployment; 0: any"
    )
    rebuild: Literal["train", "rows"] | None = Field(
        None,
        description="what verification makes again at the source commit, or refuses; default: the"
        " model where that takes less than ten minutes, else the holdout, and it says what it is",
    )
    retired: bool = Field(False, description="nothing is released here any more; its ledger stays")

    def approvals_for(self, rollback: bool) -> int:
        """How many people must have approved a promotion, or a rollback."""
        if rollback and self.rollback_approvals is not None:
            return self.rollback_approvals
        return self.approvals


class DriftLimits(Strict):
    """Effect sizes above which `model monitor` exits with 3. Not p-values: at 100,000 rows
    everything is significant. For few rows each is raised to what chance reaches."""

    psi: Annotated[float, Field(gt=0)] = 0.25
    ks: Annotated[float, Field(gt=0, le=1)] = 0.2
    wasserstein: Annotated[float, Field(gt=0)] = 0.5
    jensen_shannon: Annotated[float, Field(gt=0, le=1)] = 0.2
    missing: Fraction = 0.1
    min_rows: Annotated[int, Field(ge=1)] = 100
    retrain_at: Annotated[float, Field(ge=1)] = Field(
        2.0, description="train again when a figure is this many times its limit"
    )
    cool_down_days: Annotated[float, Field(ge=0)] = 7


class Policy(Strict):
    """policy.yaml: what a model must reach before a person is even asked."""

    metrics: dict[MetricName, MetricLimit] = Field(min_length=1)
    champion: dict[MetricName, ChampionLimit] = Field({})
    slices: SliceLimits | None = None
    budgets: Budgets
    environments: dict[Environment, EnvironmentRules]
    drift: DriftLimits = DriftLimits()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if set(self.environments) != set(ENVIRONMENTS):
            raise ValueError(f"`environments` names exactly {', '.join(ENVIRONMENTS)}")
        if "calibration_error" in self.champion:  # its paired interval misses the truth too often
            raise ValueError(
                "compare `brier` or `log_loss` with the champion, calibration has none"
            )
        return self

    @property
    def slice_columns(self) -> tuple[str, ...]:
        """The columns whose slices must be evaluated, whatever params.yaml names."""
        return self.slices.columns if self.slices else ()
