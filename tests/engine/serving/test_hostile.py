"""No body brings the service down, slows it for others, or stays in its memory."""

import asyncio
import gc
import json
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from mlrelease.scoring import decoder, features, request_rows as serving_requests
from mlrelease.serving import service as serving_service
from tests.engine.trained import Ask, Trained

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@st.composite
def hostile(draw: st.DrawFn, row: dict[str, Any]) -> bytes:
    """Anything at all, JSON of any shape, or a good row with something done to it."""
    kind = draw(st.sampled_from(["bytes", "json", "value", "key", "cut", "flip"]))
    if kind == "bytes":
        return draw(st.binary(max_size=200))
    if kind == "json":
        return json.dumps(draw(JSON)).encode()
    name = draw(st.sampled_from(sorted(row)))
    if kind == "value":
        return json.dumps([row, {**row, name: draw(JSON)}]).encode()
    if kind == "key":
        return json.dumps({draw(st.text()) if k == name else k: v for k, v in row.items()}).encode()
    body = bytearray(json.dumps(row).encode())
    place = draw(st.integers(0, len(body) - 1))
    if kind == "cut":
        return bytes(body[:place])
    body[place] = draw(st.integers(0, 255))
    return bytes(body)


@st.composite
def likely(draw: st.DrawFn) -> bytes:
    """Rows such as callers send, with all the spellings that JSON has for one value."""
    number = st.one_of(
        st.none(), st.integers(-(10**40), 10**40), st.floats(), st.sampled_from([0, -0.0, 1e39])
    )
    text = st.sampled_from(["left", "right", "up", "", None, 1, True, 2.5, "1", '"', "é", "\n"])
    rows = draw(st.lists(st.tuples(number, number, text, text), min_size=0, max_size=4))
    names = ("age", "mean radius", "side", "w\u00e4rd")
    made = [dict(zip(names, row, strict=True)) for row in rows]
    if draw(st.booleans()) and made:
        made[0][draw(st.sampled_from([*names, "other"]))] = draw(number | text)
    if draw(st.integers(0, 9)) == 0 and made:
        made[-1].pop(draw(st.sampled_from(names)))
    content: Any = made[0] if len(made) == 1 and draw(st.booleans()) else made
    indent = draw(st.sampled_from([None, None, 1]))
    body = json.dumps(content, ensure_ascii=draw(st.booleans()), indent=indent)
    for old, new in draw(st.lists(st.sampled_from(SPELLINGS), max_size=2)):
        body = body.replace(old, new, 1)
    return body.encode()


SPELLINGS = [
    ('"side"', '"age"'), ('"age"', '"\\u0061ge"'), ("{", '{"age": 1, '), ("0", "-0"), ("0", "0e0"),
    ("1", "1E2"), ("1", "01"), ("1", "1."), ("true", "True"), (": ", ":\t"), ("left", "lef\\u0074"),
    ("left", "\\ud800"), ("]", ",]"), ("}", "}}"), ("null", "NaN"), ("1", "18446744073709551616"),
    ("left", 'a\\"b'), ("left", "a\\\\b"), ("2.5", "2.50"), ("1", "1.0000000000000001"),
]  # fmt: skip
Column = features.Column
SIGNATURE = features.Signature(
    "regression",
    (
        Column("side", "category", True, ("1", "2.5", "True", "left", "right")),
        Column("age", "number"),
        Column("mean radius", "number", nullable=True),
        Column("w\u00e4rd", "category", False, ("1", "100", 'a"b', "left", "\u00e9")),
    ),
    "price",
)
QUICK = decoder.Decoder(SIGNATURE)
COLONS = features.Signature(
    "regression",
    (Column("a:b", "number"), Column("at", "category", True, ("10:30", "::", "noon"))),
    "price",
)


def judged(read: Callable[[bytes], serving_requests.Batch], body: bytes) -> Any:
    """The typed rows to the last bit, or the refusal."""
    try:
        batch = read(body)
    except serving_requests.RequestError as error:
        return error.status, error.field, str(error), error.reason
    numbers, categories = batch.inputs
    return numbers.shape, numbers.tobytes(), categories.tolist(), batch.many


def agree(body: bytes) -> None:
    slow = judged(lambda sent: serving_requests.decode(sent, SIGNATURE), body)
    assert judged(QUICK, body) == slow


NAMES = st.sampled_from(["a:b", "at", "a\\u003ab", "\\u0061t"])
VALUES = st.sampled_from(["1", "null", '"10:30"', '"10\\u003a30"', '"::"', '"noon"', '":"', '"x"'])


@settings(max_examples=400, deadline=None)
@given(st.lists(st.lists(st.tuples(NAMES, VALUES), min_size=1, max_size=3), min_size=1, max_size=2))
def test_colons_in_names_and_categories_hide_no_column_given_twice(
    rows: list[list[tuple[str, str]]],
) -> None:
    written = ("{" + ",".join(f'"{name}":{value}' for name, value in row) + "}" for row in rows)
    body = ("[" + ",".join(written) + "]").encode()
    quick = decoder.Decoder(COLONS)
    slow = judged(lambda sent: serving_requests.decode(sent, COLONS), body)
    assert judged(quick, body) == slow
    good = b'[{"a:b":1,"at":"10:30"},{"at":null,"a:b":2}]'
    assert quick.quick(good) is not None


@settings(max_examples=400, deadline=None)
@given(likely())
def test_the_quick_way_and_the_slow_way_judge_alike(body: bytes) -> None:
    agree(body)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
@given(likely())
def test_they_judge_alike_two_thousand_times(body: bytes) -> None:
    agree(body)


def test_the_quick_way_takes_what_callers_usually_send() -> None:
    row = {"side": None, "age": 1, "mean radius": 2.5, "w\u00e4rd": "left"}
    for content in (row, [row, {**row, "side": "left"}], {**row, "side": 2.5, "mean radius": None}):
        assert QUICK.quick(json.dumps(content, ensure_ascii=False).encode()) is not None
        assert QUICK.quick(json.dumps(content, indent=1).encode()) is not None


def answered(ask: Ask, body: bytes) -> None:
    response = ask(content=body)
    assert response.status_code in (200, 400, 413, 422)
    if response.status_code != 200:
        message = response.json()["error"]["message"]
        assert 0 < len(message) < 500
        assert len(message.splitlines()) == 1


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_body_brings_the_service_down(ask: Ask, trained: Trained, data: st.DataObject) -> None:
    answered(ask, data.draw(hostile(trained.rows[0])))


@pytest.mark.slow
def test_ten_thousand_bodies_bring_no_failure_and_leave_nothing_in_memory(
    service: serving_service.Service, trained: Trained
) -> None:
    bodies: list[bytes] = []

    @settings(
        max_examples=10_000,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(hostile(trained.rows[0]))
    def gather(body: bytes) -> None:
        bodies.append(body)

    async def ask_all() -> float:
        slowest = 0.0
        for body in bodies:
            begun = time.perf_counter()
            statuses.add(await status(service, body))
            slowest = max(slowest, time.perf_counter() - begun)
        return slowest

    gather()
    assert len(bodies) >= 10_000
    statuses = set[int]()
    with asyncio.Runner() as runner:
        service.sweeping = False
        assert runner.run(ask_all()) < 5
        gc.collect()
        tracemalloc.start()  # all is as it was, so what is kept now is kept for each request
        runner.run(ask_all())
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
    assert statuses == {200, 400, 422}
    assert kept < 300_000


async def status(service: serving_service.Service, body: bytes) -> int:
    """What a body gets, without a client in between."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
    await asyncio.wait_for(service(scope, receive, send), timeout=10)
    return int(sent[0]["status"])
