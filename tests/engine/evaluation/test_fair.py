"""A champion is compared on rows that it was not fitted on, or the reason why not is said."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings, strategies as st
from sklearn.datasets import load_breast_cancer

from mlrelease import errors
from mlrelease.cli import tables
from mlrelease.evaluation import evaluate, evaluation, fair, fitted, gate, metrics, plots, report
from mlrelease.monitoring import monitor
from mlrelease.params import Params
from mlrelease.scoring import artifact, contents, features
from mlrelease.training import schema, split, train
from tests.engine.conftest import GENERATED
from tests.engine.evaluation.test_gate import policy

MEMORY = {"estimator": "random_forest", "parameters": {"n_estimators": 30, "max_features": None}}
LINEAR = {"estimator": "logistic_regression", "parameters": {"max_iter": 1000}}
MEASURES = ["mean radius", "mean texture", "mean smoothness", "mean fractal dimension"]
NAMES = MEASURES[:3]  # together they are another for each patient
DAYS = pd.date_range("2026-01-01", periods=100).strftime("%Y-%m-%d")


@pytest.fixture(autouse=True)
def _short_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "LATENCY_ROWS", 3)


@dataclass(frozen=True)
class Trained:
    """What `model train` left, and the rows that it read."""

    directory: Path
    digest: str
    rows: pd.DataFrame

    @property
    def holdout(self) -> pd.DataFrame:
        found: pd.DataFrame = train.read_holdout(self.directory / "holdout")
        return found

    @property
    def hashes(self) -> pd.DataFrame:
        return fitted.read_fitted(self.directory / "fitted")

    @property
    def seen(self) -> set[tuple[str, ...]]:
        """The names of the rows that it was fitted on: those that it did not hold out."""
        return set(named(self.rows)) - set(named(self.holdout))


def named(rows: pd.DataFrame) -> list[tuple[str, ...]]:
    texts = rows[NAMES].map(lambda value: f"{float(value):.6g}")
    return list(texts.itertuples(index=False, name=None))


def patients() -> pd.DataFrame:
    """Real rows, each with a number, a clinic and a day."""
    bunch = load_breast_cancer(as_frame=True)
    rows: pd.DataFrame = bunch.data[MEASURES].round(6)
    at = np.arange(len(rows))
    rows["mean fractal dimension"] = rows["mean fractal dimension"].round(2)
    return rows.assign(
        id=at, clinic=[f"clinic {n % 40}" for n in at], day=DAYS[at * len(DAYS) // len(at)],
        diagnosis=bunch.target_names[bunch.target],
    )  # fmt: skip


def fit(
    directory: Path, rows: pd.DataFrame, model: dict[str, Any] = LINEAR,
    split_by: dict[str, Any] | None = None, **data: Any,
) -> Trained:  # fmt: skip
    """Train on these rows, as the command does."""
    directory.mkdir(parents=True)
    rows.to_csv(directory / "rows.csv", index=False)
    source = {"source": "rows.csv", "target": "diagnosis", "positive": "malignant"}
    params = Params.model_validate(
        {
            "task": "classification",
            "data": source | {"drop": ["id", "clinic", "day"]} | data,
            "split": {"holdout": 0.5} if split_by is None else split_by,
            "model": model,
            "seed": 7,
        }
    )
    done = train.train(params, directory, directory / "candidate")
    return Trained(directory / "candidate", done.model, rows)


def judge(
    candidate: Trained, champion: Trained, known: bool = True, of_before: bool = False
) -> tuple[evaluation.Evaluation, metrics.Scored]:
    """Evaluate, with or without the hashes, which champions of earlier versions do not have."""
    return evaluate.evaluate(
        candidate.directory / "model",
        champion.directory / "model",
        candidate.holdout,
        candidate_digest=candidate.digest,
        champion_digest=champion.digest,
        holdout_digest=artifact.digest_of(candidate.directory / "holdout"),
        fitted=champion.hashes if known else None,
        of_before=of_before,
        slices=["mean radius"],
        resamples=200,
    )


def shared(found: evaluation.Evaluation, scored: metrics.Scored) -> np.ndarray:
    """The rows that were compared, which are some and not all."""
    assert scored.compared is not None
    assert found.compared_rows is not None
    assert found.compared_rows == scored.compared.sum()
    assert 0 < found.compared_rows < found.rows
    return scored.compared


def refusals(found: evaluation.Evaluation) -> set[str]:
    rules = policy(champion={"brier": {"margin": 0.02}}, metrics={"roc_auc": {"min": 0.9}})
    return {f.name for f in gate.judge(found, rules) if not f.passed and "champion" in f.name}


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A forest that remembers each of its training rows, which have no key."""
    return fit(tmp_path_factory.mktemp("champion") / "c", patients(), MEMORY)


def column_added(to: Path) -> Trained:
    ward = np.random.default_rng(0).random(len(patients()))
    return fit(to, patients().assign(ward=ward))


def column_dropped(to: Path) -> Trained:
    return fit(to, patients(), drop=["id", "clinic", "day", "mean fractal dimension"])


def column_retyped(to: Path) -> Trained:
    columns = {"mean fractal dimension": {"type": "category"}}
    return fit(to, patients().assign(ward=0.5), columns=columns)


@pytest.mark.parametrize("better", [column_added, column_dropped, column_retyped])
def test_rows_that_were_split_again_are_compared_where_neither_has_seen_them(
    champion: Trained, tmp_path: Path, better: Any
) -> None:
    """The case that was found: most held-out rows were the champion's training rows, its figures
    rose, and a better candidate was refused."""
    candidate = better(tmp_path / "c")
    unfair, _ = judge(candidate, champion, known=False, of_before=True)
    assert refusals(unfair) == {"champion.brier.margin"}
    found, scored = judge(candidate, champion)
    assert found.incomparable is None
    assert refusals(found) == set()
    unseen = [name not in champion.seen for name in named(candidate.holdout)]
    assert shared(found, scored).tolist() == unseen
    assert fair.MIN_ROWS <= sum(unseen) < 0.6 * len(unseen)


def test_figures_of_the_candidate_are_of_all_rows_and_the_rest_of_those_that_are_shared(
    champion: Trained, tmp_path: Path
) -> None:
    candidate = column_dropped(tmp_path / "c")
    found, scored = judge(candidate, champion)
    every = metrics.compare(metrics.Scored("classification", scored.y, scored.candidate),
                            resamples=200)  # fmt: skip
    both = metrics.compare(scored.both(), resamples=200)
    rows, count = len(candidate.holdout), int(shared(found, scored).sum())
    assert found.rows == rows
    for name, metric in found.metrics.items():
        assert metric.candidate == every[name].candidate
        assert (metric.champion, metric.difference) == (both[name].champion, both[name].difference)
    assert found.decisions is not None
    assert found.decisions.rows == count
    assert sum(part.rows for part in found.slices) == rows
    assert all(part.difference for part in found.slices)


def test_the_report_says_on_how_many_rows_it_was(champion: Trained, tmp_path: Path) -> None:
    found, scored = judge(column_dropped(tmp_path / "c"), champion)
    text = report.summary(report.render(found, gate.judge(found, policy())))
    said = f"ompared on {found.compared_rows} of {found.rows} rows"
    assert f"C{said}**: the champion was trained on the others" in text
    assert f"C{said}: the champion" in tables.metrics_table(found)
    metric = found.metrics["roc_auc"]
    assert metric.champion is not None
    assert metric.difference is not None
    now = gate.figure(metric.champion.value + metric.difference.value)
    first = f"ROC AUC {gate.figure(metric.champion.value)} → {now} ("
    assert report.headline(found).startswith(first)
    assert report.headline(found).endswith(f" on {found.compared_rows} of {found.rows} rows.")
    assert all(png.startswith(b"\x89PNG") for png in plots.draw(scored, found).values())


def test_where_neither_was_split_again_all_rows_are_compared(
    champion: Trained, tmp_path: Path
) -> None:
    found, scored = judge(fit(tmp_path / "c", patients()), champion)
    assert found.compared_rows == found.rows
    assert "ompared on" not in gate_text(found)
    assert np.all(scored.compared)


def gate_text(found: evaluation.Evaluation) -> str:
    return report.render(found, gate.judge(found, policy()))


def test_too_few_rows_that_neither_has_seen_refuse(tmp_path: Path) -> None:
    old = fit(tmp_path / "old", patients(), MEMORY, split_by={"holdout": 0.05})
    found, scored = judge(column_dropped(tmp_path / "c"), old)
    assert found.incomparable is not None
    assert "only, a comparison needs 20" in found.incomparable
    assert refusals(found) == {"champion.comparable"}
    assert (scored.champion, found.compared_rows, found.decisions) == (None, None, None)


def test_one_class_only_among_the_rows_that_neither_has_seen_refuses(tmp_path: Path) -> None:
    by = {"by": "time", "column": "day", "holdout_from": "2026-03-01"}
    benign = (patients()["diagnosis"] == "benign") | (patients()["day"] < "2026-03-01")
    old = fit(tmp_path / "old", patients(), MEMORY, by, **BY_TIME)
    candidate = fit(tmp_path / "c", patients()[benign], LINEAR, by | {"holdout_from": "2026-02-01"},
                    **BY_TIME)  # fmt: skip
    found, _ = judge(candidate, old)
    assert "and these have one diagnosis only" in str(found.incomparable)
    assert refusals(found) == {"champion.comparable"}


def test_hashes_of_other_rows_than_the_champion_was_fitted_on_are_not_taken(
    champion: Trained, tmp_path: Path
) -> None:
    candidate = fit(tmp_path / "c", patients())
    models = [artifact.Model.load(one.directory / "model") for one in (candidate, champion)]
    y, fewer = np.arange(len(candidate.holdout)) % 2, champion.hashes.head(50)
    with pytest.raises(errors.InputError, match="its fitted rows are 50, its model card says"):
        fair.compared(models[0], models[1], candidate.holdout, y, fewer)


def test_with_a_key_a_new_column_splits_nothing_again(tmp_path: Path) -> None:
    keyed: dict[str, Any] = {"key": ["id"], "drop": ["clinic", "day"]}
    old = fit(tmp_path / "old", patients(), MEMORY, **keyed)
    moved = patients().assign(ward=1.0, **{"mean radius": patients()["mean radius"] * 10})
    for known in (True, False):
        found, _ = judge(fit(tmp_path / f"{known}", moved, **keyed), old, known=known)
        assert found.incomparable is None
        assert found.compared_rows == (found.rows if known else None)


def test_with_a_key_rows_are_known_by_it_alone(tmp_path: Path) -> None:
    """All measures were taken again, and more rows are held out than before."""
    keyed: dict[str, Any] = {"key": ["id"], "drop": ["clinic", "day"]}
    old = fit(tmp_path / "old", patients(), MEMORY, **keyed)
    again = patients()
    again[MEASURES] *= 1.001
    candidate = fit(tmp_path / "c", again, split_by={"holdout": 0.6}, **keyed)
    found, scored = judge(candidate, old)
    kept = set(candidate.holdout["id"][shared(found, scored)])
    assert kept == set(old.holdout["id"]) & set(candidate.holdout["id"])


def test_rows_that_got_another_key_are_known_all_the_same(tmp_path: Path) -> None:
    """An export that numbers its rows, which came in another order."""
    keyed: dict[str, Any] = {"key": ["id"], "drop": ["clinic", "day"]}
    old = fit(tmp_path / "old", patients(), MEMORY, **keyed)
    candidate = fit(tmp_path / "c", renumbered(patients()), **keyed)
    found, scored = judge(candidate, old)
    seen = set(named(old.rows[~old.rows["id"].isin(old.holdout["id"])]))
    compared = np.array(named(candidate.holdout))[shared(found, scored)]
    assert not seen & set(map(tuple, compared))
    assert found.compared_rows != found.rows


def renumbered(rows: pd.DataFrame) -> pd.DataFrame:
    """An export that numbers its rows, in another order."""
    return rows.sample(frac=1, random_state=3).assign(id=np.arange(len(rows)))


def other_id(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(uuid=[f"u{n}" for n in np.random.default_rng(1).permutation(len(rows))])


@pytest.mark.parametrize(
    ("rows", "split_key"),
    [
        (renumbered(patients()), {"drop": ["id", "clinic", "day"]}),
        (other_id(renumbered(patients())), {"key": ["uuid"], "drop": ["id", "clinic", "day"]}),
    ],
    ids=["no key any more", "another key"],
)
def test_a_key_that_is_none_any_more_hides_no_row(
    tmp_path: Path, rows: pd.DataFrame, split_key: dict[str, Any]
) -> None:
    old = fit(tmp_path / "old", patients(), MEMORY, key=["id"], drop=["clinic", "day"])
    found, scored = judge(candidate := fit(tmp_path / "c", rows, **split_key), old)
    seen = set(named(old.rows)) - set(named(old.holdout))
    unseen = [name not in seen for name in named(candidate.holdout)]
    assert shared(found, scored).tolist() == unseen


def test_rows_that_were_fitted_twice_and_got_another_key_are_known(tmp_path: Path) -> None:
    """Rows of the rarer class are often repeated before training."""
    twice = pd.concat([patients()] * 2, ignore_index=True).assign(id=lambda f: np.arange(len(f)))
    keyed: dict[str, Any] = {"key": ["id"], "drop": ["clinic", "day"]}
    old = fit(tmp_path / "old", twice, MEMORY, split_by={"holdout": 0.4}, **keyed)
    candidate = fit(tmp_path / "c", renumbered(patients()), **keyed)
    found, scored = judge(candidate, old)
    compared = named(candidate.holdout[shared(found, scored)])
    assert not set(named(old.rows[learned(old)])) & set(compared)


def learned(model: Trained) -> np.ndarray:
    """Which rows it was fitted on, by their key."""
    exact = fitted.naming({"key": ["id"]})
    return fitted.among(model.rows, model.hashes, ["id"], exact)


@pytest.mark.parametrize(
    "split_by", [{"holdout": 0.3}, {"by": "group", "column": "clinic", "holdout": 0.3}]
)
def test_no_candidate_is_judged_on_copies_of_its_own_training_rows(
    tmp_path: Path, split_by: dict[str, Any]
) -> None:
    """The same rows came again, under other names."""
    again = patients().assign(id=lambda f: f["id"] + len(f), clinic=lambda f: "new " + f["clinic"])
    rows = pd.concat([patients(), again], ignore_index=True)
    drop = ["day"] if split_by.get("by") else ["day", "clinic"]
    candidate = fit(tmp_path / "c", rows, LINEAR, split_by, key=["id"], drop=drop)
    found, _ = judge(candidate, candidate)
    asked = rows["id"].isin(candidate.holdout["id"])
    assert 20 <= found.rows < 200
    assert not set(named(rows[learned(candidate)])) & set(named(rows[asked]))
    assert found.copies == len(rows) - learned(candidate).sum() - asked.sum() > 50
    assert f"**Left out**: {found.copies} more rows were held out" in gate_text(found)


def test_copies_with_the_digits_of_float32_are_left_out_where_there_is_no_key(
    tmp_path: Path,
) -> None:
    """Two sources of the same rows, which the model cannot tell apart."""
    short = patients().astype(dict.fromkeys(MEASURES, "float32")).astype(
        dict.fromkeys(MEASURES, "float64")
    )  # fmt: skip
    candidate = fit(tmp_path / "c", pd.concat([patients(), short], ignore_index=True))
    held = candidate.holdout[MEASURES].astype("float32")
    assert not fitted.among(held, candidate.hashes, MEASURES).any()
    assert judge(candidate, candidate)[0].copies > 50


def test_what_comes_again_on_a_later_day_stays_in_the_holdout(tmp_path: Path) -> None:
    later = patients().assign(day="2026-05-01")
    rows = pd.concat([patients(), later], ignore_index=True)
    candidate = fit(tmp_path / "c", rows, LINEAR, TIME, **BY_TIME)
    assert (candidate.holdout["day"] == "2026-05-01").sum() == len(patients())
    assert judge(candidate, candidate)[0].copies == 0


def test_a_column_that_became_whole_numbers_of_float32_hides_no_row(tmp_path: Path) -> None:
    account = np.random.default_rng(2).integers(2**24, 2**25, len(patients())) | 1
    rows = patients().assign(account=account)
    old = fit(tmp_path / "old", rows, MEMORY)
    candidate = fit(tmp_path / "c", rows.assign(account=account.astype("float32").astype("int64")))
    found, scored = judge(candidate, old)
    unseen = [name not in old.seen for name in named(candidate.holdout)]
    assert shared(found, scored).tolist() == unseen


def test_a_true_false_column_that_became_numbers_hides_no_row(tmp_path: Path) -> None:
    rows = patients().assign(smoker=patients()["mean radius"] > 14)
    old = fit(tmp_path / "old", rows, MEMORY)
    candidate = fit(tmp_path / "c", rows, columns={"smoker": {"type": "number"}})
    found, scored = judge(candidate, old)
    unseen = [name not in old.seen for name in named(candidate.holdout)]
    assert shared(found, scored).tolist() == unseen
    assert not all(unseen)


TIME: dict[str, Any] = {"by": "time", "column": "day", "holdout_from": "2026-03-01"}
BY_TIME: dict[str, Any] = {"drop": ["id", "clinic"]}


def test_a_later_day_to_hold_out_from_is_fair(tmp_path: Path) -> None:
    old = fit(tmp_path / "old", patients(), MEMORY, TIME, **BY_TIME)
    later = fit(tmp_path / "c", patients(), LINEAR, TIME | {"holdout_from": "2026-03-15"},
                drop=["id", "clinic", "mean fractal dimension"])  # fmt: skip
    for known in (True, False):
        found, _ = judge(later, old, known=known)
        assert found.incomparable is None
        assert found.compared_rows == (found.rows if known else None)


def test_an_earlier_day_to_hold_out_from_is_compared_from_the_later_one_on(
    tmp_path: Path,
) -> None:
    old = fit(tmp_path / "old", patients(), MEMORY, TIME, **BY_TIME)
    earlier = fit(tmp_path / "c", patients(), LINEAR, TIME | {"holdout_from": "2026-02-01"},
                  **BY_TIME)  # fmt: skip
    found, scored = judge(earlier, old)
    late = earlier.holdout["day"] >= "2026-03-01"
    assert found.incomparable is None
    assert shared(found, scored).tolist() == late.tolist()
    as_then, _ = judge(old, earlier, known=False, of_before=True)
    assert "split in another way" in str(as_then.incomparable)
    before, _ = judge(earlier, old, known=False)
    assert "may have trained on this holdout" in str(before.incomparable)


def test_a_group_of_which_the_champion_knows_rows_is_left_out_whole(tmp_path: Path) -> None:
    group = {"by": "group", "column": "clinic", "holdout": 0.3}
    old = fit(tmp_path / "old", patients().head(400), MEMORY, group, drop=["id", "day"])
    more = fit(tmp_path / "c", patients(), LINEAR, group | {"holdout": 0.6}, drop=["id", "day"])
    found, scored = judge(more, old)
    known = set(old.rows["clinic"]) - set(old.holdout["clinic"])
    expected = ~more.holdout["clinic"].isin(known)
    assert shared(found, scored).tolist() == expected.tolist()


@pytest.mark.parametrize("better", [column_added, column_dropped, column_retyped])
def test_a_champion_of_an_earlier_version_with_other_columns_is_not_compared(
    champion: Trained, tmp_path: Path, better: Any
) -> None:
    found, _ = judge(better(tmp_path / "c"), champion, known=False)
    assert "its columns are others" in str(found.incomparable)
    assert refusals(found) == {"champion.comparable"}


def test_a_champion_of_an_earlier_version_with_the_same_columns_is(
    champion: Trained, tmp_path: Path
) -> None:
    found, _ = judge(fit(tmp_path / "c", patients()), champion, known=False)
    assert (found.incomparable, found.compared_rows) == (None, None)
    other = fit(tmp_path / "o", patients(), split_by={"holdout": 0.4})
    found, _ = judge(other, champion, known=False)
    assert "split in another way" in str(found.incomparable)


def test_rows_that_have_no_column_in_common_are_not_compared(
    champion: Trained, tmp_path: Path
) -> None:
    candidate = column_dropped(tmp_path / "c")
    strange = champion.hashes.rename(columns=lambda name: f"old {name}")
    models = [artifact.Model.load(one.directory / "model") for one in (candidate, champion)]
    y = np.arange(len(candidate.holdout)) % 2
    with pytest.raises(errors.InputError, match="no column of the rows"):
        fair.compared(models[0], models[1], candidate.holdout, y, strange)


def columns_of(model: Trained) -> dict[str, features.Column]:
    told = artifact.read_card(contents.read(model.directory / "model")).signature
    return {column.name: column for column in told.columns}


def test_what_training_never_saw_is_refused_in_evaluation_too(tmp_path: Path) -> None:
    """As in production: categories that only the holdout has, and what is missing only there."""
    rows = patients().assign(stage=["early", "late"] * 284 + ["late"])
    rows.loc[rows["day"] >= "2026-03-25", "stage"] = "unheard of"
    rows.loc[rows["day"] == "2026-03-10", "mean texture"] = np.nan
    candidate = fit(tmp_path / "c", rows, LINEAR, TIME, **BY_TIME)
    columns = columns_of(candidate)
    assert columns["stage"].categories == ("early", "late")
    assert not columns["mean texture"].nullable
    found, scored = judge(candidate, candidate)
    holdout = candidate.holdout
    refused = (holdout["stage"] == "unheard of") | holdout["mean texture"].isna()
    assert (found.refused, found.refused_column) == (int(refused.sum()), "stage")
    assert scored.places is not None
    assert scored.places.tolist() == np.flatnonzero(~refused).tolist()
    assert len(scored.y) == len(holdout) - found.refused
    assert sum(part.rows for part in found.slices) == len(scored.y)
    assert "budgets.refused" in {f.name for f in gate.judge(found, policy()) if not f.passed}
    said = f"the service would refuse {found.refused} of {found.rows}\n  holdout rows, most of them"
    assert f"{said} for `stage`" in gate_text(found)


def test_a_holdout_that_the_service_would_refuse_whole_says_so(tmp_path: Path) -> None:
    late = patients()["day"] >= "2026-03-01"
    rows = patients().assign(stage=np.where(late, "new", "early"))
    candidate = fit(tmp_path / "c", rows, LINEAR, TIME, **BY_TIME)
    with pytest.raises(errors.InputError, match="refuse every row, most for 'stage'; declare"):
        judge(candidate, candidate)


def test_a_champion_that_would_refuse_every_row_has_no_cost(tmp_path: Path) -> None:
    late = patients()["day"] >= "2026-02-01"
    rows = patients().assign(stage=np.where(late, "new", "early"))
    old = fit(tmp_path / "old", rows, MEMORY, TIME | {"holdout_from": "2026-02-01"}, **BY_TIME)
    found, _ = judge(fit(tmp_path / "c", rows, LINEAR, TIME, **BY_TIME), old)
    assert (found.champion_cost, found.incomparable, found.refused) == (None, None, 0)


def test_values_that_are_declared_are_known_though_training_has_none(tmp_path: Path) -> None:
    rows = patients().assign(stage=["early", "late"] * 284 + ["late"])
    rows.loc[rows["day"] >= "2026-03-25", "stage"] = "rare"
    declared = {"stage": {"values": ["early", "late", "rare"]}, "mean texture": {"missing": 0.1}}
    candidate = fit(tmp_path / "c", rows, LINEAR, TIME, columns=declared, **BY_TIME)
    columns = columns_of(candidate)
    assert columns["stage"].categories == ("early", "late", "rare")
    assert columns["mean texture"].nullable
    assert judge(candidate, candidate)[0].refused == 0


RUNBOOK = GENERATED / "docs" / "runbook.md"


def test_newer_rows_are_trained_on_when_the_runbook_is_followed(tmp_path: Path) -> None:
    """By time, all newer rows are held out until the day is moved."""
    text = RUNBOOK.read_text(encoding="utf-8").split("## Train on newer rows")[1].split("\n## ")[0]
    steps = [text.index(words) for words in ("Add them", "move `holdout_from`", "`model train`,")]
    assert steps == sorted(steps)
    assert "move `holdout_from`" in monitor.TODO
    rows, newer = patients()[:480], patients()[480:]
    before = fit(tmp_path / "before", rows, LINEAR, TIME, **BY_TIME)
    added = fit(tmp_path / "added", patients(), LINEAR, TIME, **BY_TIME)
    assert len(added.hashes) == len(before.hashes)
    assert not added.seen & set(named(newer))
    day = str(newer["day"].iloc[40])
    moved = fit(tmp_path / "moved", patients(), LINEAR, TIME | {"holdout_from": day}, **BY_TIME)
    learned = fitted.among(newer, moved.hashes, ["day", *MEASURES])
    assert learned.tolist() == (newer["day"] < day).tolist()
    assert learned.any()
    found, _ = judge(moved, before)
    assert (found.incomparable, found.compared_rows) == (None, found.rows)


def test_newer_rows_are_trained_on_where_rows_are_split_by_a_hash(tmp_path: Path) -> None:
    newer = patients()[480:]
    added = fit(tmp_path / "added", patients())
    learned = fitted.among(newer, added.hashes, MEASURES)
    assert 0 < learned.sum() < len(newer)


KEYS = st.sampled_from([[], ["id"], ["id", "day"]])
SPLITS = st.sampled_from(
    [
        *({"by": "row", "holdout": share} for share in (0.2, 0.5)),
        *({"by": "group", "column": "clinic", "holdout": share} for share in (0.2, 0.5)),
        *({"by": "time", "column": "day", "holdout_from": f"2026-0{m}-01"} for m in (2, 3)),
    ]
)
KINDS = st.fixed_dictionaries(
    {
        "key": KEYS,
        "split": SPLITS,
        "drop": st.sets(st.sampled_from([*MEASURES, "clinic", "day", "id"]), max_size=4),
        "category": st.booleans(),
        "rows": st.tuples(st.integers(0, 100), st.integers(400, 569)),
        "float32": st.booleans(),
    }
)


def parts(kind: dict[str, Any]) -> tuple[artifact.Model, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """A model's card, all its rows, those held out and the hashes of the others, as `train` makes
    them; nothing is fitted. `index` says which patient a row is."""
    first, last = kind["rows"]
    frame = patients()[first:last]
    if kind["float32"]:
        frame = frame.astype(dict.fromkeys(MEASURES, "float32"))
    rule = {"mean fractal dimension": {"type": "category"}} if kind["category"] else {}
    kept = {*kind["key"], kind["split"].get("column")}
    params = Params.model_validate(
        {
            "task": "classification",
            "data": {"source": "x.csv", "target": "diagnosis", "key": kind["key"],
                     "drop": sorted(kind["drop"] - kept), "columns": rule},
            "split": kind["split"],
            "model": LINEAR,
        }
    )  # fmt: skip
    typed = frame.assign(
        **{
            name: features.category_texts(frame[name])
            for name in map(str, frame)
            if schema.column_type(frame, params, name) == "category"
        }
    )
    mask = split.holdout_mask(typed, params)
    hashes = fitted.hashed(typed[~mask], fitted.columns(typed, params))
    told = features.Signature(
        "classification", schema.columns(typed[~mask], params), "diagnosis", ("benign", "malignant")
    )
    by = params.split.model_dump(mode="json") | {"key": list(params.data.key)}
    rows = {"train": len(hashes), "holdout": int(mask.sum())}
    card = artifact.ModelCard(told, "", {}, by, rows, {}, 0)
    return artifact.Model(card, None), typed, typed[mask], hashes


@settings(max_examples=150, deadline=None)
@given(KINDS, KINDS)
def test_no_row_that_is_compared_was_among_the_fitted_rows_of_either(
    ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    model, rows, holdout, _ = parts(ours)
    rival, old_rows, old_holdout, hashes = parts(theirs)
    y = np.arange(len(holdout)) % 2
    try:
        unseen = fair.compared(model, rival, holdout, y, hashes)
    except errors.InputError:
        assume(False)
    compared = set(holdout.index[unseen])
    assert len(compared) >= fair.MIN_ROWS
    assert not compared & (set(rows.index) - set(holdout.index))
    assert not compared & (set(old_rows.index) - set(old_holdout.index))
