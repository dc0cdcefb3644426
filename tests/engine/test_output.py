"""A folder that a person named holds our files and theirs; theirs are never touched."""

from pathlib import Path

import pytest

from mlrelease import errors, files, output

OLD = {"report.md": b"old", "plots/0/roc.png": b"old"}
NEW = {"report.md": b"new", "plots/1/roc.png": b"new"}
NAMES = r"report\.md|plots/\d+/roc\.png"


def content(root: Path) -> dict[str, bytes]:
    found = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
    found.pop(output.WRITTEN, None)
    return found


def test_what_we_wrote_is_replaced_and_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "code.py").write_bytes(b"mine")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_bytes(b"mine")
    output.Folder(tmp_path, NAMES).write(OLD)
    output.Folder(tmp_path, NAMES).write(NEW)
    assert content(tmp_path) == NEW | {"src/code.py": b"mine", ".git/HEAD": b"mine"}
    assert not (tmp_path / "plots" / "0").exists()


@pytest.mark.parametrize("name", NEW)
def test_a_strangers_file_refuses_the_whole(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(errors.RefusedError, match="was not written by this command"):
        output.Folder(tmp_path, NAMES).write(NEW)
    assert content(tmp_path) == {name: b"mine"}


def test_what_somebody_changed_is_theirs(tmp_path: Path) -> None:
    output.Folder(tmp_path, NAMES).write(OLD)
    (tmp_path / "report.md").write_bytes(b"mine")
    with pytest.raises(errors.RefusedError, match=r"report\.md"):
        output.Folder(tmp_path, NAMES).write(NEW)
    (tmp_path / "report.md").unlink()
    (tmp_path / "plots/0/roc.png").write_bytes(b"mine")
    output.Folder(tmp_path, NAMES).write(NEW)
    assert content(tmp_path) == NEW | {"plots/0/roc.png": b"mine"}


def test_a_run_that_was_killed_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.Folder(tmp_path, NAMES).write(OLD)
    real, calls = files.write_atomically, 0

    def dies(path: Path, text: str | bytes) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        real(path, text)

    monkeypatch.setattr(output, "write_atomically", dies)
    with pytest.raises(KeyboardInterrupt):
        output.Folder(tmp_path, NAMES).write(NEW)
    monkeypatch.undo()
    output.Folder(tmp_path, NAMES).write(NEW)
    assert content(tmp_path) == NEW


def test_a_forged_list_names_nothing_outside(tmp_path: Path) -> None:
    mine, folder = tmp_path / "mine", tmp_path / "folder"
    mine.write_bytes(b"mine")
    digest = files.sha256(b"mine")
    folder.mkdir()
    (folder / "link").symlink_to(mine)
    listed = {name: [digest] for name in ("../mine", str(mine), "link")}
    (folder / output.WRITTEN).write_text(files.canonical_json(listed))
    output.Folder(folder, NAMES).write(NEW)
    assert mine.read_bytes() == b"mine"
    assert (folder / "link").is_symlink()


def test_a_file_where_the_folder_should_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"mine")
    with pytest.raises(errors.InputError, match="is not a folder"):
        output.Folder(tmp_path / "mine", NAMES).write(NEW)
    assert (tmp_path / "mine").read_bytes() == b"mine"


def test_a_link_inside_is_not_followed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "plots").symlink_to(theirs)
    with pytest.raises(errors.RefusedError, match="is a link"):
        output.Folder(tmp_path / "here", NAMES).write(NEW)
    assert not [*theirs.iterdir()]


@pytest.mark.parametrize("name", ["src/code.py", "link/0/roc.png", "plots/7/roc.png"])
def test_a_list_that_somebody_planted_removes_nothing(tmp_path: Path, name: str) -> None:
    """Neither by a name that is none of ours, nor through a link."""
    root, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for place in (root / "src" / "code.py", elsewhere / "roc.png"):
        place.parent.mkdir(parents=True)
        place.write_bytes(b"mine")
    (root / "link").mkdir()
    (root / "link" / "0").symlink_to(elsewhere)
    (root / "plots").mkdir()
    (root / "plots" / "7").symlink_to(elsewhere)
    (root / output.WRITTEN).write_text(files.canonical_json({name: [files.sha256(b"mine")]}))
    output.Folder(root, NAMES).write({"report.md": b"new"})
    assert (root / "src" / "code.py").read_bytes() == b"mine"
    assert (elsewhere / "roc.png").read_bytes() == b"mine"
