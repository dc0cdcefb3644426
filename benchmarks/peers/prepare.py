"""Everything that the servers of benchmarks/serving.py need: data, one model twice, requests.

    PYTHON prepare.py PACKAGE PROJECT OUT      # PYTHON has the generated project, with `training`

The generated project trains its model with `model train`. The peers get the pipeline that people
write, fitted on the same rows; it must give the same answers as ours on every row here, or nothing
is compared. `OUT/rows.json` holds the rows to ask for, and the answers of that pipeline to all of
them at once, which is what its offline evaluation would have seen.
"""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import msgspec
import numpy as np
import pandas as pd
import yaml
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

NUMBERS = [f"number_{i}" for i in range(10)]
CATEGORIES = [f"category_{i}" for i in range(6)]
TRAINING, ORDINARY, NULL, MISSING = 10_000, 2_000, 200, 0.05
SEED = 7


def main(project: Path, out: Path) -> None:
    """Write the model directories, the peers' pipeline and the rows to ask for."""
    random = np.random.default_rng(SEED)
    frame = draw(random, TRAINING)
    frame.to_csv(project / "data" / "benchmark.csv", index=False)
    params = {
        "task": "classification",
        "data": {"source": "data/benchmark.csv", "target": "bought", "positive": "yes"},
        "model": {"estimator": "hist_gradient_boosting"},
        "seed": SEED,
    }
    (project / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    subprocess.run(
        [str(Path(sys.executable).with_name("model")), "train", "--force"], cwd=project, check=True
    )
    from mlrelease.objects import read
    from mlrelease.params import Params
    from mlrelease.scoring import artifact, features
    from mlrelease.training import schema, split

    trained = project / "candidate" / "model"
    ours = artifact.Model.load(trained)
    if ours.card.runtime != "onnx":
        sys.exit(f"ONNX Runtime does not serve the model: {ours.card.not_onnx}")
    artifact.write_model(
        out / "fallback",
        msgspec.structs.replace(ours.card, runtime="scikit-learn", not_onnx="to be measured"),
        ours.estimator,
        json.loads((trained / "profile.json").read_bytes()),
        json.loads((trained / "golden.json").read_bytes()),
    )

    settings = read(project / "params.yaml", Params)
    rows = schema.checked(settings, project)
    rows = rows[~split.holdout_mask(rows, settings)].reset_index(drop=True)
    usual = make_pipeline(
        make_column_transformer(
            (SimpleImputer(strategy="median"), NUMBERS),
            # "" comes first when categories are sorted, as in our signature: the same matrix.
            (
                make_pipeline(
                    SimpleImputer(strategy="constant", fill_value=""),
                    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                ),
                CATEGORIES,
            ),
        ),
        HistGradientBoostingClassifier(random_state=SEED),
    )
    usual.fit(rows[NUMBERS + CATEGORIES], rows["bought"])

    asked = draw(random, ORDINARY)[NUMBERS + CATEGORIES]
    whole = draw(random, 8 * NULL)[NUMBERS + CATEGORIES]
    null = whole[whole[CATEGORIES].notna().all(axis=1)].head(NULL).reset_index(drop=True)
    for row in range(NULL):
        null.loc[row, CATEGORIES[row % len(CATEGORIES)]] = None
    found = {"training": len(rows)}
    for name, part in (("ordinary", asked), ("null", null)):
        offline = pd.read_csv(io.StringIO(part.to_csv(index=False)))
        scores = usual.predict_proba(offline)[:, 1]
        typed = features.to_frame(part, ours.card.signature.columns)
        difference = np.abs(ours.scores(typed) - scores).max()
        if not difference <= 1e-9:
            sys.exit(f"{name} rows: the two pipelines differ by {difference}: not one model")
        found[name] = {"rows": to_json(part), "scores": scores.tolist()}
    joblib.dump(usual, out / "pipeline.joblib")
    (out / "rows.json").write_text(json.dumps(found), encoding="utf-8")


def draw(random: np.random.Generator, rows: int) -> pd.DataFrame:
    """Rows of 10 numbers and 6 categories, each missing now and then, and what is to be predicted.

    Numbers are multiples of 1/64: equal as float32 and as float64, so that both fit one model.
    """
    fixed = np.random.default_rng(SEED)  # what each category means, in training and afterwards
    columns: dict[str, Any] = {}
    signal = np.zeros(rows)
    for place, name in enumerate(NUMBERS):
        values = np.round(random.normal(0, 2, rows) * 64) / 64
        signal += fixed.normal() * np.sin(values + place)
        columns[name] = np.where(random.random(rows) < MISSING, np.nan, values)
    for place, name in enumerate(CATEGORIES):
        texts = np.array([*(f"value {i}" for i in range(3 + place)), None], dtype=object)
        codes = np.where(
            random.random(rows) < MISSING, len(texts) - 1, random.integers(0, len(texts) - 1, rows)
        )
        signal += fixed.normal(size=len(texts))[codes]
        columns[name] = texts[codes]
    columns["bought"] = np.where(random.random(rows) < 1 / (1 + np.exp(-signal)), "yes", "no")
    return pd.DataFrame(columns)


def to_json(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as a caller sends them: null where a value is missing."""
    return [
        {name: None if pd.isna(value) else value for name, value in row.items()}
        for row in frame.to_dict("records")
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
