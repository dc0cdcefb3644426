"""A later template arrives as a pull request, or as an issue where the token may not push it."""

import json
import subprocess
from pathlib import Path

import pytest

from mlrelease import errors
from mlrelease.automation import template
from mlrelease.records import git
from tests.engine.github.fake_github import FakeGitHub

CRUFT = """#!/bin/sh
# Stands for `uvx cruft==VERSION VERB`: the template moved and brings one file.
[ ! -e "$BROKEN" ] || exit 2
case "$2" in
  check) [ ! -e "$MOVED" ] || exit 1;;
  update)
    mkdir -p "$(dirname "$BRINGS")"
    echo new > "$BRINGS"
    echo '{"commit": "2"}' > .cruft.json;;
esac
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> git.Git:
    root, origin, tools = (tmp_path / name for name in ("project", "origin.git", "tools"))
    tools.mkdir()
    (tools / "uvx").write_text(CRUFT)
    (tools / "uvx").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    monkeypatch.setenv("BROKEN", str(tmp_path / "broken"))
    monkeypatch.setenv("MOVED", str(tmp_path / "moved"))
    monkeypatch.setenv("BRINGS", "README.md")
    for command in (["init", "-q", "--bare", str(origin)], ["init", "-qb", "main", str(root)]):
        subprocess.run(["git", *command], check=True)
    made = git.Git(root)
    (root / ".cruft.json").write_text('{"commit": "1"}')
    made.run("config", "user.name", "a")
    made.run("config", "user.email", "a@example.org")
    made.run("remote", "add", "origin", str(origin))
    made.run("add", "--all")
    made.run("commit", "-q", "-m", "Start")
    made.run("push", "-q", "origin", "main")
    (tmp_path / "moved").touch()
    return made


def update(project: git.Git, fake: FakeGitHub) -> str:
    return template.update(project.root, project, fake.client())


def test_a_moved_template_is_a_pull_request(project: git.Git) -> None:
    fake = FakeGitHub()
    assert "opened" in update(project, fake)
    (pull,) = fake.rows["/pulls"]
    assert "`1` to `2`" in pull["body"]
    assert project.show("origin/template-update", "README.md") == b"new\n"
    assert project.run("status", "--porcelain") == ""
    assert not [path for path in fake.wrote() if "statuses" in path]  # nobody verified it


def test_workflow_files_are_an_issue_because_the_token_may_not_push_them(
    project: git.Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BRINGS", ".github/workflows/ci.yml")
    fake = FakeGitHub()
    assert "see #1" in update(project, fake)
    assert "uvx cruft update" in fake.rows["/issues"][0]["body"]
    assert project.resolve("template-update") is None
    assert project.run("status", "--porcelain") == ""


def test_an_app_may_push_them(project: git.Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRINGS", ".github/workflows/ci.yml")
    monkeypatch.setenv("PROMOTION_APP_ID", "7")
    assert "opened" in update(project, FakeGitHub())


def test_what_did_not_fit_is_named(project: git.Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRINGS", "Makefile.rej")
    fake = FakeGitHub()
    update(project, fake)
    assert "`Makefile.rej`" in fake.rows["/pulls"][0]["body"]


def test_a_template_that_has_not_moved_is_left_alone(project: git.Git, tmp_path: Path) -> None:
    (tmp_path / "moved").unlink()
    fake = FakeGitHub()
    assert update(project, fake) == "the template has not moved"
    assert fake.wrote() == []


def test_a_project_without_a_link_says_how_to_link(project: git.Git) -> None:
    (project.root / ".cruft.json").unlink()
    assert "cruft link" in update(project, FakeGitHub())


def test_a_cruft_that_fails_is_one_line(project: git.Git, tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with pytest.raises(errors.ModelError, match="cruft"):
        update(project, FakeGitHub())
    assert json.loads((project.root / ".cruft.json").read_text()) == {"commit": "1"}
