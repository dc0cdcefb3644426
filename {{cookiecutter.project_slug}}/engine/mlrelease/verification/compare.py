"""How far is a model from the one that training again gave? It runs in a process of its own, within
limits: see limits.py."""

import re
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from mlrelease.errors import InputError
from mlrelease.evaluation.parity import ROWS_EACH, made
from mlrelease.files import canonical_json
from mlrelease.scoring.artifact import Model, ModelCard, dump_estimator
from mlrelease.scoring.contents import Contents, read
from mlrelease.scoring.features import Signature, to_frame, to_inputs
from mlrelease.scoring.runtime import Runtime, load
from mlrelease.training.profiles import read_profile
from mlrelease.training.train import read_holdout
from mlrelease.verification.described import same_golden, same_profile
from mlrelease.verification.likeness import TOLERANCE, difference

AT_ONCE = 10_000
FLOAT32 = 2e-5  # of the largest value, as a part of the spread of values: no runtime is nearer
MADE = 10.0  # times what rows of people may differ by: made ones lie where answers change most
VERSION = re.compile(r"\d{1,3}\.\d{1,3}\.\d{1,3}[\w.+]{0,20}")
ROWS_DIFFER = "# of # rows differ, by up to # (allowed: #)"  # as export.py says it


class Seen(NamedTuple):
    """What rows hold, and what a model makes of them: least and greatest, shape (2, ...)."""

    numbers: np.ndarray
    last: np.ndarray  # what the last step of the pipeline is given
    scores: np.ndarray


def compare(arguments: Mapping[str, Any], output: Path) -> None:
    """How far two models are apart: what they are made of, what they say of the rows, and what they
    answer to the holdout, to the training rows and to rows made from these. Writes `apart.json`.

    `model`, `again` and `holdout` are a folder and the digest that its content must have when it is
    read; `rows` is the file of the training rows, or None: older versions do not give them.
    """
    files, there = (read(Path(arguments[n][0]), arguments[n][1]) for n in ("model", "again"))
    a, b = Model.of(files), Model.of(there)
    told = b.signature
    facts = {"python": a.card.libraries.get("python", ""), "rows": 0, "largest": 0.0}
    others = _other_card(a.card, b.card)
    if not others:
        place, digest = arguments["holdout"]
        held_out = to_frame(read_holdout(Path(place), digest), told.columns)
        fitted = arguments["rows"]
        seen = _seen(_chunks(Path(fitted), told) if fitted else iter([held_out]), b)
        unit = _unit(told, seen.scores)
        parts = [dump_estimator(model.estimator) for model in (a, b)]
        others = difference(parts[0], parts[1], seen.last[1] - seen.last[0])
        others += _other_words(files, there, told, TOLERANCE * unit)
    if not others:
        runtimes = load(files, a.card), load(there, b.card)
        people = chain([held_out], _chunks(Path(fitted), told) if fitted else ())
        found = [_apart(rows, *runtimes, told) for rows in people]
        made_up = pd.concat([*made(held_out, told), *_ends(held_out, told, seen.numbers)])
        far, scores = _apart(made_up, *runtimes, told)
        largest = [apart / unit for apart, _ in found] + [far / _unit(told, scores) / MADE]
        facts["largest"] = max(largest)
        facts["rows"] = len(made_up) + sum(len(scores) for _, scores in found)
    (output / "apart.json").write_text(canonical_json(facts | {"others": others}))


def _other_card(a: ModelCard, b: ModelCard) -> list[str]:
    """What differs of model.json. The runtime may: parity is at its limit on one processor only.
    Another Python may have trained it, and its key says which: see rebuild.py."""
    here, there = (msgspec.to_builtins(card) for card in (a, b))
    known = VERSION.fullmatch(here["libraries"].pop("python", ""))
    there["libraries"].pop("python", None)
    loose = ("runtime", "not_onnx")
    others = [name for name in here if name not in loose and here[name] != there[name]]
    reason = None if a.runtime == "onnx" else (ROWS_DIFFER, _plain(b.not_onnx or ROWS_DIFFER))
    told = a.not_onnx is None if reason is None else _plain(a.not_onnx or "") in reason
    return others + ["libraries"] * (not known) + ["not_onnx"] * (not told)


def _plain(text: str) -> str:
    """Without its numbers, which differ from one processor to another."""
    return re.sub(r"[\d.]+(e[+-]\d+)?", "#", text)


def _other_words(files: Contents, there: Contents, told: Signature, apart: float) -> list[str]:
    """What differs of the files that describe the model."""
    try:
        one, other = (read_profile(content, told.columns) for content in (files, there))
    except InputError:
        return ["profile.json"]
    asked, again = (content.json("golden.json") for content in (files, there))
    same = {
        "profile.json": same_profile(one, other, apart),
        "golden.json": same_golden(asked, again, told, apart),
    }
    return [name for name, alike in same.items() if not alike]


def _chunks(path: Path, told: Signature) -> Iterator[pd.DataFrame]:
    """Typed rows, as many as fit the memory."""
    for batch in pq.ParquetFile(path).iter_batches(AT_ONCE):
        yield to_frame(batch.to_pandas(), told.columns)


def _seen(chunks: Iterator[pd.DataFrame], model: Model) -> Seen:
    names, _ = model.signature.names()
    found = []
    for rows in chunks:
        wide = rows.astype(dict.fromkeys(names, np.float64))
        steps = getattr(model.estimator, "steps", [model.estimator])
        given: Any = model.estimator[:-1].transform(wide) if len(steps) > 1 else wide
        last = np.asarray(given.toarray() if hasattr(given, "toarray") else given)
        last = last if last.ndim == 2 and last.dtype.kind in "fiu" else np.zeros((len(rows), 0))
        found.append(tuple(map(_ends_of, (wide[names].to_numpy(), last, model.scores(rows)))))
    return Seen(*(_ends_of(np.concatenate(parts)) for parts in zip(*found, strict=True)))


def _ends_of(values: np.ndarray) -> np.ndarray:
    """The least and the greatest of each column that are there; 0 where there are none."""
    there = np.isfinite(values)
    least = np.where(there, values, np.inf).min(axis=0, initial=np.inf)
    most = np.where(there, values, -np.inf).max(axis=0, initial=-np.inf)
    found: np.ndarray = np.nan_to_num(np.stack([least, most]), posinf=0.0, neginf=0.0)
    return found


def _unit(told: Signature, scores: np.ndarray) -> float:
    """What answers are compared by: a probability is what it is, values by how far they spread."""
    if told.task == "classification":
        return 1.0
    least, most = _ends_of(scores)
    return float(most - least + FLOAT32 * max(abs(least), abs(most)))


def _ends(rows: pd.DataFrame, told: Signature, numbers: np.ndarray) -> Iterator[pd.DataFrame]:
    """A few rows with each column at both ends of what was seen, and in each known category."""
    few, names = rows.head(ROWS_EACH), told.names()[0]
    for column in told.columns:
        if column.type == "category":
            yield from (few.head(1).assign(**{column.name: v}) for v in column.categories)
        else:
            values = numbers[:, names.index(column.name)]
            yield from (few.assign(**{column.name: np.float32(value)}) for value in values)


def _apart(
    rows: pd.DataFrame, one: Runtime, other: Runtime, told: Signature
) -> tuple[float, np.ndarray]:
    """How far answers are apart at most, and those of the second model, shape (n,)."""
    inputs = to_inputs(rows, told)
    x, y = one.scores(inputs), other.scores(inputs)
    known = np.isfinite(x) & np.isfinite(y)
    same = bool((np.isfinite(x) == np.isfinite(y)).all())
    return float(np.abs(x - y)[known].max(initial=0.0)) if same else float("inf"), y
