"""A body is refused as early as it can be."""

import asyncio
from typing import Any

import pytest

from mlrelease.scoring import request_rows as serving_requests
from mlrelease.serving import body


class Caller:
    """Sends parts, waiting before each, and maybe hangs up before the last."""

    def __init__(self, *parts: bytes, wait: float = 0.0, hangs_up: bool = False) -> None:
        self.parts, self.wait, self.hangs_up = list(parts), wait, hangs_up

    async def __call__(self) -> dict[str, Any]:
        await asyncio.sleep(self.wait)
        part = self.parts.pop(0)
        if self.hangs_up and not self.parts:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": part, "more_body": bool(self.parts)}


async def read(reader: body.Reader, *callers: Caller) -> list[Any]:
    async def sweep() -> None:
        while True:
            await asyncio.sleep(0.01)
            reader.sweep()

    sweeping = asyncio.create_task(sweep())
    reading = (asyncio.create_task(reader.read({}, caller)) for caller in callers)
    found = await asyncio.gather(*reading, return_exceptions=True)
    sweeping.cancel()
    return found


def test_parts_become_one_body() -> None:
    assert asyncio.run(read(body.Reader(), Caller(b"ab", b"", b"c"), Caller(b"d"))) == [
        b"abc",
        b"d",
    ]


def test_a_slow_body_is_cut_off_and_others_are_read() -> None:
    reader = body.Reader(seconds=0.2)
    slow, quick = Caller(*[b"x"] * 100, wait=0.05), Caller(b"a", b"b", wait=0.05)
    refused, whole = asyncio.run(read(reader, slow, quick))
    assert isinstance(refused, serving_requests.RequestError)
    assert (refused.status, refused.reason) == (408, "too_slow")
    assert whole == b"ab"
    assert not reader.reading
    assert not reader.cut


def test_a_part_that_is_too_much_beside_other_bodies_is_asked_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(body, "MAX_HELD", 10)
    first, second = Caller(b"abcd", b"efgh", b"", wait=0.1), Caller(b"ijk", b"", wait=0.25)
    small = Caller(b"lmnopqrstuvw", wait=0.25)  # whole at once: nothing is held
    whole, refused, at_once = asyncio.run(read(body.Reader(), first, second, small))
    assert (whole, at_once) == (b"abcdefgh", b"lmnopqrstuvw")
    assert (refused.status, refused.reason) == (503, "overload")


@pytest.mark.parametrize(
    ("caller", "status"),
    [
        (Caller(b"ab", b"c"), None),
        (Caller(b"ab", b"c", hangs_up=True), 400),
        (Caller(b"ab", b"c", b"d", wait=0.15), 408),
        (Caller(b"ab", b"cdefgh", b"i"), 413),
        (Caller(b"ab", b"cdefghijk", b"l"), 503),
    ],
)
def test_what_a_body_held_is_given_back_whatever_becomes_of_it(
    caller: Caller, status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(body, "MAX_BYTES", 6)
    monkeypatch.setattr(body, "MAX_HELD", 10)
    reader = body.Reader(seconds=0.2)
    (found,) = asyncio.run(read(reader, caller))
    assert getattr(found, "status", None) == status
    assert reader.held == 0


def test_who_ends_the_task_for_another_reason_ends_it() -> None:
    async def main() -> None:
        reader, messages = body.Reader(), iter([b"x"])

        async def receive() -> dict[str, Any]:
            for part in messages:
                return {"type": "http.request", "body": part, "more_body": True}
            return await asyncio.sleep(9, {})

        task = asyncio.create_task(reader.read({}, receive))
        await asyncio.sleep(0.01)
        assert reader.held == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert reader.held == 0

    asyncio.run(main())


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, "application/json"),
        ({b"content-type": b"text/csv; charset=utf-8"}, "text/csv"),
        ({b"content-type": b"APPLICATION/VND.APACHE.PARQUET"}, "application/vnd.apache.parquet"),
        ({b"content-type": b"text/html"}, None),
        ({b"content-type": b"\xff"}, None),
        ({b"content-encoding": b"gzip"}, None),
    ],
)
def test_the_media_type_is_one_that_can_be_read(
    headers: dict[bytes, bytes], found: str | None
) -> None:
    if found:
        assert body.content_type(headers) == found
    else:
        with pytest.raises(serving_requests.RequestError) as caught:
            body.content_type(headers)
        assert caught.value.status == 415
