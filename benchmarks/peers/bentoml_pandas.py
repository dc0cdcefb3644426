"""The usual BentoML service around a scikit-learn pipeline."""

import os

import bentoml
import joblib
import numpy as np
import pandas as pd


@bentoml.service
class Predictor:
    """One model, one endpoint."""

    def __init__(self) -> None:
        self.pipeline = joblib.load(os.environ["BENCHMARK_PIPELINE"])

    @bentoml.api
    def predict(self, rows: pd.DataFrame) -> np.ndarray:
        """Probabilities of shape (n, 2)."""
        return self.pipeline.predict_proba(rows)
