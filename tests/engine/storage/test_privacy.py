"""Rows go to a registry that others can read only where params.yaml says that they are public."""

import itertools
import shutil
from pathlib import Path

import pytest
import yaml

from mlrelease import errors, workspace
from mlrelease.packages import package
from mlrelease.rehearsal import sandbox
from mlrelease.storage import connection, registry, store
from mlrelease.training import train
from tests.engine.conftest import GENERATED, add_code
from tests.engine.storage.registry_server import Server
from tests.engine.storage.test_archive import plant

PROJECT = GENERATED
COUNT = itertools.count()


@pytest.fixture
def ann(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_USERNAME", "ann")
    monkeypatch.setenv("REGISTRY_PASSWORD", "right")


@pytest.fixture
def public(server: Server) -> registry.Registry:
    """A repository that everybody can read."""
    return registry.Registry(f"{server.host}/acme/privacy-{next(COUNT)}")


@pytest.fixture
def private(closed: Server, ann: None) -> registry.Registry:
    return registry.Registry(f"{closed.host}/acme/rows-{next(COUNT)}")


@pytest.fixture
def holdout(tmp_path: Path) -> Path:
    return plant(tmp_path / "holdout", {("holdout.parquet",): b"Ann, 39"})


def folders(place: registry.Registry) -> list[str]:
    """The directories that a repository names."""
    return [tag for tag in place.tags() if tag.startswith("dir-")]


def tag_of(digest: str) -> str:
    return f"dir-{digest.removeprefix('sha256:')}"


@pytest.mark.slow
def test_a_packaged_candidate_leaves_no_rows_where_everybody_can_read(
    project: Path, public: registry.Registry, private: registry.Registry, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    add_code(project)
    with sandbox.sandbox(project) as play:
        play.candidate({})  # packaged into a folder, which is nobody else's
        monkeypatch.setenv(
            "REGISTRY_USERNAME", "ann"
        )  # a sandbox knows nothing of its surroundings
        monkeypatch.setenv("REGISTRY_PASSWORD", "right")
        here = workspace.Workspace(play.here.root, tmp_path / "a", str(public), str(private))
        made = package.package(here)
        fresh = workspace.Workspace(play.here.root, tmp_path / "b", str(public), str(private))
        assert folders(public) == [tag_of(made.model)]
        assert set(folders(private)) >= {tag_of(made.data.holdout)}
        assert tag_of(made.model) not in folders(private)
        rows = train.read_holdout(fresh.store.fetch(made.data.holdout))
        assert len(rows) > 100
        assert fresh.store.find(made.key) == made


@pytest.mark.slow
def test_without_a_private_registry_nothing_is_packaged(
    project: Path, public: registry.Registry, tmp_path: Path
) -> None:
    add_code(project)
    with sandbox.sandbox(project) as play:
        play.candidate({})
        here = workspace.Workspace(play.here.root, tmp_path / "state", str(public))
        with pytest.raises(errors.RefusedError, match=r"set MODEL_ROWS to a private .*-rows"):
            package.package(here)
        assert public.tags() == []
        settings = yaml.safe_load((play.here.root / "params.yaml").read_text())
        settings["data"]["public"] = True
        (play.here.root / "params.yaml").write_text(yaml.safe_dump(settings))
        play.here.git.run("commit", "--all", "-qm", "Everybody may see the rows")
        made = package.package(workspace.Workspace(play.here.root, tmp_path / "state", str(public)))
        assert {*folders(public)} >= {tag_of(made.model), tag_of(made.data.holdout)}


@pytest.mark.slow
def test_the_job_that_packages_reads_the_rows_itself(project: Path, tmp_path: Path) -> None:
    """What the job that trained hands on, everybody can read in a public repository."""
    add_code(project)
    with sandbox.sandbox(project) as play:
        play.candidate({})
        shutil.rmtree(play.here.candidate / "holdout")
        here = workspace.Workspace(play.here.root, tmp_path / "state")
        made = package.package(here)
        assert here.store.fetch(made.data.holdout)
        workflow = yaml.safe_load((PROJECT / ".github/workflows/train.yml").read_text())
        (handed,) = (
            s["with"] for s in workflow["jobs"]["train"]["steps"] if "path" in s.get("with", {})
        )
        assert {"!candidate/holdout", "!candidate/fitted"} <= {*handed["path"].split()}


def test_a_private_registry_that_strangers_can_read_gets_no_rows(
    server: Server, public: registry.Registry, holdout: Path, tmp_path: Path
) -> None:
    open_to_all = registry.Registry(f"{server.host}/acme/said-to-be-private-{next(COUNT)}")
    place = store.Store(tmp_path / "store", public, open_to_all)
    with pytest.raises(errors.RefusedError, match=r"everybody can read .*; no rows were pushed"):
        place.put_rows(holdout, public=False)
    assert folders(open_to_all) == folders(public) == []
    place.put_rows(holdout, public=True)
    assert len(folders(open_to_all)) == 1


def test_a_registry_that_cannot_be_tried_gets_no_rows(
    public: registry.Registry, private: registry.Registry, holdout: Path, tmp_path: Path
) -> None:
    down = registry.Registry("127.0.0.1:9/acme/rows")
    with pytest.raises(connection.RegistryError, match="refused"):
        store.Store(tmp_path / "store", public, down).put_rows(holdout, public=False)
    assert folders(public) == []


def test_private_rows_are_not_found_without_their_registry(
    public: registry.Registry, private: registry.Registry, holdout: Path, tmp_path: Path
) -> None:
    digest = store.Store(tmp_path / "here", public, private).put_rows(holdout, public=False)
    with pytest.raises(store.MissingError, match="is not in the store"):
        store.Store(tmp_path / "there", public).fetch(digest)
    assert store.Store(tmp_path / "there", public, private).fetch(digest)


def test_a_private_project_may_keep_them_beside_its_models(
    private: registry.Registry, holdout: Path, tmp_path: Path
) -> None:
    digest = store.Store(tmp_path / "here", private, private).put_rows(holdout, public=False)
    assert folders(private) == [tag_of(digest)]


def test_a_folder_is_nobody_elses(holdout: Path, tmp_path: Path) -> None:
    place = store.Store(tmp_path / "store")
    assert place.fetch(place.put_rows(holdout, public=False))


def test_whether_rows_are_public_is_no_input_of_the_model(project: Path) -> None:
    here = workspace.Workspace(project, project / ".model")
    key = train.input_key(here.params, project)
    data = here.params.data.model_copy(update={"public": True})
    assert train.input_key(here.params.model_copy(update={"data": data}), project) == key
