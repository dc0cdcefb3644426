"""For a project's own tests: its rows, its model, and what its policy says of a model that learned
nothing."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from mlrelease.errors import InputError
from mlrelease.evaluation.evaluate import evaluate
from mlrelease.evaluation.evaluation import Evaluation
from mlrelease.evaluation.gate import judge
from mlrelease.objects import read
from mlrelease.params import Params
from mlrelease.policy import HIGHER_IS_BETTER, Policy
from mlrelease.scoring.artifact import Model, ModelCard, write_model
from mlrelease.scoring.features import to_frame
from mlrelease.training import schema, train

NONE = "sha256:" + "0" * 64
RESAMPLES = 200


@dataclass(frozen=True)
class Case:
    """A project as its tests see it. What takes long is made once, in `folder`."""

    root: Path
    folder: Path

    @classmethod
    def here(cls, folder: Path) -> "Case":
        """The project around the current directory; `folder` is for what the tests make."""
        places = (Path.cwd(), *Path.cwd().parents)
        for place in places:
            if (place / "params.yaml").is_file():
                return cls(place, folder)
        raise InputError(f"{places[0]}: no params.yaml here or above; test inside the project")

    @cached_property
    def params(self) -> Params:
        return read(self.root / "params.yaml", Params)

    @cached_property
    def policy(self) -> Policy:
        return read(self.root / "policy.yaml", Policy)

    @cached_property
    def rows(self) -> pd.DataFrame:
        """All rows, checked and typed. Raises RefusedError with the first ten faults."""
        return schema.checked(self.params, self.root)

    @cached_property
    def divided(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The rows to fit on, and those that are held out."""
        fit_rows, holdout, _ = train.divide(self.params, self.root)
        return fit_rows, holdout

    def trained(self, name: str = "model") -> str:
        """Train as `model train` does; the digest of the model."""
        return train.train(self.params, self.root, self.folder / name).model

    @cached_property
    def digest(self) -> str:
        """The digest of the model, trained once."""
        return self.trained()

    @cached_property
    def model(self) -> Model:
        """The trained model."""
        return Model.load(self.folder / "model" / "model", self.digest)

    def scores(self, rows: pd.DataFrame) -> np.ndarray:
        """The model's answers for raw rows, shape (n,): P(positive class), or the value."""
        return self.model.scores(to_frame(rows, self.model.signature.columns))

    @cached_property
    def evaluation(self) -> Evaluation:
        """The trained model on the rows that are held out."""
        digest = self.digest
        return self._evaluated(self.folder / "model" / "model", digest)

    def metric(self, name: str) -> float:
        """A metric of the model on the rows that are held out."""
        return self.evaluation.metrics[name].candidate.value

    @cached_property
    def baseline(self) -> dict[str, float]:
        """The metrics of a model that gives everybody the same answer: the share of the positive
        class, or the mean."""
        from mlrelease.evaluation.metrics import Scored, compare

        fit_rows, holdout = self.divided
        signature = self.model.signature
        target = fit_rows[self.params.data.target]
        wanted = holdout[self.params.data.target]
        if signature.task == "classification":
            positive = signature.classes[1]
            y = (wanted.astype(str) == positive).to_numpy(dtype=np.float64)
            answer = float((target.astype(str) == positive).mean())
        else:
            y, answer = wanted.to_numpy(dtype=np.float64), float(target.mean())
        same = np.full(len(y), answer)
        scored = Scored(
            signature.task, y, same, threshold=signature.limit, classes=signature.classes,
            target=signature.target,
        )  # fmt: skip
        found = compare(scored, seed=0, resamples=RESAMPLES)
        return {name: metric.candidate.value for name, metric in found.items()}

    @cached_property
    def shuffled(self) -> Evaluation:
        """A model fitted on the same rows with shuffled answers, on the rows that are held out. It
        cannot have learned anything."""
        fit_rows, name = self.divided[0], self.params.data.target
        answers = fit_rows[name].sample(frac=1, random_state=0).to_numpy()
        signature, estimator, _ = train.fit(
            self.params, self.root, fit_rows.assign(**{name: answers})
        )
        card = ModelCard(
            signature=signature, estimator=self.params.model.estimator, parameters={}, split={},
            rows={}, libraries={}, seed=self.params.seed,
        )  # fmt: skip
        place = self.folder / "shuffled"
        digest = write_model(place, card, estimator, {}, [])
        return self._evaluated(place, digest)

    def let_through(self) -> str:
        """Why policy.yaml lets the model with shuffled answers pass, and which limit would not;
        empty where it refuses it, as it should."""
        quality = ("metrics.", "slices[")
        rules = [r for r in judge(self.shuffled, self.policy) if r.name.startswith(quality)]
        if any(not rule.passed for rule in rules):
            return ""
        lines = ["policy.yaml lets a model pass that was fitted on shuffled answers. Set one of:"]
        for name, found in self.shuffled.metrics.items():
            bad, good = found.candidate.value, self.metric(name)
            higher = name in HIGHER_IS_BETTER
            if good > bad if higher else good < bad:
                word, limit = ("min", "higher") if higher else ("max", "lower")
                lines.append(
                    f"  metrics.{name}.{word}: {(bad + good) / 2:.3g}, or {limit}"
                    f" (shuffled {bad:.3g}, your model {good:.3g})"
                )
        return "\n".join(lines)

    def _evaluated(self, model: Path, digest: str) -> Evaluation:
        slices = self.policy.slices
        found, _ = evaluate(
            model, None, self.divided[1], candidate_digest=digest, champion_digest=None,
            holdout_digest=NONE, slices=self.params.slices, mandatory=self.policy.slice_columns,
            slice_metric=slices.metric if slices else None,
            min_rows=slices.min_rows if slices else 1, resamples=RESAMPLES,
        )  # fmt: skip
        return found
