"""No value of a row leaves the machine: not in what verbs print, nor in what they commit or write
outside the store and the candidate's folder. A canary is put into rows, and looked for."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mlrelease.cli import app as cli_app
from mlrelease.evaluation import evaluate, plots
from mlrelease.rehearsal import sandbox
from tests.engine.conftest import add_code

TOWN, UNSEEN, NUMBER, KEY = "Zebulon", "Balthazar", "98765.4321", "Quirinus"
CANARIES = (TOWN, UNSEEN, NUMBER, KEY)
PARAMS: dict[str, Any] = {
    "task": "classification",
    "data": {
        "source": "people.csv",
        "target": "churned",
        "positive": "yes",
        "key": ["person"],
        "columns": {"town": {"type": "category"}},
    },
    "model": {"estimator": "random_forest", "parameters": {"n_estimators": 10, "max_depth": 3}},
    "slices": ["town", "income"],
}
POLICY = {
    "metrics": {"roc_auc": {"min": 0.5}},
    "slices": {"metric": "brier", "max": 1, "min_rows": 1},
    "budgets": {"size_mb": 100, "latency_ms": 10_000},
    "environments": {"staging": {}, "production": {"needs": "staging"}},
}
Run = Callable[..., str]


def people(rows: int = 400) -> pd.DataFrame:
    """Twelve people live in a town of their own, and one earns what nobody else does."""
    random = np.random.default_rng(5)
    income = random.normal(3000, 500, rows).round(2)
    frame = pd.DataFrame({"person": [f"{KEY}-{at}" for at in range(rows)], "income": income})
    frame["town"] = random.choice(["A", "B", "C"], rows)
    frame.loc[frame.index[::35], "town"] = [f"{TOWN}-{at}" for at in range(12)]
    frame.loc[random.choice(rows, 6, replace=False), "income"] = float(NUMBER)
    frame["churned"] = np.where(income + random.normal(0, 300, rows) > 3000, "yes", "no")
    return frame


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Run a verb in this process; all that it says."""
    monkeypatch.setattr(evaluate, "LATENCY_ROWS", 3)
    said = tmp_path / "outputs"
    monkeypatch.setenv("GITHUB_OUTPUT", str(said))

    def verb(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["model", *arguments])
        said.write_text("")
        with suppress(SystemExit):
            cli_app.main()
        captured = capsys.readouterr()
        return captured.out + captured.err + said.read_text()

    return verb


def project(root: Path, frame: pd.DataFrame, **data: Any) -> Path:
    frame.to_csv(root / "people.csv", index=False)
    content = PARAMS | {"data": PARAMS["data"] | data}
    (root / "params.yaml").write_text(yaml.safe_dump(content))
    (root / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    if not (root / "src").exists():
        add_code(root)
    return root


def without_canary(text: str) -> bool:
    return not [canary for canary in CANARIES if canary in text]


def broken(**values: str) -> pd.DataFrame:
    frame = people().astype(object)
    for column, value in values.items():
        frame.loc[7, column] = value
    return frame


FAULTY: dict[str, tuple[pd.DataFrame, dict[str, Any]]] = {
    "a text for a number": (broken(income=UNSEEN), {}),
    "a number out of range": (broken(income=NUMBER), {"columns": {"income": {"max": 90000}}}),
    "infinite": (broken(income="98765.4321e99"), {}),
    "a category that is not declared": (people(), {"columns": {"town": {"values": ["A", "B"]}}}),
    "a third class": (broken(churned=UNSEEN), {}),
    "a key given twice": (broken(person=f"{KEY}-3"), {}),
    "a target per person": (people(), {"target": "town", "positive": "A"}),
}


@pytest.mark.parametrize("name", FAULTY)
@pytest.mark.parametrize("verb", ["check-data", "train"])
def test_what_is_wrong_with_a_row_is_said_without_its_values(
    name: str, verb: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, changes = FAULTY[name]
    monkeypatch.chdir(project(tmp_path, frame, **changes))
    said = run(verb)
    assert "people.csv" in said, said
    assert "row" in said
    assert without_canary(said), said
    assert without_canary(run(verb, "--json")), said


def test_values_are_quoted_to_whoever_asks_for_them_here(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame, changes = FAULTY["a text for a number"]
    monkeypatch.chdir(project(tmp_path, frame, **changes))
    assert "row 7, column 'income': 'Balthazar' is not a number" in run("check-data", "--values")
    project(tmp_path, frame, public=True)
    assert "'Balthazar' is not a number" in run("train")


@pytest.mark.slow
def test_the_life_of_a_model_shows_nobody_s_values(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots, "draw", lambda *_: {"slices": b"drawn from the figures"})
    with sandbox.sandbox(project(tmp_path, people())) as play:
        root, state = play.here.root, play.here.state
        monkeypatch.chdir(root)
        monkeypatch.setenv("MODEL_STATE", str(state))
        said = [run(*verb.split()) for verb in ("check-data", "train", "evaluate", "gate --json")]
        said += [run("report"), run("package"), run("promote", "staging", "--json")]
        assert "town = A" in (root / "candidate" / "report.md").read_text(), (
            "towns of many are named"
        )
        branch = json.loads(said[-1].partition("\n}")[0] + "\n}")["branch"]
        play.merge(branch)
        said += [run("release", "staging"), run("status", "--json"), run("history", "staging")]
        entry = play.here.ledger("staging", play.here.git.base()).effective
        assert entry is not None, said
        log = tmp_path / "log.jsonl"
        rows = people().drop(columns=["person", "churned"])
        rows["town"] = [f"{UNSEEN}-{at}" if at % 2 else "A" for at in range(len(rows))]
        told = {"model": entry.model, "answer": {"probability": 0.5}}
        log.write_text("\n".join(json.dumps(told | {"row": dict(r)}) for _, r in rows.iterrows()))
        report = tmp_path / "drift.md"
        said += [run("monitor", "staging", "--log", str(log), "--output", str(report), "--json")]
        assert '"drifted"' in said[-1]
        log.write_text(json.dumps(told | {"row": dict(rows.iloc[0]) | {"income": UNSEEN}}))
        said += [run("monitor", "staging", "--log", str(log))]
        assert "is not a number" in said[-1]

        written = [path for path in (*root.rglob("*"), *state.rglob("*"), report) if path.is_file()]
        kept = (root / "people.csv", root / "candidate", state / "store", root / ".git")
        for path in written:
            if not any(path.is_relative_to(place) for place in kept):
                assert without_canary(path.read_bytes().decode(errors="replace")), path
        command = ["git", "log", "--all", "-p", "--text", "--", ".", ":!people.csv"]
        said.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert "evaluation.json" in said[-1]
        assert "ledger.json" in said[-1]
        for text in said:
            assert without_canary(text), text
