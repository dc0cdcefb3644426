"""Online is offline: service and `model predict` give a row the same answer, to the last bit."""

import datetime as dt
import decimal
import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dummy import model
from mlrelease import errors
from mlrelease.evaluation import parity
from mlrelease.params import Params
from mlrelease.predicting import predict
from mlrelease.scoring import artifact, features, runtime
from mlrelease.training import export
from tests.engine.trained import Trained, send
from tests.engine.training.test_export import Rows, rows

ALONE = 60  # rows that are asked one by one of the runtime that trained, which is slow


def made(directory: Path, given: Rows, estimator: str, kind: str) -> Trained:
    """A model directory of the template's own pipeline, served by one runtime or the other."""
    params = Params.model_validate(
        {
            "task": given.told.task, "data": {"source": "rows.csv", "target": "y"},
            "model": {"estimator": estimator},
        }
    )  # fmt: skip
    fitted = model.build(params, given.told.columns).fit(given.frame, given.truth)
    card = artifact.ModelCard(given.told, estimator, {}, {}, {}, {}, 0)
    graph = None
    if kind == "onnx":
        card, _, graph = export.served_by(artifact.Model(card, fitted), given.frame)
        assert card.runtime == "onnx"
    digest = artifact.write_model(directory, card, fitted, {}, [], graph)
    return Trained(directory, digest, [])


def hostile(given: Rows, served: runtime.Runtime) -> pd.DataFrame:
    """Rows of the data; each column null in turn; unknown categories; values at thresholds."""
    parts = [*parity.made(given.frame, given.told)]
    if isinstance(served, runtime.OnnxRuntime):
        parts += parity.at_thresholds(given.frame, given.told, served)
    else:
        parts = [part.head(1) for part in parts]
    return pd.concat([given.frame.head(ALONE), *parts], ignore_index=True)


def online(service: Any, body: bytes) -> Any:
    """The answer of the service, None where it refuses."""
    response = send(service, content=body)
    assert response.status_code in (200, 422)
    return response.json() if response.status_code == 200 else None


def offline(trained: Trained, source: Path) -> list[Any]:
    """The answer to each row of a file, None where it is rejected."""
    target = source.with_name(f"out-{source.name}").with_suffix(".parquet")
    found = predict.predict(trained.directory, source, target, max_rejects=10**6, prefix="got ")
    names = [name for name in pq.read_schema(target).names if name.startswith("got ")]
    answers = pq.read_table(target, columns=names).to_pylist()
    refused = set[int]()
    if found.rejects:
        refused = set(pd.read_csv(found.rejects)["rejected_row"])
    given = iter({name.removeprefix("got "): one[name] for name in names} for one in answers)
    return [None if row in refused else next(given) for row in range(found.rows)]


@pytest.mark.parametrize("kind", ["onnx", "scikit-learn"])
@pytest.mark.parametrize(
    ("task", "estimator"),
    [(task, name) for task, names in model.ESTIMATORS.items() for name in names],
)
def test_one_row_alone_is_answered_as_in_a_file(
    task: str, estimator: str, kind: str, tmp_path: Path
) -> None:
    given = rows(task)
    trained = made(tmp_path / "model", given, estimator, kind)
    asked = hostile(given, trained.load())
    service = trained.service()
    alone = [online(service, parity.request(row)) for row in asked.to_dict("records")]
    texts = {c.name: asked[c.name].replace({"": None}) for c in given.told.columns}
    asked.assign(**texts).to_parquet(tmp_path / "in.parquet", index=False)
    assert offline(trained, tmp_path / "in.parquet") == alone
    assert None in alone, "unknown categories are refused"
    assert sum(answer is not None for answer in alone) > ALONE
    many = [json.loads(parity.request(row)) for row in asked.to_dict("records")]
    good = [row for row, answer in zip(many, alone, strict=True) if answer is not None]
    assert online(service, json.dumps(good).encode()) == [one for one in alone if one is not None]


@pytest.mark.parametrize("kind", ["onnx", "scikit-learn"])
@pytest.mark.parametrize(
    ("task", "estimator"), [("classification", "logistic_regression"), ("regression", "ridge")]
)
def test_the_last_bit_hangs_on_no_other_row(
    task: Any, estimator: str, kind: str, tmp_path: Path
) -> None:
    """Many columns: there the order of a sum begins to show."""
    chance = np.random.default_rng(3)
    columns = tuple(features.Column(f"n{place}", "number", True) for place in range(60))
    table: dict[str, Any] = {column.name: chance.lognormal(2, 1, 300) for column in columns}
    truth = np.log(table["n0"]) + chance.normal(size=300)
    classes = ("no", "yes") if task == "classification" else ()
    told = features.Signature(task, columns, "y", classes)
    frame = features.to_frame(table, columns)
    given = Rows(frame, told, (truth > 2).astype(int) if classes else truth)
    served = made(tmp_path / "model", given, estimator, kind).load()
    asked = features.to_inputs(frame, told)
    together = served.scores(asked)
    for size in (1, 2, 3, 5, 7, 16, 31, 33, 100):
        parts = [slice(start, start + size) for start in range(0, 100, size)]
        found = [served.scores(features.Inputs(*(a[part] for a in asked))) for part in parts]
        np.testing.assert_array_equal(np.concatenate(found)[:100], together[:100])


CELLS = [
    *("", "NA", "nan", "None", "1", "01", "1.0", "+1", " 1", "1 ", "1e0", ".5", "inf", "1_0", "１"),
    *("1e39", "1e400", "True", "true", "tRue", " true", "abc", "0x1", "9007199254740993", "1,5"),
]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A model whose categories look like numbers, booleans and missing values."""
    columns = (
        features.Column("age", "number", nullable=True),
        features.Column("plan", "category", True, ("1", "True", "basic")),
        features.Column("ward", "category", False, ("0.1", "01", "2.50", "NA", "2.5")),
    )
    table: dict[str, Any] = {
        "age": np.linspace(20, 60, 300),
        **{c.name: np.resize(np.array(c.categories, dtype=object), 300) for c in columns[1:]},
    }
    signature = features.Signature("regression", columns, "y")
    given = Rows(features.to_frame(table, columns), signature, table["age"] * 2)
    return made(tmp_path_factory.mktemp("told") / "model", given, "ridge", "onnx")


@pytest.mark.parametrize("column", ["age", "plan", "ward"])
def test_a_cell_of_a_csv_body_means_what_it_means_in_a_file(
    told: Trained, column: str, tmp_path: Path
) -> None:
    service = told.service()
    usual = {"age": "30", "plan": "basic", "ward": "01"}
    cells = [{**usual, column: cell} for cell in CELLS]
    pd.DataFrame(cells).to_csv(tmp_path / "in.csv", index=False)

    def sent(row: dict[str, str]) -> Any:
        body = pd.DataFrame([row]).to_csv(index=False).encode()
        response = send(service, content=body, headers={"content-type": "text/csv"})
        assert response.status_code in (200, 422)
        return response.json()[0] if response.status_code == 200 else None

    alone = [sent(row) for row in cells]
    assert offline(told, tmp_path / "in.csv") == alone
    assert None in alone
    assert sum(answer is not None for answer in alone) > 1


TIME = dt.datetime(2026, 1, 1, 12)
ONE, TENTH, HALVES = (decimal.Decimal(text) for text in ("1.0", "0.1", "2.50"))
WHOLE = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32()]
PLAIN: list[tuple[pa.DataType, list[Any]]] = [
    *((kind, [1]) for kind in [*WHOLE, pa.uint64()]),
    *((kind, [1.0, 0.1, 2.5]) for kind in (pa.float32(), pa.float64())),
    (pa.float16(), [np.float16(1), np.float16(0.1), np.float16(2.5)]),
    (pa.float32(), [1e30, float("inf"), float("nan")]),
    (pa.float64(), [1e30, 1e300, float("inf"), float("nan")]),
    (pa.bool_(), [True, False]),
    *((kind, ["1", "30", "basic", "NA", ""]) for kind in (pa.string(), pa.large_string())),
    (pa.string_view(), ["1", "30", "basic", "NA", ""]),
    *((kind, [b"1", b"basic"]) for kind in (pa.binary(), pa.large_binary(), pa.binary_view())),
    (pa.binary(2), [b"01"]),
    (pa.decimal32(5, 1), [ONE, TENTH]),
    (pa.decimal64(5, 1), [ONE, TENTH]),
    (pa.decimal128(5, 2), [ONE, TENTH, HALVES]),
    (pa.decimal128(38, 0), [decimal.Decimal(1), decimal.Decimal(10) ** 37]),
    (pa.decimal256(76, 1), [ONE, TENTH, decimal.Decimal(10) ** 60]),
    *((kind, [TIME.date()]) for kind in (pa.date32(), pa.date64())),
    *((pa.timestamp(unit), [TIME]) for unit in ("s", "ms", "us", "ns")),
    (pa.timestamp("us", "UTC"), [TIME]),
    *((kind, [TIME.time()]) for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"))),
    (pa.time64("ns"), [TIME.time()]),
    *((pa.duration(unit), [dt.timedelta(1)]) for unit in ("s", "ms", "us", "ns")),
    (pa.null(), []),
]
NESTED: list[tuple[pa.DataType, list[Any]]] = [
    (pa.list_(pa.int64()), [[1]]),
    (pa.large_list(pa.string()), [["1"]]),
    (pa.list_(pa.float32(), 1), [[1.0]]),
    (pa.list_view(pa.int64()), [[1]]),
    (pa.struct([("a", pa.int64())]), [{"a": 1}]),
    (pa.map_(pa.string(), pa.int64()), [[("a", 1)]]),
]
STORED: list[tuple[pa.BaseExtensionType, list[Any]]] = [
    (pa.bool8(), [1]),
    (pa.json_(), ["1"]),
    (pa.uuid(), [uuid.UUID(int=1).bytes]),
    (pa.fixed_shape_tensor(pa.int32(), [1]), [[1]]),
]


UNITS = ("s", "ms", "us", "ns")
# Dictionaries that Arrow writes to no file, or reads as integers.
UNCODED = (pa.null(), pa.string_view(), pa.binary_view(), *map(pa.duration, UNITS))
CODED = tuple(f"dictionary {kind}" for kind in ("half", "bool", "decimal", "fixed_size"))
UNREAD = ("list_view", *CODED)  # for the reader of the service


def arrays() -> dict[str, pa.Array]:
    """Values of every type that a Parquet file can hold, and a null; also as a dictionary."""
    found: dict[str, pa.Array] = {}
    for kind, values in [*PLAIN, *NESTED]:
        array = pa.array([*values, None] if (kind, values) in PLAIN else values, kind)
        found[f"{kind} {values}"] = array
        coded = pa.array([*range(len(values)), None], pa.int32())
        if (kind, values) in PLAIN and kind not in UNCODED:
            found[f"dictionary {kind} {values}"] = pa.DictionaryArray.from_arrays(coded, array[:-1])
    for kind, values in STORED:
        storage = pa.array(values, kind.storage_type)
        found[str(kind)] = pa.ExtensionArray.from_storage(kind, storage)
    return found


ARRAYS = arrays()


@pytest.fixture(scope="module")
def service(told: Trained) -> Iterator[Any]:
    found = told.service()
    yield found
    found.close()


@pytest.mark.parametrize("column", ["age", "plan", "ward"])
@pytest.mark.parametrize("name", ARRAYS)
def test_a_row_of_a_parquet_body_is_answered_as_in_a_file(
    told: Trained, service: Any, name: str, column: str, tmp_path: Path
) -> None:
    """Or is refused by both, whatever the type of a column."""
    source = tmp_path / "in.parquet"
    usual = {"age": pa.array([30.0]), "plan": pa.array(["basic"]), "ward": pa.array(["01"])}
    for place in range(len(ARRAYS[name])):
        pq.write_table(pa.table({**usual, column: ARRAYS[name].slice(place, 1)}), source)
        headers = {"content-type": "application/vnd.apache.parquet"}
        response = send(service, content=source.read_bytes(), headers=headers)
        if response.status_code == 400:
            assert name.startswith(UNREAD)
            continue
        assert response.status_code in (200, 422)
        expected = response.json() if response.status_code == 200 else [None]
        try:
            found = offline(told, source)
        except errors.InputError:  # the column is of no use at all
            found = [None]
        assert found == expected, response.content
