"""The store with a real registry behind it: what one machine keeps, another gets, or nothing."""

import io
import itertools
import json
import os
import shutil
import tarfile
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings

from mlrelease import errors, files
from mlrelease.records import record
from mlrelease.scoring import artifact, contents
from mlrelease.storage import archive, connection, registry, store
from tests.engine.storage.registry_server import Server, requests
from tests.engine.storage.test_archive import TREES, plant

COUNT = itertools.count()
HEX = "sha256:" + "ab" * 32
# Each example talks to a registry, on a machine that may be busy.
SETTINGS = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def name(server: Server) -> str:
    """A repository that nobody pushed to yet."""
    return f"{server.host}/acme/model-{next(COUNT)}"


@pytest.fixture
def here(name: str, tmp_path: Path) -> store.Store:
    return store.Store(tmp_path / "here", registry.Registry(name))


@pytest.fixture
def there(name: str, tmp_path: Path) -> store.Store:
    """Another machine."""
    return store.Store(tmp_path / "there", registry.Registry(name))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return plant(tmp_path / "model", {("model.json",): b"{}", ("plots", "a.svg"): b"<svg/>"})


def kept(place: store.Store) -> list[str]:
    """Every file of a store's folder."""
    return sorted(path.name for path in place.root.rglob("*") if path.is_file())


def provenance(model: str, holdout: str, key: str = HEX) -> record.Provenance:
    return record.Provenance(
        model=model,
        version="2026.11.21+abcdef0",
        source=record.Source(commit="a" * 40),
        data=record.DataDigests(train=HEX, holdout=holdout),
        key=key,
    )


def manifest(name: str, tag: str) -> dict[str, object]:
    host, _, path = name.partition("/")
    url = f"http://{host}/v2/{path}/manifests/{tag}"
    accept = {"accept": "application/vnd.oci.image.manifest.v1+json"}
    answer = httpx.get(url, headers=accept, trust_env=False).raise_for_status()
    content: dict[str, object] = answer.json()
    return content


def layer(name: str, tag: str) -> str:
    layers = manifest(name, tag)["layers"]
    assert isinstance(layers, list)
    return str(layers[0]["digest"])


def tag_of(digest: str) -> str:
    return f"dir-{digest.removeprefix('sha256:')}"


@SETTINGS
@given(tree=TREES)
def test_any_directory_arrives_on_another_machine_with_its_digest(
    server: Server, tmp_path_factory: pytest.TempPathFactory, tree: dict[tuple[str, ...], bytes]
) -> None:
    folder = tmp_path_factory.mktemp("machines")
    plant(folder / "model", tree)
    remote = registry.Registry(f"{server.host}/acme/any")
    digest = store.Store(folder / "here", remote).put(folder / "model")
    found = store.Store(folder / "there", remote).fetch(digest)
    assert artifact.digest_of(found) == artifact.digest_of(folder / "model") == digest


def test_again_is_no_fault_and_uploads_nothing(
    server: Server, here: store.Store, there: store.Store, model: Path
) -> None:
    digest = here.put(model)
    before = len(requests(server))
    assert here.put(model) == there.put(model) == digest
    assert {method for method, _, _ in requests(server)[before:]} == {"GET", "HEAD"}


def test_a_second_fetch_asks_nobody(
    server: Server, here: store.Store, there: store.Store, model: Path
) -> None:
    digest = here.put(model)
    first = there.fetch(digest)
    before = len(requests(server))
    assert there.fetch(digest) == first
    assert len(requests(server)) == before


def test_one_directory_has_one_manifest(server: Server, tmp_path: Path, model: Path) -> None:
    digests = set()
    for number in (1, 2):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(model, copy)
        os.utime(copy / "model.json", (number, number))
        remote = registry.Registry(f"{server.host}/acme/one-{number}")
        digest = store.Store(tmp_path / f"store-{number}", remote).put(copy)
        digests.add(remote.digest(tag_of(digest)))
    assert len(digests) == 1
    assert None not in digests


def test_the_package_is_linked_to_its_repository(
    here: store.Store, name: str, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "acme/model")
    found = manifest(name, tag_of(here.put(model)))
    source = {"org.opencontainers.image.source": "https://github.com/acme/model"}
    assert found["annotations"] == source
    assert found["artifactType"] == store.DIRECTORY


def test_what_is_known_of_a_candidate_arrives(
    here: store.Store, there: store.Store, model: Path, tmp_path: Path
) -> None:
    holdout = here.put(plant(tmp_path / "holdout", {("rows",): b"1"}))
    known = provenance(here.put(model), holdout)
    assert there.find(HEX) is None
    here.save(known)
    assert there.provenance(known.model) == there.find(HEX) == known
    assert there.complete(record.short(known.model)) == known.model
    here.save(known.model_copy(update={"version": "2"}))
    assert there.provenance(known.model).version == "2"
    assert kept(there) == []


def test_an_unknown_candidate_is_refused(there: store.Store) -> None:
    with pytest.raises(errors.RefusedError, match="never packaged here: run `model package`"):
        there.provenance(HEX)
    with pytest.raises(errors.InputError, match="no packaged candidate .* none"):
        there.complete("ab")


def test_a_candidate_whose_holdout_is_gone_is_not_found(
    here: store.Store, there: store.Store, name: str, model: Path, tmp_path: Path
) -> None:
    holdout = here.put(plant(tmp_path / "holdout", {("rows",): b"1"}))
    here.save(provenance(here.put(model), holdout))
    assert there.find(HEX)
    host, _, path = name.partition("/")
    gone = registry.Registry(name).digest(tag_of(holdout))
    httpx.delete(f"http://{host}/v2/{path}/manifests/{gone}", trust_env=False).raise_for_status()
    assert there.find(HEX) is None


def test_what_was_never_packaged_is_refused(there: store.Store, name: str) -> None:
    with pytest.raises(errors.RefusedError, match=f"not in the store {name}: .*model package"):
        there.fetch(HEX)
    assert kept(there) == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"X" + content[1:], "serves sha256:"),
        (lambda content: content[:-1], "serves sha256:"),
        (lambda content: content + b"X", "sends more than"),
    ],
    ids=["one byte", "shorter", "longer"],
)
def test_a_registry_that_serves_other_bytes_is_refused(
    server: Server,
    here: store.Store,
    there: store.Store,
    name: str,
    model: Path,
    damage: object,
    message: str,
) -> None:
    (model / "unique").write_text(name)  # blobs are shared between repositories
    digest = here.put(model)
    blob = server.blob(layer(name, tag_of(digest)))
    assert callable(damage)
    blob.write_bytes(damage(blob.read_bytes()))
    with pytest.raises(errors.ModelError, match=message):
        there.fetch(digest)
    assert kept(there) == []


def test_a_registry_that_lost_a_layer_gets_it_again(
    server: Server, here: store.Store, there: store.Store, name: str, model: Path
) -> None:
    (model / "unique").write_text(name)
    digest = here.put(model)
    lost = layer(name, tag_of(digest)).removeprefix("sha256:")
    folder = server.folder / "docker/registry/v2/repositories" / name.partition("/")[2] / "_layers"
    shutil.rmtree(folder / "sha256" / lost)
    with pytest.raises(errors.RefusedError, match="serves nothing for"):
        there.fetch(digest)
    here.put(model)
    assert there.fetch(digest)


def test_another_directory_behind_the_tag_is_refused_and_mended(
    here: store.Store, there: store.Store, name: str, model: Path
) -> None:
    digest = here.put(model)
    other = plant(model.parent / "other", {("model.json",): b"[]"})
    with io.BytesIO() as stream:
        archive.pack(contents.read(other), stream)
        registry.Registry(name).push(tag_of(digest), store.DIRECTORY, stream)
    with pytest.raises(errors.RefusedError, match=rf"holds {artifact.digest_of(other)}"):
        there.fetch(digest)
    assert kept(there) == []
    here.put(model)
    assert there.fetch(digest)


@pytest.mark.parametrize("path", ["../../outside", "/outside-of-the-store"])
def test_a_hostile_archive_writes_nothing(there: store.Store, name: str, path: str) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(path))
    registry.Registry(name).push(tag_of(HEX), store.DIRECTORY, stream)
    with pytest.raises(errors.RefusedError, match="outside.*not a plain file"):
        there.fetch(HEX)
    assert kept(there) == []
    assert not list(there.root.parent.rglob("outside*"))


def test_a_note_is_no_directory_and_an_image_is_neither(
    server: Server, there: store.Store, name: str
) -> None:
    remote = registry.Registry(name)
    remote.push(tag_of(HEX), store.NOTE, io.BytesIO(b"{}"))
    with pytest.raises(errors.RefusedError, match="is application/vnd.model.note"):
        there.fetch(HEX)
    image = json.loads(json.dumps(manifest(name, tag_of(HEX))))
    image.pop("artifactType")
    host, _, path = name.partition("/")
    kind = {"content-type": registry.MANIFEST}
    url = f"http://{host}/v2/{path}/manifests/{tag_of(HEX)}"
    httpx.put(url, json=image, headers=kind, trust_env=False).raise_for_status()
    with pytest.raises(errors.RefusedError, match="is an image"):
        there.fetch(HEX)


def test_a_note_about_another_model_is_not_believed(there: store.Store, name: str) -> None:
    other = "sha256:" + "cd" * 32
    text = files.canonical_json(provenance(other, HEX, key=other).model_dump(mode="json"))
    for kind in ("candidate", "inputs"):
        note = io.BytesIO(text.encode())
        registry.Registry(name).push(f"{kind}-{'ab' * 32}", store.NOTE, note)
    with pytest.raises(errors.RefusedError, match="not believed"):
        there.provenance(HEX)
    with pytest.raises(errors.RefusedError, match="not believed"):
        there.find(HEX)


def test_a_damaged_copy_is_replaced_by_what_the_registry_holds(
    here: store.Store, model: Path
) -> None:
    path = here.fetch(here.put(model))
    (path / "model.json").write_text("[]")
    assert (here.fetch(f"sha256:{path.name}") / "model.json").read_text() == "{}"


@pytest.mark.parametrize("name", ["notes.txt", "plots/notes.txt", "link"])
def test_a_strangers_file_in_a_damaged_copy_stays(tmp_path: Path, model: Path, name: str) -> None:
    alone = store.Store(tmp_path / "alone")
    path = alone.fetch(alone.put(model))
    (path / "model.json").write_text("[]")
    mine = path / name
    if name == "link":
        mine.symlink_to(model)
    else:
        mine.write_text("mine")
    with pytest.raises(errors.RefusedError, match=f"{mine}: .* move it away"):
        alone.put(model)
    assert os.path.lexists(mine)
    mine.unlink()
    assert alone.fetch(alone.put(model)) == path


@pytest.mark.parametrize("link", [False, True])
def test_a_strangers_file_in_the_place_of_a_copy_stays(
    tmp_path: Path, model: Path, link: bool
) -> None:
    alone = store.Store(tmp_path / "alone")
    path = alone.fetch(alone.put(model))
    path.rename(tmp_path / "away")
    path.symlink_to(tmp_path) if link else path.write_text("mine")
    with pytest.raises(errors.RefusedError, match=f"{path}: .* move it away"):
        alone.put(model)
    assert os.path.lexists(path)


def test_too_large_is_refused_on_both_sides(
    here: store.Store, there: store.Store, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = here.put(model)
    monkeypatch.setattr(archive, "MAX_BYTES", 1000)
    monkeypatch.setattr(registry, "MAX_BYTES", 1000)
    with pytest.raises(errors.RefusedError, match="at most 1,000"):
        there.fetch(digest)
    (model / "more").write_text("more")
    with pytest.raises(errors.RefusedError, match="larger than 1,000 bytes; not pushed"):
        here.put(model)


def test_without_a_registry_the_folder_is_the_store(tmp_path: Path, model: Path) -> None:
    alone = store.Store(tmp_path / "alone")
    incomplete = alone.put(model)
    alone.save(provenance(incomplete, incomplete))
    assert alone.find(HEX) is None
    for name in set(artifact.MODEL_FILES) - {"model.json"}:
        (model / name).write_text("{}")
    digest = alone.put(model)
    alone.save(provenance(digest, digest))
    assert alone.find(HEX) == alone.provenance(alone.complete(digest[:20]))
    (alone.fetch(digest) / "model.json").write_text("[]")
    with pytest.raises(errors.RefusedError, match="not loaded"):
        alone.fetch(digest)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("ghcr.io/Acme/Churn", "ghcr.io/acme/churn"),
        ("oci://ghcr.io/acme/churn/", "ghcr.io/acme/churn"),
        ("localhost:5000/a", "localhost:5000/a"),
        ("[::1]:5000/a/b.c/d__e", "[::1]:5000/a/b.c/d__e"),
    ],
)
def test_a_registry_is_named_as_people_do(given: str, name: str) -> None:
    assert str(registry.Registry(given)) == name


@pytest.mark.parametrize(
    "given",
    [
        *("", "ghcr.io", "ghcr.io/", "/a", "https://ghcr.io/a", "ghcr.io/a:tag"),
        *("ghcr.io/a@sha256:0", "ghcr.io/../a", "ghcr.io/a b", "user:word@ghcr.io/a"),
        *("ghcr.io/a/?x=1", "ghcr.io/a#b"),
    ],
)
def test_what_is_no_name_of_a_registry_is_refused(given: str) -> None:
    with pytest.raises(errors.InputError, match="not HOST/NAME"):
        registry.Registry(given)


def test_a_registry_that_is_down_is_named(tmp_path: Path, model: Path) -> None:
    down = store.Store(tmp_path / "store", registry.Registry("127.0.0.1:9/acme/model"))
    with pytest.raises(connection.RegistryError, match=r"^127.0.0.1:9/acme/model: .*refused$"):
        down.put(model)
    with pytest.raises(connection.RegistryError, match="refused"):
        down.fetch(HEX)
    with pytest.raises(connection.RegistryError, match="refused"):
        down.find(HEX)
