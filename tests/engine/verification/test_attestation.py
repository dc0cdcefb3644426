"""TRUST fails closed: what cannot be verified is refused."""

import subprocess
from pathlib import Path

import pytest

from mlrelease import errors
from mlrelease.github import repository as github
from mlrelease.records import record
from mlrelease.verification import attestation
from tests.engine.github.fake_github import FakeGitHub

DIGEST = "sha256:" + "1" * 64


def made(**changes: object) -> record.Record:
    fields = {
        "environment": "production", "model": DIGEST, "image": f"ghcr.io/acme/churn@{DIGEST}",
        "version": "1", "runtime": "onnx", "source": {"commit": "a" * 40}, "evaluation": DIGEST,
        "policy": DIGEST, "data": {"train": DIGEST, "holdout": DIGEST}, "trust": "attested",
        "replaces": {},
    }  # fmt: skip
    return record.Record.model_validate(fields | changes)


@pytest.fixture
def client() -> github.GitHub:
    return FakeGitHub().client()


@pytest.fixture
def gh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `gh` that notes how it was called, and says no when there is a file `no` beside it."""
    program = tmp_path / "gh"
    program.write_text(
        '#!/bin/sh\nhere=$(dirname "$0")\necho "$@" > "$here/called"\n'
        '[ ! -e "$here/no" ] || { echo "no matching attestation" >&2; exit 1; }\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path


def test_a_verified_attestation_passes_and_only_the_signer_counts(
    gh: Path, client: github.GitHub
) -> None:
    (finding,) = attestation.check(client, made())
    assert finding.passed
    called = (gh / "called").read_text()
    assert f"verify oci://ghcr.io/acme/churn@{DIGEST}" in called
    assert "--signer-workflow acme/churn/.github/workflows/_package.yml" in called
    assert f"--source-digest {'a' * 40}" in called
    assert "--source-ref refs/heads/main" in called, "not one that a branch's run built"


def test_a_refusal_of_gh_refuses(gh: Path, client: github.GitHub) -> None:
    (gh / "no").touch()
    (finding,) = attestation.check(client, made())
    assert (finding.passed, finding.message) == (False, "not verified: no matching attestation")


def test_without_gh_it_is_refused(
    tmp_path: Path, client: github.GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = attestation.check(client, made())
    assert not finding.passed


def test_a_slow_gh_is_refused(client: github.GitHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("gh", 120)

    monkeypatch.setattr(subprocess, "run", slow)
    (finding,) = attestation.check(client, made())
    assert not finding.passed


def test_without_github_or_an_image_it_is_refused(client: github.GitHub) -> None:
    assert [f.passed for f in attestation.check(None, made())] == [False]
    assert [f.passed for f in attestation.check(client, made(image=None))] == [False]


def test_a_digest_is_enough_unless_trust_asks_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    record_by_digest = made(trust="digest")
    assert list(attestation.check(None, record_by_digest)) == []
    monkeypatch.setenv("TRUST", "attested")
    (finding,) = attestation.check(None, record_by_digest)
    assert "UNATTESTED" in finding.message
    assert not finding.passed


@pytest.mark.parametrize("value", ["atested", "true", "Digest"])
def test_a_typing_mistake_does_not_weaken_trust(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("TRUST", value)
    with pytest.raises(errors.InputError, match="TRUST"):
        attestation.trust()
