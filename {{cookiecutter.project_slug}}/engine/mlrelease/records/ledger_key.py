"""The deploy key that may append to the ledger, where the rules of `env/*` let nobody else."""

import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlrelease.errors import InputError

# A job has seen no host before, so its key is taken as it comes. Who could stand between would
# swallow a push, which the next run repeats: everybody reads `origin`, over HTTPS.
OPTIONS = "-o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=accept-new"


@contextmanager
def remote() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Where the ledger is pushed to, and git's own options for it. LEDGER_KEY is a private key; it
    is on the disk only meanwhile. LEDGER_REMOTE names another address than GitHub's for it.

    Raises:
        InputError: There is a key, and no repository that it could be for.
    """
    key, address = os.environ.get("LEDGER_KEY"), os.environ.get("LEDGER_REMOTE")
    if not key:
        yield address or "origin", ()
        return
    server, name = os.environ.get("GITHUB_SERVER_URL"), os.environ.get("GITHUB_REPOSITORY")
    if not address and not (server and name):
        raise InputError(
            "LEDGER_KEY is set, but no repository for it: set GITHUB_SERVER_URL and"
            " GITHUB_REPOSITORY, or LEDGER_REMOTE"
        )
    host = (server or "").rpartition("://")[2].rstrip("/")
    with tempfile.TemporaryDirectory(dir=os.environ.get("RUNNER_TEMP")) as folder:
        file = Path(folder) / "key"
        file.touch(mode=0o600)
        file.write_text(key.rstrip("\n") + "\n")  # without it, ssh calls it no key
        known = Path(folder) / "known_hosts"
        command = f"ssh -i {shlex.quote(str(file))} {OPTIONS} -o UserKnownHostsFile={known}"
        yield address or f"git@{host}:{name}.git", ("-c", f"core.sshCommand={command}")
