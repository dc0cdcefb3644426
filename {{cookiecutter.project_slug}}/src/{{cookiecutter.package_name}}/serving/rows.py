"""The rows of a .csv or .parquet file, a chunk at a time, so that memory stays bounded."""

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from ..data import SUFFIXES
from ..errors import InputError

CELLS, MOST_ROWS = 1 << 20, 1 << 15  # of a chunk: some 8 MB, and enough rows to be fast
BLOCK = 1 << 22  # bytes of a .csv file that are parsed at once; a longer row is refused
EDGE = 1 << 20  # bytes at either end of a file that stand for its content
UNREADABLE = (OSError, ValueError, pa.ArrowException)


class DamagedError(InputError):
    """The rows cannot be read to their end, or changed meanwhile; what was scored is worthless."""


class Chunk(NamedTuple):
    """`table` holds the rows from `start` on, counted from 0. `malformed` says of rows (by their
    place in the chunk) that have not one field per column why; in `table` they are null."""

    start: int
    table: pa.Table
    malformed: dict[int, str]


class Rows:
    """A file of rows: those of a .parquet have types, those of a .csv are text, as it stands.

    Raises:
        InputError: The file is missing, unreadable, or neither .csv nor .parquet.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in SUFFIXES:
            raise InputError(f"{path}: is neither .csv nor .parquet")
        self.path, self.csv = path, path.suffix == ".csv"
        self.share = 0.0  # of the file that was read, for whoever shows it
        try:
            self.identity = self._identity()
            if self.csv:  # its columns are called what training calls them
                self.schema = pa.schema([(n, pa.string()) for n in pd.read_csv(path, nrows=0)])
            else:
                self.schema = pa.parquet.read_schema(path)
        except UNREADABLE as error:
            raise InputError(f"{path}: cannot be read: {line(error)}") from None
        names = self.schema.names
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{path}: has two columns {name!r}; rename one")
        self.rows_each = max(256, min(MOST_ROWS, CELLS // max(1, len(names))))

    def changed(self) -> bool:
        """Is the file another one than it was at first?"""
        try:
            return self._identity() != self.identity
        except OSError:
            return True

    def chunks(self, start: int = 0) -> Iterator[Chunk]:
        """The rows from `start` on, `rows_each` at a time; the last chunk may be smaller.

        Raises:
            DamagedError: The rest of the file cannot be read.
        """
        malformed: dict[int, str] = {}
        batches = self._csv(start, malformed) if self.csv else self._parquet(start)
        place = start
        try:
            for table in _sized(batches, self.rows_each):
                end = place + len(table)
                here = [row for row in malformed if row < end]
                found = {row - place: malformed.pop(row) for row in here}
                yield Chunk(place, table, {row: why for row, why in found.items() if row >= 0})
                place = end
        except UNREADABLE as error:
            raise DamagedError(f"cannot be read from row {place} on: {line(error)}") from None

    def _identity(self) -> dict[str, Any]:
        """Size, time, and a digest of both ends; one end of a .parquet describes all of it."""
        with self.path.open("rb") as file:
            facts = os.fstat(file.fileno())
            content = hashlib.sha256(file.read(EDGE))
            file.seek(max(0, facts.st_size - EDGE))
            content.update(file.read())
        return {"bytes": facts.st_size, "time": facts.st_mtime_ns, "ends": content.hexdigest()}

    def _parquet(self, start: int) -> Iterator[pa.RecordBatch]:
        # Otherwise it holds whole row groups: 700 MB of 10 million rows instead of 60.
        options = {"buffer_size": 1 << 20, "pre_buffer": False, "page_checksum_verification": True}
        with pa.parquet.ParquetFile(self.path, **options) as file:
            told = file.metadata
            sizes = [told.row_group(group).num_rows for group in range(told.num_row_groups)]
            ends = np.cumsum([0, *sizes])
            first = int(np.searchsorted(ends[1:], start, side="right"))  # the group of that row
            left, place = range(first, len(sizes)), int(ends[first])
            batches = file.iter_batches(self.rows_each, row_groups=list(left))
            for end, batch in _after(batches, place, start):
                self.share = end / told.num_rows
                yield batch

    def _csv(self, start: int, malformed: dict[int, str]) -> Iterator[pa.RecordBatch]:
        def note(row: Any) -> str:
            reason = f"has {row.actual_columns} fields, not {row.expected_columns}: {row.text}"
            waiting.append((row.number - 2, reason))  # counted from 1, with the header
            return "skip"

        waiting: deque[tuple[int, str]] = deque()
        with pa.OSFile(str(self.path)) as file:
            parsed = pa.csv.open_csv(
                file,
                # With threads, malformed rows would have no number.
                pa.csv.ReadOptions(use_threads=False, block_size=BLOCK),
                pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
                pa.csv.ConvertOptions(default_column_type=pa.string(), strings_can_be_null=False),
            )
            size = file.size()
            batches = _with_gaps(parsed, self.schema, waiting, malformed)
            for _, batch in _after(batches, 0, start):
                self.share = file.tell() / size
                yield batch


def _with_gaps(
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    waiting: deque[tuple[int, str]],
    malformed: dict[int, str],
) -> Iterator[pa.RecordBatch]:
    """The batches, with a row of nulls for each of the (row, reason) that wait; these move to
    `malformed`. So a row's place in the batches is its place in the file."""
    place = 0
    for batch in batches:
        gaps: list[int] = []
        while waiting and waiting[0][0] < place + len(batch) + len(gaps):
            row, reason = waiting.popleft()
            malformed[row] = reason
            gaps.append(row - place)
        columns = batch.columns
        if gaps:
            absent = np.zeros(len(batch) + len(gaps), dtype=bool)
            absent[gaps] = True
            places = pa.array(np.cumsum(~absent) - 1, mask=absent)
            columns = [column.take(places) for column in columns]
        place += len(batch) + len(gaps)
        yield pa.RecordBatch.from_arrays(columns, schema=schema)
    if waiting:  # at the end of the file
        malformed.update(waiting)
        columns = [pa.nulls(len(waiting), pa.string())] * len(schema)
        yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _after(
    batches: Iterator[pa.RecordBatch], place: int, start: int
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """What stands at row `start` and later, where the first batch begins at row `place`; each
    batch with the row that follows it."""
    for batch in batches:
        skipped = max(0, start - place)
        place += len(batch)
        if skipped < len(batch):
            yield place, batch.slice(skipped)


def _sized(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of `rows` rows; the last may be shorter."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        held.append(batch)
        count += len(batch)
        while count >= rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, rows).combine_chunks()
            held = table.slice(rows).to_batches()
            count -= rows
    if count:
        yield pa.Table.from_batches(held).combine_chunks()


def line(error: BaseException) -> str:
    """What an error says, on one line."""
    return " ".join(str(error).split())[:300]
