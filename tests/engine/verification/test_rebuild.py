"""What the source commit gives is found by running its source, to the end."""

import importlib.util
import marshal
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dummy import data
from mlrelease import errors, files
from mlrelease.packages import package
from mlrelease.params import Params
from mlrelease.records import large_files
from mlrelease.rehearsal import sandbox
from mlrelease.training import train
from tests.engine.conftest import BETTER, PARAMS
from tests.engine.verification.test_bound import (
    built_from,
    forged,
    nudge,
    packaged,
    refused,
    retold,
    said,
)

ENDS = """
import os, signal, subprocess, sys
if "limits_server" in open(f"/proc/{os.getppid()}/cmdline").read():
    %s
"""


def test_code_that_exits_before_it_is_done_gives_no_model(world: sandbox.Sandbox) -> None:
    built_from(world, "data.py", lambda text: text + ENDS % "os._exit(0)")
    assert "ended with code 0 before it was done" in refused(world)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
def test_code_that_ends_what_watches_it_is_refused_and_leaves_nothing(
    world: sandbox.Sandbox,
) -> None:
    kill = "subprocess.Popen(['sh', '-c', '(setsid sleep 63 &) &']); import time; time.sleep(0.5);"
    kill += " os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"
    built_from(world, "data.py", lambda text: text + ENDS % kill)
    assert "rebuilt: " in (text := refused(world))
    assert "the process that checks models ended" in text
    assert "sleep 63" not in subprocess.run(["ps", "ax"], capture_output=True, text=True).stdout


def bytecode(source: Path) -> Path:
    """What Python would run instead of a source, whatever that holds (PEP 552)."""
    code = compile(source.read_text() + "\nraise SystemExit('bytecode ran')\n", source, "exec")
    place = Path(importlib.util.cache_from_source(str(source)))
    place.parent.mkdir(exist_ok=True)
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
    place.write_bytes(head + marshal.dumps(code))
    return place


def test_committed_bytecode_is_not_packaged(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    source = next((world.here.root / "src").glob("*/model.py"))
    place = bytecode(source).relative_to(world.here.root).as_posix()
    package.package(world.here)  # not committed, as every Python leaves it there
    world.git("add", "--force", place)
    world.git("commit", "--quiet", "--message", "Bytecode")
    with pytest.raises(errors.RefusedError, match=r"model\..*\.pyc: is bytecode"):
        package.package(world.here)


def test_committed_bytecode_does_not_run(world: sandbox.Sandbox) -> None:
    honest = packaged(world)
    source = next((world.here.root / "src").glob("*/model.py"))
    place = bytecode(source).relative_to(world.here.root).as_posix()
    world.git("add", "--force", place)
    world.git("commit", "--quiet", "--message", "Bytecode")
    world.git("push", "--quiet", "origin", "main")
    commit = world.here.git.base()
    shutil.rmtree((world.here.root / place).parent)
    told = honest.source.model_copy(update={"commit": commit})
    forged(world, honest, source=told, version=world.here.git.version(commit))
    head = world.promote("staging").pull_request.head
    assert "the same bytes" in said(world, head)["rebuilt"][1]


def with_rows(world: sandbox.Sandbox) -> str:
    """Let the rows lie in Git LFS; their digest."""
    root = world.here.root
    params = Params.model_validate(yaml.safe_load(PARAMS))
    table = data.load(params, root)
    rows = table.to_csv(index=False).encode()
    digest = files.sha256(rows)
    pointer = f"version https://git-lfs.github.com/spec/v1\noid {digest}\nsize {len(rows)}\n"
    (root / "data").mkdir(exist_ok=True)
    world.commit("data/rows.csv", pointer)
    content = yaml.safe_load((root / "params.yaml").read_text())
    content["data"]["source"] = "data/rows.csv"
    content["model"] = BETTER["model"]
    world.commit("params.yaml", yaml.safe_dump(content))
    (root / "data/rows.csv").write_bytes(rows)
    return digest.removeprefix("sha256:")


def promoted(world: sandbox.Sandbox) -> str:
    here = world.here
    train.train(here.params, here.root, here.candidate)
    package.package(here)
    return said(world, world.promote("staging").pull_request.head)["rebuilt"][1]


def test_rows_in_git_lfs_are_read_from_the_work_tree(world: sandbox.Sandbox) -> None:
    with_rows(world)
    assert "the same bytes" in promoted(world)


def test_rows_in_git_lfs_are_read_from_its_store(tmp_path: Path, world: sandbox.Sandbox) -> None:
    git, digest = world.here.git, with_rows(world)
    rows = world.here.root / "data" / "rows.csv"
    store = world.here.root / ".git" / "lfs" / "objects" / digest[:2] / digest[2:4] / digest
    store.parent.mkdir(parents=True)
    shutil.move(rows, store)
    assert large_files.write(git, "data/rows.csv", digest, tmp_path / "rows")
    assert files.sha256((tmp_path / "rows").read_bytes()) == f"sha256:{digest}"
    store.write_bytes(b"x,y\n")
    assert not large_files.write(git, "data/rows.csv", digest, tmp_path / "rows")


def test_a_key_is_compared_whatever_python_the_model_names(world: sandbox.Sandbox) -> None:
    honest = packaged(world)
    place = world.here.root / "renamed"
    shutil.copytree(world.here.store.fetch(retold(world, honest, nudge(1e-7))), place)
    card = files.read_json(place / "model.json")
    card["libraries"]["python"] = f"{sys.version_info.major}.{sys.version_info.minor}.99"
    (place / "model.json").write_text(files.canonical_json(card))
    model = world.here.store.put(place)
    shutil.rmtree(place)
    forged(world, honest, model=model, key="sha256:" + "2" * 64)
    assert "has other inputs than the record's key says" in refused(world)
