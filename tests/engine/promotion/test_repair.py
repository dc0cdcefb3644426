"""Ledgers of projects that had none, of lost branches, and of a main that was rewritten."""

import datetime as dt
import subprocess
from pathlib import Path

import pytest
import yaml

from mlrelease import errors
from mlrelease.promotion import promote, repair
from mlrelease.records import ledger_branch, main_line, record
from mlrelease.rehearsal import sandbox
from tests.engine.conftest import BETTER
from tests.engine.records.test_ledger import whole
from tests.engine.verification.changes import entries, live, named, release_both


def cut(world: sandbox.Sandbox, to: str | None, forget: bool = True) -> None:
    """Delete production's ledger on origin, or cut it; another clone has seen nothing of it."""
    name = "env/production"
    change = (
        ("--force", "origin", f"{to}:refs/heads/{name}") if to else ("--delete", "origin", name)
    )
    world.git("push", "--quiet", *change)
    if forget:
        world.here.git.run("update-ref", "-d", ledger_branch.seen("production"))


def test_a_clone_restores_what_it_has_seen(world: sandbox.Sandbox) -> None:
    tip = whole(world).tip
    cut(world, None, forget=False)
    assert repair.restore(world.here, "production", None) == tip
    assert whole(world).tip == tip


def test_a_ledger_is_restored_from_another_clone(world: sandbox.Sandbox, tmp_path: Path) -> None:
    release_both(world, BETTER)
    tip, parent = whole(world).tip, entries(world)[0].parent
    subprocess.run(
        ["git", "clone", "-q", world.here.git.run("remote", "get-url", "origin"), tmp_path / "o"],
        check=True,
    )
    cut(world, parent)
    assert len(entries(world)) == 1
    assert repair.restore(world.here, "production", str(tmp_path / "o")) == tip
    assert len(entries(world)) == 2


def test_a_ledger_is_only_ever_restored_forward(world: sandbox.Sandbox) -> None:
    with pytest.raises(errors.InputError, match="which holds all that was seen"):
        repair.restore(world.here, "production", None)
    cut(world, whole(world, "staging").tip, forget=False)
    with pytest.raises(errors.RefusedError, match="somebody rewrote it"):
        repair.restore(world.here, "production", None)


def test_nobody_who_has_seen_nothing_restores_anything(world: sandbox.Sandbox) -> None:
    cut(world, None)
    with pytest.raises(errors.InputError, match="has seen nothing of env/production"):
        repair.restore(world.here, "production", None)


def test_a_branch_called_env_is_named(world: sandbox.Sandbox) -> None:
    for name in ("staging", "production"):
        world.git("push", "--quiet", "origin", "--delete", f"env/{name}")
        world.here.git.run("update-ref", "-d", ledger_branch.seen(name))
    world.git("push", "--quiet", "origin", "main:refs/heads/env")
    with pytest.raises(errors.RefusedError, match="a branch called `env` is in the way"):
        world.release("staging")


def rewritten(world: sandbox.Sandbox) -> str:
    """main begins again from before the records; the model that ran."""
    first = live(world)
    world.git("reset", "--quiet", "--hard", "HEAD~2")
    world.git("commit", "--quiet", "--allow-empty", "--message", "Another past")
    world.git("push", "--quiet", "--force", "origin", "main")
    return first


def test_an_anchor_begins_again_from_a_main_that_was_rewritten(world: sandbox.Sandbox) -> None:
    first = rewritten(world)
    better = world.candidate(BETTER)
    with pytest.raises(errors.RefusedError, match="not on main any more"):
        world.promote("staging")
    with pytest.raises(errors.RefusedError, match="needs a reason"):
        promote.promote(world.here, "staging", intent="anchor")
    opened = promote.promote(world.here, "staging", intent="anchor", reason="secrets were removed")
    assert "(anchor)" in opened.pull_request.title
    assert "secrets were removed" in opened.pull_request.body
    world.merge(opened.pull_request.branch)
    entry = world.release("staging")
    assert entry
    assert (entry.released.change, live(world, "staging")) == ("anchor", better)
    assert whole(world, "staging").adrift is None
    assert live(world) == first  # production is a world of its own


def test_a_rollback_to_an_anchor_anchors_nothing(world: sandbox.Sandbox) -> None:
    """It needs a whole ledger, as every rollback does."""
    better = world.candidate(BETTER)
    opened = promote.promote(world.here, "staging", intent="anchor", reason="we begin again")
    world.merge(opened.pull_request.branch)
    world.release("staging")
    world.candidate(BETTER | {"seed": 8})
    world.merge(world.promote("staging").pull_request.branch)
    world.release("staging")
    world.roll_back("staging")
    entry = world.release("staging")
    assert entry
    assert (entry.released.change, live(world, "staging")) == ("rollback", better)
    (said,) = (check.message for check in entry.released.checks if check.name == "ledger")
    assert said == "env/staging is whole: 3 releases"


def test_an_anchor_without_a_reason_is_refused_on_main_too(world: sandbox.Sandbox) -> None:
    rewritten(world)
    world.candidate(BETTER)
    opened = promote.promote(world.here, "staging", intent="anchor", reason="because")
    world.merge(opened.pull_request.branch)
    path = world.here.root / "deploy/staging/model.yaml"
    made = record.Record.read(path.read_bytes(), "x").model_copy(update={"reason": None})
    world.commit("deploy/staging/model.yaml", made.write())
    with pytest.raises(errors.RefusedError, match="an anchor gives no reason"):
        world.release("staging")


def test_a_retired_environment_releases_nothing(world: sandbox.Sandbox) -> None:
    policy = yaml.safe_load((world.here.root / "policy.yaml").read_text())
    world.git("rm", "-r", "--quiet", "deploy/production")
    world.git("commit", "--quiet", "--message", "Remove")
    world.git("push", "--quiet", "origin", "main")
    with pytest.raises(errors.RefusedError, match="retired: true"):
        world.release("production")
    policy["environments"]["production"]["retired"] = True
    world.commit("policy.yaml", yaml.safe_dump(policy, sort_keys=False))
    assert world.release("production") is None
    world.candidate(BETTER)
    world.merge(world.promote("staging").pull_request.branch)
    world.release("staging")
    world.clock += dt.timedelta(hours=25)
    with pytest.raises(errors.RefusedError, match="retired"):
        world.promote("production")


def old(world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the world what it was before there were ledgers: records of version 1, no branches."""
    commit = world.here.git.base()
    for name in ("staging", "production"):
        path = f"deploy/{name}/model.yaml"
        content = yaml.safe_load((world.here.root / path).read_text())
        content["schema_version"] = 1
        content["replaces"] = {"model": None, "commit": None}
        for key in ("requested_by", "rendering"):
            content.pop(key, None)
        (world.here.root / path).write_text(yaml.safe_dump(content, sort_keys=False))
    base = world.here.git.run("rev-parse", f"{commit}~2")
    for name in ("staging", "production"):
        files = {
            path.relative_to(world.here.root / "deploy" / name).as_posix(): path.read_bytes()
            for path in (world.here.root / "deploy" / name).rglob("*")
            if path.is_file()
        }
        base = world.here.git.commit_folder(base, f"deploy/{name}", files, f"Promote to {name}")
        world.git("push", "--quiet", "origin", "--delete", f"env/{name}")
        world.here.git.run("update-ref", "-d", ledger_branch.seen(name))
    world.git("reset", "--quiet", "--hard", base)
    world.git("push", "--quiet", "--force", "origin", "main")
    monkeypatch.setattr(main_line, "adopted", lambda *_: base)


def test_a_project_of_the_version_before_gets_its_ledger_from_its_history(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = live(world)
    old(world, monkeypatch)
    for name in ("staging", "production"):
        found = "\n".join(repair.migrate(world.here, name))
        assert "is entry" in found, found
    assert live(world) == model
    assert entries(world)[0].released.change == "migrate"
    assert entries(world)[0].released.main == named(world).commit
    with pytest.raises(errors.RefusedError, match="nothing to migrate"):
        list(repair.migrate(world.here, "production"))
    assert world.release("production") is None


def test_what_does_not_verify_is_left_out_of_a_migration_and_told(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    old(world, monkeypatch)
    path = world.here.root / "deploy/staging/evaluation.json"
    world.commit("deploy/staging/evaluation.json", path.read_text().replace("0.9", "0.99"))
    text = (world.here.root / "deploy/staging/model.yaml").read_text()
    world.commit("deploy/staging/model.yaml", text.replace("version: ", "version: x"))
    monkeypatch.setattr(main_line, "adopted", lambda git, _: git.base())
    first, second = repair.migrate(world.here, "staging")
    assert "is entry" in first
    assert "left out" in second
    assert len(entries(world, "staging")) == 1


def test_an_old_record_is_not_released_after_the_ledger_came(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    old(world, monkeypatch)
    start = world.here.git.run("rev-list", "--max-parents=0", "HEAD")
    monkeypatch.setattr(main_line, "adopted", lambda *_: start)
    (told,) = repair.migrate(world.here, "staging")
    assert "of an older version: promote again" in told
