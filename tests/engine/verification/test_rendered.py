"""What lies next to a record: known names, plain files, and what the figures give when they are
rendered again. Everything else is refused."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from mlrelease import documents, files, policy as policy_file
from mlrelease.evaluation import evaluation, gate, markdown, metrics, plots, report
from mlrelease.records import git, record
from mlrelease.rehearsal import sandbox
from mlrelease.verification import rendered
from tests.engine.conftest import BETTER
from tests.engine.evaluation.test_gate import policy
from tests.engine.evaluation.test_plots import figures, scores, some_slices
from tests.engine.releasing import DRAW
from tests.engine.verification import changes

Files = dict[str, bytes]
Entry = tuple[str, str, str, str]  # mode, type, object, name, as `git mktree` reads them

DIGEST, COMMIT = "sha256:" + "a" * 64, "b" * 40
NAMES = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
FILES = {"model.yaml": b"model: x\n", "evaluation.json": b"{}", "report.md": b"# report\n"}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> git.Git:
    root = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", "-b", "main", str(root)], check=True)
    return git.Git(root)


@pytest.fixture(scope="module")
def scored() -> metrics.Scored:
    return scores("classification", 152)


@pytest.fixture(scope="module")
def found(scored: metrics.Scored) -> evaluation.Evaluation:
    return figures(scored, some_slices(["north", "south", "west", "east"]))


@pytest.fixture(scope="module")
def made(scored: metrics.Scored, found: evaluation.Evaluation) -> Files:
    """The report and the plots of a promotion."""
    return rendered.files(promoted(), found, scored, policy())


def promoted(**changes: object) -> record.Record:
    content = {
        "environment": "staging", "model": DIGEST, "version": "2026.11.21+abc1234",
        "runtime": "onnx", "source": {"commit": COMMIT},
        "data": {"train": DIGEST, "holdout": DIGEST}, "evaluation": DIGEST, "policy": DIGEST,
        "trust": "digest", "replaces": {}, "rendering": rendered.rendering(),
    }  # fmt: skip
    return record.Record.model_validate(content | changes)


def blob(repository: git.Git, content: bytes) -> str:
    return repository.run("hash-object", "-w", "--stdin", stdin=content)


def tree(repository: git.Git, *entries: Entry) -> str:
    """A tree as only plumbing writes it: with names that no work tree would take."""
    lines = [f"{mode} {kind} {sha}\t{name}\0".encode() for mode, kind, sha, name in entries]
    return repository.run("mktree", "-z", "--missing", stdin=b"".join(lines))


def committed(repository: git.Git, staging: tuple[str, str, str]) -> str:
    deploy = tree(repository, (*staging, "staging"))
    root = tree(repository, ("040000", "tree", deploy, "deploy"))
    who = ("-c", "user.name=a", "-c", "user.email=a@localhost")
    return repository.run(*who, "commit-tree", root, "-m", "Add")


def with_entries(repository: git.Git, *entries: Entry) -> str:
    """A promotion's folder with these entries; one of the same name takes the place of a file."""
    names = {name for *_, name in entries}
    plain: list[Entry] = [
        ("100644", "blob", blob(repository, content), name)
        for name, content in FILES.items()
        if name not in names
    ]
    return committed(repository, ("040000", "tree", tree(repository, *plain, *entries)))


def with_files(repository: git.Git, found: Files) -> str:
    pictures = [
        ("100644", "blob", blob(repository, content), name.removeprefix("plots/"))
        for name, content in found.items()
        if name.startswith("plots/")
    ]
    entries: list[Entry] = [("040000", "tree", tree(repository, *pictures), "plots")]
    text = found.get("report.md", b"")
    entries.append(("100644", "blob", blob(repository, text), "report.md"))
    return with_entries(repository, *entries)


def test_what_a_promotion_writes_may_stand_in_its_folder(repository: git.Git, made: Files) -> None:
    finding = rendered.check_folder(repository, with_files(repository, made), "staging")
    assert (finding.name, finding.passed) == ("files", True)


@pytest.mark.parametrize(
    ("mode", "kind", "name", "says"),
    [
        ("100644", "blob", "evil.py", "'evil.py' (unknown)"),
        ("100644", "blob", "MODEL.YAML", "'MODEL.YAML' (unknown)"),
        ("120000", "blob", "report.md", "'report.md' (a symbolic link)"),
        ("100755", "blob", "report.md", "'report.md' (executable)"),
        ("160000", "commit", "report.md", "'report.md' (a submodule)"),
        ("160000", "commit", "plots", "'plots' (a submodule)"),
        ("100644", "blob", "plots", "'plots' (unknown)"),
        ("100644", "blob", "report.md\n", r"'report.md\n' (unknown)"),
        ("100644", "blob", 'a"\x1b[2J\u202e', r"""'a"\x1b[2J\u202e' (unknown)"""),
    ],
)
def test_what_is_no_plain_file_of_a_known_name_is_refused(
    repository: git.Git, mode: str, kind: str, name: str, says: str
) -> None:
    sha = COMMIT if kind == "commit" else blob(repository, b"model.yaml")
    finding = rendered.check_folder(
        repository, with_entries(repository, (mode, kind, sha, name)), "staging"
    )
    assert not finding.passed
    assert says in finding.message
    assert finding.message.isprintable()


def test_a_name_that_is_no_text_is_refused(repository: git.Git) -> None:
    sha = blob(repository, b"")
    inner = repository.run("mktree", "-z", stdin=f"100644 blob {sha}\t".encode() + b"\xff\xfe\0")
    head = committed(repository, ("040000", "tree", inner))
    assert rendered.not_allowed(repository, head, "staging") == [r"'\udcff\udcfe' (unknown)"]


@pytest.mark.parametrize("name", ["plots", "other"])
def test_folders_other_than_that_of_the_plots_are_refused(repository: git.Git, name: str) -> None:
    inside: Entry = ("040000", "tree", tree(repository), "plots")  # empty: no file shows it
    head = with_entries(repository, ("040000", "tree", tree(repository, inside), name))
    faults = rendered.not_allowed(repository, head, "staging")
    assert f"'{name}/plots' (a folder)" in faults


def test_a_picture_of_an_unknown_name_is_refused(repository: git.Git) -> None:
    head = with_files(repository, {"plots/other.png": b""})
    assert rendered.not_allowed(repository, head, "staging") == ["'plots/other.png' (unknown)"]


def test_a_name_that_stands_twice_is_refused(repository: git.Git) -> None:
    """git shows the first, a checkout leaves the last. A server that runs fsck takes neither."""
    one, two = (bytes.fromhex(blob(repository, text)) for text in (b"a", b"b"))
    content = b"".join(b"100644 model.yaml\0" + sha for sha in (one, two))
    options = ("hash-object", "-t", "tree", "-w", "--literally", "--stdin")
    head = committed(repository, ("040000", "tree", repository.run(*options, stdin=content)))
    assert rendered.not_allowed(repository, head, "staging") == ["'model.yaml' (twice)"]


@pytest.mark.parametrize(
    ("mode", "kind"), [("120000", "blob"), ("160000", "commit"), ("100644", "blob")]
)
def test_a_folder_that_is_none_is_refused(repository: git.Git, mode: str, kind: str) -> None:
    sha = COMMIT if kind == "commit" else blob(repository, b"../production")
    faults = rendered.not_allowed(repository, committed(repository, (mode, kind, sha)), "staging")
    assert faults == ["deploy/staging itself, which is no folder"]


@pytest.mark.parametrize("name", sorted(rendered.MAX_BYTES))
def test_a_file_larger_than_its_bound_is_refused_unread(repository: git.Git, name: str) -> None:
    for more, faults in ((0, 0), (1, 1)):
        content = bytes(rendered.MAX_BYTES[name] + more)
        entry: Entry = ("100644", "blob", blob(repository, content), name.removeprefix("plots/"))
        if name.startswith("plots/"):
            entry = ("040000", "tree", tree(repository, entry), "plots")
        found = rendered.not_allowed(repository, with_entries(repository, entry), "staging")
        assert len(found) == faults
        assert not faults or f"{name!r} (larger than" in found[0]


@settings(max_examples=30, deadline=None)
@given(st.sets(st.text(NAMES, min_size=1, max_size=40), max_size=9))
def test_every_other_name_is_refused_by_itself(repository: git.Git, names: set[str]) -> None:
    strange = names - {".", "..", ".git", "plots", *FILES}
    sha = blob(repository, b"")
    head = with_entries(repository, *(("100644", "blob", sha, name) for name in strange))
    faults = rendered.not_allowed(repository, head, "staging")
    assert sorted(faults) == sorted(f"{name!a} (unknown)" for name in strange)


def test_equal_figures_give_equal_files(
    made: Files, found: evaluation.Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after evaluation.json was written and read: its keys come in another order then."""
    again = evaluation.Evaluation.parse(found.write().encode(), "evaluation.json")
    monkeypatch.setattr(plots, "draw", DRAW)
    assert rendered.files(promoted(), again, scores("classification", 152), policy()) == made
    assert set(made) == {
        "report.md", "plots/roc.png", "plots/pr.png", "plots/calibration.png",
        "plots/confusion.png", "plots/slices.png",
    }  # fmt: skip


PROGRAM = """
from mlrelease.files import sha256
from tests.engine.evaluation.test_gate import policy
from tests.engine.evaluation.test_plots import figures, scores, some_slices
from tests.engine.verification.test_rendered import promoted, rendered
scored = scores("classification", 152)
found = figures(scored, some_slices(["north", "south", "west", "east"]))
for name, content in rendered.files(promoted(), found, scored, policy()).items():
    print(name, sha256(content))
print(rendered.rendering())
"""


def test_another_process_renders_the_same_bytes(made: Files) -> None:
    there = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command, root = [sys.executable, "-c", PROGRAM], Path(__file__).parents[3]
    done = subprocess.run(command, env=there, cwd=root, capture_output=True, check=True)
    *lines, version = done.stdout.decode().splitlines()
    assert lines == [f"{name} {files.sha256(content)}" for name, content in made.items()]
    assert version == rendered.rendering()


def test_the_rendering_fits_into_a_record() -> None:
    written = promoted().write().encode()
    assert record.Record.read(written, "model.yaml").rendering == rendered.rendering()
    assert f"rendering: {rendered.rendering()}\n" in written.decode()


@pytest.mark.parametrize(
    "module", [documents, policy_file, gate, markdown, plots, report, rendered]
)
def test_other_source_is_another_rendering(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    here, edited_ = rendered.rendering(), tmp_path / "edited.py"
    edited_.write_bytes(Path(str(module.__file__)).read_bytes() + b"# edited\n")
    monkeypatch.setattr(module, "__file__", str(edited_))
    assert rendered.rendering.__wrapped__() != here


@pytest.fixture
def checked(
    repository: git.Git, found: evaluation.Evaluation, scored: metrics.Scored
) -> Callable[..., gate.Finding]:
    def check(files_: Files, about: record.Record | None = None, **options: bool) -> gate.Finding:
        head = with_files(repository, files_)
        return rendered.check_rendered(
            repository, head, "staging", about or promoted(), found, scored, policy(), **options
        )

    return check


Checked = Callable[..., gate.Finding]


def test_files_that_are_made_again_equal_pass(checked: Checked, made: Files) -> None:
    finding = checked(made)
    assert (finding.name, finding.passed) == ("rendered", True)
    assert "report and 5 plots" in finding.message


def edited(found: Files, old: str, new: str) -> Files:
    text = found["report.md"].decode()
    assert old in text
    return found | {"report.md": text.replace(old, new, 1).encode()}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: edited(f, "Do not run", "Run"), "report.md differs in line 1 "),
        (lambda f: edited(f, "</details>\n", "</details> \n"), "report.md differs in line"),
        (lambda f: f | {"report.md": f["report.md"] + b"\n"}, "report.md differs in line"),
        (lambda f: f | {"report.md": f["report.md"][:-1]}, "report.md differs in line"),
        (lambda f: f | {"report.md": b""}, "report.md differs in line 1 "),
        (lambda f: {k: v for k, v in f.items() if k != "plots/roc.png"}, "roc.png is missing"),
        (lambda f: f | {"plots/roc.png": f["plots/pr.png"]}, "roc.png shows something else"),
        (lambda f: f | {"plots/residuals.png": f["plots/pr.png"]}, "does not belong"),
    ],
)  # fmt: skip
def test_a_forged_report_or_picture_is_refused(
    checked: Checked, made: Files, change: Callable[[Files], Files], says: str
) -> None:
    finding = checked(change(made))
    assert not finding.passed
    assert says in finding.message
    assert "run `model promote staging` again" in finding.message


def test_the_record_decides_the_words_of_the_report(
    checked: Checked, made: Files, found: evaluation.Evaluation, scored: metrics.Scored
) -> None:
    other = promoted(intent="hotfix", reason="the caller is down")
    assert "report.md differs" in checked(made, other).message
    text = rendered.files(other, found, scored, policy())["report.md"].decode()
    assert "HOTFIX, not soaked: the caller is down" in text


def test_what_another_version_rendered_is_refused_until_it_is_released(
    checked: Checked, made: Files
) -> None:
    for older in (None, "source 0123456789ab, matplotlib 3.0.0"):
        new = checked(made, promoted(rendering=older))
        assert not new.passed
        assert "run `model promote staging` again" in new.message
        old = checked(made, promoted(rendering=older), released=True)
        assert old.passed
        assert "not compared" in old.message
    assert not checked(edited(made, "Do not run", "Run"), released=True).passed


@given(st.dictionaries(st.sampled_from(["report.md", "a.md", "b"]), st.binary(max_size=30)))
def test_only_equal_texts_have_no_differences(found: Files) -> None:
    assert rendered.differences(found, found) == []
    for name in found:
        less = {key: value for key, value in found.items() if key != name}
        assert len(rendered.differences(less, found)) == 1
        assert len(rendered.differences(found, less)) == 1
        assert len(rendered.differences(found | {name: found[name] + b"\n"}, found)) == 1


def proposal(world: sandbox.Sandbox) -> tuple[str, Files]:
    world.candidate(BETTER)
    head = world.promote("staging").pull_request.head
    return head, world.here.git.files(head, "deploy/staging")


def failed(world: sandbox.Sandbox, head: str) -> dict[str, str]:
    return changes.failed(world, changes.proposed(world, head, "staging"))


def test_verification_asks_for_the_folder_and_for_what_is_rendered(world: sandbox.Sandbox) -> None:
    head, found = proposal(world)
    assert failed(world, head) == {}
    assert sum(name.startswith("plots/") for name in found) == 5
    here = world.here.git

    def after(changed: Files) -> list[str]:
        commit = here.commit_folder(here.base(), "deploy/staging", changed, "Tamper")
        return list(failed(world, commit))

    assert after(found | {"evil.py": b"import os"}) == ["files"]
    assert after(edited(found, "✅", "☑")) == ["rendered"]
    assert after({k: v for k, v in found.items() if k != "plots/roc.png"}) == ["rendered"]
    forged = yaml.safe_load(found["model.yaml"]) | {"rendering": "source 000000000000"}
    text = yaml.safe_dump(forged, sort_keys=False).encode()
    assert after(edited(found, "✅", "☑") | {"model.yaml": text}) == ["rendered"]


def test_figures_that_are_wrong_are_not_drawn(world: sandbox.Sandbox) -> None:
    """Numbers that somebody made up must not reach the drawing library."""
    _, found = proposal(world)
    content = yaml.safe_load(found["evaluation.json"])
    content["metrics"]["roc_auc"]["candidate"]["value"] = 1e308
    text = files.canonical_json(content).encode()
    other = yaml.safe_load(found["model.yaml"]) | {"evaluation": files.sha256(text)}
    forged = {"evaluation.json": text, "model.yaml": yaml.safe_dump(other).encode()}
    here = world.here.git
    head = here.commit_folder(here.base(), "deploy/staging", found | forged, "Tamper")
    assert list(failed(world, head)) == ["numbers"]
