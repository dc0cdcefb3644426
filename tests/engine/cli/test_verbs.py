"""The command line: what a person types, sees, and gets as exit code."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mlrelease import workspace
from mlrelease.cli import app as cli_app, github as cli_github
from mlrelease.rehearsal import sandbox
from mlrelease.training import train
from tests.engine.conftest import BETTER, GENERATED, PYTHONPATH, WORSE

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a verb in this process: exit code, output, errors."""

    def verb(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["model", *arguments])
        try:
            cli_app.main()
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return verb


@pytest.fixture
def inside(world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch) -> sandbox.Sandbox:
    """The current directory is the project; its state is the world's."""
    monkeypatch.chdir(world.here.root)
    monkeypatch.setenv("MODEL_STATE", str(world.here.state))
    return world


def test_every_verb_has_help_with_an_example(run: Run) -> None:
    verbs = {
        (): cli_app.verbs().registered_commands,
        ("github",): cli_github.github.registered_commands,
    }
    names = [
        (*before, c.name or c.callback.__name__)
        for before, commands in verbs.items()
        for c in commands
        if c.callback and not c.hidden
    ]
    assert len(names) > 20
    for name in names:
        code, out, _ = run(*name, "--help")
        assert code == 0
        assert f"Example: model {' '.join(name)}" in out


def test_help_needs_no_project_and_no_heavy_import() -> None:
    code = (
        f"import sys; sys.argv = ['model', '--help']; from {cli_app.__name__} import main\n"
        "try:\n main()\nexcept SystemExit: pass\n"
        "heavy = {'pandas', 'sklearn', 'matplotlib', 'scipy', 'numpy', 'uvicorn', 'pandera'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    place = PYTHONPATH
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": place}, cwd="/")


def test_misuse_exits_with_2(run: Run) -> None:
    assert run("promote", "moon")[0] == 2
    assert run("trian")[0] == 2


def test_outside_a_project_one_line_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run("train")
    assert (code, err.count("\n")) == (2, 1)
    assert "no params.yaml" in err


def test_an_unexpected_fault_is_one_line_too(
    run: Run, inside: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*_: object) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(workspace.Workspace, "find", fault)
    code, _, err = run("status")
    assert (code, re.sub(r"\d+ \(", "N (", err)) == (
        1, "model: unexpected RuntimeError in app.py, line N (MODEL_DEBUG=1 shows all of it)\n",
    )  # fmt: skip


def test_from_data_to_package(run: Run, inside: sandbox.Sandbox) -> None:
    inside.git("commit", "--quiet", "--allow-empty", "--message", "x")
    assert run("check-data")[0] == 0
    assert run("train", "--force")[0] == 0
    code, out, _ = run("evaluate", "--json")
    assert code == 0
    assert json.loads(out)["task"] == "classification"
    assert run("gate")[0] == 0
    code, out, _ = run("report")
    assert out.startswith("## ✅ Ready to promote")
    assert (inside.here.root / "candidate" / "report.html").exists()
    code, out, _ = run("package", "--json")
    assert json.loads(out)["model"].startswith("sha256:")


def test_unchanged_inputs_train_nothing(run: Run, inside: sandbox.Sandbox) -> None:
    first = json.loads(run("train", "--json")[1])
    assert first["trained"] is False
    shutil.rmtree(inside.here.candidate)
    started = time.monotonic()
    again = json.loads(run("train", "--json")[1])
    assert time.monotonic() - started < 2
    assert again == first
    assert (inside.here.candidate / "model" / "model.skops").exists()


def test_a_damaged_candidate_is_replaced(run: Run, inside: sandbox.Sandbox) -> None:
    path = inside.here.candidate / "model" / "model.json"
    path.write_text("{}")
    assert run("train")[0] == 0
    assert path.read_text() != "{}"


def test_a_refused_gate_exits_with_1_and_names_each_rule(run: Run, inside: sandbox.Sandbox) -> None:
    inside.candidate(WORSE)
    run("evaluate")
    code, out, _ = run("gate")
    assert code == 1
    assert all(line.startswith("refused: ") for line in out.splitlines())
    assert "champion.roc_auc.margin" in out


def test_a_candidate_from_other_parameters_is_not_evaluated(
    run: Run, inside: sandbox.Sandbox
) -> None:
    path = inside.here.root / "params.yaml"
    path.write_text(path.read_text().replace("seed: 7", "seed: 8"))
    code, _, err = run("evaluate")
    assert code == 2
    assert "run `model train`" in err


def test_an_evaluation_of_another_model_is_not_judged(run: Run, inside: sandbox.Sandbox) -> None:
    run("evaluate")
    inside.candidate(BETTER)
    code, _, err = run("gate")
    assert code == 2
    assert "another model" in err


def test_bad_rows_exit_with_1_and_write_nothing(run: Run, inside: sandbox.Sandbox) -> None:
    path = inside.here.root / "params.yaml"
    path.write_text(path.read_text() + "\n")
    content = yaml.safe_load(path.read_text())
    content["data"]["columns"] = {"mean radius": {"max": 20}}
    path.write_text(yaml.safe_dump(content))
    before = (inside.here.candidate / "inputs.json").read_text()
    for verb in ("check-data", "train"):
        code, out, err = run(verb)
        assert code == 1
        assert "column 'mean radius'" in out + err
        assert "more" in out + err
    assert (inside.here.candidate / "inputs.json").read_text() == before


def test_uncommitted_changes_are_not_packaged(run: Run, inside: sandbox.Sandbox) -> None:
    path = inside.here.root / "params.yaml"
    path.write_text(path.read_text().replace("seed: 7", "seed: 8"))
    run("train")
    code, _, err = run("package")
    assert code == 1
    assert "params.yaml: not committed" in err


def test_a_candidate_from_other_inputs_is_not_packaged(run: Run, inside: sandbox.Sandbox) -> None:
    path = inside.here.root / "params.yaml"
    path.write_text(path.read_text().replace("seed: 7", "seed: 8"))
    inside.git("commit", "--quiet", "--all", "--message", "Seed")
    code, _, err = run("package")
    assert code == 1
    assert "run `model train`" in err


def test_promote_verify_status_history(run: Run, inside: sandbox.Sandbox) -> None:
    inside.candidate(BETTER)
    facts = json.loads(run("promote", "staging", "--json")[1])
    assert Path(facts["address"]).read_text().startswith("## ✅ Approve")
    code, out, _ = run("verify", "staging", "--ref", facts["branch"])
    assert code == 0
    assert "FAILED" not in out
    assert facts["branch"] in run("status")[1]
    inside.merge(facts["branch"])
    assert "main asks for more" in " ".join(run("status")[1].split())
    assert run("verify", "staging")[0] == 0
    assert "is released, entry" in run("release", "staging")[1]
    newest = json.loads(run("history", "staging", "--json")[1])[0]
    assert newest["model"][7:19] in facts["branch"]
    assert run("verify", "staging")[0] == 0
    back = json.loads(run("rollback", "staging", "--json")[1])
    inside.merge(back["branch"])
    assert run("release")[0] == 0
    out = run("history", "staging")[1]
    assert "rollback" in out.splitlines()[1]
    assert all(len(line) <= 100 for line in out.splitlines())


def test_a_proposal_is_prepared_here_and_opened_there(run: Run, inside: sandbox.Sandbox) -> None:
    inside.candidate(BETTER)
    assert json.loads(run("promote", "staging", "--output", "p.json", "--json")[1])["prepared"]
    opened = json.loads(run("propose", "p.json", "--json")[1])
    assert opened["opened"]
    again = json.loads(run("promote", "staging", "--output", "q.json", "--json")[1])
    assert (again["prepared"], again["opened"]) == (False, False)
    inside.merge(opened["branch"])
    code, out, _ = run("promote", "staging", "--output", "q.json")
    assert (code, "already" in out, Path("q.json").exists()) == (0, True, False)
    assert run("promote", "staging")[0] == 1  # to a person that is a refusal


def test_a_release_is_verified_here_and_appended_there(run: Run, inside: sandbox.Sandbox) -> None:
    inside.candidate(BETTER)
    inside.merge(json.loads(run("promote", "staging", "--json")[1])["branch"])
    code, out, _ = run("release", "--output", "drafts", "--json")
    assert (code, json.loads(out)["prepared"]) == (0, True)
    assert [path.name for path in Path("drafts").iterdir()] == ["staging.json"]
    before = len(json.loads(run("history", "staging", "--json")[1]))
    assert "is released, entry" in run("ledger", "append", "drafts/staging.json")[1]
    assert len(json.loads(run("history", "staging", "--json")[1])) == before + 1
    code, out, _ = run("ledger", "append", "drafts/staging.json")  # again: it is released
    assert code == 1
    assert "moved meanwhile" in out
    assert json.loads(run("release", "--output", "more", "--json")[1])["prepared"] is False


def test_plain_facts_are_step_outputs(
    run: Run, inside: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GITHUB_OUTPUT", str(tmp_path / "outputs"))
    inside.candidate(BETTER)
    run("train")
    lines = (tmp_path / "outputs").read_text().splitlines()
    assert "trained=false" in lines
    assert any(line.startswith("model=sha256:") for line in lines)


def test_deploy_and_monitor(run: Run, inside: sandbox.Sandbox) -> None:
    try:
        code, out, _ = run("deploy", "production")
        assert code == 0, out
        assert "is live at http://127.0.0.1:" in out
        code, out, _ = run("monitor", "production")
        assert (code, "0 of 100 rows" in out) == (0, True)  # nobody asked it anything yet
        code, _, err = run("monitor", "production", "--log", "none/{environment}.jsonl")
        assert code == 2
        assert "none/production.jsonl: cannot be read" in err
    finally:
        assert run("deploy", "--down")[0] == 0


def test_predict_adds_answers_to_a_file(run: Run, inside: sandbox.Sandbox) -> None:
    rows = train.read_holdout(inside.here.candidate / "holdout")
    rows.to_csv("rows.csv", index=False)
    assert run("predict", "rows.csv", "scored.csv")[0] == 0
    scored = pd.read_csv("scored.csv")
    assert len(scored) == len(rows)
    assert scored["probability"].between(0, 1).all()


def test_predict_puts_bad_rows_into_a_file_of_their_own(run: Run, inside: sandbox.Sandbox) -> None:
    rows = train.read_holdout(inside.here.candidate / "holdout").astype(object)
    rows.loc[3, "mean radius"] = "wide"
    rows.to_csv("rows.csv", index=False)
    code, out, _ = run("predict", "rows.csv", "scored.csv")
    assert code == 0
    assert "1  mean radius: is not a number" in out
    assert pd.read_csv("scored.csv.rejects.csv")["rejected_row"].tolist() == [3]
    assert len(pd.read_csv("scored.csv")) == len(rows) - 1
    code, _, err = run("predict", "rows.csv", "other.csv", "--max-rejects", "0")
    assert code == 1
    assert "1 mean radius: is not a number" in err
    assert not Path("other.csv").exists()


def test_schemas_are_those_of_the_typed_objects(run: Run, inside: sandbox.Sandbox) -> None:
    assert run("schemas")[0] == 0
    for path in (inside.here.root / "engine" / "schemas").glob("*.json"):
        assert (GENERATED / "engine" / "schemas" / path.name).read_text() == path.read_text()


def test_rows_are_forgotten_only_when_somebody_says_so_twice(
    run: Run, inside: sandbox.Sandbox
) -> None:
    entry = inside.here.ledger("production", inside.here.git.base()).effective
    assert entry is not None
    model, holdout = entry.model, inside.here.store.provenance(entry.model).data.holdout
    assert run("forget")[0] == 2
    code, out, _ = run("forget", model, "--dry-run")
    assert (code, "runs now in staging and production" in out) == (0, True)
    code, _, err = run("forget", model)
    assert (code, "--reason" in err) == (2, True)
    code, out, _ = run("forget", model, "--reason", "asked for")
    assert (code, "nothing was erased; --yes does it" in out) == (1, True)
    code, _, err = run("forget", model, "--reason", "asked for", "--yes")
    assert (code, "--force" in err) == (1, True)
    assert inside.here.store.fetch(holdout)
    code, out, _ = run("forget", model, "--reason", "asked for", "--yes", "--force")
    assert (code, "was erased on" in out, "git" in out) == (0, True, True)
    code, out, _ = run("forget", model, "--dry-run", "--json")
    facts = json.loads(out)
    assert (code, facts["rows"][0]["size"], facts["erased"]) == (0, None, False)
    assert facts["rows"][0]["erased"]["reason"] == "asked for"
