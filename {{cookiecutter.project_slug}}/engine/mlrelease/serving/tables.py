"""CSV, Arrow and Parquet to typed columns: the same checks and the same words as for JSON.

Arrow and Parquet are for `unpack`: their readers are not for a process that has to live.
"""

import csv
import io
import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np

from mlrelease.scoring import cells
from mlrelease.scoring.features import Column, Inputs, Signature
from mlrelease.scoring.request_rows import (
    MAX_ROWS,
    Batch,
    RequestError,
    ValueFaultError,
    check_count,
    check_names,
    clip,
    known_columns,
    to_inputs,
    typed,
)

CSV = "text/csv"
ARROW, PARQUET = "application/vnd.apache.arrow.stream", "application/vnd.apache.parquet"
KINDS = (CSV, ARROW, PARQUET)
PART_ROWS = 1024  # of a CSV file, checked together


class Table:
    """Typed columns, filled part by part."""

    def __init__(self, names: list[str], signature: Signature) -> None:
        """Raises: RequestError for names that are not those of the signature, each once."""
        for name, times in Counter(names).items():
            if times > 1:
                raise RequestError("is given twice", clip(name), reason="given_twice")
        self.signature, self.columns = signature, known_columns(signature)
        check_names(dict.fromkeys(names).keys(), self.columns)
        self.values: dict[str, list[Any]] = {name: [] for name in names}
        self.rows = 0

    def add(self, rows: int, part: Mapping[str, Iterable[Any]]) -> None:
        """Add rows by column, or refuse the first bad one."""
        if self.rows + rows > MAX_ROWS:
            raise RequestError(f"more than {MAX_ROWS} rows; send at most that many", None, 413)
        first: tuple[int, str, ValueFaultError] | None = None
        for name, (column, known) in self.columns.items():
            column_values = self.values[name]
            for row, value in enumerate(part[name]):
                if first and row >= first[0]:
                    break
                try:
                    column_values.append(typed(value, column, known))
                except ValueFaultError as fault:
                    first = (row, name, fault)
        if first:
            row, name, wrong = first
            place = f"rows[{self.rows + row}].{name}"
            raise RequestError(str(wrong), place, reason=wrong.reason)
        self.rows += rows

    def inputs(self) -> Inputs:
        """All rows as the model takes them."""
        check_count(self.rows)
        return to_inputs(self.values, self.rows, self.signature)


def decode_csv(body: bytes, signature: Signature) -> Batch:
    """A CSV file with a header, checked and typed; columns are found by name.

    Raises:
        RequestError: 400 for what is no such file, 413 for too many rows, 422 for wrong values.
    """
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        names = next(lines, [])
        if not names:
            raise RequestError("the body is empty; send a header and rows", None, 400, "not_parsed")
        table = Table(names, signature)
        while part := list(itertools.islice(filter(None, lines), PART_ROWS)):
            for row, line in enumerate(part, table.rows):
                if len(line) != len(names):
                    message = f"has {len(line)} fields, and the header {len(names)}"
                    raise RequestError(message, f"rows[{row}]", 400, "not_parsed")
            given = dict(zip(names, zip(*part, strict=True), strict=True))
            texts = {
                name: [_from_cell(cell, *column) for cell in given[name]]
                for name, column in table.columns.items()
            }
            table.add(len(part), texts)
    except (csv.Error, UnicodeDecodeError) as error:
        reason = clip(str(error))
        raise RequestError(f"the body is no CSV file: {reason}", None, 400, "not_parsed") from None
    return Batch(table.inputs(), True)


def to_json(inputs: Inputs, signature: Signature) -> bytes:
    """Typed rows as a caller would send them as JSON."""
    names = [*itertools.chain(*signature.names())]
    numbers = inputs.numbers.astype(object)
    numbers[np.isnan(inputs.numbers)] = None
    rows = np.concatenate([numbers, inputs.categories], axis=1)
    rows[rows == ""] = None
    return msgspec.json.encode([dict(zip(names, row, strict=True)) for row in rows.tolist()])


def _from_cell(cell: str, column: Column, known: frozenset[str]) -> Any:
    """What `typed` takes: nothing, a number, or a text; also where it will refuse it."""
    if column.type == "category":
        return cells.category(cell, known)
    if cell in cells.MISSING:
        return None
    number = cells.number(cell)
    return cell if number is None else number
