"""The same answer to everything: what the load generator and uvicorn can do at most."""

from typing import Any

HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"19")]
START = {"type": "http.response.start", "status": 200, "headers": HEADERS}
BODY = {"type": "http.response.body", "body": b'{"probability":0.5}'}


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Read the whole request, send the answer."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send(BODY)
