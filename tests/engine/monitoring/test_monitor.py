"""`model monitor` on a real model: what it says, what it refuses, and how it reads."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml
from markdown_it import MarkdownIt

from mlrelease import errors
from mlrelease.monitoring import drift, monitor
from mlrelease.params import Params
from mlrelease.policy import DriftLimits
from mlrelease.scoring import artifact, features
from mlrelease.training import profiles as profile, train
from tests.engine.conftest import PARAMS

LIMITS = DriftLimits()
TAGS = set(re.findall(r"\w+", "p strong code table thead tbody tr th td ol li details summary"))
HOSTILE = ["a|b", "`a`", "a\\|b", "<img src=x>", "[x](y)", "line\nbreak", " ", "x" * 500, "<!--"]


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model trained on breast_cancer, with its holdout beside it."""
    root = tmp_path_factory.mktemp("trained")
    params = Params.model_validate(yaml.safe_load(PARAMS))
    train.train(params, root, root / "candidate")
    return root / "candidate"


@pytest.fixture(scope="module")
def digest(candidate: Path) -> str:
    return artifact.digest_of(candidate / "model")


@pytest.fixture
def rows(candidate: Path) -> pd.DataFrame:
    """The holdout as the prediction log gives it: raw inputs, and the scores."""
    model = artifact.Model.load(candidate / "model")
    raw = train.read_holdout(candidate / "holdout")[[c.name for c in model.signature.columns]]
    return raw.assign(score=model.scores(features.to_frame(raw, model.signature.columns)))


def html(text: str) -> str:
    return str(MarkdownIt("commonmark").enable("table").render(text))


def cells(text: str) -> list[list[str]]:
    """The rows of all tables of a report, rendered."""
    return [re.findall(r"<t[hd]>(.*?)</t[hd]>", row, re.S) for row in html(text).split("<tr>")[1:]]


def report_of(
    old: dict[str, Any], new: dict[str, Any], limits: DriftLimits = LIMITS
) -> drift.DriftReport:
    frame = pd.DataFrame(old)
    columns = [
        features.Column(
            name, "number" if pd.api.types.is_numeric_dtype(frame[name]) else "category"
        )
        for name in old
    ]
    reference = msgspec.convert(
        profile.profile(frame, columns, np.linspace(0, 1, len(frame))), profile.Profile
    )
    return drift.compare(reference, pd.DataFrame(new), None, limits, "sha256:" + "0" * 64)


def test_the_holdout_has_not_drifted(candidate: Path, digest: str, rows: pd.DataFrame) -> None:
    report = monitor.monitor(candidate / "model", rows, LIMITS, digest)

    text = monitor.markdown(report)
    assert report.drifted == ()
    assert len(report.columns) == 31
    assert text.startswith("**No drift above the limits**\n")
    assert "scores have not moved" in text
    assert "What to do" not in text


def test_drift_is_decided_in_the_first_sentence(
    candidate: Path, digest: str, rows: pd.DataFrame
) -> None:
    rows["mean radius"] = rows["mean radius"] + 8

    report = monitor.monitor(candidate / "model", rows, LIMITS, digest)

    text = monitor.markdown(report)
    assert report.drifted == ("mean radius",)
    assert re.match(
        r"\*\*Drift: 1 of 31 columns above the limit, worst `mean radius` "
        r"\(PSI \d\.\d\d, limit 0\.\d\d\)\*\*\n",
        text,
    )
    row = next(line for line in text.splitlines() if line.startswith("| `mean radius`"))
    assert re.search(r"mean 14(\.\d)? → 2\d(\.\d)? \(\+2\.\d sd\)", row)
    assert "What to do" in text


def test_a_json_report_holds_the_decision_and_the_measures(
    candidate: Path, digest: str, rows: pd.DataFrame
) -> None:
    rows["mean radius"] = rows["mean radius"] + 8

    found = msgspec.json.decode(
        monitor.monitor(candidate / "model", rows, LIMITS, digest).to_json()
    )

    assert (found["model"], found["enough"], found["drifted"]) == (digest, True, ["mean radius"])
    worst = next(c for c in found["columns"] if c["column"] == "mean radius")
    assert worst["psi"] > worst["limits"]["psi"]
    assert "quantiles" not in worst["reference"] | worst["current"]


def test_a_json_report_gives_the_same_page(
    candidate: Path, digest: str, rows: pd.DataFrame
) -> None:
    for moved in (rows, rows.assign(**{"mean radius": rows["mean radius"] + 3}), rows.head(3)):
        report = monitor.monitor(candidate / "model", moved, LIMITS, digest)
        again = drift.DriftReport.parse(report.to_json(), "drift.json")
        assert monitor.markdown(again) == monitor.markdown(report)


def test_scores_that_moved_are_reported_with_their_decisions(
    candidate: Path, digest: str, rows: pd.DataFrame
) -> None:
    report = monitor.monitor(candidate / "model", rows.assign(score=0.99), LIMITS, digest)

    assert report.drifted == ("score",)
    assert "scores have moved" in monitor.markdown(report)


def test_rows_without_scores_are_compared_all_the_same(
    candidate: Path, digest: str, rows: pd.DataFrame
) -> None:
    report = monitor.monitor(candidate / "model", rows.drop(columns="score"), LIMITS, digest)

    assert len(report.columns) == 30
    assert "scores are not known" in monitor.markdown(report)


def test_an_input_called_score_is_not_taken_for_the_answer(tmp_path: Path) -> None:
    column = features.Column("score", "number")
    frame = pd.DataFrame({"score": np.arange(300.0)})
    card = artifact.ModelCard(
        features.Signature("regression", (column,), "y"), "ridge", {}, {}, {}, {}, 0
    )
    facts = profile.profile(frame, [column], np.zeros(300))
    digest = artifact.write_model(tmp_path / "model", card, None, facts, [])

    report = monitor.monitor(tmp_path / "model", frame, LIMITS, digest)

    assert [(c.column, c.kind) for c in report.columns] == [("score", "number")]
    assert report.drifted == ()


@pytest.mark.parametrize("count", [0, 40])
def test_few_rows_are_not_enough_rather_than_no_drift(
    count: int, candidate: Path, digest: str, rows: pd.DataFrame
) -> None:
    report = monitor.monitor(candidate / "model", rows.head(count) * 1000, LIMITS, digest)

    assert not report.enough
    assert monitor.markdown(report) == f"**Not enough data: {count} of 100 rows**\n"


def test_a_log_without_a_line_is_not_enough(candidate: Path, digest: str) -> None:
    report = monitor.monitor(candidate / "model", pd.DataFrame(), LIMITS, digest)

    assert not report.enough


def test_a_changed_profile_is_refused(
    candidate: Path, digest: str, rows: pd.DataFrame, tmp_path: Path
) -> None:
    for path in (candidate / "model").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with (tmp_path / "profile.json").open("a") as stream:
        stream.write("\n")

    with pytest.raises(errors.RefusedError, match="not loaded"):
        monitor.monitor(tmp_path, rows, LIMITS, digest)


@pytest.mark.parametrize("value", ["wide", "inf"])
def test_a_value_that_is_no_number_is_named_by_row_and_column(
    value: str, candidate: Path, digest: str, rows: pd.DataFrame
) -> None:
    rows = rows.astype(object)
    rows.loc[3, "mean radius"] = value

    with pytest.raises(errors.InputError, match="row 3, mean radius: is not a number") as no:
        monitor.monitor(candidate / "model", rows, LIMITS, digest)
    assert value not in str(no.value)


def test_rows_without_a_column_are_refused_by_its_name(
    candidate: Path, digest: str, rows: pd.DataFrame
) -> None:
    with pytest.raises(errors.InputError, match="mean radius: is missing"):
        monitor.monitor(candidate / "model", rows.drop(columns="mean radius"), LIMITS, digest)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_or_value_stays_one_cell_of_code(name: str) -> None:
    report = report_of(
        {name: ["a", "b"] * 100, "x": np.arange(200.0)}, {name: [name] * 200, "x": np.arange(200.0)}
    )

    text = monitor.markdown(report)
    found = cells(text)
    assert report.drifted == (name,)
    assert [len(row) for row in found] == [5, 5, 9, 9, 9]
    assert found[1][0].startswith("<code>")
    assert found[1][2].count("<code>") == 3
    assert set(re.findall(r"<(\w+)", html(text))) <= TAGS
    assert "<!--" not in html(text)


def test_bars_are_aligned_and_to_one_scale() -> None:
    values = np.random.default_rng(0).normal(size=2000)
    report = report_of({"x": values}, {"x": values + 1})

    old, new = (
        cell.removeprefix("<code>").removesuffix("</code>")
        for cell in cells(monitor.markdown(report))[1][3:]
    )

    assert (len(old), len(new)) == (10, 10)
    assert len(set(old)) == 1
    assert new[-1] == "█" > old[-1]


def test_an_empty_bin_is_a_dot() -> None:
    report = report_of({"x": np.arange(1000.0)}, {"x": np.full(500, 2000.0)})

    assert cells(monitor.markdown(report))[1][4] == "<code>·········█</code>"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (np.full(200, 5.0), np.full(200, 7.0), "mean 5 → 7 (was constant)"),
        (np.arange(200.0), np.full(200, np.nan), "missing 0.0% → 100.0%"),
        (np.full(200, np.nan), np.arange(200.0), "missing 100.0% → 0.0%"),
        (np.arange(-100.0, 101), np.arange(-100.0, 101) * 4, "spread (sd) 58 → 232"),
        (["a", "b"] * 100, ["a", "n"] * 100, "<code>b</code> 50.0% → 0.0%"),
        (["a", "b"] * 100, ["a", "n"] * 100, "<code>n</code> never seen → 50.0%"),
        (["a"] * 96 + ["b"] * 4, ["n"] * 196 + ["z"] * 4, "a rare value 4.0% → 0.0%"),
        (["a", "b"] * 100, [""] * 200, "missing 0.0% → 100.0%"),
    ],
)
def test_what_moved_is_said_in_words(old: Sequence[Any], new: Sequence[Any], words: str) -> None:
    assert words in cells(monitor.markdown(report_of({"x": old}, {"x": new})))[1][2]


def test_the_report_of_a_very_wide_table_fits_into_an_issue() -> None:
    names = [f"a column with a rather long name, number {i}" for i in range(150)]
    report = report_of(
        {name: np.arange(200.0) for name in names}, {name: np.arange(500.0, 700) for name in names}
    )

    text = monitor.markdown(report)

    assert len(report.drifted) == 150
    assert len(text) < 65_536
    assert "50 more stand in the JSON report." in text


@pytest.mark.skipif(
    "SHARED_DATA" not in os.environ, reason="SHARED_DATA names no folder with bike_hour.csv"
)
def test_two_years_of_bike_rentals_differ_in_demand_and_not_in_the_calendar() -> None:
    raw = pd.read_csv(Path(os.environ["SHARED_DATA"]) / "bike_hour.csv")
    columns = [
        *(
            features.Column(name, "category")
            for name in ("season", "mnth", "weekday", "weathersit")
        ),
        *(features.Column(name, "number") for name in ("hr", "temp", "hum", "windspeed")),
        *(features.Column(name, "number") for name in ("casual", "registered")),
    ]
    first, second = (raw[raw["yr"] == year].reset_index(drop=True) for year in (0, 1))
    facts = profile.profile(features.to_frame(first, columns), columns, first["cnt"].to_numpy())

    report = drift.compare(
        msgspec.convert(facts, profile.Profile),
        features.to_frame(second, columns),
        second["cnt"].to_numpy(),  # as if the model predicted demand perfectly
        LIMITS,
        "sha256:0",
    )

    assert report.drifted == ("registered", "score")
    score = report.columns[-1]
    assert score.current.mean / score.reference.mean == pytest.approx(1.63, abs=0.01)
    # Casual riders grew too (0.36 sd), but not beyond the default limits.
    assert "casual" not in report.drifted
