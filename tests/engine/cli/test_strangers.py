"""Whatever path a verb is given: a stranger's file is there afterwards, byte for byte."""

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import pytest
import typer
from typer.models import OptionInfo

from mlrelease.cli import app as cli_app
from mlrelease.rehearsal import sandbox
from tests.engine.cli.test_verbs import Run, inside as inside, run as run

TEXTS = {"--from", "--log"}  # that name a path, although their type is a text
VERBS = {  # each option or argument that names a path, and a call that uses it
    "promote --output": "promote staging --model MODEL --output PATH",
    "rollback --output": "rollback production --output PATH",
    "propose PROPOSAL": "propose PATH",
    "release --output": "release --output PATH",
    "ledger append DRAFTS": "ledger append PATH",
    "ledger append --entries": "ledger append draft.json --entries PATH",
    "ledger restore --from": "ledger restore staging --from PATH",
    "serve --model": "serve --model PATH --port TAKEN",
    "serve --log": "serve --log PATH --port TAKEN",
    "serve --token-file": "serve --token-file PATH --port TAKEN",
    "predict SOURCE": "predict PATH out.csv",
    "predict TARGET": "predict rows.csv PATH",
    "predict --model": "predict rows.csv out.csv --model PATH",
    "monitor --log": "monitor production --log PATH",
    "monitor --output": "monitor production --output PATH",
    "rehearse --output": "rehearse --output PATH",
    "github comment EVALUATION": "github comment 1 PATH policy.yaml",
    "github comment POLICY": "github comment 1 candidate/evaluation.json PATH",
    "github record RESULTS": "github record PATH",
    "github drift REPORT": "github drift staging PATH",
}
WRITE = {
    "promote --output", "rollback --output", "serve --log", "predict TARGET", "monitor --output",
}  # fmt: skip


def paths(app: typer.Typer, *before: str) -> Iterator[str]:
    """The options and arguments that name a path, with the verbs before them."""
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from paths(group.typer_instance, *before, str(group.name))
    for command in app.registered_commands:
        assert command.callback is not None
        verb = command.name or command.callback.__name__
        for name, kind in get_type_hints(command.callback, include_extras=True).items():
            told = next(iter(getattr(kind, "__metadata__", ())), None)
            shown = name.upper()
            if isinstance(told, OptionInfo):  # the name stands first, where a default would
                given = told.default if isinstance(told.default, str) else None
                shown = given or f"--{name.replace('_', '-')}"
            if "Path" in str(kind) or shown in TEXTS:
                yield " ".join([*before, verb, shown])


def test_no_verb_that_takes_a_path_is_forgotten() -> None:
    assert sorted(paths(cli_app.verbs())) == sorted(VERBS)


@pytest.fixture
def folder(inside: sandbox.Sandbox) -> Path:
    """A stranger's repository, with a name for whatever a verb could want to write."""
    made = Path("theirs").resolve()
    names = (
        "README.md", "report.md", "report.html", "staging.json", "production.json", "model.json",
        "key.json", ".git/HEAD", ".git/config", "src/code.py", "plots/roc.png", "plots/0/roc.png",
        ".out.csv.work/mine.txt", "out.csv", "out.parquet", "out.csv.rejects.csv", "log.jsonl.1",
        "log.jsonl.3", "store/sha256/mine", "pull-requests/mine.md", "empty/.keep",
    )  # fmt: skip
    for name in names:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        (made / name).write_text(f"mine: {name}\n")
    (made / "link.csv").symlink_to("README.md")
    (made / "circle").symlink_to("circle")
    return made


def content(folder: Path) -> dict[str, bytes | str]:
    """All that is in a folder, byte for byte."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink()
        else path.read_bytes() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_a_strangers_file_is_there_afterwards(
    run: Run, inside: sandbox.Sandbox, folder: Path, verb: str
) -> None:
    model = inside.here.ledger("production", inside.here.git.base()).effective
    assert model is not None
    inside.here.candidate.joinpath("holdout/holdout.parquet").rename("rows.parquet")
    before = content(folder)
    places = (
        "README.md", ".", ".git", "out.csv", "out.parquet", "link.csv", "README.md/below.csv",
        "circle", "circle/out.csv", "report.md", "src",
    )  # fmt: skip
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = {"MODEL": model.model, "TAKEN": str(taken.getsockname()[1])}
        for name in places:
            told = words | {"PATH": str(folder / name)}
            call = [told.get(word, word) for word in VERBS[verb].split()]
            code, out, err = run(*[word.replace("rows.csv", "rows.parquet") for word in call])
            after = content(folder)
            assert {name: after.get(name) for name in before} == before, (call, out, err)
            if verb in WRITE:
                assert code in (1, 2), (call, out, err)
                assert "unexpected" not in err, (call, err)
                assert str(folder / name) in err, (call, err)


@pytest.mark.parametrize("name", ["predict TARGET", "serve --log"])
@pytest.mark.parametrize("free", ["log.jsonl", "new.csv"])
def test_what_lies_beside_the_output_is_not_replaced(
    run: Run, inside: sandbox.Sandbox, folder: Path, name: str, free: str
) -> None:
    """The rows without an answer, parts of a run and older logs have names of their own."""
    target = folder / (free if name == "serve --log" else "out2.csv")
    beside = [
        folder / "out2.csv.rejects.csv",
        folder / ".out2.csv.work" / "mine",
        folder / "new.csv.2",
    ]
    beside[1].parent.mkdir()
    for path in beside:
        path.write_text("mine")
    before = content(folder)
    inside.here.candidate.joinpath("holdout/holdout.parquet").rename("rows.parquet")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = {
            "PATH": str(target),
            "TAKEN": str(taken.getsockname()[1]),
            "rows.csv": "rows.parquet",
        }
        code, _, err = run(*[words.get(word, word) for word in VERBS[name].split()])
    assert (code, content(folder)) == (1, before)
    assert "move it away" in err
    beside[0].unlink()  # and the parts of a run alone
    if name == "predict TARGET":
        assert run("predict", "rows.parquet", str(target))[0] == 1
        assert beside[1].read_text() == "mine"


def test_an_output_of_ours_is_replaced(run: Run, inside: sandbox.Sandbox) -> None:
    inside.here.candidate.joinpath("holdout/holdout.parquet").rename("rows.parquet")
    calls = ("predict rows.parquet out.csv --overwrite", "predict rows.parquet out.parquet")
    for call in (*calls, "monitor production --output drift.md"):
        for _ in range(2):
            code, _, err = run(*call.split())
            assert code == 0, (call, err)


def test_what_lies_in_the_candidate_folder_stays(run: Run, inside: sandbox.Sandbox) -> None:
    note = inside.here.candidate / "model" / "notes.txt"
    note.write_text("mine")
    code, _, err = run("train", "--force")
    assert (code, note.read_text()) == (1, "mine")
    assert "notes.txt: was not written by `model train`; move it away" in err
    note.unlink()
    assert run("train", "--force")[0] == 0


@pytest.mark.parametrize(
    ("verb", "name"),
    [
        ("train --force", "inputs.json"), ("train --force", ".lock"),
        ("evaluate", "evaluation.json"), ("evaluate", "plots/roc.png"), ("evaluate", "plots"),
        ("report", "report.md"), ("report", "report.html"),
        ("package --image acme/churn", "sbom.json"),
    ],
)  # fmt: skip
def test_what_a_verb_would_write_into_the_candidate_folder_is_not_replaced(
    run: Run, inside: sandbox.Sandbox, verb: str, name: str
) -> None:
    place = inside.here.candidate / name
    assert run("evaluate")[0] == 0
    shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    place.parent.mkdir(exist_ok=True)
    place.write_text("mine")
    before = content(inside.here.candidate)
    code, _, err = run(*verb.split())
    assert place.read_text() == "mine"
    if name != ".lock":  # it is locked, and not written
        assert code in (1, 2)
        assert str(place) in err.splitlines()[-1]
        assert content(inside.here.candidate) == before | {".lock": before.get(".lock", b"")}


def test_what_we_wrote_into_the_candidate_folder_is_replaced(
    run: Run, inside: sandbox.Sandbox
) -> None:
    for verb in ("evaluate", "report", "evaluate --against staging", "report", "train --force"):
        code, _, err = run(*verb.split())
        assert code == 0, (verb, err)


def test_what_this_machine_keeps_goes_into_a_folder(
    run: Run, inside: sandbox.Sandbox, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(folder)
    monkeypatch.setenv("MODEL_STATE", str(folder / "README.md"))
    code, _, err = run("package")
    assert code == 2
    assert "MODEL_STATE must name one" in err
    monkeypatch.setenv("MODEL_STATE", str(folder))
    for call in ("train --force", "package", "promote staging", "status", "deploy --down"):
        run(*call.split())
    after = content(folder)
    assert {name: after.get(name) for name in before} == before
