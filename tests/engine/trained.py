"""A real model on real rows, with every kind of column, and ways to ask a service about them."""

import asyncio
import multiprocessing
import os
import shutil
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from mlrelease import files
from mlrelease.scoring import artifact, contents, features, runtime
from mlrelease.serving import app as serving_app, service as serving_service
from mlrelease.training import export

NEVER_MISSING = ("mean radius", "smoker")


@dataclass(frozen=True)
class Trained:
    """A model directory, its digest, and raw rows that it can answer."""

    directory: Path
    digest: str
    rows: list[dict[str, Any]]

    @property
    def card(self) -> artifact.ModelCard:
        return artifact.read_card(contents.read(self.directory))

    def load(self) -> runtime.Runtime:
        return runtime.load(contents.read(self.directory, self.digest), self.card)

    def service(self, **options: Any) -> serving_service.Service:
        """A service without a socket."""
        load = {"card": self.card, "runtime": self.load(), "digest": self.digest, "version": "1"}
        return serving_service.Service(**{**load, **options})


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Logistic regression on 30 numbers, a text, an integer and a boolean category."""
    data = load_breast_cancer(as_frame=True)
    table = data.data.astype(object)
    random = np.random.default_rng(7)
    sides = data.target.map({1: "left", 0: "right"})
    table["side"] = sides.where(random.random(len(table)) < 0.7, None)
    table["ward"] = pd.Series(random.integers(1, 4, len(table)), dtype=object)
    table["smoker"] = pd.Series(random.random(len(table)) < 0.5, dtype=object)
    for name in table.columns.drop([*NEVER_MISSING, "side"]):
        table.loc[random.random(len(table)) < 0.05, name] = None
    columns = tuple(_column(name, table[name]) for name in table)
    signature = features.Signature("classification", columns, "diagnosis", ("malignant", "benign"))
    estimator = make_pipeline(
        make_column_transformer(
            (make_pipeline(SimpleImputer(), StandardScaler()), list(data.data.columns)),
            (OneHotEncoder(handle_unknown="ignore"), ["side", "ward", "smoker"]),
        ),
        LogisticRegression(max_iter=1000),
    )
    frame = features.to_frame(table, columns)
    estimator.fit(frame, data.target)
    card = artifact.ModelCard(
        signature, "logistic_regression", parameters={}, split={}, rows={}, libraries={}, seed=7
    )
    card, served, graph = export.served_by(artifact.Model(card, estimator), frame.head(100))
    rows = table.head(60).replace({np.nan: None}).to_dict("records")
    answers = signature.answers(served.scores(features.to_inputs(frame.head(20), signature)))
    golden = [{"row": r, "answer": a} for r, a in zip(rows[:20], answers, strict=True)]
    directory = tmp_path_factory.mktemp("trained") / "model"
    digest = artifact.write_model(directory, card, estimator, {}, golden, graph)
    return Trained(directory, digest, rows)


@pytest.fixture(scope="session")
def fallback(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The same model, for the runtime that trained it."""
    directory = tmp_path_factory.mktemp("fallback") / "model"
    shutil.copytree(trained.directory, directory)
    (directory / artifact.ONNX_FILE).unlink()
    card = msgspec.structs.replace(trained.card, runtime="scikit-learn", not_onnx="1 row differs")
    (directory / "model.json").write_bytes(msgspec.json.encode(card))
    return Trained(directory, artifact.digest_of(directory), trained.rows)


@pytest.fixture(scope="session")
def impostor(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Another model for the same rows, which says the opposite; its golden requests are its own."""
    model = artifact.Model.load(trained.directory)
    model.estimator[-1].coef_ *= -1
    golden = files.read_json(trained.directory / "golden.json")
    frame = features.to_frame(pd.DataFrame(trained.rows), model.signature.columns)
    card, served, graph = export.served_by(model, frame)
    asked = features.to_inputs(frame.head(len(golden)), model.signature)
    answers = model.signature.answers(served.scores(asked))
    golden = [{"row": g["row"], "answer": a} for g, a in zip(golden, answers, strict=True)]
    directory = tmp_path_factory.mktemp("impostor") / "model"
    digest = artifact.write_model(directory, card, model.estimator, {}, golden, graph)
    return Trained(directory, digest, trained.rows)


def _column(name: str, values: "pd.Series[Any]") -> features.Column:
    nullable = name not in NEVER_MISSING
    if name not in ("side", "ward", "smoker"):
        return features.Column(name, "number", nullable)
    texts = set(map(features.category_text, values)) - {""}
    return features.Column(name, "category", nullable, tuple(sorted(texts)))


@pytest.fixture(scope="session")
def service(trained: Trained) -> serving_service.Service:
    """A service without a socket."""
    golden = files.read_json(trained.directory / "golden.json")
    return trained.service(version="1.2.3", golden=golden)


Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="session")
def ask(service: serving_service.Service) -> Ask:
    """Send one request to that service: `ask(json=row)`, `ask("GET", "/model")`."""
    return lambda *args, **kwargs: send(service, *args, **kwargs)


def send(
    service: serving_service.Service,
    method: str = "POST",
    path: str = "/predict",
    *,
    content: bytes | Iterable[bytes] | None = None,
    json: Any = None,
    headers: dict[str, str] | None = None,
) -> httpx.Response:
    async def request() -> httpx.Response:
        service.sweeping = False  # its timer was on the loop before
        transport = httpx.ASGITransport(service)
        async with httpx.AsyncClient(transport=transport, base_url="http://test:8000") as client:
            return await client.request(method, path, content=content, json=json, headers=headers)

    return asyncio.run(request())


@pytest.fixture(scope="session")
def forks() -> ForkServerContext:
    """Processes that start quickly: forked from one that has imported everything."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([serving_app.__name__, "sklearn.linear_model", "skops.io"])
    with pytest.MonkeyPatch.context() as patch:  # Python 3.11 preloads with a bare path
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        process = context.Process(target=os.getpid)
        process.start()
        process.join()
    return context
