"""Who built the image: GitHub's attestations, where the plan has them. Fails closed."""

import os
import subprocess
from collections.abc import Iterator
from typing import Literal

from mlrelease.errors import InputError
from mlrelease.evaluation.gate import Finding
from mlrelease.github.repository import GitHub
from mlrelease.records.git import BRANCH
from mlrelease.records.record import Record

SIGNER = ".github/workflows/_package.yml"


def trust() -> Literal["attested", "digest"]:
    """What this repository asks for: the variable TRUST, `digest` where it is not set.

    Raises:
        InputError: It is something else; a typing mistake must not weaken it.
    """
    said = os.environ.get("TRUST") or "digest"
    if said == "attested":
        return "attested"
    if said == "digest":
        return "digest"
    raise InputError(f"TRUST is {said!r}: set the variable to `attested` or `digest`")


def check(github: GitHub | None, record: Record) -> Iterator[Finding]:
    """Whether the only signer signed the record's image, built from the record's commit."""
    if trust() == "attested" and record.trust != "attested":
        yield Finding("attestation", False, "UNATTESTED, and TRUST asks for an attestation")
    if record.trust != "attested":
        return
    if github is None or record.image is None:
        what = "no image" if github else "no GitHub to ask"
        yield Finding("attestation", False, f"cannot be verified: {what}")
        return
    name = github.repository.name
    command = [
        "gh", "attestation", "verify", f"oci://{record.image}", "--repo", name,
        "--signer-workflow", f"{name}/{SIGNER}", "--source-digest", record.source.commit,
        "--source-ref", f"refs/heads/{BRANCH}",
    ]  # fmt: skip
    environment = os.environ | {"GH_TOKEN": github.repository.token}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        fault = (done.stderr or done.stdout).strip() if done.returncode else ""
    except (OSError, subprocess.TimeoutExpired) as error:
        fault = f"gh: {error}"
    line = fault.splitlines()[-1] if fault else ""
    good = f"{SIGNER} signed the image, built on main from {record.source.commit[:7]}"
    yield Finding("attestation", not fault, f"not verified: {line}" if fault else good)
