"""Yours: the estimator, a scikit-learn Pipeline from typed columns to predictions.

Categories are one-hot encoded, an unknown one as all zeros; missing numbers become the training
median. Only linear models are scaled: scaling moves values across the thresholds of trees.

Add an estimator to ESTIMATORS; params.yaml then names it. A transformer of your own is a class with
`fit` and `transform` here, or in a module beside this one, used in `build`.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mlrelease import Column, InputError, Params
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

ESTIMATORS: dict[str, dict[str, type[Any]]] = {
    "classification": {
        "logistic_regression": LogisticRegression,
        "random_forest": RandomForestClassifier,
        "hist_gradient_boosting": HistGradientBoostingClassifier,
    },
    "regression": {
        "ridge": Ridge,
        "random_forest": RandomForestRegressor,
        "hist_gradient_boosting": HistGradientBoostingRegressor,
    },
}
LINEAR = ("logistic_regression", "ridge")


def build(params: Params, columns: Sequence[Column]) -> Pipeline:
    """The unfitted pipeline for these columns.

    Raises:
        InputError: params.yaml names an estimator or a parameter that does not exist.
    """
    name = params.model.estimator
    known = ESTIMATORS[params.task]
    if name not in known:
        raise InputError(
            f"params.yaml: model.estimator: {name!r} is unknown for {params.task};"
            f" known: {', '.join(known)}"
        )
    numeric: list[BaseEstimator] = [SimpleImputer(strategy="median", keep_empty_features=True)]
    if name in LINEAR:
        numeric.append(StandardScaler())
    encoder = OneHotEncoder(
        categories=[["", *c.categories] for c in columns if c.type == "category"],
        handle_unknown="ignore",
        sparse_output=False,
        dtype=np.float32,
    )
    prepare = ColumnTransformer(
        [
            ("numbers", make_pipeline(*numeric), [c.name for c in columns if c.type == "number"]),
            ("categories", encoder, [c.name for c in columns if c.type == "category"]),
        ],
        verbose_feature_names_out=False,
    )
    return Pipeline([("prepare", prepare), ("estimator", _estimator(params, known[name]))])


def _estimator(params: Params, kind: type[Any]) -> BaseEstimator:
    parameters = dict(params.model.parameters)
    accepted = kind().get_params()
    unknown = sorted(set(parameters) - set(accepted))
    if unknown:
        raise InputError(
            f"params.yaml: model.parameters: {kind.__name__} has no {', '.join(unknown)};"
            f" it has: {', '.join(accepted)}"
        )
    if "random_state" in accepted:
        parameters.setdefault("random_state", params.seed)
    estimator: BaseEstimator = kind(**parameters)
    return estimator
