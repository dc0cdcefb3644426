"""The service of a race: the real server, lock and listeners around an app without a model."""

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

package, ran, *arguments = sys.argv[1:]
process = importlib.import_module(f"{package}.serving.process")
files = importlib.import_module(f"{package}.files")
parser = argparse.ArgumentParser()
for name in ("directory", "digest", "version", "port", "public-port", "process-file", "log"):
    parser.add_argument(f"--{name}")
given = parser.parse_args(arguments)
listening: dict[str, Any] = {"private": None, "public": None, "error": None}


async def app(_: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    if listening["public"] and not app.noted:  # type: ignore[attr-defined]
        app.noted = True  # type: ignore[attr-defined]
        with Path(ran).open("a") as stream:
            stream.write(f"{given.digest}\n")
    body = json.dumps({"digest": given.digest, "listening": listening}).encode()
    head = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})


app.noted = False  # type: ignore[attr-defined]
file = Path(given.process_file)
held = process.lock(file)
private = process.listen("127.0.0.1", 0)
port = listening["private"] = private.getsockname()[1]
public = int(given.public_port)


def started() -> None:
    facts = {"pid": os.getpid(), "port": port, "digest": given.digest, "public_port": public}
    files.write_atomically(file, json.dumps(facts))


process.Server(
    app, listening, started, lambda: process.listen("127.0.0.1", public, shared=True)
).run([private])
os.close(held)
