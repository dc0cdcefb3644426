"""One chunk of a file's rows to answers: the typed columns, rules and runtime of the service."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..features import (
    NO_NUMBER,
    Column,
    Inputs,
    Signature,
    category_texts,
    parsed_numbers,
    refusals,
)
from ..runtime import Runtime
from .cells import MISSING, NUMBER, category
from .rows import UNREADABLE, Chunk, DamagedError, line

NO_SCORE = "has no finite score"
MISSING_CELLS = pa.array(sorted(MISSING))


class Refusal(NamedTuple):
    """Why rows cannot be answered: `rows` is a mask of shape (n,)."""

    column: str
    reason: str
    rows: np.ndarray


def score(chunk: Chunk, runtime: Runtime, signature: Signature, *, csv: bool) -> pa.Table:
    """The chunk's rows with the columns of `answers`, and last the column and the reason for which
    a row has no answer. A row's outcome hangs on no other row."""
    inputs, found = typed(chunk.table, signature, csv=csv)
    rows = len(chunk.table)
    reasons: list[tuple[str, str] | tuple[None, None]] = [(None, None)]
    codes = np.zeros(rows, dtype=np.int32)  # place in `reasons`; the first reason of a row counts
    for row, reason in chunk.malformed.items():
        codes[row] = len(reasons)
        reasons.append(("", reason))
    for column, reason, mask in found:
        codes[mask & (codes == 0)] = len(reasons)
        reasons.append((column, reason))
    good = codes == 0
    scores = np.full(rows, np.nan)
    if good.any():
        picked = inputs if good.all() else Inputs(*(array[good] for array in inputs))
        scores[good] = runtime.scores(picked)
    codes[good & np.isnan(scores)] = len(reasons)
    reasons.append(("", NO_SCORE))
    table = chunk.table
    for name, values in answers(signature, scores).items():
        table = table.append_column(name, values)
    for name, texts in zip(("column", "reason"), zip(*reasons, strict=True), strict=True):
        table = table.append_column(name, pa.array(texts, pa.string()).take(pa.array(codes)))
    return table


def answers(signature: Signature, scores: np.ndarray) -> dict[str, pa.Array]:
    """`Signature.answers` as columns; null where the score is NaN."""
    none = np.isnan(scores)
    numbers = pa.array(scores, pa.float64(), mask=none)
    if signature.task == "regression":
        return {"value": numbers}
    positive = pa.array((scores >= signature.limit).astype(np.int8), mask=none)
    return {"label": pa.array(signature.classes).take(positive), "probability": numbers}


def typed(table: pa.Table, signature: Signature, *, csv: bool) -> tuple[Inputs, list[Refusal]]:
    """The rows as a runtime takes them, and why some must not be asked; the first reason first.

    Raises:
        DamagedError: The values of a column are not what their type says.
    """
    names = signature.names()
    sizes = [(len(table), len(each)) for each in names]
    inputs = Inputs(np.empty(sizes[0], np.float32), np.empty(sizes[1], object))
    found: list[Refusal] = []
    for column in signature.columns:
        try:
            values = table[column.name].combine_chunks()
            if column.type == "number":
                numbers, bad = _numbers(values, csv=csv)
                inputs.numbers[:, names[0].index(column.name)] = numbers
                masks = [(NO_NUMBER, bad), *refusals(numbers, column)]
            else:
                texts, codes = _categories(values, column, csv=csv)
                inputs.categories[:, names[1].index(column.name)] = texts[codes]
                masks = [(reason, mask[codes]) for reason, mask in refusals(texts, column)]
        except UNREADABLE as error:  # such as text that is not UTF-8
            raise DamagedError(f"column {column.name!r} cannot be read: {line(error)}") from None
        found += [Refusal(column.name, reason, mask) for reason, mask in masks if mask.any()]
    return inputs, found


def present(cells: pa.Array) -> pa.Array:
    """The cells of a .csv file, null where a value is missing."""
    return pc.if_else(pc.is_in(cells, MISSING_CELLS), pa.scalar(None, pa.string()), cells)


def cell_numbers(cells: pa.Array) -> pa.Array:
    """What `present` gave as float64; null for what is no number. A boolean is 1 or 0, as in
    training."""
    try:
        return pc.cast(cells, pa.float64())
    except pa.ArrowInvalid:  # something else among them
        for name, number in (("true", "1"), ("false", "0")):
            cells = pc.if_else(pc.equal(pc.ascii_lower(cells), name), number, cells)
        cells = pc.ascii_trim_whitespace(cells)
    plain = pc.match_substring_regex(cells, NUMBER)
    return pc.cast(pc.if_else(plain, cells, pa.scalar(None, pa.string())), pa.float64())


def _numbers(values: pa.Array, *, csv: bool) -> tuple[np.ndarray, ...]:
    if csv:
        cells = present(values)
        wide = cell_numbers(cells).to_numpy(zero_copy_only=False)
        numbers, bad = parsed_numbers(wide)
        return numbers, bad | (np.isnan(wide) & cells.is_valid().to_numpy(zero_copy_only=False))
    plain = pa.types.is_floating(values.type) or pa.types.is_integer(values.type)
    return parsed_numbers(values.to_numpy(zero_copy_only=False) if plain else values.to_pandas())


def _categories(values: pa.Array, column: Column, *, csv: bool) -> tuple[np.ndarray, np.ndarray]:
    """The distinct texts, and the place of each row's text among them."""
    coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    if csv:
        known = frozenset(column.categories)
        cells = coded.dictionary.to_pylist()
        texts = np.array([*(category(cell, known) for cell in cells), ""], dtype=object)
    else:
        texts = np.append(category_texts(coded.dictionary.to_pandas()), "")
    codes = coded.indices.cast(pa.int64()).fill_null(len(texts) - 1)
    return texts, codes.to_numpy(zero_copy_only=False)
