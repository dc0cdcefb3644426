"""A release on GitHub: one job verifies, one appends, one records, and none trusts the other."""

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mlrelease.automation import follow_up
from mlrelease.cli import app as cli_app
from mlrelease.promotion import draft, release
from mlrelease.records import change, ledger, record
from mlrelease.rehearsal import sandbox
from mlrelease.verification import approval
from tests.engine.conftest import BETTER
from tests.engine.github.fake_github import FakeGitHub
from tests.engine.verification.changes import entries


@pytest.fixture
def waiting(world: sandbox.Sandbox) -> sandbox.Sandbox:
    """A better model is merged for staging; for production, a record that names no digest. Verbs
    have the real clock."""
    world.clock = dt.datetime.now(dt.UTC)
    world.look_again()
    world.candidate(BETTER)
    world.merge(world.promote("staging").pull_request.branch)
    world.commit("deploy/production/model.yaml", "model: latest\n")
    return world


def verb(world: sandbox.Sandbox, patch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit code of a verb in the project's folder."""
    patch.chdir(world.here.root)
    patch.setenv("MODEL_STATE", str(world.here.state))
    patch.setattr(sys, "argv", ["model", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli_app.main()
    return int(ended.value.code or 0)


def test_what_is_refused_does_not_hold_up_the_other_and_is_told(
    waiting: sandbox.Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outputs, drafts = tmp_path / "outputs", tmp_path / "drafts"
    monkeypatch.setenv("GITHUB_OUTPUT", str(outputs))
    assert verb(waiting, monkeypatch, "release", "--output", str(drafts), "--json") == 1
    assert outputs.read_text() == "prepared=true\n"
    assert [path.name for path in drafts.iterdir()] == ["staging.json"]
    found = follow_up.read("verified.json", capsys.readouterr().out)
    assert isinstance(found, tuple)
    prepared, refused = found
    assert (prepared.action, prepared.error) == ("prepared", None)
    assert (refused.action, refused.environment) == ("refused", "production")
    assert refused.commit == waiting.here.git.base()
    assert "is refused" in (refused.error or "")


def test_what_one_job_verified_another_appends_and_hands_on_to_be_signed(
    waiting: sandbox.Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    release.attempt(waiting.here, "staging", tmp_path)
    forged = tmp_path / "forged.json"
    forged.write_text('{"environment": "production"}')
    drafts = (str(forged), str(tmp_path / "staging.json"))
    signed = tmp_path / "entries"
    arguments = ("ledger", "append", *drafts, "--entries", str(signed), "--json")
    assert verb(waiting, monkeypatch, *arguments) == 1
    found = follow_up.read("released.json", printed := capsys.readouterr().out)
    assert isinstance(found, tuple)
    entry = entries(waiting, "staging")[0]
    assert [(one.action, one.entry) for one in found] == [("released", entry.commit)]
    assert "is no draft of a release" in printed
    (file,) = signed.iterdir()
    assert file.name == "staging.json"
    assert file.read_bytes() == waiting.here.git.show(entry.commit, ledger.FILE)


def test_a_draft_of_another_ledger_is_refused_and_says_what_main_names(
    waiting: sandbox.Sandbox, tmp_path: Path
) -> None:
    release.attempt(waiting.here, "staging", tmp_path)
    old = draft.Draft.read(tmp_path / "staging.json")
    waiting.release("staging")
    found = release.attempt_append(waiting.here, old)
    assert found.action == "refused"
    assert "moved meanwhile" in (found.error or "")
    assert found.model == entries(waiting, "staging")[0].model
    assert len(entries(waiting, "staging")) == 2


def test_a_result_that_is_none_is_refused(tmp_path: Path) -> None:
    for text in ("", "[]", '{"results": [{"environment": "moon"}]}', '{"action": "deployed"}'):
        with pytest.raises(Exception, match="is no result of a release or deployment"):
            follow_up.read("verified.json", text)


SSH = """#!/bin/sh
key=
for word; do [ "$before" = -i ] && key=$word; before=$word; done
cp "$key" "$PLACE/key"
stat -c %a "$key" "$(dirname "$key")" > "$PLACE/modes"
echo "$@" > "$PLACE/called"
eval "git-receive-pack '$ORIGIN'"
"""


def test_a_deploy_key_appends_where_the_job_s_token_may_not(
    waiting: sandbox.Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git pushes through an `ssh` that shows what it was given, and serves the origin."""
    program, temporary = tmp_path / "ssh", tmp_path / "runner"
    temporary.mkdir()
    program.write_text(SSH)
    program.chmod(0o755)
    origin = waiting.here.git.run("remote", "get-url", "origin")
    for name, value in (
        ("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}"), ("PLACE", str(tmp_path)),
        ("ORIGIN", origin), ("RUNNER_TEMP", str(temporary)), ("LEDGER_KEY", "a key\nof two lines"),
        ("GITHUB_SERVER_URL", "https://github.example"), ("GITHUB_REPOSITORY", "acme/churn"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    entry = waiting.release("staging")
    assert entry is not None
    asked = ("git", "-C", origin, "rev-parse", "env/staging")
    pushed = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert pushed.stdout.strip() == entry.commit
    assert (tmp_path / "key").read_text() == "a key\nof two lines\n"
    assert (tmp_path / "modes").read_text().split() == ["600", "700"]
    called = (tmp_path / "called").read_text()
    assert "git@github.example" in called
    assert "acme/churn.git" in called
    assert list(temporary.iterdir()) == []  # the key is gone


def test_a_key_without_a_repository_is_refused(
    waiting: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGER_KEY", "a key")
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    monkeypatch.delenv("LEDGER_REMOTE", raising=False)
    found = release.attempt(waiting.here, "staging")
    assert "LEDGER_KEY is set, but no repository for it" in (found.error or "")


def rules(world: sandbox.Sandbox, fake: FakeGitHub) -> tuple[bool, str]:
    """Whether a release to staging on top of main would find its rules approved."""
    here, base = world.here, world.here.git.base()
    here.__dict__["github"] = fake.client()
    one = change.Change(
        "staging", base, base, world.clock, lambda name: here.ledger(name, base),
        lambda _: True, merged=True,
    )  # fmt: skip
    path = record.record_path("staging")
    named = record.Record.read(here.git.show(base, path) or b"", path)
    found = approval.check(here, one, named, here.policy_at(base), rollback=False).findings
    (finding,) = [finding for finding in found if finding.name == "approved rules"]
    return finding.passed, finding.message


def approve(world: sandbox.Sandbox, fake: FakeGitHub) -> None:
    """The newest commit of main came through a pull request that Ann approved."""
    commit = world.here.git.base()
    number = len(fake.rows) + 1
    pull: dict[str, Any] = {
        "number": number, "merged_at": "2026-11-21T12:00:00Z", "base": {"ref": "main"},
        "head": {"sha": commit}, "user": {"login": "ben"}, "merge_commit_sha": commit,
    }  # fmt: skip
    review = {"user": {"login": "ann", "type": "User"}, "state": "APPROVED", "commit_id": commit}
    fake.permissions["ann"] = "write"
    fake.rows[f"/commits/{commit}/pulls"] = [pull]
    fake.rows[f"/pulls/{number}/reviews"] = [review]


@pytest.fixture
def careful(world: sandbox.Sandbox) -> sandbox.Sandbox:
    """A release by a policy that asks for an approval."""
    policy = (world.here.root / "policy.yaml").read_text()
    world.commit("policy.yaml", policy.replace("staging: {}", "staging: {approvals: 1}"))
    world.candidate(BETTER)
    world.merge(world.promote("staging").pull_request.branch)
    world.release("staging")
    return world


def test_rules_that_nobody_approved_are_refused_until_they_are_undone(
    careful: sandbox.Sandbox,
) -> None:
    world = careful
    fake, policy = FakeGitHub(), (world.here.root / "policy.yaml").read_text()
    assert rules(world, fake)[0]
    weaker, other = (policy.replace("soak_hours: 24", f"soak_hours: {n}") for n in (1, 12))
    assert len({policy, weaker, other}) == 3
    world.commit("policy.yaml", other)
    approve(world, fake)
    assert rules(world, fake)[0]
    world.commit("policy.yaml", weaker)
    pushed = world.here.git.base()
    assert rules(world, fake)[0] is False
    world.commit("src/note.txt", "on top of it\n")
    approve(world, fake)  # of the note: nobody looked at what lies below
    passed, message = rules(world, fake)
    assert (passed, message.split()[0]) == (False, pushed[:7])
    world.commit("policy.yaml", other)
    assert rules(world, fake)[0], "it is again as it was approved"


def test_what_a_model_is_made_of_needs_no_approval_of_its_own(careful: sandbox.Sandbox) -> None:
    for name in ("data.py", "model.py"):
        careful.commit(f"src/churn/{name}", "# a comment\n")
    assert rules(careful, FakeGitHub())[0]
    careful.commit("src/churn/split.py", "# a comment\n")
    assert not rules(careful, FakeGitHub())[0]
