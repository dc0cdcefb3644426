"""Save the peers' pipeline as an MLflow model: `PYTHON mlflow_model.py PIPELINE CSV OUT`.

With a signature: without one, MLflow's table of a row whose number is null holds objects.
"""

import sys

import joblib
import mlflow
import pandas as pd

pipeline_file, csv, out = sys.argv[1:]
pipeline = joblib.load(pipeline_file)
columns = pd.read_csv(csv)[list(pipeline.feature_names_in_)]
mlflow.sklearn.save_model(
    pipeline,
    out,
    signature=mlflow.models.infer_signature(columns, pipeline.predict_proba(columns)),
    pyfunc_predict_fn="predict_proba",
    serialization_format="cloudpickle",  # skops, its default, refuses this estimator
    pip_requirements=["scikit-learn", "pandas"],  # not looked up: it is served as it is here
)
