"""The rows of a .csv or .parquet file, a chunk at a time, so that memory stays bounded."""

import hashlib
import itertools
import os
import secrets
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from mlrelease.errors import InputError
from mlrelease.files import TABLES
from mlrelease.predicting.sized import Size, sized, widths, without_views
from mlrelease.scoring.batch import UNREADABLE, Chunk, DamagedError, line

CELLS, MOST_ROWS = 1 << 20, 1 << 15  # of a chunk: some 8 MB, and enough rows to be fast
BYTES, PEEK = 1 << 23, 64  # of a chunk where cells are long; rows that show how long
BLOCK = 1 << 22  # bytes of a .csv file that are parsed at once; a longer row is refused
EDGE = 1 << 20  # bytes at either end of a file that stand for its content


class Rows:
    """A file of rows: those of a .parquet have types, those of a .csv are text, as it stands.

    Raises:
        InputError: The file is missing, unreadable, or neither .csv nor .parquet.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in TABLES:
            raise InputError(f"{path}: is neither .csv nor .parquet")
        self.path, self.csv = path, path.suffix == ".csv"
        self.share = 0.0  # of the file that was read, for whoever shows it
        try:
            self.identity = self._identity()
            if self.csv:  # its columns are called what training calls them
                self.schema = pa.schema([(n, pa.string()) for n in pd.read_csv(path, nrows=0)])
            else:
                self.schema = _without_views(pa.parquet.read_schema(path))
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
        """The rows from `start` on, `rows_each` at a time; fewer where they are long, and at last.

        Raises:
            DamagedError: The rest of the file cannot be read.
        """
        malformed: dict[int, str] = {}
        batches = self._csv(start, malformed) if self.csv else self._parquet(start)
        place = start
        try:
            for table in sized(batches, Size(self.rows_each, BYTES), start, malformed):
                end = place + len(table)
                here = [row for row in malformed if row < end]
                found = {row - place: malformed.pop(row) for row in here}
                yield Chunk(place, table, {row: why for row, why in found.items() if row >= 0})
                place = end
        except UNREADABLE as error:
            why = line(error)
            if "straddling" in why:
                why = f"a row is longer than {BLOCK >> 20} MB; is a quoted cell not closed?"
            raise DamagedError(f"cannot be read from row {place} on: {why}") from None

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
            batches = file.iter_batches(_rows_at_once(file, self.rows_each), row_groups=list(left))
            for end, batch in _after(batches, place, start):
                self.share = end / told.num_rows
                yield batch.cast(self.schema)

    def _csv(self, start: int, malformed: dict[int, str]) -> Iterator[pa.RecordBatch]:
        # A row more, with a field too many: after a quote that nothing closes, it is part of a cell
        last, closed, opened = secrets.token_hex(4) + "," * len(self.schema), False, 0
        waiting: deque[tuple[int, str]] = deque()

        def note(row: Any) -> str:
            nonlocal closed
            if row.text == last:
                closed = True
            else:
                reason = f"has {row.actual_columns} fields, not {row.expected_columns}: {row.text}"
                waiting.append((row.number - 2, reason))  # counted from 1, with the header
            return "skip"

        with self.path.open("rb") as file:
            parsed = pa.csv.open_csv(
                pa.PythonFile(_Longer(file, f"\n{last}\n".encode()), mode="r"),
                # With threads, malformed rows would have no number.
                pa.csv.ReadOptions(use_threads=False, block_size=BLOCK),
                pa.csv.ParseOptions(newlines_in_values=True, invalid_row_handler=note),
                pa.csv.ConvertOptions(default_column_type=pa.string(), strings_can_be_null=False),
            )
            size = self.identity["bytes"]
            batches = _with_gaps(parsed, self.schema, waiting, malformed)
            for end, batch in _after(batches, 0, start):
                self.share, opened = file.tell() / size, end - 1
                yield batch
        if not closed:
            raise DamagedError(f"ends inside a quoted cell, which opens in row {opened}")


class _Longer:
    """A file with more bytes at its end, as Arrow reads it."""

    closed = False

    def __init__(self, file: IO[bytes], more: bytes) -> None:
        self.file, self.more = file, more

    def read(self, size: int) -> bytes:
        content = self.file.read(size)
        left = size - len(content)
        content, self.more = content + self.more[:left], self.more[left:]
        return content

    def close(self) -> None:
        self.file.close()


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
    batch, which may be empty, with the row that follows it."""
    for batch in batches:
        skipped = min(max(0, start - place), len(batch))
        place += len(batch)
        yield place, batch.slice(skipped)


def _rows_at_once(file: pa.parquet.ParquetFile, most: int) -> int:
    """How many rows of a .parquet file to unpack together: less than a chunk where they are long.
    What the file says of its size leaves out how often a text repeats; the first rows show it."""
    told = file.metadata
    groups = [told.row_group(group) for group in range(told.num_row_groups)]
    size = max((group.total_byte_size / max(1, group.num_rows) for group in groups), default=0)
    for batch in itertools.islice(file.iter_batches(PEEK), 1):
        plain = batch.cast(_without_views(batch.schema))
        size = max(size, widths(plain).sum() / max(1, len(plain)))
    return max(1, min(most, int(BYTES // max(1, size))))


def _without_views(schema: pa.Schema) -> pa.Schema:
    fields = [field.with_type(without_views(field.type)) for field in schema]
    return pa.schema(fields, schema.metadata)
