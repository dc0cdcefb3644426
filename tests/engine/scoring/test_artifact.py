"""The model directory: any change is seen, nothing foreign is loaded."""

import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from mlrelease import errors
from mlrelease.objects import read
from mlrelease.params import Params
from mlrelease.scoring import artifact, contents
from mlrelease.training import train

NAMES = st.text("abc", min_size=1, max_size=3)


@pytest.fixture
def model(project: Path) -> Path:
    train.train(read(project / "params.yaml", Params), project, project / "candidate")
    return project / "candidate" / "model"


def write(directory: Path, content: dict[str, bytes], order: int = 1) -> Path:
    for name in list(content)[::order]:
        path = directory / f"{name}.d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[name])
    return directory


@given(st.dictionaries(NAMES, st.binary(max_size=8), min_size=1))
def test_the_digest_depends_on_content_alone(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes]
) -> None:
    one = write(tmp_path_factory.mktemp("a"), content)
    other = write(tmp_path_factory.mktemp("b"), content, order=-1)
    os.utime(other, (0, 0))
    assert artifact.digest_of(one) == artifact.digest_of(other)


@given(st.dictionaries(NAMES, st.binary(max_size=8), min_size=1), NAMES, st.binary(min_size=9))
def test_any_change_gives_another_digest(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes], name: str, new: bytes
) -> None:
    directory = write(tmp_path_factory.mktemp("a"), content)
    before = artifact.digest_of(directory)
    write(directory, {name: new})
    assert artifact.digest_of(directory) != before


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(errors.RefusedError, match="links are refused"):
        artifact.digest_of(tmp_path)


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_no_content_has_no_digest(tmp_path: Path, kind: str) -> None:
    with pytest.raises(errors.RefusedError, match="no such|empty"):
        artifact.digest_of(tmp_path / "gone" if kind == "missing" else tmp_path)


@pytest.mark.parametrize("name", artifact.MODEL_FILES)
def test_a_tampered_file_is_refused_before_anything_is_loaded(
    model: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = artifact.digest_of(model)
    with (model / name).open("ab") as stream:
        stream.write(b" ")

    def loaded(_: Path) -> None:
        raise AssertionError("it was loaded")

    monkeypatch.setattr(artifact, "load_estimator", loaded)
    monkeypatch.setattr(artifact, "read_card", loaded)
    with pytest.raises(errors.RefusedError, match="not loaded"):
        artifact.Model.load(model, digest)


def test_a_directory_holds_these_files_and_no_pickle(model: Path) -> None:
    assert sorted(path.name for path in model.iterdir()) == list(artifact.MODEL_FILES)
    with zipfile.ZipFile(model / "model.skops") as archive:
        assert {Path(name).suffix for name in archive.namelist()} <= {".json", ".npy"}


def test_a_type_that_is_not_trusted_is_refused(tmp_path: Path) -> None:
    fitted = KNeighborsClassifier(algorithm="kd_tree").fit([[0.0], [1.0]], [0, 1])
    with pytest.raises(errors.RefusedError, match=r"model\.skops: holds .* not trusted"):
        artifact.load_estimator(artifact.dump_estimator(fitted), tmp_path / "model.skops")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04pickle"])
def test_a_damaged_estimator_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(errors.InputError, match=r"model\.skops: cannot be loaded"):
        artifact.load_estimator(content, tmp_path / "model.skops")


def test_a_card_with_an_unknown_key_is_refused(model: Path) -> None:
    text = (model / "model.json").read_text()
    (model / "model.json").write_text(text.replace('"estimator"', '"estimator_"'))
    with pytest.raises(errors.InputError, match=r"model\.json"):
        artifact.read_card(contents.read(model))


def test_equal_estimators_give_equal_bytes() -> None:
    fits = [LogisticRegression().fit([[0.0], [1.0]], [0, 1]) for _ in range(2)]
    assert artifact.dump_estimator(fits[0]) == artifact.dump_estimator(fits[1])
