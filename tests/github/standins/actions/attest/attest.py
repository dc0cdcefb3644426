"""What actions/attest asks of its inputs and of GitHub; nothing is signed."""

import base64
import glob
import hashlib
import json
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path


def main() -> str | None:
    inputs = json.loads(os.environ["INPUTS"])
    inputs.pop("github-token")
    path, digest = inputs["subject-path"], inputs["subject-digest"]
    if bool(path) == bool(digest):
        return "one of subject-path and subject-digest must be given"
    name, subjects = inputs["subject-name"], {}
    if path:
        found = [Path(one) for pattern in path.split() for one in sorted(glob.glob(pattern))]  # noqa: PTH207
        if not found:
            return f"Could not find subject at path {path}"
        subjects = {f"sha256:{hashlib.sha256(p.read_bytes()).hexdigest()}": p.name for p in found}
        digest, name = next(iter(subjects)), name or found[0].name
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        return f"subject-digest must be in the format sha256:<hex-digest>, not {digest}"
    subjects = subjects or {digest: name}
    if not name or (inputs["push-to-registry"] == "true" and "/" not in name):
        return "subject-name must be given, and be a full image name to be pushed to a registry"
    if re.search(r"@|:[^/]*$", name):
        return f"subject-name must have no tag and no digest: {name}"
    if inputs["push-to-registry"] == "true":
        config = Path.home() / ".docker" / "config.json"
        logins = json.loads(config.read_text()).get("auths", {}) if config.is_file() else {}
        if name.split("/")[0] not in logins:
            return f"No credentials found for registry {name.split('/')[0]}: log docker in before"
    custom = inputs["predicate"] or inputs["predicate-path"]
    if inputs["predicate"] and inputs["predicate-path"]:
        return "one of predicate and predicate-path must be given"
    if bool(custom) != bool(inputs["predicate-type"]):
        return "predicate-type must be given with a predicate, and only then"
    if inputs["sbom-path"] and custom:
        return "sbom-path cannot be used together with a predicate"
    predicate = json.loads(inputs["predicate"] or "{}")
    for file in filter(None, (inputs["predicate-path"], inputs["sbom-path"])):
        predicate = json.loads(Path(file).read_text(encoding="utf-8"))
    kind = inputs["predicate-type"] or "https://slsa.dev/provenance/v1"
    if inputs["sbom-path"]:
        kind = "https://spdx.dev/Document/v2.3"
        if "bomFormat" in predicate:
            kind = "https://cyclonedx.org/bom"
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": called, "digest": {"sha256": of.removeprefix("sha256:")}}
            for of, called in subjects.items()
        ],
        "predicateType": kind,
        "predicate": predicate,
    }
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    envelope = {"payload": payload, "payloadType": "application/vnd.in-toto+json"}
    media = "application/vnd.dev.sigstore.bundle.v0.3+json"
    bundle = {"mediaType": media, "dsseEnvelope": envelope, "subjects": [*subjects]}
    entry = inputs | {"subject-digest": digest, "subjects": [*subjects], "predicate-type": kind}
    entry["job"] = os.environ["GITHUB_JOB"]
    api, repository = os.environ["GITHUB_API_URL"], os.environ["GITHUB_REPOSITORY"]
    request = urllib.request.Request(  # noqa: S310 - the address of the GitHub stand-in
        f"{api}/repos/{repository}/attestations",
        json.dumps({"bundle": bundle}).encode(),
        {
            "Authorization": f"Bearer {os.environ['TOKEN']}",
            "Content-Type": "application/json",
            "User-Agent": "attest",
        },
    )
    try:
        urllib.request.urlopen(request, timeout=30).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        return f"Failed to persist attestation: {error} - {error.read().decode()}"
    with Path(os.environ["STANDIN_ATTESTATIONS"]).open("a", encoding="utf-8") as log:
        log.write(json.dumps(entry) + "\n")
    target = Path(os.environ["RUNNER_TEMP"]) / "attestation.json"
    target.write_text(json.dumps(bundle), encoding="utf-8")
    with Path(os.environ["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as outputs:
        outputs.write(f"bundle-path={target}\n")
    return None


sys.exit(main())
