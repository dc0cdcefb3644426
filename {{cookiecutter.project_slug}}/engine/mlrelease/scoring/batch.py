"""One chunk of a file's rows to answers: the typed columns, rules and runtime of the service."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mlrelease.errors import InputError
from mlrelease.scoring.cells import MISSING, NUMBER, category
from mlrelease.scoring.features import (
    NO_NUMBER,
    Column,
    Inputs,
    Signature,
    category_texts,
    parsed_numbers,
    refusals,
)
from mlrelease.scoring.runtime import Runtime

NO_SCORE, NO_CATEGORY = "has no finite score", "is neither text, number nor boolean"
MISSING_CELLS = pa.array(sorted(MISSING))
UNREADABLE = (OSError, ValueError, pa.ArrowException)


class DamagedError(InputError):
    """The rows cannot be read to their end, or changed meanwhile; what was scored is worthless."""


class Chunk(NamedTuple):
    """`table` holds the rows from `start` on, counted from 0. `malformed` says of rows (by their
    place in the chunk) that have not one field per column why; in `table` they are null."""

    start: int
    table: pa.Table
    malformed: dict[int, str]


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
                numbers, bad = _cells(values) if csv else _numbers(values)
                inputs.numbers[:, names[0].index(column.name)] = numbers
                masks = [(NO_NUMBER, bad), *refusals(numbers, column)]
            else:
                texts, codes, bad = _categories(values, column, csv=csv)
                inputs.categories[:, names[1].index(column.name)] = texts[codes]
                masks = [(reason, mask[codes]) for reason, mask in refusals(texts, column)]
                masks = [(NO_CATEGORY, bad), *masks]
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


def stored(kind: pa.DataType) -> pa.DataType:
    """The type of the values, whatever stands around them."""
    while isinstance(kind, pa.BaseExtensionType) or pa.types.is_dictionary(kind):
        kind = kind.value_type if pa.types.is_dictionary(kind) else kind.storage_type
    return kind


def _cells(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """`_numbers`, of cells."""
    cells = present(values)
    wide = cell_numbers(cells).to_numpy(zero_copy_only=False)
    numbers, bad = parsed_numbers(wide)
    return numbers, bad | (np.isnan(wide) & cells.is_valid().to_numpy(zero_copy_only=False))


def _numbers(values: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """The numbers, and which values are none. As for the service, the type decides: no boolean,
    text or time is a number, even if it could be read as one."""
    kind, types = values.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _numbers(values.storage)
    if types.is_dictionary(kind):
        codes = _codes(values)
        numbers, bad = _numbers(values.dictionary)
        return np.append(numbers, np.float32(np.nan))[codes], np.append(bad, False)[codes]
    if types.is_decimal(kind):  # a text becomes the nearest number, a decimal not always
        values = values.cast(pa.string()).cast(pa.float64())
    elif types.is_null(kind):
        values = values.cast(pa.float64())
    elif not (types.is_integer(kind) or types.is_floating(kind)):
        there = values.is_valid().to_numpy(zero_copy_only=False)
        return np.full(len(values), np.nan, np.float32), there
    numbers, bad = parsed_numbers(values.to_numpy(zero_copy_only=False))
    return numbers, bad


def _categories(values: pa.Array, column: Column, *, csv: bool) -> tuple[np.ndarray, ...]:
    """The distinct texts, the place of each row's text among them, and which values are none."""
    if isinstance(values.type, pa.BaseExtensionType):
        values = values.storage
    kind, known = stored(values.type), frozenset(column.categories)
    none = np.zeros(len(values), bool)
    if not _is_category(kind):
        coded = pa.types.is_dictionary(values.type)
        there = values.dictionary.is_valid().take(values.indices) if coded else values.is_valid()
        none |= there.fill_null(False).to_numpy(zero_copy_only=False)
        return np.array([""], dtype=object), np.zeros(len(values), np.int64), none
    if pa.types.is_decimal(values.type):  # of any width
        values = values.cast(pa.string())
    coded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    if csv or pa.types.is_decimal(kind):
        distinct = coded.dictionary.cast(pa.string()).to_pylist()
        texts = [category(cell or "", known) for cell in distinct]
    else:
        texts = category_texts(coded.dictionary.to_pandas()).tolist()
    return np.array([*texts, ""], dtype=object), _codes(coded), none


def _is_category(kind: pa.DataType) -> bool:
    texts = ("string", "large_string", "string_view")
    names = (*texts, "boolean", "integer", "floating", "decimal", "null")
    return any(getattr(pa.types, f"is_{name}")(kind) for name in names)


def _codes(coded: pa.Array) -> Any:
    """The place of each value in the dictionary, and for a missing one the place after it."""
    codes = coded.indices.cast(pa.int64()).fill_null(len(coded.dictionary))
    return codes.to_numpy(zero_copy_only=False)


def line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:300]
