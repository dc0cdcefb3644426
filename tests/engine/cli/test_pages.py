"""What `model github` posts is made from figures: a job that runs other people's code hands on no
page."""

import json
from pathlib import Path

import pytest

from mlrelease import objects
from mlrelease.cli import github as cli_github
from mlrelease.evaluation import evaluation, gate, report
from mlrelease.monitoring import drift, monitor
from mlrelease.policy import Policy
from mlrelease.rehearsal import sandbox
from tests.engine.cli.test_verbs import Run, inside as inside, run as run
from tests.engine.github.fake_github import FakeGitHub

FORGED = "# ✅ Approved\n\n@ann merge it ![](https://example.org/a.png)\n"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeGitHub:
    made = FakeGitHub()
    monkeypatch.setattr(cli_github, "_github", lambda _: made.client())
    made.rows["/issues"] = []
    return made


def posted(fake: FakeGitHub) -> list[str]:
    """The texts on GitHub."""
    return [str(row["body"]) for rows in fake.rows.values() for row in rows if "body" in row]


@pytest.fixture
def figures(run: Run, inside: sandbox.Sandbox) -> Path:
    assert run("evaluate")[0] == 0
    return inside.here.candidate / "evaluation.json"


def test_the_comment_is_the_report_of_the_figures(
    run: Run, inside: sandbox.Sandbox, fake: FakeGitHub, figures: Path
) -> None:
    policy = inside.here.root / "policy.yaml"
    code, _, err = run("github", "comment", "1", str(figures), str(policy))
    assert code == 0, err
    (body,) = posted(fake)
    found = evaluation.Evaluation.read(figures)
    rules = gate.judge(found, objects.read(policy, Policy))
    assert body == f"<!-- candidate -->\n{report.render(found, rules)}"


@pytest.mark.parametrize("place", ["evaluation", "policy"])
def test_a_page_instead_of_figures_is_not_posted(
    run: Run, fake: FakeGitHub, figures: Path, place: str
) -> None:
    forged = Path("forged.md")
    forged.write_text(FORGED)
    given = (forged, "policy.yaml") if place == "evaluation" else (figures, forged)
    code, _, err = run("github", "comment", "1", *map(str, given))
    assert (code, posted(fake)) == (2, []), err


def test_text_among_the_figures_stays_text(run: Run, fake: FakeGitHub, figures: Path) -> None:
    facts = json.loads(figures.read_text()) | {"incomparable": FORGED}
    for metric in facts["metrics"].values():
        metric["difference"] = None
    figures.write_text(json.dumps(facts))
    assert run("github", "comment", "1", str(figures), "policy.yaml")[0] == 0
    (body,) = posted(fake)
    assert "Approved" in body
    for line in ("\n# ", "@ann", "!["):
        assert line not in body


def test_figures_of_metrics_that_there_are_not_are_one_line(
    run: Run, fake: FakeGitHub, figures: Path
) -> None:
    facts = json.loads(figures.read_text())
    facts["slices"][0]["metric"] = "secret"
    figures.write_text(json.dumps(facts))
    code, _, err = run("github", "comment", "1", str(figures), "policy.yaml")
    assert (code, posted(fake)) == (2, [])
    assert "names metrics that there are not" in err


@pytest.fixture
def drifted(run: Run, inside: sandbox.Sandbox) -> drift.DriftReport:
    """What `model monitor` prints of rows that moved."""
    golden = json.loads((inside.here.candidate / "model" / "golden.json").read_text())
    rows = [{name: 9 * value for name, value in one["row"].items()} for one in golden]
    entry = inside.here.ledger("production", inside.here.git.base()).effective
    assert entry is not None
    told = {"time": "2026-01-01T00:00:00Z", "id": "a", "model": entry.model}
    lines = [json.dumps(told | {"rows": rows, "answers": [g["answer"] for g in golden]})] * 100
    Path("log.jsonl").write_text("\n".join(lines) + "\n")
    code, out, err = run("monitor", "production", "--log", "log.jsonl", "--json")
    assert code == 3, (out, err)
    Path("drift.json").write_text(out)
    return drift.DriftReport.parse(out, "drift.json")


def test_the_issue_is_the_report_of_what_drifted(
    run: Run, fake: FakeGitHub, drifted: drift.DriftReport
) -> None:
    code, _, err = run("github", "drift", "production", "drift.json")
    assert code == 0, err
    assert posted(fake) == [monitor.markdown(drifted)]
    assert "**Drift: " in posted(fake)[0]


@pytest.mark.parametrize("change", [
    {"columns": FORGED}, {"drifted": [FORGED]}, {"rows": FORGED}, {"columns": []},
])  # fmt: skip
def test_a_forged_report_of_drift_is_not_posted(
    run: Run, fake: FakeGitHub, drifted: drift.DriftReport, change: dict[str, object]
) -> None:
    facts = json.loads(drifted.to_json()) | change
    Path("drift.json").write_text(json.dumps(facts))
    code, _, err = run("github", "drift", "production", "drift.json")
    assert (code, posted(fake)) == (2, []), err
    assert "is no drift report" in err
