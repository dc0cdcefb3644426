"""The token that a service may ask its callers for. It is in no message, and in no log."""

import os
from collections.abc import Mapping
from pathlib import Path

from mlrelease.errors import InputError
from mlrelease.scoring.request_rows import RequestError


def read_token(file: Path | None) -> str | None:
    """What callers must show: the content of a file, or MODEL_TOKEN; None asks for nothing.

    Raises:
        InputError: The file cannot be read, or the token fits into no header.
    """
    token = os.environ.get("MODEL_TOKEN") or None
    if file is not None:
        try:
            token = file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not ASCII"
            raise InputError(f"{file}: cannot be read: {why}") from None
    if token is not None and (not token or not token.isascii() or not token.isprintable()):
        raise InputError("the token must be printable ASCII, and not empty")
    return token


def check_token(token: bytes, headers: Mapping[bytes, bytes]) -> None:
    """Let a request pass that shows the token; the comparison takes the same time for all others.

    Raises:
        RequestError: 401.
    """
    from hmac import compare_digest

    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() != b"bearer" or not compare_digest(given.strip(), token):
        message = "send the token of this service: `authorization: Bearer ...`"
        raise RequestError(message, None, 401, "not_accepted")
