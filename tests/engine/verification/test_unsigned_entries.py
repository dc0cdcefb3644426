"""Nobody signs an entry: whoever may push to `env/*` appends one for what `model release` refused.
A machine that does not remember it asks of it what was asked at release."""

import json
import shutil
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from mlrelease import errors
from mlrelease.automation import follow_up
from mlrelease.cli import app
from mlrelease.deployment import deploy, follow, status
from mlrelease.programs import libraries
from mlrelease.promotion import draft, forget as forget_rows, promote, release, work_tree
from mlrelease.records import git, ledger, main_line, record
from mlrelease.rehearsal import sandbox
from mlrelease.verification import confirm, figures, pending, verify
from tests.engine.conftest import BETTER, WORSE, commit_all
from tests.engine.github.fake_github import FakeGitHub
from tests.engine.verification import changes
from tests.engine.verification.test_bound import asks, forged, nudge, packaged, retold

EVIL = f"evil.example/image@sha256:{'cd' * 32}"


def merged(world: sandbox.Sandbox, **edits: Any) -> None:
    """What somebody proposed and another merged without a look: a record with these lines."""
    head = world.promote("staging").pull_request.head
    here = world.here.git
    files = here.files(head, "deploy/staging")
    content = yaml.safe_load(files["model.yaml"])
    data = content["data"] | edits.pop("data", {})
    files["model.yaml"] = (
        record.Record.model_validate(content | {"data": data} | edits).write().encode()
    )
    commit = here.commit_folder(here.base(), "deploy/staging", files, "Edit it")
    here.run("push", "--quiet", "origin", f"{commit}:refs/heads/main")
    world.git("fetch", "--quiet", "origin")
    world.git("reset", "--quiet", "--hard", "origin/main")
    world.look_again()


def by_hand(world: sandbox.Sandbox) -> ledger.Entry:
    """Append an entry for what main names, whatever verification says, and forget all of it."""
    here, main = world.here, world.here.git.base()
    ledgers = confirm.settled(here, main)
    waiting = pending.pending(here, ledgers("staging"))
    assert waiting is not None
    outcome = verify.verify(here, release.on_main(here, "staging", waiting, ledgers))
    assert outcome.record is not None
    assert not outcome.passed
    commit = release.write(here, here.ledger("staging", main), waiting, outcome, outcome.record)
    forget(world)
    found = world.here.ledger("staging", main).find(commit)
    assert found is not None
    return found


def forget(world: sandbox.Sandbox) -> None:
    for name in ("verified", "rebuilt"):
        shutil.rmtree(world.here.state / name, ignore_errors=True)
    world.look_again()


def followed(world: sandbox.Sandbox) -> str:
    found = follow.wanted(world.here, "staging")
    assert found is not None
    return found.entry


def refused(world: sandbox.Sandbox) -> str:
    with pytest.raises(errors.RefusedError) as caught:
        world.release("staging")
    return str(caught.value)


@pytest.mark.parametrize("edits", [{"key": None}, {"key": None, "data": {"fitted": None}}])
def test_a_record_without_a_key_is_of_an_older_version_only_by_its_day(
    world: sandbox.Sandbox, edits: dict[str, Any]
) -> None:
    before = changes.entries(world, "staging")[0]
    packaged(world)
    merged(world, **edits)
    assert "bound: " in refused(world)
    entry = by_hand(world)
    assert changes.entries(world, "staging")[0].commit == entry.commit, "as recorded, it counts"
    assert followed(world) == before.commit


def test_an_image_that_was_not_packaged_with_the_model_is_followed_by_nobody(
    world: sandbox.Sandbox,
) -> None:
    before = changes.entries(world, "staging")[0]
    packaged(world)
    merged(world, image=EVIL)
    assert f"image: {EVIL} was not packaged with the model, but no image" in refused(world)
    entry = by_hand(world)
    assert followed(world) == before.commit
    assert confirm.refuted(world.here, world.here.ledger("staging", world.here.git.base()), entry)


def test_an_image_of_these_inputs_is_followed_although_the_model_was_packaged_again(
    world: sandbox.Sandbox,
) -> None:
    """Another comment in the code: the same model, by another key, in another image."""
    image = f"registry.example/it@sha256:{'ab' * 32}"
    store = world.here.store
    store.save(packaged(world).model_copy(update={"image": image}))
    world.merge(world.promote("staging").pull_request.branch)
    entry = world.release("staging")
    assert entry is not None
    assert entry.released.image == image
    store.save(
        store.provenance(entry.model).model_copy(
            update={"image": EVIL, "key": f"sha256:{'1' * 64}"}
        )
    )
    forget(world)
    assert followed(world) == entry.commit
    shutil.rmtree(store.root / "candidates")
    shutil.rmtree(store.root / "inputs")
    forget(world)
    with pytest.raises(errors.UnclearError, match="no note says how"):
        follow.wanted(world.here, "staging")


class TestNewest:
    """An entry for what missed its limits is the newest one, and followed by nobody."""

    @pytest.fixture
    def before(self, world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch) -> ledger.Entry:
        """The release that runs; this machine remembers that it verified it."""
        running = changes.entries(world, "staging")[0]
        world.candidate(WORSE)
        with monkeypatch.context() as theirs:
            fine = SimpleNamespace(passed=True, checks=(), rules=(), failed=())
            theirs.setattr(promote, "verify", lambda *_: fine)
            branch = world.promote("staging").pull_request.branch
        world.merge(branch)
        assert "metrics.roc_auc" in refused(world)
        by_hand(world)
        confirm.remember(world.here, "staging", running.commit)
        return running

    def test_it_is_no_champion_and_no_reason_to_look_at_other_rows(
        self, world: sandbox.Sandbox, before: ledger.Entry, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:  # fmt: skip
        newest = changes.entries(world, "staging")[0]
        evaluation, _ = work_tree.evaluate_candidate(world.here, "staging")
        assert evaluation.champion == before.model != newest.model
        monkeypatch.chdir(world.here.root)
        monkeypatch.setenv("MODEL_STATE", str(world.here.state))
        monkeypatch.setattr(sys, "argv", ["model", "monitor", "staging", "--json"])
        monkeypatch.setattr(app, "workspace", lambda: world.here)
        with pytest.raises(SystemExit) as end:
            app.main()
        assert end.value.code == 0
        assert json.loads(capsys.readouterr().out)["model"] == before.model
        (rows, _) = forget_rows.chosen(world.here, [before.model])
        assert "staging" in rows.runs

    def test_status_says_what_is_not_verified_here_and_asks_nobody(
        self, world: sandbox.Sandbox, before: ledger.Entry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(confirm, "verify", lambda *_: pytest.fail("that takes seconds"))
        found = status.status(world.here)[0]
        assert not found.verified
        newest = changes.entries(world, "staging")[0]
        assert newest.commit != before.commit
        assert (
            f"{record.short(newest.model)} is not verified here and may not count" in found.advice
        )
        confirm.remember(world.here, "staging", newest.commit)
        assert status.status(world.here)[0].verified

    def test_jobs_that_load_no_model_leave_it_out_too(
        self, world: sandbox.Sandbox, before: ledger.Entry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def loaded(*_: Any, **__: Any) -> None:
            pytest.fail("it loads a model")

        monkeypatch.setattr(figures, "limited", loaded)
        here = world.here
        recorded = here.ledger("staging", here.git.base())
        assert recorded.effective != before
        found = confirm.unrefuted(here, recorded).effective
        assert found is not None
        assert found.commit == before.commit
        fake = FakeGitHub()
        done = deploy.Deployment("staging", "deployed", before.model, before.commit)
        assert "recorded:" in "".join(follow_up.record(here, fake.client(), done))

    def test_what_cannot_be_verified_now_is_said(
        self, world: sandbox.Sandbox, before: ledger.Entry
    ) -> None:
        forget(world)
        holdout = world.here.recorded(before).data.holdout
        shutil.rmtree(world.here.store.fetch(holdout))
        said: list[str] = []
        evaluation, _ = work_tree.evaluate_candidate(world.here, "staging", said.append)
        assert evaluation.champion == before.model
        (note,) = said
        assert note.startswith("not verified here: staging: entry ")
        with pytest.raises(errors.UnclearError):
            confirm.settle(world.here, world.here.ledger("staging", world.here.git.base()))


def pin(world: sandbox.Sandbox, line: str) -> None:
    path = world.here.root / "pyproject.toml"
    world.commit("pyproject.toml", path.read_text().replace("[]", f'["{line}"]'))


class TestOtherLibraries:
    """The source commit pins what this machine does not have."""

    @pytest.fixture
    def shelf(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """What an index would have: the library that the source commit pins."""
        place = tmp_path / "shelf"
        info = place / "trinket-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: trinket\nVersion: 1.0\n")

        def make(folder: Path, pins: Sequence[str], what: str) -> None:
            """A real interpreter of its own; only what it has comes from here."""
            if not place.exists():
                raise libraries.LibrariesError(f"{what} cannot be installed; no index")
            assert "trinket==1.0" in pins
            venv.create(folder, symlinks=True)
            site = folder / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
            paths = [str(place), *(p for p in sys.path if p.endswith("site-packages"))]
            (site / "all.pth").write_text("\n".join(paths))

        monkeypatch.setattr(libraries, "_make", make)
        return place

    @pytest.fixture
    def pinned(
        self, world: sandbox.Sandbox, shelf: Path, monkeypatch: pytest.MonkeyPatch
    ) -> sandbox.Sandbox:
        """A candidate from a machine that had it; the policy asks to train it again."""
        asks(world, "train")
        pin(world, "trinket==1.0")
        with monkeypatch.context() as there:
            there.syspath_prepend(str(shelf))
            packaged(world)
        return world

    def test_they_are_installed_where_the_policy_asks(self, pinned: sandbox.Sandbox) -> None:
        pinned.merge(pinned.promote("staging").pull_request.branch)
        entry = pinned.release("staging")
        assert entry is not None
        (said,) = [check for check in entry.released.checks if check.name == "rebuilt"]
        assert said.message.endswith("the same bytes")
        forget(pinned)
        assert followed(pinned) == entry.commit

    def test_nothing_is_decided_while_they_cannot_be_had(
        self, pinned: sandbox.Sandbox, shelf: Path
    ) -> None:
        pinned.merge(pinned.promote("staging").pull_request.branch)
        assert pinned.release("staging")
        forget(pinned)
        shutil.rmtree(pinned.here.state / "environments" / "libraries")
        shutil.rmtree(shelf)
        with pytest.raises(errors.UnclearError, match=r"NOT REBUILT: .* needs trinket==1.0"):
            follow.wanted(pinned.here, "staging")

    def test_an_entry_by_hand_is_trained_again(
        self, pinned: sandbox.Sandbox, shelf: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another model, under a record that its author's own clone let pass."""
        before = changes.entries(pinned, "staging")[0]
        (honest,) = (one for one in pinned.here.store.candidates() if one.model != before.model)
        with monkeypatch.context() as there:
            there.syspath_prepend(str(shelf))
            forged(pinned, honest, model=retold(pinned, honest, nudge(0.3)))
        with monkeypatch.context() as theirs:
            fine = SimpleNamespace(passed=True, checks=(), rules=(), failed=())
            theirs.setattr(promote, "verify", lambda *_: fine)
            branch = pinned.promote("staging").pull_request.branch
        pinned.merge(branch)
        assert "rebuilt: " in refused(pinned)
        by_hand(pinned)
        assert followed(pinned) == before.commit
        shutil.rmtree(pinned.here.state / "environments" / "libraries")
        shutil.rmtree(shelf)  # nor where nobody can tell
        forget(pinned)
        with pytest.raises(errors.UnclearError, match=r"NOT REBUILT: .* needs trinket==1.0"):
            follow.wanted(pinned.here, "staging")


def test_an_entry_that_only_a_model_refutes_holds_up_no_later_release(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The job that appends cannot tell; it takes that, too, from the one that loads models."""
    before, honest = changes.entries(world, "staging")[0], packaged(world)
    forged(world, honest, model=retold(world, honest, nudge(0.3)))
    with monkeypatch.context() as theirs:
        fine = SimpleNamespace(passed=True, checks=(), rules=(), failed=())
        theirs.setattr(promote, "verify", lambda *_: fine)
        branch = world.promote("staging").pull_request.branch
    world.merge(branch)
    assert "rebuilt: " in refused(world)
    entry = by_hand(world)
    here = world.here
    assert not confirm.refuted(here, here.ledger("staging", here.git.base()), entry)
    world.git("revert", "--no-edit", "-m", "1", "HEAD")
    world.git("push", "--quiet", "origin", "main")
    other = packaged(world, BETTER | {"seed": 3})
    world.merge(world.promote("staging").pull_request.branch)
    assert release.attempt(world.here, "staging", tmp_path).action == "prepared"
    forget(world)  # another job has no memory
    made = draft.Draft.read(tmp_path / "staging.json")
    assert entry.commit in made.left_out
    released = release.append(world.here, made)
    assert (released.model, released.released.replaces) == (other.model, before.commit)
    (said,) = (one for one in released.released.checks if one.name == "left out")
    assert said.message.startswith(f"entry {entry.commit[:7]} does not verify (rebuilt)")
    forget(world)
    recorded = world.here.ledger("staging", world.here.git.base())
    assert confirm.unrefuted(world.here, recorded).effective == released, "where nothing is loaded"
    assert followed(world) == released.commit


@pytest.fixture
def history(tmp_path: Path) -> git.Git:
    (tmp_path / "README").write_text("A project of the version before.\n")
    return commit_all(tmp_path)


def adds(history: git.Git, *names: str) -> str:
    for name in names:
        (history.root / name).parent.mkdir(parents=True, exist_ok=True)
        (history.root / name).write_text(f"{name}\n")
    history.run("add", "--all")
    history.run("-c", "user.name=T", "-c", "user.email=t@x", "commit", "-qm", str(names))
    return history.run("rev-parse", "HEAD")


@pytest.mark.parametrize(
    "layouts",
    [
        ("src/shop/release/rebuild.py", "engine/mlrelease/verification/rebuild.py"),
        ("engine/mlrelease/verification/rebuild.py",),
    ],
)
def test_what_is_older_than_the_rules_is_told_in_either_layout(
    history: git.Git, layouts: tuple[str, ...]
) -> None:
    old = adds(history, "src/shop/release/ledger.py", "deploy/staging/model.yaml")
    rules = adds(history, layouts[0])
    new = adds(history, "deploy/production/model.yaml")
    for name in layouts[1:]:  # the engine moves
        (history.root / layouts[0]).unlink()
        adds(history, name)
    head = adds(history, "last")
    assert [main_line.unbound(history, commit, head) for commit in (old, rules, new, head)] == [
        True, True, False, False,
    ]  # fmt: skip


def test_where_no_commit_brought_the_rules_nothing_is_older(history: git.Git) -> None:
    """The engine is a dependency, which no commit of the project holds."""
    assert not main_line.unbound(history, adds(history, "a"), adds(history, "b"))
