"""A release runs the code of its source commit, whatever the work tree holds by now."""

import hashlib
import importlib.util
import json
import marshal
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from mlrelease import errors, files
from mlrelease.deployment import deploy
from mlrelease.environments import ENVIRONMENTS
from mlrelease.programs import own_code
from mlrelease.records import git, record
from mlrelease.rehearsal import sandbox
from tests.engine.conftest import BETTER, add_code, commit_all
from tests.engine.deployment.test_deploy import processes, serves
from tests.engine.verification.changes import live, release_both

PROJECT = '[project]\nname = "shop"\nversion = "1"\ndependencies = []\n'
KILLED = """
import importlib, os, pathlib, signal, sys
package, root, folder, commit, where = sys.argv[1:]
load = lambda name: importlib.import_module(package + "." + name)
own_code, git, record = load("programs.own_code"), load("records.git"), load("records.record")
source = record.Source(commit=commit)
owner, _, name = where.rpartition(".")
def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(pathlib.Path if owner else own_code, name, killed)
found = record.Record.model_construct(source=source, runtime="onnx")
own_code.prepare(git.Git(pathlib.Path(root)), found, pathlib.Path(folder))
"""


@pytest.fixture
def shop(tmp_path: Path) -> git.Git:
    """A repository with the smallest program that could be a service, as it was before the engine
    had a folder of its own."""
    folder = tmp_path / "shop" / "src" / "shop" / "serving"
    folder.mkdir(parents=True)
    for place in (folder, folder.parent):
        (place / "__init__.py").write_text("")
    (folder / "app.py").write_text("from ..answer import ANSWER\nprint(ANSWER)\n")
    (folder.parent / "answer.py").write_text("ANSWER = 'one'\n")
    (tmp_path / "shop" / "pyproject.toml").write_text(PROJECT)
    return commit_all(tmp_path / "shop")


def commit(shop: git.Git, message: str = "Change") -> str:
    shop.run("add", "--all")
    shop.run("-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "-qm", message)
    return shop.run("rev-parse", "HEAD")


def record_of(commit: str) -> record.Record:
    none = "sha256:" + "0" * 64
    return record.Record.model_validate(
        {
            "environment": "staging", "model": none, "version": "1", "runtime": "onnx",
            "source": {"commit": commit}, "data": {"train": none, "holdout": none},
            "evaluation": none, "policy": none, "trust": "digest", "replaces": {},
        }
    )  # fmt: skip


def prepare(shop: git.Git, tmp_path: Path, commit: str | None = None) -> own_code.Program:
    wanted = commit or shop.run("rev-parse", "HEAD")
    return own_code.prepare(shop, record_of(wanted), tmp_path / "environments")


def said(program: own_code.Program) -> str:
    command = [str(program.python), "-m", f"{program.engine}.serving.app"]
    return subprocess.run(
        command, env=program.environment(), capture_output=True, text=True, check=True, cwd="/"
    ).stdout.strip()


@pytest.fixture
def deployed(world: sandbox.Sandbox) -> Iterator[sandbox.Sandbox]:
    try:
        yield world
    finally:
        for environment in ENVIRONMENTS:
            deploy.stop(world.here, environment)


def change_code(world: sandbox.Sandbox, name: str, old: str, new: str) -> None:
    path = world.here.root / "engine" / "mlrelease" / "serving" / name
    text = path.read_text()
    assert old in text
    world.commit(str(path.relative_to(world.here.root)), text.replace(old, new, 1))


def health(url: str | None) -> dict[str, str]:
    answer: dict[str, str] = httpx.get(f"{url}/healthz", timeout=5, trust_env=False).json()
    return answer


def bytecode(source: Path, text: str) -> None:
    """What Python runs instead of the source, and never compares with it (PEP 552)."""
    place = Path(importlib.util.cache_from_source(str(source)))
    place.parent.mkdir(exist_ok=True)
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
    place.write_bytes(head + marshal.dumps(compile(text, str(source), "exec")))


def test_bytecode_runs_neither_from_a_commit_nor_from_where_it_was_put(
    shop: git.Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    name = "src/shop/answer.py"
    bytecode(shop.root / name, "ANSWER = 'another'")
    program = prepare(shop, tmp_path, commit(shop))
    assert said(program) == "one"
    place = program.code[0].parent
    assert not list(place.rglob("*.pyc")), "nor does a service write any"
    bytecode(place / name, "ANSWER = 'another'")
    assert said(program) == "another", "the test's own bytecode works"
    assert said(prepare(shop, tmp_path)) == "one"


def test_each_release_answers_with_the_code_of_its_source_commit(
    deployed: sandbox.Sandbox,
) -> None:
    first = live(deployed)
    change_code(deployed, "service.py", '{"status": "ok", ', '{"status": "ok", "code": "new", ')
    second = release_both(deployed, BETTER)
    change_code(deployed, "app.py", "import argparse", "raise SystemExit('broken on main')")
    done = deploy.deploy(deployed.here, "production")
    assert (health(done.url)["digest"], health(done.url).get("code")) == (second, "new")
    deployed.roll_back("production")
    done = deploy.deploy(deployed.here, "production")
    assert (health(done.url)["digest"], health(done.url).get("code")) == (first, None)


def test_a_service_does_not_need_the_work_tree(deployed: sandbox.Sandbox) -> None:
    done = deploy.deploy(deployed.here, "production")
    (process,) = processes(deployed)
    assert Path(f"/proc/{process.pid}/cwd").resolve() == process.file.parent
    shutil.rmtree(deployed.here.root / "src")
    shutil.rmtree(deployed.here.root / ".git")
    assert serves(done.url) == done.model
    parquet = {"content-type": "application/vnd.apache.parquet"}  # read by a process of its own
    answer = httpx.post(f"{done.url}/predict", content=b"no", headers=parquet, trust_env=False)
    assert (answer.status_code, "not valid" in answer.text) == (400, True)


def test_other_code_for_the_same_model_is_something_new(deployed: sandbox.Sandbox) -> None:
    deploy.deploy(deployed.here, "production")
    (process,) = processes(deployed)
    found = record_of("0" * 40).model_copy(update={"model": process.digest})
    assert not process.serves(found)
    own = process.file.stem.rpartition("-")[2]
    assert process.serves(found.model_copy(update={"source": record.Source(commit=own)}))


def test_libraries_that_cannot_be_had_leave_what_runs_and_propose_nothing(
    deployed: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = deploy.deploy(deployed.here, "production")
    text = (deployed.here.root / "engine" / "pyproject.toml").read_text()
    wanted = re.sub('"msgspec==[^"]*"', '"msgspec==0.0.1"', text)
    assert wanted != text
    deployed.commit("engine/pyproject.toml", wanted)
    release_both(deployed, BETTER)
    for name in ("UV_OFFLINE", "PIP_NO_INDEX"):
        monkeypatch.setenv(name, "1")
    found = deploy.attempt(deployed.here, "production")
    assert found.action == "refused"
    assert "(msgspec==0.0.1, not " in str(found.error)
    assert "what ran before still runs" in str(found.error)
    assert len(str(found.error).splitlines()) == 1
    assert serves(old.url) == old.model
    assert deployed.here.pull_requests.list("production", deployed.here.git.base()) == ()


def test_what_was_extracted_runs_without_git(shop: git.Git, tmp_path: Path) -> None:
    wanted = shop.run("rev-parse", "HEAD")
    program = prepare(shop, tmp_path)
    assert said(program) == "one"
    shutil.rmtree(shop.root)
    assert prepare(shop, tmp_path, wanted) == program
    assert said(program) == "one"


def test_a_changed_work_tree_changes_no_program(shop: git.Git, tmp_path: Path) -> None:
    old = prepare(shop, tmp_path)
    (shop.root / "src" / "shop" / "answer.py").write_text("ANSWER = 'two'\n")
    assert said(prepare(shop, tmp_path)) == "one"
    commit(shop)
    assert said(prepare(shop, tmp_path)) == "two"
    assert said(old) == "one"


def test_the_name_of_the_package_is_the_one_it_had(shop: git.Git, tmp_path: Path) -> None:
    old = shop.run("rev-parse", "HEAD")
    (shop.root / "src" / "shop").rename(shop.root / "src" / "store")
    new = commit(shop)
    assert prepare(shop, tmp_path, new).engine == "store"
    assert prepare(shop, tmp_path, old).engine == "shop"


@pytest.mark.parametrize("where", ["Path.write_bytes", "_digest", "replace_directory", "_forget"])
def test_an_extraction_that_was_killed_is_done_again(
    shop: git.Git, tmp_path: Path, where: str
) -> None:
    package = own_code.__name__.split(".")[0]
    folder, wanted = tmp_path / "environments", shop.run("rev-parse", "HEAD")
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, package, str(shop.root), str(folder), wanted, where],
        capture_output=True,
        check=False,
        env=os.environ,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (folder / "code" / wanted).exists() == (where == "_forget")
    assert said(prepare(shop, tmp_path)) == "one"


def test_several_deployments_share_one_extraction(shop: git.Git, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda _: prepare(shop, tmp_path), range(8)))
    assert len(found) == 1
    assert said(found.pop()) == "one"


@pytest.mark.parametrize("whose", ["the commit's", "the machine's"])
def test_attributes_and_filters_do_not_decide_what_serves(
    shop: git.Git, tmp_path: Path, whose: str
) -> None:
    """What serves has the bytes that were trained, verified and reviewed."""
    rules = "*.py text eol=crlf\n"
    if whose == "the commit's":
        rules = "answer.py export-subst\nleft.py export-ignore\n"
        (shop.root / ".gitattributes").write_text(rules)
    source = shop.root / "src" / "shop"
    (source / "answer.py").write_text("ANSWER = 'one' if '$Format:%H$'[0] == '$' else 'evil'\n")
    (source / "left.py").write_text("")
    commit(shop)
    (shop.root / ".git" / "info" / "attributes").write_text(rules)
    program = prepare(shop, tmp_path)
    assert said(program) == "one"
    for path in source.rglob("*.py"):
        placed = program.code[-1] / "shop" / path.relative_to(source)
        assert placed.read_bytes() == path.read_bytes()


def test_code_in_git_lfs_is_written_where_it_is_here(shop: git.Git, tmp_path: Path) -> None:
    """As it is when the model is trained again; and it is not taken for damaged."""
    content = b"ANSWER = 'large'\n"
    oid = hashlib.sha256(content).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
    file = shop.root / "src" / "shop" / "answer.py"
    file.write_text(pointer)
    wanted = commit(shop)
    file.write_bytes(content)
    assert said(prepare(shop, tmp_path)) == "large"
    place = tmp_path / "environments" / "code" / wanted
    assert own_code._whole(shop, wanted, place)
    (place / "src" / "shop" / "answer.py").write_text("ANSWER = 'evil'\n")
    assert not own_code._whole(shop, wanted, place)


@pytest.mark.parametrize("harm", ["changed", "cut off", "removed", "added"])
def test_a_damaged_program_is_extracted_again(shop: git.Git, tmp_path: Path, harm: str) -> None:
    program = prepare(shop, tmp_path)
    file = program.code[-1] / "shop" / "answer.py"
    if harm == "removed":
        file.unlink()
    elif harm == "added":
        (program.code[-1] / "json.py").write_text("raise SystemExit('not the one of Python')\n")
    else:
        file.write_text("ANSWER = 'ten'\n" if harm == "changed" else "")
    assert said(prepare(shop, tmp_path)) == "one"
    assert not (program.code[-1] / "json.py").exists()


def test_what_says_of_itself_that_it_is_whole_is_extracted_again(
    shop: git.Git, tmp_path: Path
) -> None:
    """Whoever writes the code writes the stamp beside it, too."""
    place = tmp_path / "environments" / "code" / shop.run("rev-parse", "HEAD")
    shutil.copytree(shop.root / "src", place / "src")
    shutil.copy(shop.root / "pyproject.toml", place)
    (place / "src" / "shop" / "answer.py").write_text("ANSWER = 'evil'\n")
    (place / own_code.STAMP).write_text(files.canonical_json(own_code._digest(place)))
    assert said(prepare(shop, tmp_path)) == "one"


def test_a_service_gets_its_settings_and_no_token_of_who_deploys(
    shop: git.Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"MODEL_TOKEN": "t", "MODEL_WORKERS": "2", "OMP_NUM_THREADS": "1", "LANG": "C"}
    tokens = ("GITHUB_TOKEN", "LEDGER_KEY", "REGISTRY_PASSWORD", "AWS_SECRET_ACCESS_KEY")
    for name, text in (given | dict.fromkeys(tokens, "s3cret")).items():
        monkeypatch.setenv(name, text)
    (shop.root / "src" / "shop" / "answer.py").write_text(
        "import json, os\nANSWER = json.dumps(dict(os.environ))\n"
    )
    commit(shop)
    seen = json.loads(said(prepare(shop, tmp_path)))
    assert given.items() <= seen.items()
    assert "s3cret" not in seen.values()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        ("no src", "cannot run: it has no src"),
        ("no service", "it has no engine"),
        ("two services", "it has no engine"),
        ("no pyproject", "cannot run: it has no pyproject.toml"),
        ("bad pyproject", "does not say which libraries it needs"),
        ("a link", "src/shop/link.py'?, not a plain file"),
        ("a link out", "src/out'?, not a plain file"),
    ],
)
def test_code_that_cannot_run_is_refused_in_one_line(
    shop: git.Git, tmp_path: Path, harm: str, message: str
) -> None:
    source = shop.root / "src"
    if harm == "no src":
        shutil.rmtree(source)
    elif harm == "no service":
        (source / "shop" / "serving" / "app.py").unlink()
    elif harm == "two services":
        shutil.copytree(source / "shop", source / "other")
    elif harm == "no pyproject":
        (shop.root / "pyproject.toml").unlink()
    elif harm == "bad pyproject":
        (shop.root / "pyproject.toml").write_text("[tool]\n")
    elif harm == "a link":
        (source / "shop" / "link.py").symlink_to("answer.py")
    else:
        (source / "out").symlink_to("/etc")
    wanted = commit(shop)
    with pytest.raises(errors.RefusedError, match=message.replace("*", r"\*")) as refused:
        prepare(shop, tmp_path)
    assert len(str(refused.value).splitlines()) == 1
    assert wanted[:7] in str(refused.value)


def test_a_tree_that_leads_out_of_its_folder_is_refused(shop: git.Git, tmp_path: Path) -> None:
    blob = shop.run("hash-object", "-w", "--stdin", stdin=b"out\n")
    inner = shop.run("mktree", stdin=f"100644 blob {blob}\tout.py\n".encode())
    outer = shop.run("mktree", stdin=f"040000 tree {inner}\t..\n".encode())
    project = shop.run("rev-parse", "HEAD:pyproject.toml")
    lines = f"100644 blob {project}\tpyproject.toml\n040000 tree {outer}\tsrc\n"
    tree = shop.run("mktree", stdin=lines.encode())
    wanted = shop.commit_tree(tree, "HEAD", "Out")
    with pytest.raises(errors.RefusedError, match="source commit .*src/../out.py"):
        prepare(shop, tmp_path, wanted)
    assert not list(tmp_path.rglob("out.py"))


def test_a_commit_that_is_not_here_is_refused_in_one_line(shop: git.Git, tmp_path: Path) -> None:
    with pytest.raises(errors.RefusedError, match="source commit 1111111 cannot run: git ls-tree"):
        prepare(shop, tmp_path, "1" * 40)


def test_old_programs_are_removed_but_never_one_that_a_service_runs(
    shop: git.Git, tmp_path: Path
) -> None:
    first = prepare(shop, tmp_path)
    used = tmp_path / "environments" / "staging" / f"process-1-{shop.run('rev-parse', 'HEAD')}.lock"
    used.parent.mkdir()
    used.touch()
    programs = []
    for number in range(own_code.KEPT + 2):
        (shop.root / "src" / "shop" / "answer.py").write_text(f"ANSWER = {number}\n")
        commit(shop)
        programs.append(prepare(shop, tmp_path))
    kept = [program.code[-1].exists() for program in programs]
    assert kept == [False] * 2 + [True] * own_code.KEPT
    assert said(first) == "one"


def test_what_is_inherited_never_goes_before_the_own_code(
    shop: git.Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / "src"
    shutil.copytree(shop.root / "src", other)
    (other / "shop" / "answer.py").write_text("ANSWER = 'other'\n")
    monkeypatch.setenv("PYTHONPATH", str(other))
    program = prepare(shop, tmp_path)
    assert said(program) == "one"
    assert program.environment()["PYTHONPATH"] == f"{program.code[-1]}{os.pathsep}{other}"
    with_own_libraries = own_code.Program(tmp_path / "python", program.code, "shop", None)
    assert with_own_libraries.environment()["PYTHONPATH"] == str(program.code[-1])


def test_extraction_takes_a_moment_not_a_process_for_each_file(tmp_path: Path) -> None:
    """Processor time, git's included, for the code of this project, the best of three: 30 ms, and
    110 ms where the disk looks long for a place for a hundred new files."""
    add_code(tmp_path / "project")
    shop = commit_all(tmp_path / "project")
    times = []
    for number in range(3):
        before = os.times()
        program = prepare(shop, tmp_path / str(number))
        times.append(sum(os.times()[:4]) - sum(before[:4]))
        assert program.python == Path(sys.executable)
    assert min(times) < 0.25, times
