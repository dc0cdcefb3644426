"""Estimators of scikit-learn by name, on scaled numbers and one-hot categories."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import ensemble, linear_model
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlrelease import Column, InputError, Params

ESTIMATORS: dict[str, dict[str, Any]] = {
    "classification": {
        "logistic_regression": linear_model.LogisticRegression,
        "random_forest": ensemble.RandomForestClassifier,
        "hist_gradient_boosting": ensemble.HistGradientBoostingClassifier,
    },
    "regression": {
        "ridge": linear_model.Ridge,
        "random_forest": ensemble.RandomForestRegressor,
        "hist_gradient_boosting": ensemble.HistGradientBoostingRegressor,
    },
}


def build(params: Params, columns: Sequence[Column]) -> Pipeline:
    named = params.model.estimator
    if named not in ESTIMATORS[params.task]:
        raise InputError(f"params.yaml: model.estimator: {named!r} is unknown")
    kind = ESTIMATORS[params.task][named]
    given = dict(params.model.parameters)
    accepted = kind().get_params()
    if unknown := sorted(set(given) - set(accepted)):
        raise InputError(f"params.yaml: model.parameters: {', '.join(unknown)} is unknown")
    if "random_state" in accepted:
        given.setdefault("random_state", params.seed)
    numbers: list[Any] = [SimpleImputer(strategy="median", keep_empty_features=True)]
    if kind.__module__.startswith("sklearn.linear_model"):  # trees are not scaled: ONNX
        numbers.append(StandardScaler())
    known = [["", *column.categories] for column in columns if column.type == "category"]
    encoder = OneHotEncoder(
        categories=known, handle_unknown="ignore", sparse_output=False, dtype=np.float32
    )
    places = {
        kind: [column.name for column in columns if column.type == kind]
        for kind in ("number", "category")
    }
    prepare = ColumnTransformer(
        [
            ("numbers", make_pipeline(*numbers), places["number"]),
            ("categories", encoder, places["category"]),
        ],
        verbose_feature_names_out=False,
    )
    return Pipeline([("prepare", prepare), ("estimator", kind(**given))])
