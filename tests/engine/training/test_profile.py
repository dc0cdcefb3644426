"""profile.json: deterministic, exact where it can be, and refused when damaged."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from mlrelease import errors, files
from mlrelease.scoring import contents, features
from mlrelease.training import profiles as profile

COLUMNS = (
    features.Column("age", "number", nullable=True),
    features.Column("port", "category", categories=("C", "Q", "S")),
)
FLOATS = hnp.arrays(
    np.float32, st.integers(1, 250), elements=st.floats(-(2.0**100), 2.0**100, width=32)
)
Change = Callable[[dict[str, Any]], object]


def content(rows: int = 400, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    age = random.normal(40, 10, rows)
    age[:40] = np.nan
    port = random.choice(["C", "Q", "S", ""], rows)
    frame = features.to_frame(pd.DataFrame({"age": age, "port": port}), COLUMNS)
    facts = profile.profile(frame, COLUMNS, random.uniform(size=rows))
    return dict(json.loads(json.dumps(facts)))


def written(directory: Path, facts: Any) -> Path:
    (directory / "profile.json").write_text(json.dumps(facts))
    return directory


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    facts = content()
    files.write_atomically(tmp_path / "profile.json", files.canonical_json(facts))

    found = profile.read_profile(contents.read(tmp_path), COLUMNS)

    assert json.loads(msgspec.json.encode(found)) == facts
    assert found.rows == 400
    assert found.columns["age"].missing == 0.1
    assert sum(found.columns["port"].shares) == pytest.approx(1)
    assert found.columns["port"].values == ("C", "Q", "S")


def test_equal_rows_give_equal_bytes_in_any_order() -> None:
    random = np.random.default_rng(1)
    raw = {"age": random.normal(size=999), "port": random.choice(["C", "Q"], 999)}
    frame = features.to_frame(pd.DataFrame(raw), COLUMNS)
    scores = random.uniform(size=999)
    order = random.permutation(999)

    one = profile.profile(frame, COLUMNS, scores)
    other = profile.profile(frame.iloc[order].reset_index(drop=True), COLUMNS, scores[order])

    assert files.canonical_json(one) == files.canonical_json(other)


SINGLE = hnp.arrays(
    np.float32, st.integers(5, 250), elements=st.floats(-1e6, 1e6, width=32), unique=True
)
MANY = hnp.arrays(np.float32, st.integers(5, 250), elements=st.integers(0, 30))


@settings(max_examples=60)
@given(SINGLE | MANY | FLOATS)
def test_a_shared_value_is_of_five_rows_or_more(values: np.ndarray) -> None:
    ordered = np.sort(values)
    found = profile.shared(ordered)

    assert np.all(np.diff(found) >= 0)
    assert ordered[0] <= found[0]
    assert found[-1] <= ordered[-1]
    _, counts = np.unique(found, return_counts=True)
    assert counts.min() >= min(5, len(values))
    common, times = np.unique(ordered, return_counts=True)
    for value in common[times >= 5]:
        assert np.all(found[ordered == value] == value), "what many have stays itself"
    for value in np.unique(found):
        ranks = np.flatnonzero(found == value)
        assert np.searchsorted(ordered, value, "left") <= ranks[-1] + 1
        assert ranks[0] <= np.searchsorted(ordered, value, "right")


@settings(max_examples=60)
@given(SINGLE)
def test_the_ends_are_no_values_but_half_a_standard_deviation_coarse(values: np.ndarray) -> None:
    found = profile.describe(values, "number")
    digits = 1e-6 * float(np.abs(values).max())  # nine of them are written

    for end, value, way in ((0, values.min(), -1), (-1, values.max(), 1)):
        assert -digits <= way * (found.quantiles[end] - float(value)) <= 1.25 * found.sd + digits
    moved = values.copy()
    moved[np.argmax(values)] = np.nextafter(values.max(), np.float32(np.inf))
    assert profile.describe(moved, "number").quantiles[0] == found.quantiles[0]


def test_a_profile_of_few_rows_shows_no_value_of_a_row() -> None:
    """Each row has a salary of its own, and somebody's is far off."""
    random = np.random.default_rng(1)
    salary = (30000 + random.gamma(2, 9000, 167)).round(2)
    salary[[3, 5]] = [17.37, 1234567.89]
    frame = features.to_frame({"salary": salary.tolist()}, [features.Column("salary", "number")])
    told = profile.profile(frame, [features.Column("salary", "number")], random.uniform(size=167))
    column = told["columns"]["salary"]
    shown = {*column["quantiles"], *column["edges"], column["mean"], column["sd"]}

    own = {float(f"{value:.9g}") for value in frame["salary"].to_numpy().astype(np.float32)}
    assert len(own) == 167
    assert not shown & own
    assert (column["quantiles"][0], column["quantiles"][-1]) == (0, 1_250_000)


def test_the_oldest_of_few_is_not_told() -> None:
    ages = np.append(np.arange(20, 60), 89)
    quantiles = profile.describe(ages, "number").quantiles

    assert quantiles[-1] == 90
    assert max(quantiles[:-1]) < 70


def test_a_number_that_four_rows_have_is_told_nothing_of(tmp_path: Path) -> None:
    column = features.Column("dose", "number", nullable=True)
    dose = np.full(100, np.nan)
    for rows, known in ((4, 0), (5, 5)):
        dose[:rows] = 7.25
        facts = profile.profile(
            features.to_frame({"dose": dose.tolist()}, [column]), [column], dose
        )
        found = profile.read_profile(contents.read(written(tmp_path, facts)), [column])
        assert found.columns["dose"].rows == known
        assert ("7.25" in json.dumps(facts["columns"])) == (known > 0)


@settings(max_examples=30)
@given(FLOATS)
def test_the_quantile_at_p_is_the_smallest_shared_value_that_p_of_the_rows_do_not_exceed(
    values: np.ndarray,
) -> None:
    points = np.asarray(profile.describe(values, "number").quantiles, dtype=np.float32)
    values = profile.shared(np.sort(values))
    rows, steps = len(values), np.arange(1, 200)  # numpy's own inverted CDF errs by rounding

    assert set(points[1:-1]) <= set(values)
    assert all((values[:, None] <= points[1:-1]).sum(axis=0) * 200 >= steps * rows)
    assert all((values[:, None] < points[1:-1]).sum(axis=0) * 200 < steps * rows)


@settings(max_examples=30)
@given(FLOATS)
def test_each_value_is_in_exactly_one_bin(values: np.ndarray) -> None:
    found = profile.describe(values, "number")
    bounds = [-np.inf, *np.asarray(found.edges, dtype=np.float32), np.inf]

    counted = [
        ((values > low) & (values <= high)).mean() for low, high in itertools.pairwise(bounds)
    ]

    assert found.shares == pytest.approx(counted, abs=1e-8)


def test_a_constant_has_no_spread() -> None:
    found = profile.describe(np.full(455_001, 0.1), "number")

    assert found.sd == 0
    assert found.mean == pytest.approx(0.1)


def test_what_is_not_finite_is_missing() -> None:
    found = profile.describe(np.array([1, 2, np.nan, np.inf, -np.inf, 1e39]), "number")

    assert found.rows == 2
    assert found.missing == pytest.approx(4 / 6)
    assert found.quantiles[-1] == 2


@pytest.mark.parametrize("kind", ["number", "category"])
def test_a_column_without_values_is_described(kind: Any, tmp_path: Path) -> None:
    values = np.full(50, np.nan if kind == "number" else "", dtype=object)
    column = features.Column("empty", kind, nullable=True)
    frame = pd.DataFrame({"empty": values})

    facts = profile.profile(frame, [column], np.linspace(0, 1, 50))

    found = profile.read_profile(contents.read(written(tmp_path, facts)), [column]).columns["empty"]
    assert (found.rows, found.missing, found.shares) == (0, 1.0, ())


def test_the_largest_numbers_survive(tmp_path: Path) -> None:
    largest = features.FLOAT32_MAX
    column = features.Column("x", "number")
    frame = features.to_frame({"x": [-largest, 0.0, largest] * 5}, [column])

    facts = profile.profile(frame, [column], np.array([-1e38, 0, 1e38]))

    found = profile.read_profile(contents.read(written(tmp_path, facts)), [column]).columns["x"]
    assert np.float32(found.quantiles[-1]) == np.float32(largest)


DAMAGE: dict[str, Change] = {
    "a share above 1": lambda d: d["columns"]["port"].update(shares=[2, -1, 0]),
    "shares that do not add up": lambda d: d["columns"]["port"].update(shares=[0.5, 0.1, 0.1]),
    "too few shares": lambda d: d["columns"]["port"].update(shares=[1]),
    "values out of order": lambda d: d["columns"]["port"].update(values=["S", "Q", "C"]),
    "falling quantiles": lambda d: d["score"]["quantiles"].reverse(),
    "200 quantiles": lambda d: d["score"]["quantiles"].pop(),
    "falling edges": lambda d: d["score"]["edges"].reverse(),
    "a text as number": lambda d: d["score"].update(mean="0.5"),
    "an enormous number": lambda d: d["score"]["quantiles"].__setitem__(-1, 1e300),
    "an enormous integer": lambda d: d["score"].update(rows=10**400),
    "a negative spread": lambda d: d["score"].update(sd=-1),
    "not a number": lambda d: d["score"].update(mean=float("nan")),
    "infinity": lambda d: d["score"].update(sd=float("inf")),
    "no rows but shares": lambda d: d["columns"]["port"].update(rows=0),
    "an unknown key": lambda d: d.update(note="x"),
    "no score": lambda d: d.pop("score"),
    "a missing column": lambda d: d["columns"].pop("age"),
    "another column": lambda d: d["columns"].update(height=d["columns"]["age"]),
    "another type of column": lambda d: d["columns"].update(age=d["columns"]["port"]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_profile_is_refused_in_one_line(damage: Change, tmp_path: Path) -> None:
    facts = content()
    damage(facts)

    with pytest.raises(errors.InputError) as caught:
        profile.read_profile(contents.read(written(tmp_path, facts)), COLUMNS)

    assert "profile.json: " in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("hostile", [b"", b"\xff\xfe", b"[" * 100_000, b'{"columns":' * 100_000])
def test_what_is_no_profile_is_refused(hostile: bytes, tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_bytes(hostile)

    with pytest.raises(errors.InputError, match="train the model again"):
        profile.read_profile(contents.read(tmp_path), COLUMNS)


def test_a_missing_profile_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.json").touch()

    with pytest.raises(errors.InputError, match=r"profile\.json"):
        profile.read_profile(contents.read(tmp_path), COLUMNS)


def test_a_profile_cut_short_is_refused(tmp_path: Path) -> None:
    whole = files.canonical_json(content())
    for length in range(0, len(whole) - 2, 97):
        (tmp_path / "profile.json").write_text(whole[:length])

        with pytest.raises(errors.InputError):
            profile.read_profile(contents.read(tmp_path), COLUMNS)
