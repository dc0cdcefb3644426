"""Rows are erased, digests remain; what was released with them runs on, and nothing new does."""

import datetime as dt
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from mlrelease import errors, files, workspace
from mlrelease.deployment import follow
from mlrelease.promotion import forget
from mlrelease.records import record
from mlrelease.rehearsal import sandbox
from mlrelease.scoring import artifact
from mlrelease.storage import connection, registry, store
from mlrelease.verification import confirm, figures
from tests.engine.conftest import BETTER
from tests.engine.storage.registry_server import Server
from tests.engine.storage.test_archive import plant

WHY = "asked for, ticket 12"


def running(world: sandbox.Sandbox) -> str:
    entry = world.here.ledger("production", world.here.git.base()).effective
    assert entry is not None
    return entry.model


def holdout_of(world: sandbox.Sandbox, model: str) -> str:
    return world.here.store.provenance(model).data.holdout


def erase(world: sandbox.Sandbox, model: str, force: bool = True) -> forget.Forgotten:
    """`model forget`, and the merge of what it proposes."""
    done = forget.forget(world.here, forget.chosen(world.here, [model]), WHY, force)
    if done.branch:
        world.merge(done.branch)
    return done


def fresh(world: sandbox.Sandbox, folder: Path) -> workspace.Workspace:
    """Another machine with the same store, that verified nothing yet."""
    folder.mkdir()
    (folder / "store").symlink_to(world.here.state / "store")
    return workspace.Workspace(world.here.root, folder, now=world.here.now)


def test_what_would_go_is_shown_and_nothing_goes(world: sandbox.Sandbox) -> None:
    model = running(world)
    rows, hashes = forget.chosen(world.here, [record.short(model)])
    assert hashes.digest == world.here.store.provenance(model).data.fitted
    assert rows.digest == holdout_of(world, model)
    assert rows.models == (model,)
    assert rows.runs == ("staging", "production")
    assert [name.split()[0] for name in rows.releases] == ["staging", "production"]
    assert rows.size == world.here.store.size(rows.digest)
    assert f"{rows.size:,} bytes" in str(rows)
    assert world.here.store.fetch(rows.digest)


def test_rows_are_chosen_by_day_and_by_digest(world: sandbox.Sandbox) -> None:
    model = running(world)
    data = world.here.store.provenance(model).data
    holdout = data.holdout
    today = world.clock.date()
    assert [r.digest for r in forget.chosen(world.here, before=today)] == [holdout, data.fitted]
    assert forget.chosen(world.here, before=today - dt.timedelta(days=60)) == []
    assert [r.digest for r in forget.chosen(world.here, data=[record.short(holdout)])] == [holdout]
    with pytest.raises(errors.InputError, match="names 0 directories of rows"):
        forget.chosen(world.here, data=["0123456789ab"])


def test_rows_of_what_runs_are_not_erased_unless_somebody_insists(world: sandbox.Sandbox) -> None:
    with pytest.raises(errors.RefusedError, match=r"staging runs a model .* --force"):
        erase(world, running(world), force=False)
    assert world.here.store.fetch(holdout_of(world, running(world)))


def test_erased_rows_are_gone_and_the_release_still_runs(
    world: sandbox.Sandbox, tmp_path: Path
) -> None:
    model = running(world)
    holdout = holdout_of(world, model)
    notes = erase(world, model).notes
    with pytest.raises(store.ErasedError, match=f"was erased on .*: {WHY}"):
        world.here.store.fetch(holdout)
    there = fresh(world, tmp_path / "fresh")
    found = follow.wanted(there, "production")
    assert found is not None
    assert (found.record.model, found.because) == (model, None)
    ledger = there.ledger("production", there.git.base())
    assert there.remembers("production", str(ledger.effective and ledger.effective.commit))
    again = erase(world, model)  # is no fault, and keeps the first note
    assert (again.notes, again.branch, again.left_out) == (notes, None, ())


def test_what_was_erased_is_said_where_it_is_verified(
    world: sandbox.Sandbox, tmp_path: Path
) -> None:
    erase(world, running(world))
    there = fresh(world, tmp_path / "fresh")
    ledger = there.ledger("production", there.git.base())
    entry = ledger.effective
    assert entry is not None
    change = confirm._as_of(there, ledger, entry)
    policy = there.policy_at(change.parent)
    name = f"{entry.commit}:model.yaml"
    (file,) = there.git.objects([name], 65_536)
    said = record.Record.read(file.content or b"", name)
    told = {f.name: f for f in figures.check(there, change, said, policy, on_main=True).findings}
    assert told["holdout"].passed
    assert "was erased on" in told["holdout"].message
    assert "not made again" in told["numbers"].message
    assert told["model"].passed


def test_rows_that_only_vanished_are_not_taken_for_erased(
    world: sandbox.Sandbox, tmp_path: Path
) -> None:
    digest = holdout_of(world, running(world)).removeprefix("sha256:")
    shutil.rmtree(world.here.state / "store" / "sha256" / digest)
    with pytest.raises(errors.UnclearError, match="cannot be verified now"):
        follow.wanted(fresh(world, tmp_path / "fresh"), "production")


def test_nothing_new_is_promoted_without_its_rows(world: sandbox.Sandbox) -> None:
    model = world.candidate(BETTER)
    erase(world, model)
    with pytest.raises(errors.RefusedError, match="was erased on"):
        world.promote("staging")


def test_what_is_proposed_is_not_released_without_its_rows(world: sandbox.Sandbox) -> None:
    model = world.candidate(BETTER)
    proposed = world.promote("staging")
    world.merge(proposed.pull_request.branch)
    erase(world, model)
    before = world.here.ledger("staging", world.here.git.base()).effective
    with pytest.raises(errors.RefusedError, match=r"holdout: .* was erased on"):
        world.release("staging")
    after = world.here.ledger("staging", world.here.git.base()).effective
    assert before is not None
    assert after is not None
    assert before.commit == after.commit


def test_erased_rows_are_not_packaged_again(world: sandbox.Sandbox) -> None:
    """Training once more on the same data would bring them back."""
    model = running(world)
    erase(world, model)
    with pytest.raises(errors.RefusedError, match="take these rows out of the data"):
        world.here.store.put_rows(world.here.candidate / "holdout", public=False)


def test_a_release_whose_rows_are_erased_can_be_gone_back_to(world: sandbox.Sandbox) -> None:
    first = running(world)
    world.candidate(BETTER)
    for environment in ("staging", "production"):
        world.merge(world.promote(environment).pull_request.branch)
        assert world.release(environment)
        world.clock += dt.timedelta(hours=25)
        world.look_again()
    erase(world, first)
    shutil.rmtree(world.here.state / "verified")
    world.roll_back("production")
    entry = world.release("production")
    assert entry is not None
    assert entry.model == first


def test_a_model_is_not_erased_whatever_a_note_says_of_it(world: sandbox.Sandbox) -> None:
    """Whoever may write notes could have anything deleted."""
    model = running(world)
    known = world.here.store.provenance(model)
    data = record.DataDigests(train=known.data.train, holdout=model)
    other = "sha256:" + "ab" * 32
    world.here.store.save(known.model_copy(update={"model": other, "data": data}))
    with pytest.raises(errors.RefusedError, match="which are no rows; nothing was erased"):
        erase(world, other)
    assert world.here.store.fetch(model)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return plant(tmp_path / "holdout", {("holdout.parquet",): b"Ann, 39"})


def test_a_registry_gives_erased_rows_to_nobody(server: Server, rows: Path, tmp_path: Path) -> None:
    name = f"{server.host}/acme/forget-{tmp_path.name}"
    here = store.Store(tmp_path / "here", registry.Registry(name))
    digest = here.put_rows(rows, public=True)
    tag = f"dir-{digest.removeprefix('sha256:')}"
    host, _, path = name.partition("/")
    accept = {"accept": registry.MANIFEST}
    url = f"http://{host}/v2/{path}"
    told = httpx.get(f"{url}/manifests/{tag}", headers=accept, trust_env=False).json()
    note = record.Erased(rows=digest, time=dt.datetime.now(dt.UTC), reason=WHY)
    elsewhere = store.Store(tmp_path / "elsewhere", registry.Registry(name))
    assert here.size(digest) == len(b"Ann, 39")
    assert (elsewhere.size(digest) or 0) >= len(b"Ann, 39")  # in an archive
    here.erase(note)
    assert elsewhere.size(digest) is None
    assert tag not in registry.Registry(name).tags()
    layer = httpx.get(f"{url}/blobs/{told['layers'][0]['digest']}", trust_env=False)
    assert layer.status_code == 404
    there = store.Store(tmp_path / "there", registry.Registry(name))
    assert there.erased(digest) == note
    with pytest.raises(store.ErasedError, match=WHY):
        there.fetch(digest)
    here.erase(note)


def test_a_registry_that_does_not_delete_is_named_with_what_to_do(
    server: Server, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"{server.host}/acme/keeps-{tmp_path.name}"
    here = store.Store(tmp_path / "here", registry.Registry(name))
    digest = here.put_rows(rows, public=True)
    ask: Callable[..., object] = connection.Connection.ask

    def refuse(self: object, method: str, where: str, **more: object) -> object:
        if method == "DELETE":  # as ghcr.io does
            raise connection.RegistryError(f"{name}: DELETE {where}: 405 UNSUPPORTED")
        return ask(self, method, where, **more)

    monkeypatch.setattr(connection.Connection, "ask", refuse)
    note = record.Erased(rows=digest, time=dt.datetime.now(dt.UTC), reason=WHY)
    with pytest.raises(errors.RefusedError, match="405 UNSUPPORTED.*by hand .*run this again"):
        here.erase(note)
    assert here.erased(digest) is None
    assert artifact.digest_of(here.fetch(digest)) == digest


def test_a_note_on_other_rows_counts_for_nothing(tmp_path: Path, rows: Path) -> None:
    here = store.Store(tmp_path / "here")
    digest = here.put_rows(rows, public=False)
    other = record.Erased(rows="sha256:" + "ab" * 32, time=dt.datetime.now(dt.UTC), reason=WHY)
    path = here.root / "erased" / f"{digest.removeprefix('sha256:')}.json"
    files.write_atomically(path, files.canonical_json(other.model_dump(mode="json")))
    assert here.erased(digest) is None
