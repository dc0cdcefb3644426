"""Two trainings in one folder, a training that is killed, and a disk that is full: real processes,
and never a candidate that is not whole."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from mlrelease import errors
from mlrelease.packages import package
from mlrelease.promotion import work_tree
from mlrelease.rehearsal import sandbox
from mlrelease.scoring import artifact, candidate_lock
from mlrelease.training import train
from tests.engine.conftest import PYTHONPATH

NAME = train.__name__.split(".")[0]
VERB = f"from {NAME}.cli.app import main; main()"
KILLED = f"""
import os, signal, sys
true, left = os.replace, int(sys.argv.pop(1))
def replace(*arguments, **options):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    true(*arguments, **options)
os.replace = replace
{VERB}
"""


def start(
    world: sandbox.Sandbox,
    *arguments: str,
    code: str = VERB,
    before: Callable[[], None] | None = None,
) -> subprocess.Popen[str]:
    place = PYTHONPATH
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=world.here.root, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=before,
        env=os.environ | {"PYTHONPATH": place, "MODEL_STATE": str(world.here.state)},
    )  # fmt: skip


def run(world: sandbox.Sandbox, *arguments: str) -> tuple[int, str, str]:
    process = start(world, *arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def whole(world: sandbox.Sandbox) -> train.Candidate:
    """The candidate, when it is whole and nothing else lies there."""
    found = train.Candidate.read(world.here.candidate)
    found.check(world.here.candidate)
    names = {path.name for path in world.here.candidate.iterdir()}
    assert names <= {"inputs.json", "model", "holdout", "fitted", candidate_lock.LOCK}
    return found


def test_the_second_of_two_trainings_is_refused_in_one_line(world: sandbox.Sandbox) -> None:
    before = whole(world)
    with candidate_lock.writing(world.here.candidate):
        code, out, err = run(world, "train", "--force")
    assert (code, out) == (1, "")
    assert "another `model train` is going on in this folder; wait" in err.splitlines()[-1]
    assert whole(world) == before
    assert run(world, "train", "--force")[0] == 0


def test_two_trainings_at_once_leave_one_whole_candidate(world: sandbox.Sandbox) -> None:
    before = whole(world)
    both = [start(world, "train", "--force") for _ in range(2)]
    codes = sorted((process.communicate(timeout=120), process.returncode)[1] for process in both)
    assert codes in ([0, 0], [0, 1])
    assert whole(world) == before
    assert package.package(world.here).model == before.model


def test_a_lock_dies_with_its_process(world: sandbox.Sandbox) -> None:
    code = (
        "import os, pathlib; from mlrelease.scoring.candidate_lock import writing\n"
        "with writing(pathlib.Path('candidate')): print('held', flush=True); os.read(0, 1)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        cwd=world.here.root, env=os.environ | {"PYTHONPATH": PYTHONPATH},
    )  # fmt: skip
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(errors.RefusedError, match="another `model train`"):
        train.train(world.here.params, world.here.root, world.here.candidate)
    process.kill()
    process.wait()
    train.train(world.here.params, world.here.root, world.here.candidate)


# Renames of a training: five files of the model, the old model aside and the new one in, the same
# of the holdout, then inputs.json.
@pytest.mark.parametrize("renames", [2, 7, 8, 9, 10])
def test_the_next_training_converges_after_kill_9(world: sandbox.Sandbox, renames: int) -> None:
    inputs = world.here.root / "params.yaml"
    world.commit("params.yaml", inputs.read_text().replace("seed: 7", "seed: 8"))
    process = start(world, str(renames), "train", code=KILLED)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(errors.ModelError):
        package.package(world.here)
    assert "trained" in run(world, "train")[1]
    found = whole(world)
    assert package.package(world.here).model == found.model
    assert run(world, "train")[1].startswith("inputs unchanged")


def test_a_killed_restoration_is_done_by_the_next_training(world: sandbox.Sandbox) -> None:
    before = whole(world)
    shutil.rmtree(world.here.candidate)
    process = start(world, "2", "train", code=KILLED)  # the model is there, the holdout is not
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert run(world, "train")[1].startswith("inputs unchanged")
    assert whole(world) == before


def damaged(world: sandbox.Sandbox, name: str) -> train.Candidate:
    """What two trainings left once: a model without one of its files, named by inputs.json."""
    (world.here.candidate / "model" / name).unlink()
    digest = artifact.digest_of(world.here.candidate / "model")
    found = train.Candidate.read(world.here.candidate)
    damaged = train.Candidate(found.key, digest, found.train, found.holdout)
    damaged.write(world.here.candidate)
    return damaged


@pytest.mark.parametrize("name", artifact.MODEL_FILES)
def test_a_model_without_one_of_its_files_is_refused_and_never_offered(
    world: sandbox.Sandbox, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, found = whole(world), damaged(world, name)
    for act in (
        lambda: package.package(world.here),
        lambda: work_tree.evaluate_candidate(world.here, "staging"),
    ):
        with pytest.raises(errors.RefusedError, match=f"damaged: {name} is missing; run"):
            act()
    store = world.here.store
    provenance = store.provenance(before.model).model_copy(update={"model": found.model})
    store.put(world.here.candidate / "model")  # as an older version packaged it
    store.save(provenance)
    assert store.find(found.key) is None
    monkeypatch.setattr(type(store), "find", lambda *_: provenance)  # a registry is asked for names
    assert work_tree.restore_candidate(world.here, found.key) is None
    monkeypatch.undo()
    code, out, _ = run(world, "train")
    assert (code, out.split(":")[0]) == (0, "trained random_forest")
    assert whole(world) == before
    assert package.package(world.here).model == before.model
    assert store.find(found.key) is not None


def full(bytes_: int) -> Callable[[], None]:
    """No file of the process can have more bytes: what a full disk does, without one."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, bytes_))


@pytest.mark.parametrize("bytes_", [100, 30_000])  # not even model.json fits; the holdout does not
def test_a_full_disk_is_one_line_and_the_candidate_stays(
    world: sandbox.Sandbox, bytes_: int
) -> None:
    before = whole(world)
    process = start(world, "train", "--force", before=full(bytes_))
    _, err = process.communicate(timeout=120)
    lines = [line for line in err.splitlines() if line.startswith("model: ")]
    assert (process.returncode, len(lines)) == (1, 1)
    assert os.strerror(errno.EFBIG) in lines[0]
    assert str(world.here.candidate) in lines[0]
    assert "Traceback" not in err
    assert whole(world) == before


def test_a_file_in_the_place_of_the_folder_is_one_line(world: sandbox.Sandbox) -> None:
    shutil.rmtree(world.here.candidate)
    world.here.candidate.write_text("mine")
    code, _, err = run(world, "train", "--force")
    assert (code, err.splitlines()[-1].count("move away what is there")) == (1, 1)
    assert world.here.candidate.read_text() == "mine"


def test_rows_that_change_during_a_training_give_no_candidate(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = iter(["sha256:one", "sha256:two"])
    monkeypatch.setattr(train, "input_key", lambda *_: next(keys))
    before = whole(world)
    with pytest.raises(errors.RefusedError, match="changed during the training; nothing was kept"):
        train.train(world.here.params, world.here.root, world.here.candidate)
    assert whole(world) == before
