"""What the service sends back."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

encode = msgspec.json.Encoder().encode


class Answer(NamedTuple):
    """A status, a body of some kind, and more headers."""

    status: int
    body: bytes
    kind: bytes = b"application/json"
    more: Sequence[tuple[bytes, bytes]] = ()


def json_answer(content: Any, status: int = 200) -> Answer:
    """Anything that JSON can hold."""
    return Answer(status, encode(content))


def error_answer(
    message: str,
    status: int,
    field: str | None = None,
    more: Sequence[tuple[bytes, bytes]] = (),
) -> Answer:
    """What is wrong, and with which row and column of the request."""
    return Answer(status, encode({"error": {"message": message, "field": field}}), more=more)
