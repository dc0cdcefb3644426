"""Verification recomputes: every way to tamper with a promotion is refused for its own reason."""

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from mlrelease import errors, files
from mlrelease.records import change, record
from mlrelease.rehearsal import sandbox
from mlrelease.verification import verify
from tests.engine.conftest import BETTER
from tests.engine.verification import changes

Files = dict[str, bytes]


def record_with(files_: Files, **changes: Any) -> Files:
    content = yaml.safe_load(files_["model.yaml"]) | changes
    return files_ | {"model.yaml": yaml.safe_dump(content, sort_keys=False).encode()}


def better_figures(found: Files) -> Files:
    content = yaml.safe_load(found["evaluation.json"])
    content["metrics"]["roc_auc"]["candidate"] |= {"value": 0.9999, "high": 1.0}
    text = files.canonical_json(content).encode()
    return record_with(found | {"evaluation.json": text}, evaluation=files.sha256(text))


def other_digest(found: Files) -> Files:
    return record_with(found, model="sha256:" + "0" * 64)


def failed(world: sandbox.Sandbox, head: str, environment: str = "staging") -> dict[str, str]:
    return changes.failed(world, changes.proposed(world, head, environment))


def model_of(world: sandbox.Sandbox, head: str) -> str:
    content = yaml.safe_load(world.here.git.files(head, "deploy/staging")["model.yaml"])
    return str(content["model"])


@pytest.fixture
def proposed(world: sandbox.Sandbox) -> str:
    world.candidate(BETTER)
    return world.promote("staging").pull_request.head


def tampered(world: sandbox.Sandbox, head: str, change: Callable[[Files], Files]) -> str:
    git = world.here.git
    found = change(git.files(head, "deploy/staging"))
    return git.commit_folder(git.base(), "deploy/staging", found, "Tamper")


def test_where_nothing_was_checked_nothing_passed() -> None:
    assert not verify.Verification(()).passed


def test_an_honest_promotion_passes(world: sandbox.Sandbox, proposed: str) -> None:
    assert failed(world, proposed) == {}


def without_evaluation(found: Files) -> Files:
    return {name: content for name, content in found.items() if name != "evaluation.json"}


def nothing_replaced(found: Files) -> Files:
    return record_with(found, replaces={"model": None, "commit": None})


def other_environment(found: Files) -> Files:
    return record_with(found, environment="production")


def other_source(found: Files) -> Files:
    return record_with(found, source={"commit": "0" * 40, "run": None})


@pytest.mark.parametrize(
    ("change", "names", "message"),
    [
        (lambda f: record_with(f, model="latest"), ["record"], "model"),
        (lambda f: record_with(f, image="ghcr.io/a/b:v1"), ["record"], "image"),
        (lambda f: record_with(f, extra=1), ["record"], "extra"),
        (other_environment, ["record", "rendered"], "names production"),
        (lambda f: f | {"model.yaml": b"model: ["}, ["record"], "not valid YAML"),
        (lambda f: record_with(f, evaluation="sha256:" + "1" * 64), ["evaluation"], "its digest"),
        (without_evaluation, ["figures"], "evaluation"),
        (lambda f: f | {"evaluation.json": b"{}"}, ["figures"], "evaluation"),
        (better_figures, ["numbers"], "roc_auc"),
        (other_digest, ["evaluation", "model"], "not in the store"),
        (lambda f: record_with(f, policy="sha256:" + "1" * 64), ["policy"], "changed since"),
        (nothing_replaced, ["comparison", "evaluation", "numbers"], "stale"),
        (other_source, ["source", "figures"], "not on main"),
    ],
)  # fmt: skip
def test_a_tampered_record_is_refused(
    world: sandbox.Sandbox,
    proposed: str,
    change: Callable[[Files], Files],
    names: list[str],
    message: str,
) -> None:
    found = failed(world, tampered(world, proposed, change))
    assert sorted(found) == sorted(names)
    assert message in " ".join(found.values())


def test_a_promotion_that_touches_a_second_folder_is_refused(
    world: sandbox.Sandbox, proposed: str
) -> None:
    git = world.here.git
    more = git.commit_folder(proposed, "deploy/production", {"model.yaml": b"model: x"}, "Sneak")
    found = failed(world, more)
    assert list(found) == ["one folder"]
    assert "deploy/production/model.yaml" in found["one folder"]


def test_a_model_that_misses_a_stricter_policy_on_main_is_refused(
    world: sandbox.Sandbox, proposed: str
) -> None:
    text = (world.here.root / "policy.yaml").read_text()
    world.commit("policy.yaml", text.replace("min: 0.95", "min: 0.9999"))
    assert sorted(failed(world, proposed)) == ["metrics.roc_auc.min", "policy", "rendered"]


def test_a_pull_request_cannot_bring_its_own_policy(world: sandbox.Sandbox, proposed: str) -> None:
    git = world.here.git
    lax = git.files(proposed, "deploy/staging")
    git.run("checkout", "--quiet", "-b", "lax", proposed)
    path = world.here.root / "policy.yaml"
    path.write_text(path.read_text().replace("min: 0.95", "min: 0.1"))
    world.git("commit", "--quiet", "--all", "--message", "Lower the bar")
    head = git.run("rev-parse", "HEAD")
    assert lax["model.yaml"] == git.files(head, "deploy/staging")["model.yaml"]
    assert list(failed(world, head)) == ["one folder"]


def test_a_record_edited_by_hand_on_main_is_refused(world: sandbox.Sandbox, proposed: str) -> None:
    new = model_of(world, proposed)
    path = world.here.root / "deploy" / "staging" / "model.yaml"
    old = yaml.safe_load(path.read_text())["model"]
    path.write_text(path.read_text().replace(old, new, 1))
    world.git("commit", "--quiet", "--all", "--message", "Just this once")
    world.git("push", "--quiet", "origin", "main")
    found = changes.failed(world, changes.on_main(world, "staging"))
    assert {"comparison", "evaluation"} <= found.keys()


def test_a_removed_record_is_refused(world: sandbox.Sandbox) -> None:
    git = world.here.git
    head = git.commit_folder(git.base(), "deploy/staging", {}, "Remove")
    assert list(failed(world, head)) == ["record"]


def test_a_revert_needs_the_digest_only(world: sandbox.Sandbox, proposed: str) -> None:
    """Made by hand it restores the old `replaces.commit`, which would look stale."""
    world.merge(f"promote/staging/{record.short(model_of(world, proposed))}")
    world.release("staging")
    world.git("revert", "--no-edit", "-m", "1", "HEAD")
    world.git("push", "--quiet", "origin", "main")
    outcome = verify.verify(world.here, changes.on_main(world, "staging"))
    assert outcome.passed
    assert outcome.kind == "rollback"
    names = [check.name for check in outcome.checks]
    assert names == ["record", "one folder", "ledger", "files", "model", "released", "approval"]


def test_a_record_in_the_first_commit_was_never_reviewed(world: sandbox.Sandbox) -> None:
    git = world.here.git
    tree = git.run("rev-parse", "HEAD^{tree}")
    root = git.run("commit-tree", tree, "-m", "All at once")
    with pytest.raises(errors.RefusedError, match="first commit"):
        change.parent_on_main(git, "staging", root)
