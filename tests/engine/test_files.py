"""Files are whole or not there."""

from pathlib import Path

import pytest

from mlrelease import errors, files


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
