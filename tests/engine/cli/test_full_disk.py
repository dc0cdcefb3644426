"""A disk that is full or read-only, a real one: one line says what, where and what to do, nothing
is half written, and with room again the same verb goes on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlrelease.rehearsal import sandbox
from tests.engine.cli.test_strangers import content
from tests.engine.cli.test_verbs import Run, run as run
from tests.engine.conftest import BETTER
from tests.engine.programs.test_limits import call, here as here

FULL, READ_ONLY = os.strerror(28), os.strerror(30)


class Disk:
    """A file system of its own, in memory."""

    def __init__(self, root: Path) -> None:
        self.root, self.filler = root, root / ".filler"

    def fill(self) -> None:
        """Leave no room."""
        with self.filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                return

    def empty(self) -> None:
        self.filler.unlink(missing_ok=True)

    def set(self, option: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.root)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", str(root)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system")
    yield Disk(root)
    subprocess.run(["umount", str(root)], check=True)


@pytest.fixture
def state(disk: Disk, world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the machine keeps is on that disk."""
    state = disk.root / "state"
    shutil.copytree(world.here.state, state)
    monkeypatch.chdir(world.here.root)
    monkeypatch.setenv("MODEL_STATE", str(state))
    return state


def kept(state: Path) -> dict[str, bytes | str]:
    """The files there, whole and half."""
    return {name: said for name, said in content(state).items() if said != "folder"}


@pytest.mark.parametrize("verbs", ["package", "promote staging", "release"])
@pytest.mark.parametrize("why", [FULL, READ_ONLY])
def test_a_verb_that_cannot_write_says_so_in_one_line(
    run: Run, world: sandbox.Sandbox, disk: Disk, state: Path, verbs: str, why: str
) -> None:
    digest = world.candidate(BETTER)
    if verbs != "package":
        assert run("package")[0] == 0
    if verbs == "release":
        world.merge(world.promote("staging").pull_request.branch)
    before = kept(state)
    disk.fill() if why == FULL else disk.set("ro")
    code, out, err = run(*verbs.split())
    (said,) = [line for line in (out + err).splitlines() if why in line]
    assert code == 1, (out, err)
    assert str(state) in said
    assert ("make room" if why == FULL else "make it writable") in said
    for word in ("unexpected", "Errno", "Traceback"):
        assert word not in out + err
    disk.empty() if why == FULL else disk.set("rw")
    assert kept(state) == before
    code, out, err = run(*verbs.split(), "--json")
    assert code == 0, (out, err)
    assert digest in out or verbs == "promote staging"


@pytest.mark.usefixtures("here")
def test_a_disk_that_is_full_for_a_check_of_a_model_is_no_answer_about_the_model(
    disk: Disk,
) -> None:
    (disk.root / "log").touch()
    disk.fill()
    with pytest.raises(OSError, match=FULL):
        call("fails", disk.root)
