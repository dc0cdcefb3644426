"""What is hashed is what is loaded: a directory's files are read once."""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from mlrelease import errors
from mlrelease.scoring import contents

NAMES = st.text("aB/._-é", min_size=1, max_size=6).filter(
    lambda name: all(part.strip(".") for part in name.split("/"))
)
TREES = st.dictionaries(NAMES, st.binary(max_size=8), min_size=1).filter(
    lambda tree: not any(b.startswith(f"{a}/") for a in tree for b in tree)
)


def plant(directory: Path, tree: dict[str, bytes]) -> Path:
    for name, content in tree.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


@given(TREES)
def test_the_digest_of_what_is_read_is_the_sum_over_sorted_paths(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes]
) -> None:
    """Written out again here: a project of the version before must find its models by it."""
    directory = plant(tmp_path_factory.mktemp("a"), tree)
    lines = [json.dumps([name, hashlib.sha256(tree[name]).hexdigest()]) for name in sorted(tree)]
    expected = f"sha256:{hashlib.sha256(chr(10).join(lines).encode()).hexdigest()}"
    found = contents.read(directory, expected)
    assert (found.files, found.digest) == (tree, expected)
    assert contents.digest_of(directory) == expected


@given(TREES)
def test_what_is_written_from_memory_has_the_same_digest(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, bytes]
) -> None:
    directory = tmp_path_factory.mktemp("a")
    found = contents.read(plant(directory / "one", tree))
    found.write(directory / "other")
    assert contents.digest_of(directory / "other") == found.digest


def test_what_has_another_digest_is_not_read(tmp_path: Path) -> None:
    plant(tmp_path, {"a": b"1"})
    with pytest.raises(errors.RefusedError, match="expected sha256:00; not loaded"):
        contents.read(tmp_path, "sha256:00")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    found = contents.read(plant(tmp_path, {"a": b"{"}))
    assert "model.json" not in found
    with pytest.raises(errors.InputError, match=r"/model\.json: no such file"):
        found.json("model.json")
    with pytest.raises(errors.InputError, match="/a: cannot be read as JSON"):
        found.json("a")


def link(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("make", [link, os.mkfifo])
def test_links_and_pipes_are_refused_and_nobody_waits_for_them(
    tmp_path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that takes the place of a file between the look at the folder and the reading."""
    (tmp_path / "a").write_bytes(b"1")
    listed = contents._listed

    def swapped(directory: Path) -> Iterator[tuple[str, Path]]:
        for name, path in listed(directory):
            path.unlink()
            make(path)
            yield name, path

    for read in (contents.read, contents.digest_of):
        with monkeypatch.context() as patch:
            patch.setattr(contents, "_listed", swapped)
            with pytest.raises(errors.RefusedError, match="/a: "):
                read(tmp_path)
        with pytest.raises(errors.RefusedError, match="links are refused"):
            read(tmp_path)
        (tmp_path / "a").unlink()
        (tmp_path / "a").write_bytes(b"1")


def test_a_file_that_grows_while_it_is_read_is_read_as_it_was(tmp_path: Path) -> None:
    directory, stop = plant(tmp_path / "grows", {"log": b"x" * 1000}), threading.Event()

    def grow() -> None:
        with (directory / "log").open("ab") as stream:
            while not stop.is_set() and stream.tell() < 20_000_000:
                stream.write(b"y" * 10_000)
                stream.flush()

    thread = threading.Thread(target=grow)
    thread.start()
    try:
        for _ in range(20):
            found = contents.read(directory)
            copy = plant(tmp_path / "copy", found.files)
            assert contents.digest_of(copy) == found.digest
    finally:
        stop.set()
        thread.join()


def test_what_was_loaded_can_be_forgotten(tmp_path: Path) -> None:
    found = contents.read(plant(tmp_path, {"a": b"1"}))
    found.forget()
    assert "a" not in found


def test_a_directory_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(contents.MAX_BYTES + 1)  # it takes no room
    with pytest.raises(errors.RefusedError, match="holds more than 2,000,000,000 bytes"):
        contents.read(tmp_path)
