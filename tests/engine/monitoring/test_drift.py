"""The measures obey their laws, agree with scipy, and do not cry wolf."""

from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import scipy.spatial.distance
import scipy.stats
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from mlrelease.monitoring import drift
from mlrelease.policy import DriftLimits
from mlrelease.scoring import features
from mlrelease.training import profiles as profile

LIMITS = DriftLimits()
VALUES = hnp.arrays(
    np.float32,
    st.integers(1, 250),
    elements=st.floats(-1000, 1000, width=32, allow_subnormal=False),
)
COUNTS = st.lists(st.integers(0, 50), min_size=6, max_size=6).filter(any)
DISTRIBUTIONS: dict[str, Any] = {
    "normal": lambda random, n: random.normal(size=n),
    "uniform": lambda random, n: random.uniform(size=n),
    "lognormal": lambda random, n: random.lognormal(size=n),
    "heavy tails": lambda random, n: random.standard_t(3, size=n),
    "hours": lambda random, n: random.integers(0, 24, n),
    "counts": lambda random, n: random.poisson(2, n),
    "mostly zero": lambda random, n: (random.uniform(size=n) < 0.3) * random.lognormal(size=n),
    "rarely one": lambda random, n: random.uniform(size=n) < 0.02,
}


def points(values: np.ndarray) -> tuple[float, ...]:
    return profile.describe(values, "number").quantiles


def shares(counts: list[int]) -> np.ndarray:
    return np.asarray(counts) / sum(counts)


def reference(frame: pd.DataFrame, scores: np.ndarray | None = None) -> profile.Profile:
    """The profile of a typed frame: text columns are categories."""
    columns = [
        features.Column(
            str(name), "number" if pd.api.types.is_numeric_dtype(frame[name]) else "category"
        )
        for name in frame
    ]
    scores = np.linspace(0, 1, len(frame)) if scores is None else scores
    return msgspec.convert(profile.profile(frame, columns, scores), profile.Profile)


def compared(
    old: dict[str, Any], new: dict[str, Any], limits: DriftLimits = LIMITS
) -> drift.DriftReport:
    return drift.compare(reference(pd.DataFrame(old)), pd.DataFrame(new), None, limits, "sha256:0")


def column(old: Any, new: Any, limits: DriftLimits = LIMITS) -> drift.ColumnDrift:
    return compared({"x": old}, {"x": new}, limits).columns[0]


@given(COUNTS)
def test_equal_shares_have_no_distance(counts: list[int]) -> None:
    p = shares(counts)

    assert drift.psi(p, p, (sum(counts), sum(counts))) == 0
    assert drift.jensen_shannon(p, p) == 0


@settings(max_examples=30)
@given(VALUES)
def test_equal_values_have_no_distance_in_any_order(values: np.ndarray) -> None:
    shuffled = np.random.default_rng(0).permutation(values)

    assert drift.ks(points(values), np.sort(shuffled), len(values)) == 0
    assert drift.wasserstein(points(values), points(shuffled)) == 0


@given(COUNTS, COUNTS)
def test_distances_of_shares_are_symmetric_and_bounded(one: list[int], other: list[int]) -> None:
    p, q, n, m = shares(one), shares(other), sum(one), sum(other)

    assert drift.psi(p, q, (n, m)) == pytest.approx(drift.psi(q, p, (m, n)))
    assert 0 <= drift.psi(p, q, (n, m)) < np.inf
    assert drift.jensen_shannon(p, q) == pytest.approx(drift.jensen_shannon(q, p))
    assert 0 <= drift.jensen_shannon(p, q) <= 1


@given(COUNTS, COUNTS)
def test_jensen_shannon_is_that_of_scipy(one: list[int], other: list[int]) -> None:
    p, q = shares(one), shares(other)

    wanted = scipy.spatial.distance.jensenshannon(p, q, base=2)

    assert drift.jensen_shannon(p, q) == pytest.approx(np.nan_to_num(wanted), abs=1e-7)


def test_jensen_shannon_of_nothing_in_common_is_1() -> None:
    assert drift.jensen_shannon([1, 0], [0, 1]) == 1


def test_psi_is_the_sum_that_the_books_give() -> None:
    wanted = (0.5 - 0.25) * np.log(0.5 / 0.25) + (0.5 - 0.75) * np.log(0.5 / 0.75)

    assert drift.psi([0.5, 0.5], [0.25, 0.75], (100, 100)) == pytest.approx(wanted)


def test_an_empty_bin_counts_as_half_a_row() -> None:
    assert drift.psi([0.9, 0.1], [1, 0], (10, 50)) == pytest.approx(
        drift.psi([0.9, 0.1], [1, 0.01], (10, 50))
    )


@settings(max_examples=30)
@given(VALUES, VALUES)
def test_ks_is_at_most_one_two_hundredth_and_eighteen_rows_below_the_exact_one(
    old: np.ndarray, new: np.ndarray
) -> None:
    with np.errstate(divide="ignore"):  # in its p-value, which is not used
        exact = scipy.stats.ks_2samp(old, new, method="asymp").statistic

    found = drift.ks(points(old), np.sort(new), len(old))

    assert exact - 1 / 200 - 18 / len(old) - 1e-12 <= found <= exact + 1e-12


@settings(max_examples=30)
@given(VALUES, VALUES)
def test_distances_of_values_are_symmetric(old: np.ndarray, new: np.ndarray) -> None:
    one = drift.ks(points(old), np.sort(new), len(old))
    other = drift.ks(points(new), np.sort(old), len(new))

    assert one == pytest.approx(other, abs=1 / 200 + 18 / min(len(old), len(new)) + 1e-12)
    assert drift.wasserstein(points(old), points(new)) == drift.wasserstein(
        points(new), points(old)
    )


@settings(max_examples=30)
@given(VALUES, st.lists(st.floats(0, 4000, width=32), min_size=2, max_size=2).map(sorted))
def test_a_larger_shift_is_never_nearer(values: np.ndarray, shifts: list[float]) -> None:
    wide = np.round(values.astype(np.float64) * 8) / 8  # a shift makes no two of them one float32
    near, far = (np.sort(wide + shift) for shift in shifts)
    kept = points(wide)

    one, other = (drift.ks(kept, new.astype(np.float32), len(wide)) for new in (near, far))
    assert one <= other + 0.005
    moved = [drift.wasserstein(kept, points(new)) for new in (near, far)]
    assert moved == pytest.approx(shifts, rel=1e-4, abs=1e-3)


def test_psi_grows_with_the_shift_of_a_normal_column() -> None:
    values = np.random.default_rng(0).normal(size=5000)

    found = [column(values, values + shift).psi for shift in (0, 0.1, 0.25, 0.5, 1, 2)]

    assert found == sorted(found, key=lambda value: value or 0)
    assert len(set(found)) == len(found)


@settings(max_examples=30)
@given(VALUES, VALUES)
def test_wasserstein_is_within_one_two_hundredth_and_nine_rows_of_both_ranges(
    old: np.ndarray, new: np.ndarray
) -> None:
    exact = scipy.stats.wasserstein_distance(old, new)

    found = drift.wasserstein(points(old), points(new))

    near = sum(float(np.ptp(x)) * (1 / 200 + 9 / len(x)) for x in (old, new))
    assert found == pytest.approx(exact, abs=near + 1e-4)


@pytest.mark.parametrize("name", ["normal", "uniform", "hours", "counts", "mostly zero"])
@pytest.mark.parametrize("factor", [1, 1.3])
@pytest.mark.parametrize("shift", [0, 1])
def test_wasserstein_is_within_one_two_hundredth_of_an_sd_where_tails_are_light(
    name: str, factor: float, shift: float
) -> None:
    random = np.random.default_rng(1)
    old, new = (np.asarray(DISTRIBUTIONS[name](random, 20_000), np.float32) for _ in range(2))
    sd = float(old.std())
    new = new * np.float32(factor) + np.float32(shift * sd)

    exact = scipy.stats.wasserstein_distance(old, new) / sd

    assert drift.wasserstein(points(old), points(new)) / sd == pytest.approx(exact, abs=1 / 200)


def test_one_absurd_value_is_no_drift() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    absurd = values.copy()
    absurd[0] = 1e30

    assert column(values, absurd).exceeded == ()


def test_rows_in_another_order_give_the_same_report() -> None:
    random = np.random.default_rng(0)
    old = {"x": random.normal(size=500), "c": random.choice(["a", "b"], 500).astype(object)}
    new = pd.DataFrame(old).assign(x=lambda frame: frame["x"] + 1)
    order = random.permutation(500)

    one, other = compared(old, dict(new)), compared(old, dict(new.iloc[order]))

    assert one.to_json() == other.to_json()


def test_a_moved_column_is_found_and_the_worst_is_named_first() -> None:
    random = np.random.default_rng(0)
    old = {name: random.normal(size=2000) for name in ("still", "some", "much")}
    new = {name: random.normal(size=500) for name in ("still", "some", "much")}

    report = compared(old, new | {"some": new["some"] + 0.7, "much": new["much"] * 2 + 4})

    assert report.drifted == ("much", "some")
    assert report.columns[0].exceeded == ()
    assert set(report.columns[2].exceeded) == {"psi", "ks", "wasserstein"}


def test_a_category_never_seen_is_found() -> None:
    old = np.array(["a", "b"] * 500, dtype=object)
    new = np.array(["a", "b", "new", "new"] * 100, dtype=object)

    found = column(old, new)

    assert found.exceeded == ("jensen_shannon",)
    assert found.current.values == ("a", "b", "new")


def test_only_the_missing_share_is_judged_where_few_rows_have_a_value() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    sparse = np.where(np.arange(1000) < 50, values + 100, np.nan)

    found = column(values, sparse)

    assert (found.psi, found.ks, found.wasserstein) == (None, None, None)
    assert found.exceeded == ("missing",)
    assert found.missing == 0.95


def test_a_limit_for_missing_values_leaves_room_for_chance() -> None:
    strict = LIMITS.model_copy(update={"missing": 0.01})
    half = np.where(np.arange(200) < 100, np.nan, 1.0)

    found = column(half, half[50:150], strict)

    alpha = drift.FALSE_ALARMS / 8
    wanted = scipy.stats.norm.isf(alpha / 2) * np.sqrt(0.25 * (1 / 100 + 1 / 200))
    assert found.limits["missing"] == pytest.approx(wanted)
    assert found.exceeded == ()


@pytest.mark.parametrize("gone", [np.nan, np.inf, -np.inf])
def test_a_column_that_lost_all_its_values_has_drifted(gone: float) -> None:
    found = column(np.arange(300.0), np.full(300, gone))

    assert (found.rows, found.missing, found.exceeded) == (0, 1.0, ("missing",))


def test_a_column_that_gained_values_has_drifted() -> None:
    found = column(np.full(300, np.nan), np.arange(300.0))

    assert (found.psi, found.missing, found.exceeded) == (None, -1.0, ("missing",))


def test_a_constant_that_changed_has_drifted_and_one_that_did_not_has_not() -> None:
    moved = column(np.full(300, 5.0), np.full(300, 4.0))

    assert moved.exceeded == ("ks",)
    assert moved.wasserstein is None
    assert column(np.full(300, 0.1), np.full(300, 0.1)).exceeded == ()


@pytest.mark.parametrize("rows", [0, 99])
def test_too_few_rows_are_not_no_drift(rows: int) -> None:
    report = compared({"x": np.arange(300.0)}, {"x": np.full(rows, 1e6)})

    assert not report.enough
    assert (report.rows, report.min_rows, report.columns, report.drifted) == (rows, 100, (), ())


def test_the_score_is_compared_like_a_column() -> None:
    frame = pd.DataFrame({"x": np.arange(300.0)})

    report = drift.compare(reference(frame), frame, np.linspace(0.8, 1, 300), LIMITS, "sha256:0")

    assert [(c.column, c.kind) for c in report.columns] == [("x", "number"), ("score", "score")]
    assert report.drifted == ("score",)


def test_a_measure_at_its_limit_is_not_above_it() -> None:
    values = np.arange(5000.0)
    found = column(values, values + 400)
    assert found.ks is not None
    assert found.psi is not None

    at = LIMITS.model_copy(update={"psi": found.psi + 1e-6, "ks": found.ks + 1e-6})
    below = LIMITS.model_copy(update={"psi": found.psi - 1e-6, "ks": found.ks + 1e-6})

    assert column(values, values + 400, at).exceeded == ()
    assert column(values, values + 400, below).exceeded == ("psi",)


def test_limits_are_those_of_the_policy_once_rows_are_many() -> None:
    values = np.random.default_rng(0).normal(size=3000)

    few, many = column(values, values[:100]), column(values, values[:1000])

    assert many.limits == {"missing": 0.1, "psi": 0.25, "ks": 0.2, "wasserstein": 0.5}
    assert few.limits["psi"] > 0.25


def table(random: np.random.Generator, rows: int) -> pd.DataFrame:
    """30 independent columns of every sort."""
    made = {
        f"{name} {i}": make(random, rows) for name, make in DISTRIBUTIONS.items() for i in "abc"
    }
    frame = pd.DataFrame({name: np.asarray(v, dtype=np.float32) for name, v in made.items()})
    for count in (2, 4, 8, 16, 32, 64):
        weights = 1 / np.arange(1, count + 1)
        names = np.array([f"v{i}" for i in range(count)], dtype=object)
        frame[f"c{count}"] = random.choice(names, rows, p=weights / weights.sum())
    gaps = random.uniform(size=rows) < 0.3
    frame["normal a"] = frame["normal a"].mask(gaps)
    return frame


@pytest.mark.parametrize(
    ("training_rows", "reports"), [(455, 25), pytest.param(20_000, 200, marks=pytest.mark.slow)]
)
def test_without_drift_at_most_one_report_of_a_hundred_says_drift(
    training_rows: int, reports: int
) -> None:
    random = np.random.default_rng(training_rows)
    alarms = naive = 0
    for number in range(reports):
        if number % 20 == 0:
            known = reference(table(random, training_rows))
        report = drift.compare(known, table(random, LIMITS.min_rows), None, LIMITS, "sha256:0")
        alarms += bool(report.drifted)
        naive += any(
            abs(getattr(c, measure) or 0) > getattr(LIMITS, measure)
            for c in report.columns
            for measure in ("psi", "ks", "wasserstein", "jensen_shannon", "missing")
        )

    assert alarms <= reports / 100
    # With no room for chance, nearly every report of so few rows would be a false alarm.
    assert naive > reports * 0.8


def test_a_shift_of_one_sd_is_seen_in_a_hundred_rows() -> None:
    random = np.random.default_rng(0)
    known = reference(pd.DataFrame(random.normal(size=(455, 30)), columns=[*map(str, range(30))]))
    seen = 0
    for _ in range(20):
        frame = pd.DataFrame(random.normal(size=(100, 30)), columns=[*map(str, range(30))])
        frame["7"] += 1
        seen += "7" in drift.compare(known, frame, None, LIMITS, "sha256:0").drifted

    assert seen >= 19
