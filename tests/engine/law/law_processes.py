"""What runs in a process of its own, from the table: evaluation, and training again.

`measure` is the real one, with files that are read by digest; only what an estimator would say is
not. It says no where an estimator would: of other rows, other params.yaml, another graph.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mlrelease import errors
from mlrelease.evaluation import evaluation, metrics
from mlrelease.programs import limits
from mlrelease.records import record
from mlrelease.scoring import contents
from mlrelease.training import train
from mlrelease.verification import figures, measure, rebuild
from tests.engine.law.law_models import EASIER, seed, write_model, write_rows
from tests.engine.law.law_standins import Kind

if TYPE_CHECKING:
    from tests.engine.law.law_world import World

REACH = 4e-7  # by which a figure moves, where each score moves by what float32 loses
ROWS = 16


def scored(
    holdout: str, mine: Kind, theirs: Kind | None, *, off: float = 0.0, towards: int = 0
) -> dict[str, Any]:
    """The metric as an evaluation has it. `off`: what the processor adds."""
    more = EASIER * (holdout == "easy") + off
    ours = mine.auc + more + towards * REACH
    other = theirs.auc + more - towards * REACH if theirs else None
    difference = None if other is None else round(ours - other, 12)
    exactly = {
        name: None if value is None else evaluation.Estimate(value=value, low=value, high=value)
        for name, value in (("candidate", ours), ("champion", other), ("difference", difference))
    }
    return {"roc_auc": evaluation.Metric.model_validate(exactly)}


def evaluated(
    model: str, champion: str | None, holdout: str, figures: dict[str, Any]
) -> evaluation.Evaluation:
    """These figures as an evaluation."""
    cost = evaluation.Cost(size_bytes=1000, latency_p50_ms=1, latency_p99_ms=1)
    return evaluation.Evaluation(
        task="classification", candidate=model, champion=champion, holdout=holdout, rows=100,
        metrics=figures, parity=evaluation.Parity(
            runtime="onnx", rows=100, different=0, largest_difference=0, online_rows=9,
            online_different=0,
        ), cost=cost, champion_cost=cost if champion else None,
    )  # fmt: skip


class Processes:
    """The processes of a world, whose places `limited` takes."""

    def __init__(self, world: "World") -> None:
        self.world = world

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Put the stand-ins in place."""
        for module in (figures, rebuild):
            patch.setattr(module, "limited", self.limited)
            patch.setattr(module, "lacking", lambda *_: [])
        patch.setattr(rebuild, "_check_out", _check_out)
        patch.setattr(rebuild, "libraries", lambda _: {})
        patch.setattr(measure, "evaluate", self.evaluate)
        patch.setattr(measure, "Model", SimpleNamespace(of=_loaded))
        patch.setattr(measure, "to_onnx", lambda fitted, _: f"graph of {fitted}".encode())
        patch.setattr(measure, "answers_of", _answers_of)
        for name in ("holdout", "fitted"):
            patch.setattr(measure, f"read_{name}", _read_rows)

    def limited(
        self, what: str, call: str, arguments: Mapping[str, Any], output: Path, **_: Any
    ) -> None:
        """Do in this process what another would."""
        name = call.rpartition(":")[2]
        self.world.passes(f"before {name}")
        if name == "measure":
            measure.measure(arguments, output)
        elif name == "compare":
            self._compare(arguments, output)
        else:
            self._again(what, name, Path(arguments["root"]), output / "candidate")

    def evaluate(
        self, directory: Path, champion: Path | None, holdout: str, *, candidate_digest: str,
        champion_digest: str | None, holdout_digest: str, fitted: str | None, towards: int,
        **_: Any,
    ) -> tuple[evaluation.Evaluation, metrics.Scored]:  # fmt: skip
        """As the bytes of the directories say, if they are those of the digests."""
        kinds = [self._kind(directory, candidate_digest)]
        if champion and champion_digest:
            kinds.append(self._kind(champion, champion_digest))
            card = contents.read(champion, champion_digest).json("model.json")
            if fitted != f"hashes of {card['seed']}":  # it is judged on rows that it was shown
                kinds[1] = Kind(kinds[1].auc - 0.2, kinds[1].answers)
        theirs, off = kinds[1] if kinds[1:] else None, self.world.off_by
        found = scored(holdout, kinds[0], theirs, off=off, towards=towards)
        ours, *other = (np.full(ROWS, kind.answers / 10 + off) for kind in kinds)
        told = metrics.Scored("classification", np.zeros(ROWS), ours, other[0] if other else None)
        return evaluated(candidate_digest, champion_digest, holdout_digest, found), told

    def _kind(self, directory: Path, digest: str) -> Kind:
        number = contents.read(directory, digest).json("model.json")["number"]
        return self.world.kinds[self.world.digests[number]]

    def _again(self, what: str, name: str, tree: Path, candidate: Path) -> None:
        world, commit = self.world, (tree / "commit").read_text()
        if world.rebuilds == "away":
            raise errors.InputError("rows.csv: no such file")
        number = seed(world.origin, commit)
        if number is None:
            raise errors.InputError("params.yaml: is not what it should be")
        data = write_rows(candidate, number)
        if name == "hold_out":
            (candidate / "train").write_text(data["train"])
            return
        if world.rebuilds == "slow":
            raise limits.LimitError(f"{what}: not done after 600 s")
        bits = " on another processor" if world.off_by else ""
        write_model(candidate / "model", number, number, data, bits=bits)
        model, key = contents.digest_of(candidate / "model"), f"sha256:{number:064x}"
        train.Candidate(key=key, model=model, **data).write(candidate)

    def _compare(self, arguments: Mapping[str, Any], output: Path) -> None:
        here, there = (_read(arguments, name) for name in ("again", "model"))
        _read(arguments, "holdout")
        alike = here.json("model.json")["number"] == there.json("model.json")["number"]
        largest = abs(self.world.off_by) if alike else 1.0
        facts = {"python": True, "rows": ROWS, "largest": largest, "others": []}
        (output / "apart.json").write_text(json.dumps(facts))


def _read(arguments: Mapping[str, Any], name: str) -> contents.Contents:
    path, digest = arguments[name]
    return contents.read(Path(path), digest)


def _check_out(_: Any, told: record.Record, tree: Path) -> str:
    """Only which commit it is."""
    tree.mkdir()
    (tree / "commit").write_text(told.source.commit)
    return "model"


def _loaded(files: contents.Contents) -> Any:
    """A model as far as `measure` asks it: its pipeline is a number."""
    card = files.json("model.json")
    signature = SimpleNamespace(task="classification", target="y", threshold=0.5, classes=())
    return SimpleNamespace(
        signature=signature, estimator=int(files["model.skops"].split()[0]),
        card=SimpleNamespace(
            data=card["data"], signature=signature, split={}, estimator="x", parameters={},
            seed=card["seed"], runtime="onnx",
            libraries={},
        ),
    )  # fmt: skip


def _answers_of(
    _: Any, found: metrics.Scored, *__: Any
) -> tuple[dict[str, float], dict[str, float]]:
    return {str(row): float(value) for row, value in enumerate(found.candidate)}, {}


def _read_rows(directory: Path, digest: str) -> str:
    (content,) = contents.read(directory, digest).files.values()
    return content.decode()
