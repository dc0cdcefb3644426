"""One tar for one content, and nothing hostile comes out of one."""

import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from mlrelease import errors
from mlrelease.scoring import artifact, contents
from mlrelease.storage import archive

NAMES = st.text(
    st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60
).filter(lambda name: name not in (".", ".."))
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(tuple)
TREES = st.dictionaries(PATHS, st.binary(max_size=2000), min_size=1, max_size=6).filter(
    lambda tree: not any(a != b and a == b[: len(a)] for a in tree for b in tree)
)


def plant(directory: Path, tree: dict[tuple[str, ...], bytes]) -> Path:
    for parts, content in tree.items():
        path = directory.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return directory


def packed(directory: Path) -> bytes:
    stream = io.BytesIO()
    archive.pack(contents.read(directory), stream)
    return stream.getvalue()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TREES)
def test_any_directory_comes_back_with_its_digest(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[tuple[str, ...], bytes]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    before = plant(folder / "before", tree)
    archive.unpack(io.BytesIO(packed(before)), folder / "after", "it")
    assert artifact.digest_of(folder / "after") == artifact.digest_of(before)


def test_time_mode_owner_and_order_do_not_change_a_byte(tmp_path: Path) -> None:
    one = plant(tmp_path / "one", {("a",): b"1", ("b", "c"): b"2"})
    other = plant(tmp_path / "other", {("b", "c"): b"2", ("a",): b"1"})
    os.utime(other / "a", (1, 1))
    (other / "a").chmod(0o600)
    (other / "empty").mkdir()  # no part of the digest either
    assert packed(one) == packed(other)


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def tar(*members: tarfile.TarInfo, content: bytes = b"") -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive_file:
        for info in members:
            info.size = len(content) if info.isreg() else 0
            archive_file.addfile(info, io.BytesIO(content))
    stream.seek(0)
    return stream


@pytest.mark.parametrize("folders", [False, True])
@pytest.mark.parametrize(
    "bad",
    [
        member("../outside"),
        member("a/../../outside"),
        member("/outside"),
        member("./a"),
        member("a//b"),
        member("."),
        member("link", tarfile.SYMTYPE, "/etc/passwd"),
        member("link", tarfile.LNKTYPE, "model.json"),
        member("pipe", tarfile.FIFOTYPE),
        member("device", tarfile.CHRTYPE),
        member("model.json"),  # a second time
        member("model.json/below"),  # a file is no folder
    ],
    ids=lambda info: f"{info.type!r} {info.name!r}",
)
def test_what_is_no_plain_file_below_is_refused(
    tmp_path: Path, bad: tarfile.TarInfo, folders: bool
) -> None:
    stream = tar(member("model.json"), bad)
    with pytest.raises(errors.RefusedError, match="^it: .*nothing was kept$"):
        archive.unpack(stream, tmp_path / "new", "it", folders)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new"]
    assert not (tmp_path / "new" / "link").exists()


def test_folders_are_passed_over_only_where_git_made_the_archive(tmp_path: Path) -> None:
    """None is made for its own sake, wherever its name leads."""
    named = [member(name, tarfile.DIRTYPE) for name in ("a", "../outside", "/outside")]
    stream = tar(*named, member("a/file"), content=b"!")
    with pytest.raises(errors.RefusedError, match="a'?, not a plain file"):
        archive.unpack(stream, tmp_path / "no", "it")
    stream.seek(0)
    archive.unpack(stream, tmp_path / "new", "it", folders=True)
    assert (tmp_path / "new" / "a" / "file").read_bytes() == b"!"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "no"]


def test_a_link_to_outside_is_not_followed_by_a_later_file(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    stream = tar(member("x", tarfile.SYMTYPE, str(outside)), member("x/file"), content=b"!")
    with pytest.raises(errors.RefusedError, match="not a plain file"):
        archive.unpack(stream, tmp_path / "new", "it")
    assert list(outside.iterdir()) == []


def test_a_sparse_file_that_would_fill_the_disk_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("big")
    info.pax_headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1"}
    info.pax_headers |= {"GNU.sparse.size": "900000000", "GNU.sparse.map": "0,0"}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive_file:
        archive_file.addfile(info)
    stream.seek(0)
    with pytest.raises(errors.RefusedError, match="not a plain file"):
        archive.unpack(stream, tmp_path / "new", "it")
    assert sum(path.stat().st_size for path in (tmp_path / "new").rglob("*")) == 0


@pytest.mark.parametrize(("limit", "value"), [("MAX_BYTES", 999), ("MAX_FILES", 9)])
def test_limits_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    stream = tar(*[member(f"{n}") for n in range(10)], content=b"x" * 100)
    archive.unpack(stream, tmp_path / "before", "it")
    monkeypatch.setattr(archive, limit, value)
    stream.seek(0)
    with pytest.raises(errors.RefusedError, match="holds more than"):
        archive.unpack(stream, tmp_path / "after", "it")


@pytest.mark.parametrize(("start", "cut"), [(b"", 700), (b"\x1f\x8b", 99999), (b"", 0)])
def test_a_damaged_archive_is_refused(tmp_path: Path, start: bytes, cut: int) -> None:
    content = tar(member("a"), content=b"x" * 400).getvalue()
    stream = io.BytesIO((start + content[len(start) :])[:cut])
    with pytest.raises(errors.RefusedError, match="cannot be unpacked"):
        archive.unpack(stream, tmp_path / "new", "it")
