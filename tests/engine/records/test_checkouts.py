"""How a repository was cloned, who owns it and what started us: nothing of it misleads git."""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlrelease import errors, workspace
from mlrelease.cli import app as cli_app
from mlrelease.records import git, git_environment
from mlrelease.rehearsal import sandbox
from tests.engine.conftest import BETTER, GENERATED, PYTHONPATH, add_code, commit_all

Clone = Callable[..., workspace.Workspace]
HOOK = """#!/bin/sh
# A hook of a person: it plays the life of a model, or its first steps, in a throw-away copy.
exec {python} -c "{code}"
"""
PLAY = """
import os; from pathlib import Path; from mlrelease.rehearsal import sandbox
with sandbox.sandbox(Path('{root}')) as play:
    play.commit('params.yaml', (play.here.root / 'params.yaml').read_text() + '# x')
    base = play.here.git.base()
    draft = play.here.git.commit_folder(base, 'deploy/staging', dict(a=b'1'), 'Draft')
    play.here.git.publish(draft, 'promote/staging/x')
    play.merge('promote/staging/x')
    names = [n for n in os.environ if n.startswith('MODEL_')]
    print('PLAYED', len(play.here.git.line('HEAD')), names)
"""


def git_at(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(
        command, env=os.environ | variables, capture_output=True, text=True, check=False
    )


@pytest.fixture
def hooked(tmp_path: Path) -> Path:
    """A person's repository without an origin, whose hooks rehearse."""
    root = tmp_path / "real"
    root.mkdir()
    add_code(root)
    for name in ("params", "policy"):
        shutil.copy(GENERATED / f"{name}.classification.yaml", root / f"{name}.yaml")
    made = commit_all(root)
    made.run("config", "user.name", "Ann")
    made.run("config", "user.email", "ann@example.org")
    code = PLAY.strip().format(root=root)
    for name in ("pre-commit", "pre-push", "post-checkout"):
        hook = root / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(HOOK.format(python=sys.executable, code=code))
        hook.chmod(hook.stat().st_mode | stat.S_IXUSR)
    return root


def facts(root: Path) -> tuple[str, ...]:
    """What a rehearsal in the wrong repository would change."""
    asked = (
        ("config", "--list", "--local"), ("for-each-ref",), ("status", "--porcelain"),
        ("ls-files", "-s"), ("fsck", "--strict"), ("rev-parse", "HEAD"), ("remote", "-v"),
    )  # fmt: skip
    return tuple(git_at(root, *words).stdout for words in asked)


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("verb", ["push", "commit"])
def test_a_rehearsal_in_a_git_hook_leaves_the_repository_alone(
    hooked: Path, tmp_path: Path, linked: bool, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.setenv("MODEL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("MODEL_STORE", "registry.invalid/x")
    there = hooked
    if linked:
        there = tmp_path / "linked"
        done = git_at(
            hooked, "-c", "core.hooksPath=/dev/null", "worktree", "add", "-qb", "f", str(there)
        )
        assert done.returncode == 0, done.stderr
    git_at(tmp_path, "init", "-q", "--bare", "-b", "main", "o.git")
    if verb == "commit":
        (there / "params.yaml").write_text((there / "params.yaml").read_text() + "# mine\n")
        assert git_at(there, "-c", "core.hooksPath=/dev/null", "add", "--all").returncode == 0
    before = facts(hooked)
    call = ["commit", "-qm", "Mine"] if verb == "commit" else ["push", "-q", "../o.git", "HEAD"]
    done = git_at(there, "-c", "user.name=Bob", *call)
    assert done.returncode == 0, done.stderr
    assert "PLAYED 3 []" in done.stdout + done.stderr
    after = facts(hooked)
    if verb == "push":
        assert after == before
    assert after[0] == before[0]  # the configuration, and no `core.bare`
    assert git_at(there, "log", "-1", "--format=%an %s").stdout.strip() == (
        "Bob Mine" if verb == "commit" else "T Start"
    )
    assert git_at(there, "status", "--porcelain").stdout == ""
    assert "error" not in after[4]


def test_a_rehearsal_knows_nothing_of_the_persons_git_configuration(
    hooked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hooks for every repository, signatures and other names come from the file or variables."""
    mine = tmp_path / "gitconfig"
    mine.write_text(
        f"[core]\n\thooksPath = {hooked}/.git/hooks\n[commit]\n\tgpgSign = true\n"
        "[gpg]\n\tprogram = /bin/false\n[init]\n\tdefaultBranch = trunk\n"
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(mine))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "2")
    for place, (name, value) in enumerate((("core.bare", "true"), ("commit.gpgSign", "true"))):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{place}", name)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{place}", value)
    before = dict(os.environ)
    with sandbox.sandbox(hooked) as play:
        play.commit("note.md", "x")
        assert play.here.git.run("log", "-1", "--format=%an") == "Rehearsal"
    assert dict(os.environ) == before


def test_the_variables_that_git_gives_a_hook_are_not_passed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    listed = git_at(tmp_path, "rev-parse", "--local-env-vars").stdout.split()
    own = set(git_environment.SETTINGS) | {"GIT_CONFIG_COUNT"}  # a job's token is given so
    for name in (*listed, "GIT_QUARANTINE_PATH"):
        monkeypatch.setenv(name, "0")
    left = {name for name in listed if name in git_environment.environment()} - own
    assert (len(listed) > 10, left) == (True, set())


@pytest.fixture
def clone(world: sandbox.Sandbox, tmp_path: Path) -> Clone:
    def clone(*options: str) -> workspace.Workspace:
        place = tmp_path / "clone"
        origin = (world.here.root.parent / "origin.git").as_uri()  # a path would copy all of it
        command = ["git", "clone", "--quiet", *options, origin, str(place)]
        subprocess.run(command, check=True)
        for name in ("user.name", "user.email"):
            subprocess.run(["git", "-C", str(place), "config", name, "b@example.org"], check=True)
        return workspace.Workspace(place, world.here.state, now=lambda: world.clock)

    return clone


@pytest.mark.parametrize(
    "options",
    [("--single-branch",), ("--depth", "1"), ("--single-branch", "--branch", "env/staging"),
     ("--no-checkout", "--filter=blob:none"), ("--no-tags", "--origin", "origin")],
)  # fmt: skip
def test_an_open_pull_request_is_open_in_every_kind_of_clone(
    world: sandbox.Sandbox, clone: Clone, options: tuple[str, ...]
) -> None:
    world.candidate(BETTER)
    early = clone(*options)  # before the branch was there
    opened = world.promote("staging").pull_request
    base = early.git.base()
    assert [p.branch for p in early.pull_requests.list("staging", base)] == [opened.branch]
    assert not early.pull_requests.refused(opened.branch, base)
    assert early.git.run("rev-parse", "--is-shallow-repository") == "false"
    ledger, same = early.ledger("production", base), world.here.ledger("production", base)
    assert [e.commit for e in ledger.entries] == [e.commit for e in same.entries]


@pytest.mark.parametrize("options", [("--single-branch",), ("--depth", "1"), ()])
def test_what_is_said_to_merge_merges_in_every_kind_of_clone(
    world: sandbox.Sandbox, clone: Clone, options: tuple[str, ...]
) -> None:
    world.candidate(BETTER)
    opened = world.promote("staging")
    place = clone(*options).root
    done = subprocess.run(
        ["sh", "-c", opened.merge], cwd=place, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert world.here.git.is_ancestor(opened.pull_request.head, world.here.git.base())


def test_a_shallow_clone_without_its_origin_says_what_it_lacks(
    world: sandbox.Sandbox, clone: Clone
) -> None:
    here = clone("--depth", "1")
    (world.here.root.parent / "origin.git").rename(world.here.root.parent / "away.git")
    assert "git fetch --unshallow" in here.known_main()[1]


def refusal(root: Path) -> str:
    with pytest.raises(errors.InputError) as caught:
        workspace.Workspace(root, root / ".model").git.base()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another owner")
@pytest.mark.parametrize("name", ["it's", "plain"])
def test_a_checkout_of_another_owner_says_how_to_trust_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("SUDO_UID", raising=False)
    root = tmp_path / name
    root.mkdir()
    (root / "params.yaml").write_text("x")
    commit_all(root)
    for path in (root, *root.rglob("*")):
        os.chown(path, 12345, 12345)
    said = refusal(root)
    assert "dubious ownership" in said
    assert "git init" not in said
    command = said.partition("run `")[2].rpartition("`")[0]
    assert command.startswith("git config --global --add safe.directory ")
    if name == "plain":
        subprocess.run(["sh", "-c", command], check=True)
        assert workspace.Workspace(root, root / ".model").git.base()


def test_a_folder_without_git_is_told_to_begin(tmp_path: Path) -> None:
    assert refusal(tmp_path).endswith("not a git repository; run `git init -b main`")


def test_a_project_in_a_subfolder_of_a_repository_says_so(tmp_path: Path) -> None:
    inner = tmp_path / "services" / "shop"
    inner.mkdir(parents=True)
    (inner / "params.yaml").write_text("x")
    commit_all(tmp_path)
    assert f"lies in the repository {tmp_path}, and a project must be the root" in refusal(inner)
    commit_all(inner)
    assert workspace.Workspace(inner, inner / ".model").git.base()


def brought(root: Path, name: str) -> None:
    """A commit that brings a file of what a machine keeps."""
    (root / "params.yaml").write_text("x")
    (root / ".gitignore").write_text(".model/\n")
    made = commit_all(root)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    if name == ".model":  # a link to a folder that is there
        (root / name).symlink_to(".")
    else:
        (root / name).write_text("{}")
    made.run("add", "--force", name)
    made.run("-c", "user.name=T", "-c", "user.email=t@x", "commit", "-qm", "Bring it")


@pytest.mark.parametrize(
    "name", [".model/verified/staging/1.json", ".MODEL/rebuilt/2.json", ".model"]
)
def test_no_commit_brings_what_a_machine_keeps(tmp_path: Path, name: str) -> None:
    brought(tmp_path, name)
    assert f"git tracks {name}" in refusal(tmp_path)
    with pytest.raises(errors.InputError, match=r"run `git rm -rf \.model`, and commit that"):
        workspace.Workspace.find(tmp_path)


def test_a_state_that_is_the_project_itself_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    brought(tmp_path, "x")
    monkeypatch.setenv("MODEL_STATE", str(tmp_path))
    with pytest.raises(errors.InputError, match="let MODEL_STATE name a folder of its own"):
        workspace.Workspace.find(tmp_path)


def test_what_only_head_or_only_the_index_tracks_is_brought_too(tmp_path: Path) -> None:
    brought(tmp_path, ".model/rebuilt/1.json")
    git_at(tmp_path, "rm", "-rq", "--cached", ".model")
    assert (tmp_path / ".model" / "rebuilt" / "1.json").exists()
    assert "git tracks .model/rebuilt/1.json" in refusal(tmp_path)
    git_at(tmp_path, "reset", "-q", "--hard")
    git_at(tmp_path, "reset", "-q", "--soft", "HEAD^")
    assert "git tracks .model/rebuilt/1.json" in refusal(tmp_path)
    assert git_at(tmp_path, "rm", "-rfq", ".model").returncode == 0
    assert workspace.Workspace(tmp_path, tmp_path / ".model").git.base()
    assert workspace.Workspace.find(tmp_path).state == tmp_path / ".model"


def test_what_a_machine_keeps_elsewhere_is_told_by_its_own_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, link = tmp_path / "project", tmp_path / "kept"
    root.mkdir()
    brought(root, "data/verified/staging/1.json")
    monkeypatch.setenv("MODEL_STATE", str(tmp_path / "state"))
    assert workspace.Workspace.find(root).git.base()
    link.symlink_to(root / "data")  # in a round-about way it is what git tracks
    monkeypatch.setenv("MODEL_STATE", str(link))
    with pytest.raises(errors.InputError, match="git tracks data/verified/staging/1.json"):
        workspace.Workspace.find(root)


def test_a_bare_repository_says_so(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("x")
    made = commit_all(tmp_path)
    made.run("config", "core.bare", "true")  # as a rehearsal in a hook once left it
    assert "git config core.bare false" in refusal(tmp_path)


@pytest.mark.parametrize("content", [None, "", "nonsense", "gitdir: /nowhere/at/all\n"])
def test_a_worktree_without_its_repository_says_so(tmp_path: Path, content: str | None) -> None:
    main, linked = tmp_path / "main", tmp_path / "linked"
    main.mkdir()
    (main / "params.yaml").write_text("x")
    commit_all(main).run("worktree", "add", "-qb", "f", str(linked))
    if content is None:
        shutil.rmtree(main)
    else:
        (linked / ".git").write_text(content)
    said = refusal(linked)
    assert "git worktree repair" in said
    assert "git init" not in said


def test_a_machine_without_git_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(tmp_path) == "git is not installed, or not on PATH"


def test_git_that_cannot_work_is_one_line_for_a_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text(json.dumps({}))
    (tmp_path / ".git").write_text("gitdir: /nowhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["model", "history", "staging"])
    with pytest.raises(SystemExit) as end:
        cli_app.main()
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert git.Git(tmp_path).root == tmp_path
