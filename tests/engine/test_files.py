"""Files are whole or not there."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from mlrelease import errors, files
from mlrelease.deployment import drivers
from mlrelease.scoring import candidate_lock
from mlrelease.serving import process


def test_a_failed_write_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.json"
    files.write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        files.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_not_json_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(errors.InputError, match="cannot be read as JSON"):
        files.read_json(tmp_path / "a.json")


def test_json_nested_too_deep_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 200_000)
    with pytest.raises(errors.InputError, match="cannot be read as JSON: nested too deep"):
        files.read_json(tmp_path / "a.json")


def test_canonical_json_refuses_what_json_has_not() -> None:
    with pytest.raises(ValueError, match="JSON"):
        files.canonical_json({"a": float("nan")})


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """The lock of a service's process."""
    file = process.lock(folder / "process.json")
    yield
    os.close(file)


LOCKS = [
    (".lock", files.alone),
    (candidate_lock.LOCK, candidate_lock.writing),
    ("deploy.lock", drivers.exclusive),
    ("process.lock", served),
]


@pytest.mark.parametrize(("name", "take"), LOCKS)
def test_a_lock_empties_no_file_and_follows_no_link(
    tmp_path: Path, name: str, take: Callable[[Path], AbstractContextManager[None]]
) -> None:
    precious, folder = tmp_path / "precious", tmp_path / "folder"
    folder.mkdir()
    precious.write_text("mine")
    for there in (precious, tmp_path / "new"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(there)
        with pytest.raises(errors.RefusedError, match="lock: is a link or no"), take(folder):
            pass
    assert not (tmp_path / "new").exists()
    (folder / name).unlink()
    (folder / name).write_text("somebody's own lock")
    with take(folder):
        assert (folder / name).read_text() == "somebody's own lock"
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_plain_file_is_no_lock(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / ".lock")
    with pytest.raises(errors.RefusedError, match="no plain file"), files.alone(tmp_path):
        pass
