"""The fingerprint in the ledger tells nothing of a row to who has not all of them."""

import datetime as dt
import hashlib
import hmac
import itertools
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import yaml
from pandas.util import hash_pandas_object

from mlrelease import errors, files
from mlrelease.evaluation import metrics
from mlrelease.promotion import release
from mlrelease.rehearsal import sandbox
from mlrelease.scoring import contents
from mlrelease.training import train
from mlrelease.verification import answers, confirm, order
from tests.engine.conftest import BETTER, PARAMS
from tests.engine.verification.changes import entries, live, release_both
from tests.engine.verification.test_fitted_rows import lenient, remember_nothing

__all__ = ["lenient"]
Answers = dict[str, float]


def people(rows: int = 200, first: int = 0) -> pd.DataFrame:
    """Rows of a table in which the last column is nobody's business."""
    random = np.random.default_rng(1)
    frame = pd.DataFrame({
        "age": random.integers(18, 90, 1000).astype(float),
        "salary": random.gamma(2, 9000, 1000).round(2),
        "ward": random.choice(list("ABCDEF"), 1000),
        "hiv": random.choice(["no", "yes"], 1000),
    })  # fmt: skip
    return frame.iloc[first : first + rows].reset_index(drop=True)


def scores(frame: pd.DataFrame) -> metrics.Scored:
    found = frame["age"].to_numpy() / 90
    return metrics.Scored(task="regression", y=found, candidate=found)


def secret(frame: pd.DataFrame, folder: Path) -> bytes:
    folder.mkdir(exist_ok=True)
    frame.to_parquet(folder / "holdout.parquet", index=False)
    return answers.secret_of(contents.read(folder))


def before(frame: pd.DataFrame) -> Answers:
    """The fingerprint as earlier versions wrote it."""
    hashes = hash_pandas_object(frame[sorted(frame.columns)], index=False).to_numpy()
    found = scores(frame).candidate
    return {f"{int(hashes[at]):016x}": float(found[at]) for at in np.argsort(hashes)[:64]}


def guesses(frame: pd.DataFrame) -> list[int]:
    """Hashes of each row with each target that it may have: all that its neighbours know."""
    found = []
    for target in ("no", "yes"):
        told = frame.assign(hiv=target)
        found += hash_pandas_object(told[sorted(told.columns)], index=False).tolist()
    return found


def test_who_knows_the_other_columns_finds_no_row_and_no_target(tmp_path: Path) -> None:
    frame = people()
    key = secret(frame, tmp_path / "rows")
    own, _ = answers.answers_of(frame, scores(frame), [key], set())
    assert len(own) == 64
    assert len(set(before(frame)) & {f"{g:016x}" for g in guesses(frame)}) == 64  # as it was
    public = contents.read(tmp_path / "rows")
    content = public["holdout.parquet"]
    known = [public.digest, files.sha256(content), hashlib.sha256(content).digest().hex()]
    names = [text.removeprefix("sha256:") for text in known]
    keys = [b"", b"secret", *(t.encode() for t in known), *(bytes.fromhex(n) for n in names)]
    keys += [hmac.digest(answers.PURPOSE, one, "sha256") for one in keys]
    for one, guess in itertools.product(keys, guesses(frame)):
        row = np.uint64(guess)
        assert answers._hash(one[:64], row) not in own
        assert f"{guess:016x}" not in own


def test_the_key_takes_every_row_and_is_the_same_for_the_same_rows(tmp_path: Path) -> None:
    frame, other = people(), people()
    other.loc[199, "hiv"] = {"no": "yes", "yes": "no"}[str(other.loc[199, "hiv"])]
    one, again = secret(frame, tmp_path / "a"), secret(frame, tmp_path / "b")
    changed = secret(other, tmp_path / "c")
    assert one == again != changed
    own, _ = answers.answers_of(frame, scores(frame), [one], set())
    theirs, _ = answers.answers_of(frame, scores(frame), [changed], set())
    assert not own.keys() & theirs.keys()


def test_rows_that_two_holdouts_share_are_found_with_the_other_one_s_key(tmp_path: Path) -> None:
    old, new = people(200), people(200, first=40)
    keys = [secret(new, tmp_path / "new"), secret(old, tmp_path / "old")]
    theirs, _ = answers.answers_of(old, scores(old), keys[1:], set())
    own, again = answers.answers_of(new, scores(new), keys, set(theirs))
    assert not own.keys() & theirs.keys()
    assert 16 <= len(again) < 64
    assert order.same_answers(own | again, theirs)
    assert not order.same_answers({n: x + 0.01 for n, x in (own | again).items()}, theirs)


def test_what_an_earlier_version_wrote_is_found_again(tmp_path: Path) -> None:
    frame = people()
    theirs = before(frame)
    key = secret(frame, tmp_path / "rows")
    own, again = answers.answers_of(frame, scores(frame), [key], set(theirs))
    assert again.keys() == theirs.keys()
    assert order.same_answers(own | again, theirs)


def test_an_entry_holds_no_hash_without_a_key(world: sandbox.Sandbox) -> None:
    release_both(world, BETTER)
    told = entries(world)[0].released.answers
    rows = train.read_holdout(world.here.candidate / "holdout")
    plain = hash_pandas_object(rows[sorted(rows.columns)], index=False)
    assert len(told) == 64
    assert {len(name) for name in told} == {32}
    assert not {f"{int(one):016x}" for one in plain} & told.keys()


def test_an_entry_of_an_earlier_version_verifies(
    world: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its answers are under plain hashes: as they were made, and not with another score."""
    write = release._entry
    off = 0.0

    def plain(*given: Any) -> Any:
        note = write(*given)
        rows = train.read_holdout(world.here.candidate / "holdout")
        hashes = hash_pandas_object(rows[sorted(rows.columns)], index=False).to_numpy()
        key = answers.secret_of(contents.read(world.here.candidate / "holdout"))
        names = {answers._hash(key, row): f"{int(row):016x}" for row in hashes}
        old = {names[name]: score + off for name, score in note.answers.items()}
        return msgspec.structs.replace(note, answers=old)

    monkeypatch.setattr(release, "_entry", plain)
    model = world.candidate(BETTER)
    world.merge(world.promote("staging").pull_request.branch)
    entry = world.release("staging")
    assert entry is not None
    assert {len(name) for name in entry.released.answers} == {16}
    remember_nothing(world)
    ledger = world.here.ledger("staging", world.here.git.base())
    assert confirm.confirmed(world.here, ledger, ledger.entries[-1])
    assert live(world, "staging") == model
    off = 0.5
    world.candidate(BETTER | {"seed": 8})
    world.merge(world.promote("staging").pull_request.branch)
    assert world.release("staging") is not None
    remember_nothing(world)
    ledger = world.here.ledger("staging", world.here.git.base())
    assert not confirm.confirmed(world.here, ledger, ledger.entries[-1])


def days(count: int, first: int = 0) -> list[str]:
    start = dt.date(2026, 1, 1)
    return [f"{start + dt.timedelta(days=at)}" for at in range(first, first + count)]


def test_a_held_model_is_known_again_on_another_holdout(lenient: sandbox.Sandbox) -> None:
    """The newest rows go into the holdout, and the model stays what it was."""
    world = lenient
    table = train.read_holdout(world.here.candidate / "holdout")
    table = pd.concat([table] * 3).reset_index(drop=True)
    random = np.random.default_rng(0)
    numbers = table.columns.drop("diagnosis")
    table[numbers] *= 1 + random.uniform(-0.05, 0.05, (len(table), len(numbers)))
    table["day"] = days(len(table))
    data = yaml.safe_load(PARAMS)["data"] | {"source": "data/rows.csv", "drop": ["day"]}
    split = {"by": "time", "column": "day", "holdout_from": str(table["day"][len(table) // 2])}
    world.commit("data/rows.csv", table.to_csv(index=False))
    changed = BETTER | {"data": data, "split": split}
    release_both(world, changed)
    world.roll_back("production")
    world.release("production")
    newer = table.tail(10).assign(day=days(10, len(table)))
    newer[numbers] *= 1.001
    world.commit("data/rows.csv", pd.concat([table, newer]).to_csv(index=False))
    world.candidate(changed)
    world.merge(world.promote("staging", reason="again").pull_request.branch)
    world.release("staging")
    world.clock += dt.timedelta(hours=25)
    with pytest.raises(errors.RefusedError, match="hold: held: it answers like"):
        world.promote("production")
