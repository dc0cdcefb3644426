"""A body is refused as early as it can be."""

import asyncio
from typing import Any

import pytest

from ..package import body, serving_requests


class Caller:
    """Sends parts, waiting before each."""

    def __init__(self, *parts: bytes, wait: float = 0.0) -> None:
        self.parts, self.wait = list(parts), wait

    async def __call__(self) -> dict[str, Any]:
        await asyncio.sleep(self.wait)
        part = self.parts.pop(0)
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


def test_who_ends_the_task_for_another_reason_ends_it() -> None:
    async def main() -> None:
        task = asyncio.create_task(body.Reader().read({}, Caller(b"x", wait=9)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

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
