"""Only what was verified counts: what main once named is no release, and neither is what somebody
appended to a ledger."""

import dataclasses
import datetime as dt
import json
import shutil
import subprocess
from typing import Any

import msgspec
import pytest

from mlrelease import errors
from mlrelease.deployment import observe, status
from mlrelease.promotion import promote, release, rollback
from mlrelease.records import ledger, ledger_branch, ledger_reader, main_line, record
from mlrelease.rehearsal import sandbox
from mlrelease.verification import confirm
from tests.engine.conftest import BETTER, WORSE
from tests.engine.verification.changes import entries, live, named, release_both


def edit(world: sandbox.Sandbox, model: str, environment: str = "production") -> None:
    """Name another model by hand, and push it."""
    path = world.here.root / "deploy" / environment / "model.yaml"
    found = record.Record.read(path.read_bytes(), "model.yaml")
    text = path.read_text().replace(found.model, model, 1)
    world.commit(f"deploy/{environment}/model.yaml", text)


def revert(world: sandbox.Sandbox) -> None:
    world.git("revert", "--no-edit", "HEAD")
    world.git("push", "--quiet", "origin", "main")


def whole(world: sandbox.Sandbox, environment: str = "production") -> ledger.Ledger:
    here = world.here
    return here.ledger(environment, here.git.base())  # type: ignore[arg-type]  # a name


def forge(world: sandbox.Sandbox, **changes: Any) -> str:
    """Append a copy of production's newest entry with these changes, as whoever may push could."""
    newest = whole(world).entries[-1]
    note: Any = json.loads(ledger_branch.encode(newest.released)) | changes
    return append(world, json.dumps(note).encode(), "production", newest.released.main)


def append(
    world: sandbox.Sandbox, content: bytes, environment: str = "production", main: str = ""
) -> str:
    """Push a commit with this ledger.json to the ledger."""
    git, found = world.here.git, whole(world, environment)
    place = main or found.entries[-1].released.main
    listed = git.run("ls-tree", f"{place}:deploy/{environment}")
    blob = git.run("hash-object", "-w", "--stdin", stdin=content)
    tree = git.run("mktree", stdin=f"{listed}\n100644 blob {blob}\tledger.json\n".encode())
    commit = git.commit_tree(tree, found.tip, "Release")
    world.git("push", "--quiet", "origin", f"{commit}:refs/heads/env/{environment}")
    return commit


# What was on main once is no release.


def test_a_release_is_one_entry(world: sandbox.Sandbox) -> None:
    (entry,) = entries(world)
    told = entry.released
    assert (told.change, told.main, told.replaces) == ("promote", named(world).commit, None)
    assert {"comparison", "numbers", "soak", "metrics.roc_auc.min"} <= {c.name for c in told.checks}
    tree = world.here.git.tree(entry.commit)
    assert {"ledger.json", "model.yaml", "evaluation.json", "report.md"} <= tree.keys()


def test_releasing_again_appends_nothing(world: sandbox.Sandbox) -> None:
    before = whole(world).tip
    assert world.release("production") is None
    assert whole(world).tip == before


def test_the_revert_of_a_revert_of_a_refused_model_is_refused_again(
    world: sandbox.Sandbox,
) -> None:
    first, bad = live(world), world.candidate(WORSE)
    edit(world, bad)
    with pytest.raises(errors.RefusedError, match="comparison: stale"):
        world.release("production")
    revert(world)
    assert world.release("production") is None
    revert(world)
    with pytest.raises(errors.RefusedError, match="comparison: stale"):
        world.release("production")
    assert live(world) == first


def test_two_commits_of_which_the_first_names_a_bad_model_make_no_target(
    world: sandbox.Sandbox,
) -> None:
    bad = world.candidate(WORSE)
    text = (world.here.root / "deploy/production/model.yaml").read_text()
    good = record.Record.read(text.encode(), "model.yaml").model
    world.commit("deploy/production/model.yaml", text.replace(good, bad, 1))
    world.commit("deploy/production/model.yaml", text)
    assert world.release("production") is None
    with pytest.raises(errors.InputError, match="names no earlier release"):
        rollback.rollback(world.here, "production", to=record.short(bad), reason="x")
    edit(world, bad)
    with pytest.raises(errors.RefusedError, match="stale"):
        world.release("production")


def test_a_rollback_after_a_refused_merge_lets_main_name_what_runs(
    world: sandbox.Sandbox,
) -> None:
    first = live(world)
    edit(world, world.candidate(WORSE))
    opened = world.roll_back("production").pull_request
    assert opened.branch.startswith(f"rollback/production/{record.short(first)}")
    assert "never released" in opened.body
    assert world.release("production") is None
    assert (live(world), len(entries(world))) == (first, 1)


def test_a_held_model_comes_back_with_a_reason_only(world: sandbox.Sandbox) -> None:
    second = release_both(world, BETTER)
    world.roll_back("production")
    world.release("production")
    world.git("revert", "--no-edit", "-m", "1", "HEAD")
    world.git("push", "--quiet", "origin", "main")
    with pytest.raises(errors.RefusedError, match="hold: held") as caught:
        world.release("production")
    assert "stale" in str(caught.value)
    assert live(world) != second


@pytest.mark.parametrize("how", ["refused", "removed", "invalid"])
def test_what_main_names_and_is_not_released_is_no_champion(
    world: sandbox.Sandbox, how: str
) -> None:
    """It refuses the next promotion with one sentence, and what ran before goes on."""
    first, better = live(world, "staging"), world.candidate(BETTER)
    if how == "refused":
        edit(world, better, "staging")
    elif how == "invalid":
        world.commit("deploy/staging/model.yaml", "model: latest\n")
    else:
        world.git("rm", "-r", "--quiet", "deploy/staging")
        world.git("commit", "--quiet", "--message", "Remove")
        world.git("push", "--quiet", "origin", "main")
    with pytest.raises(errors.RefusedError, match="removed from main|not released|already: `model"):
        world.promote("staging")
    assert live(world, "staging") == first
    world.roll_back("staging")
    request = world.promote("staging").pull_request
    content = world.here.git.show(request.head, "deploy/staging/model.yaml") or b""
    assert record.Record.read(content, "model.yaml").replaces.model == first


def test_a_personal_setting_of_git_changes_nothing(world: sandbox.Sandbox) -> None:
    release_both(world, BETTER)
    before = whole(world)
    for setting in ("log.diffMerges=combined", "log.follow=true", "diff.renames=copies"):
        world.git("config", *setting.split("="))
    assert whole(world).entries == before.entries
    assert len(main_line.changes(world.here.git, before.main, "production")) == 2


def test_a_subject_with_control_characters_makes_no_entry(world: sandbox.Sandbox) -> None:
    count = len(entries(world))
    git, bad = world.here.git, world.candidate(WORSE)
    forged = f"x\n\x01{'0' * 40}\t1\tpromote\n:100644 100644 {'1' * 40} {'2' * 40} M\tdeploy"
    edit(world, bad)
    tree = git.run("rev-parse", "HEAD^{tree}")
    odd = subprocess.run(
        ["git", "-C", str(world.here.root), "commit-tree", tree, "-p", "HEAD", "-F", "-"],
        input=forged.encode() + b"\xff\xfe",
        capture_output=True,
        check=True,
    )
    world.git("push", "--quiet", "origin", f"{odd.stdout.decode().strip()}:refs/heads/main")
    assert len(entries(world)) == count
    assert named(world).blob != entries(world)[0].record


POISON = {
    "a date that is none": b"version: 2026-99-99\n",
    "deep": b"model: " + b"[" * 20_000 + b"\n",
    "a long number": b"model: " + b"9" * 5_000 + b"\n",
    "a tag": b"model: !!python/object/apply:os.system [id]\n",
    "many keys": b"".join(b"k%d: 1\n" % n for n in range(6_000)),
    "not text": b"\xff\xfe\x00\x01",
}


@pytest.mark.parametrize("content", POISON.values(), ids=POISON.keys())
def test_a_poisoned_record_refuses_its_own_environment_only(
    world: sandbox.Sandbox, content: bytes
) -> None:
    first = live(world, "staging")
    path = world.here.root / "deploy/staging/model.yaml"
    path.write_bytes(content)
    world.git("commit", "--quiet", "--all", "--message", "Poison")
    world.git("push", "--quiet", "origin", "main")
    done = release.attempt(world.here, "staging")
    assert done.action == "refused"
    assert "unexpected" not in str(done.error)
    assert release.attempt(world.here, "production").action == "in step"
    assert live(world, "staging") == first
    advice = {state.environment: state.advice for state in status.status(world.here)}
    assert "model deploy staging" in advice["staging"]
    world.roll_back("staging")
    assert release.attempt(world.here, "staging").action == "in step"


def test_a_submodule_in_place_of_a_record_is_refused(world: sandbox.Sandbox) -> None:
    head = world.here.git.run("rev-parse", "HEAD")
    world.git("rm", "-r", "--quiet", "--cached", "deploy/staging")
    world.git("update-index", "--add", "--cacheinfo", f"160000,{head},deploy/staging/model.yaml")
    world.git("commit", "--quiet", "--message", "Submodule")
    world.git("push", "--quiet", "origin", "main")
    done = release.attempt(world.here, "staging")
    assert done.action == "refused"
    assert "unexpected" not in str(done.error)
    assert release.attempt(world.here, "production").action == "in step"


# Time is the verifying clock's.


def test_dates_of_commits_play_no_part_in_soaking(world: sandbox.Sandbox) -> None:
    """The promotion was made three days ago, and is merged now, by a fast-forward."""
    world.candidate(BETTER)
    branch, now = world.promote("staging").pull_request.branch, world.clock
    world.clock -= dt.timedelta(days=3)
    world.git("fetch", "--quiet", "origin")
    world.git("merge", "--quiet", "--ff-only", f"origin/{branch}")
    world.git("commit", "--quiet", "--amend", "--no-edit")
    world.git("push", "--quiet", "origin", "main")
    world.clock = now
    world.release("staging")
    with pytest.raises(errors.RefusedError, match=r"soak: 0\.0 h in staging"):
        world.promote("production")


def test_soaking_counts_from_when_it_was_seen_to_run(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    world.merge(world.promote("staging").pull_request.branch)
    observe.observe(world.here, "staging", entries(world, "staging")[0].commit, "live", "test")
    entry = world.release("staging")
    assert entry
    world.clock += dt.timedelta(hours=20)
    with pytest.raises(errors.RefusedError, match="soak: not yet seen to run"):
        world.promote("production")
    observe.observe(world.here, "staging", entry.commit, "live", "test")
    world.clock += dt.timedelta(hours=20)
    with pytest.raises(errors.RefusedError, match=r"soak: 20\.0 h"):
        world.promote("production")


def test_where_nobody_looks_soaking_counts_from_the_release_and_says_so(
    world: sandbox.Sandbox,
) -> None:
    world.candidate(BETTER)
    world.merge(world.promote("staging").pull_request.branch)
    world.release("staging")
    world.clock += dt.timedelta(hours=25)
    assert "nobody looks whether it runs" in world.promote("production").pull_request.body


def test_an_entry_of_the_future_does_not_count_and_blocks_nothing(world: sandbox.Sandbox) -> None:
    later = (world.clock + dt.timedelta(hours=1)).isoformat()
    first = live(world)
    forge(world, time=later, model="sha256:" + "0" * 64)
    assert live(world) == first
    assert "which is to come" in whole(world).skipped[0]
    release_both(world, BETTER)
    assert len(entries(world)) == 2


def test_a_clock_that_went_back_is_held_at_the_entry_before(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    world.merge(world.promote("staging").pull_request.branch)
    before = whole(world, "staging").entries[-1].time
    world.clock = before - dt.timedelta(days=2)
    with pytest.raises(errors.RefusedError):  # what is in the ledger is yet to come
        world.release("staging")
    world.clock = before - dt.timedelta(minutes=5)
    entry = world.release("staging")
    assert entry
    assert entry.time == before


# The branch is not taken on trust either.


def test_an_entry_for_a_refused_change_does_not_count(world: sandbox.Sandbox) -> None:
    """It is recorded, on main, and looks whole; but it does not verify as of its own day."""
    first, bad = live(world), world.candidate(WORSE)
    name(world, bad)
    forge_for_main(world, bad)
    recorded = whole(world)
    assert recorded.effective
    assert recorded.effective.model == bad
    settled = confirm.settle(world.here, recorded)
    assert settled.effective
    assert settled.effective.model == first
    world.roll_back("production")
    release_both(world, BETTER)
    assert confirm.settle(world.here, whole(world)).effective


def test_an_entry_for_the_first_commit_of_all_does_not_verify(world: sandbox.Sandbox) -> None:
    """Nobody can have reviewed it."""
    recorded = whole(world)
    newest, root = recorded.entries[-1], world.here.git.line("HEAD")[-1]
    released = msgspec.structs.replace(newest.released, main=root)
    made = dataclasses.replace(newest, commit="1" * 40, released=released)
    forged = dataclasses.replace(recorded, entries=(*recorded.entries, made))
    assert not confirm.confirmed(world.here, forged, made)
    assert confirm.refuted(world.here, forged, made)


def name(world: sandbox.Sandbox, model: str) -> None:
    """Name another model by hand, in a record that says that it was compared with what runs."""
    path = world.here.root / "deploy/production/model.yaml"
    found = record.Record.read(path.read_bytes(), "model.yaml")
    current = whole(world).effective
    assert current
    replaces = record.Replaces(model=current.model, entry=current.commit)
    made = found.model_copy(update={"model": model, "replaces": replaces})
    world.commit("deploy/production/model.yaml", made.write())


def forge_for_main(world: sandbox.Sandbox, model: str) -> str:
    newest = whole(world).entries[-1]
    main = named(world).commit
    note: Any = json.loads(ledger_branch.encode(newest.released))
    note |= {"main": main, "model": model, "replaces": newest.commit}
    return append(world, json.dumps(note).encode(), main=main)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"main": "0" * 40}, "which is not on main"),
        ({"environment": "staging"}, "is about staging"),
        ({"replaces": "1" * 40}, "refers to an entry that is not there"),
        ({"model": "sha256:" + "0" * 64}, "names another model than its record"),
        ({"change": "rollback"}, "restores another record"),
        ({"schema_version": 7}, "no readable ledger.json"),
        ({"extra": 1}, "no readable ledger.json"),
        ({"time": "2026-11-30T00:00:00"}, "no readable ledger.json"),
    ],
)  # fmt: skip
def test_a_forged_entry_is_skipped_and_reported(
    world: sandbox.Sandbox, changes: dict[str, Any], fault: str
) -> None:
    first = live(world)
    forge(world, **changes)
    assert live(world) == first
    assert len(entries(world)) == 1
    (told,) = whole(world).skipped
    assert fault in told
    release_both(world, BETTER)
    assert len(entries(world)) == 2


def test_an_entry_that_lies_about_what_it_replaced_does_not_count(world: sandbox.Sandbox) -> None:
    release_both(world, BETTER)
    forge(world, replaces=None)
    assert "was compared with another entry" in whole(world).skipped[0]


def test_an_entry_whose_record_is_too_large_to_be_one_does_not_count(
    world: sandbox.Sandbox,
) -> None:
    first, path = live(world), "deploy/production/model.yaml"
    text = (world.here.root / path).read_text()
    world.commit(path, text + "#" * ledger.MAX_RECORD)
    forge_for_main(world, first)
    (told,) = whole(world).skipped
    assert "holds another record than main" in told
    assert len(entries(world)) == 1


def test_a_second_entry_for_the_same_change_changes_nothing(world: sandbox.Sandbox) -> None:
    first = live(world)
    forge(world)
    assert live(world) == first
    assert world.release("production") is None
    release_both(world, BETTER)
    assert entries(world)[0].model != first


def test_a_merge_in_the_ledger_hides_nothing(world: sandbox.Sandbox) -> None:
    """A push that is no force: a commit whose first parent is an older entry."""
    second = release_both(world, BETTER)
    git, newest = world.here.git, entries(world)[0]
    older = str(newest.parent)
    tree = git.run("rev-parse", f"{older}^{{tree}}")
    merge = git.run("commit-tree", tree, "-p", older, "-p", newest.commit, "-m", "x")
    world.git("push", "--quiet", "origin", f"{merge}:refs/heads/env/production")
    assert live(world) == second
    world.roll_back("production")
    assert world.release("production")
    assert second in whole(world).held()


def test_a_branch_that_somebody_filled_is_not_read_as_empty(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(world, b"{")
    monkeypatch.setattr(ledger_reader, "MAX_COMMITS", 1)
    with pytest.raises(errors.RefusedError, match="somebody filled it"):
        whole(world)


def test_a_tag_that_is_called_like_main_is_not_main(world: sandbox.Sandbox) -> None:
    git = world.here.git
    base = git.base()
    world.git("tag", "origin/main", f"{base}~1")
    world.git("push", "--quiet", "origin", "refs/tags/origin/main")
    assert git.base() == base
    assert git.resolve("main") == base


def test_a_model_of_a_commit_that_main_never_was_is_refused(world: sandbox.Sandbox) -> None:
    """A commit inside a merged branch: nobody saw it as a whole, and its code would serve."""
    world.git("checkout", "--quiet", "-b", "feature")
    world.candidate(BETTER)
    world.git("checkout", "--quiet", "main")
    world.git("merge", "--quiet", "--no-ff", "--message", "Merge", "feature")
    world.git("push", "--quiet", "origin", "main")
    with pytest.raises(errors.RefusedError, match="source: built from .* not on main"):
        world.promote("staging")


def test_a_long_reason_is_cut_and_readable(world: sandbox.Sandbox) -> None:
    second = release_both(world, BETTER)
    world.roll_back("production")
    world.release("production")
    promote.promote(world.here, "production", model=second, reason="why " * 1000)
    request = world.here.pull_requests.list("production", world.here.git.base())[0]
    world.merge(request.branch)
    entry = world.release("production")
    assert entry
    assert len(str(entry.released.reason)) == 2000


def test_what_failed_is_held_once_main_names_something_else(world: sandbox.Sandbox) -> None:
    second = release_both(world, BETTER)
    observe.observe(world.here, "production", entries(world)[0].commit, "failed", "test")
    assert second not in whole(world).held()
    world.roll_back("production")
    assert second in whole(world).held()
    with pytest.raises(errors.RefusedError, match="held: it failed its golden requests"):
        world.promote("production")


def test_what_cannot_be_verified_now_is_not_taken_for_forged(world: sandbox.Sandbox) -> None:
    second = release_both(world, BETTER)
    shutil.rmtree(world.here.state / "verified")
    place = world.here.store.fetch(second)
    away = place.rename(place.with_suffix(".away"))
    with pytest.raises(errors.ModelError, match="cannot be verified now: .* is not in the store"):
        confirm.settle(world.here, whole(world))
    tip = whole(world).tip
    with pytest.raises(errors.ModelError, match="cannot be verified now"):
        world.release("production")
    assert whole(world).tip == tip
    away.rename(place)
    found = confirm.settle(world.here, whole(world)).effective
    assert found
    assert found.model == second


def test_another_digest_with_the_same_answers_is_held(world: sandbox.Sandbox) -> None:
    """Another seed gives the same linear model."""
    release_both(world, BETTER)
    world.roll_back("production")
    world.release("production")
    world.candidate(BETTER | {"seed": 8})
    world.merge(world.promote("staging", reason="again").pull_request.branch)
    world.release("staging")
    world.clock += dt.timedelta(hours=25)
    with pytest.raises(errors.RefusedError, match="hold: held: it answers like"):
        world.promote("production")
    opened = world.promote("production", reason="the caller was wrong")
    first_line = opened.pull_request.body.splitlines()[0]
    assert "answers like" in first_line
    assert "the caller was wrong" in first_line


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b'"' + b"x" * 300_000 + b'"'])
def test_junk_is_skipped(world: sandbox.Sandbox, content: bytes) -> None:
    append(world, content)
    assert len(whole(world).skipped) == 1
    release_both(world, BETTER)
    assert len(entries(world)) == 2


def test_a_forged_failure_lifts_no_hold_and_makes_none(world: sandbox.Sandbox) -> None:
    second = release_both(world, BETTER)
    newest = entries(world)[0]
    world.roll_back("production")
    world.release("production")
    held = set(whole(world).held())
    note = ledger.Outcome(newest.commit, "failed", world.clock, None, None, None)
    append(world, ledger_branch.encode(note))
    assert set(whole(world).held()) == held == {second}
    now = ledger.Outcome(entries(world)[0].commit, "failed", world.clock, None, None, None)
    append(world, ledger_branch.encode(now))
    assert set(whole(world).held()) - {second} == set()


def test_the_first_outcome_counts(world: sandbox.Sandbox) -> None:
    entry = entries(world)[0]
    assert observe.observe(world.here, "production", entry.commit, "live", "test")
    note = ledger.Outcome(entry.commit, "failed", world.clock, None, None, None)
    append(world, ledger_branch.encode(note))
    assert not entries(world)[0].failed
    assert "second outcome" in whole(world).skipped[0]


def test_a_missing_ledger_is_not_taken_for_a_first_release(world: sandbox.Sandbox) -> None:
    release_both(world, BETTER)
    world.git("push", "--quiet", "origin", "--delete", "env/production")
    with pytest.raises(errors.RefusedError, match="this clone has seen"):
        whole(world)
    world.here.git.run("update-ref", "-d", "refs/model/seen/production")  # another clone
    for action in (world.promote, world.release):
        with pytest.raises(errors.RefusedError, match="is missing, and main named a model before"):
            action("production")


def test_a_shorter_ledger_is_refused(world: sandbox.Sandbox) -> None:
    release_both(world, BETTER)
    newest = entries(world)[0]
    third = world.candidate(BETTER | {"seed": 3, "slices": ["mean texture"]})
    assert third
    world.git("push", "--quiet", "--force", "origin", f"{newest.parent}:refs/heads/env/production")
    with pytest.raises(errors.RefusedError, match="not what it was"):
        whole(world)


def test_main_that_was_rewritten_releases_nothing_and_stops_nothing(
    world: sandbox.Sandbox,
) -> None:
    first = live(world)
    world.git("reset", "--quiet", "--hard", "HEAD~2")
    world.git("commit", "--quiet", "--allow-empty", "--message", "Another past")
    world.git("push", "--quiet", "--force", "origin", "main")
    assert live(world) == first
    assert "is not on main any more" in str(whole(world).adrift)
    world.candidate(BETTER)
    with pytest.raises(errors.RefusedError, match="anchor|not on main any more"):
        world.promote("production")


def test_a_rollback_on_a_main_that_never_named_a_model_says_what_happened(
    world: sandbox.Sandbox,
) -> None:
    root = world.here.git.line("HEAD")[-1]
    world.git("push", "--quiet", "--force", "origin", f"{root}:main")
    world.look_again()
    with pytest.raises(
        errors.RefusedError, match="not on main any more; `model promote production --an"
    ):
        world.roll_back("production")
