"""Debian's `docker-registry` on a loopback port: the reference implementation, not a stand-in."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

PROGRAM = shutil.which("docker-registry")
WHY_NOT = "docker-registry is not installed: apt-get install docker-registry"
HASH = "$2b$05$abcdefghijklmnopqrstuu8xaCxxL82bnl.UY74PMksDxIJShppPC"  # of `right`


@dataclass(frozen=True)
class Server:
    """A running registry and the folder that it keeps everything in."""

    host: str
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.host}/acme/churn"

    def blob(self, digest: str) -> Path:
        """The file that holds a blob."""
        hexadecimal = digest.removeprefix("sha256:")
        blobs = self.folder / "docker" / "registry" / "v2" / "blobs" / "sha256"
        return blobs / hexadecimal[:2] / hexadecimal / "data"


@contextmanager
def serving(folder: Path, auth: str = "") -> Iterator[Server]:
    """A registry that keeps everything in `folder`, until the block ends; `auth` is YAML."""
    assert PROGRAM
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    settings = folder / "config.yml"
    settings.write_text(
        "version: 0.1\n"
        "log: {level: info}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '{host}'}}\n" + auth
    )
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "REGISTRY_"))}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [PROGRAM, "serve", str(settings)], stdout=log, stderr=subprocess.STDOUT, env=clean
        )
    try:
        end = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < end:
            try:
                httpx.get(f"http://{host}/v2/", trust_env=False)
                break
            except httpx.TransportError:
                time.sleep(0.05)
        else:
            raise AssertionError((folder / "log").read_text())
        yield Server(host, folder)
    finally:
        process.kill()
        process.wait()


def requests(server: Server) -> list[tuple[str, str, int]]:
    """What was asked so far: method, path, status."""
    found = re.findall(r'"([A-Z]+) (\S+) HTTP/1\.1" (\d+)', (server.folder / "log").read_text())
    return [(method, path, int(status)) for method, path, status in found]
