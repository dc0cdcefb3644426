"""params.yaml as a typed, validated object: everything that decides what is trained."""

import datetime as dt
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from mlrelease.objects import Strict

Fraction = Annotated[float, Field(ge=0, le=1)]


Text = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v)]  # 1 is "1"


class ColumnRule(Strict):
    """What a valid value of one column is; what is left out is not checked, or inferred."""

    type: Literal["number", "category"] | None = None
    min: float | None = None
    max: float | None = None
    values: tuple[Text, ...] | None = None
    missing: Fraction | None = Field(None, description="the largest share of missing values")


class Data(Strict):
    """Where rows come from, what the model predicts, and what a valid row is."""

    source: str = Field(description="sklearn:NAME, or a path to a .csv or .parquet file")
    target: str
    positive: Text | None = Field(None, description="the class whose probability is predicted")
    drop: tuple[str, ...] = Field((), description="columns the model must not see")
    key: tuple[str, ...] = Field((), description="columns that together identify a row")
    columns: dict[str, ColumnRule] = Field({})
    public: bool = Field(False, description="whether everybody may see the rows")


class Split(Strict):
    """Which rows are held out. `row` and `group` go by hash, so new rows move no old ones."""

    by: Literal["row", "group", "time"] = "row"
    column: str | None = Field(None, description="the group column, or the time column")
    holdout: Annotated[float, Field(gt=0, lt=1)] | None = Field(None, description="default 0.2")
    holdout_from: dt.date | None = Field(None, description="by time: the first day held out")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.by == "row") != (self.column is None):
            raise ValueError("`column` is needed for `by: group` and `by: time`, and only there")
        if (self.by == "time") != (self.holdout_from is not None):
            raise ValueError("`holdout_from` is needed for `by: time`, and only there")
        if self.by == "time" and self.holdout is not None:
            raise ValueError("`holdout` has no meaning for `by: time`")
        return self


class ModelParams(Strict):
    """The estimator, its parameters by scikit-learn's names, and the decision threshold."""

    estimator: str
    parameters: dict[str, Any] = Field({})
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5


class Params(Strict):
    """params.yaml: everything that decides what is trained."""

    task: Literal["classification", "regression"]
    data: Data
    split: Split = Split()
    model: ModelParams
    slices: tuple[str, ...] = Field((), description="columns to evaluate by; default: categories")
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
