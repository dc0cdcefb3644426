"""The parts of a run to its files: the rows that got an answer, and beside them the others."""

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from mlrelease.errors import InputError, RefusedError
from mlrelease.output import begins, claim
from mlrelease.predicting.parts import published
from mlrelease.scoring.batch import UNREADABLE, cell_numbers, line, present

REJECTED = ("rejected_row", "rejected_column", "rejected_reason")
Write = Callable[[pa.Table], None]


class Form(NamedTuple):
    """What the output is: its columns with their types, and facts about what made it. So many of
    them, the first, are `cells` of a .csv file."""

    schema: pa.Schema
    facts: dict[str, str]
    cells: int


def claimed(target: Path, overwrite: bool) -> Path:
    """Where the answers go, a link followed; the others go beside it.

    Raises:
        RefusedError: Another file is there, and is not to be replaced.
        InputError: No file can be written there.
    """
    place = claim(target, lambda _: overwrite or _ours(target))
    place = place if target.is_symlink() else target  # messages say what the person said
    rejects = rejects_of(place)
    if rejects.is_symlink():
        raise RefusedError(f"{rejects}: is a link, and is not replaced; remove it")
    claim(rejects, begins(",".join(REJECTED)))
    return place


def rejects_of(target: Path) -> Path:
    """Where the rows go that get no answer."""
    return target.with_name(f"{target.name}.rejects.csv")


def _ours(target: Path) -> bool:
    """Whether a file is the output of an earlier run. A .csv file has no place to say so: a column
    of another's may be called like ours."""
    if published(target.resolve()):
        return True
    if target.suffix == ".parquet":
        with contextlib.suppress(pa.ArrowException, OSError):
            return b"model_digest" in (pa.parquet.read_schema(target).metadata or {})
        return False
    raise RefusedError(
        f"{target}: is there already; replace it with --overwrite, or name another file"
    )


def reasons(part: pa.Table) -> Counter[str]:
    """How many rows of a part have no answer, by column and reason."""
    columns, reasons = part.columns[-2:]
    bad = pa.table({"column": columns, "reason": reasons}).filter(reasons.is_valid())
    groups = bad.group_by(["column", "reason"], use_threads=False).aggregate([([], "count_all")])
    found = Counter[str]()
    for group in groups.to_pylist():
        reason = group["reason"].partition(": ")[0]  # without the text of a malformed row
        name = f"{group['column']}: {reason}" if group["column"] else reason
        found[name] += group["count_all"]
    return found


def check_writable(rows: pa.Table, suffix: str) -> None:
    """Write some rows to nowhere, so that a run does not end at a column that cannot be written.

    Raises:
        InputError: It names the column and its type.
    """
    for name, column in zip(rows.column_names, rows.columns, strict=True):
        table = pa.table({name: column})
        try:
            kept = table.filter(pa.array([True] * len(rows)))
            _write_lines(kept, io.BytesIO())  # the rejects, if nothing else
            if suffix == ".parquet":
                pa.parquet.write_table(kept, pa.BufferOutputStream())
        except UNREADABLE as error:
            kind = f"column {name!r} ({column.type})"
            raise InputError(f"{kind} cannot be written; leave it out: {line(error)}") from None


def write_answered(parts: Iterable[pa.Table], path: Path, form: Form) -> None:
    """Write the rows with an answer, in their order, with its columns last."""
    typed = path.suffix == ".parquet"
    with _parquet(path, form) if typed else _lines(path, form.schema.names) as write:
        for part in parts:
            kept = part.column(part.num_columns - 1).null_count
            good = part if kept == len(part) else part.filter(part.columns[-1].is_null())
            columns = good.columns[:-2]
            if typed:
                cells = zip(columns[: form.cells], form.schema, strict=False)
                columns[: form.cells] = [_typed(column, field.type) for column, field in cells]
            write(pa.table(columns, names=form.schema.names))


def write_rejected(parts: Iterable[pa.Table], path: Path, names: list[str]) -> None:
    """Write the rows without an answer: number (from 0), column and reason, then the values."""
    places = [n for n, name in enumerate(names) if name not in REJECTED]  # of an earlier run
    header = [*REJECTED, *(names[n] for n in places)]
    with _lines(path, header) as write:
        place = 0
        for batch in (batch for part in parts for batch in part.to_batches()):
            bad = batch.columns[-1].is_valid()
            numbers = pa.array(place + np.flatnonzero(bad.to_numpy(zero_copy_only=False)))
            found = pa.Table.from_batches([batch]).filter(bad)
            columns = [pa.chunked_array([numbers]), *found.columns[-2:]]
            write(pa.table([*columns, *(found.column(n) for n in places)], names=header))
            place += len(batch)


@contextlib.contextmanager
def _parquet(path: Path, form: Form) -> Iterator[Write]:
    facts = {**(form.schema.metadata or {}), **form.facts}
    schema = form.schema.with_metadata(facts)
    # Numbers seldom repeat: to look for repetitions would take three times as long.
    texts = [field.name for field in schema if _is_text(field.type)]
    with pa.parquet.ParquetWriter(path, schema, use_dictionary=texts) as writer:

        def write(table: pa.Table) -> None:
            if len(table):
                writer.write_table(table.cast(schema), row_group_size=len(table))

        yield write


@contextlib.contextmanager
def _lines(path: Path, names: list[str]) -> Iterator[Write]:
    header = io.StringIO()
    csv.writer(header, lineterminator="\n").writerow(names)
    with path.open("wb") as file:
        file.write(header.getvalue().encode())
        yield lambda table: _write_lines(table, file)


def _write_lines(table: pa.Table, file: Any) -> None:
    """The rows without a header; texts are quoted only in batches where one needs it."""
    for batch in table.to_batches():
        columns = [_plain(column) for column in batch.columns]
        plain = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        lines = pa.BufferOutputStream()
        try:
            pa.csv.write_csv(plain, lines, _options("none"))
        except pa.ArrowInvalid:
            lines = pa.BufferOutputStream()
            pa.csv.write_csv(plain, lines, _options("needed"))
        file.write(lines.getvalue())


def _options(quoting: str) -> Any:
    return pa.csv.WriteOptions(include_header=False, quoting_style=quoting)


def _plain(column: pa.Array) -> pa.Array:
    """A column as a .csv file can hold it: bytes as hex text, and NaN is missing there."""
    kind, types = column.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _plain(column.storage)
    if types.is_dictionary(kind):
        return _plain(column.dictionary.take(column.indices))
    if types.is_nested(kind):
        return pa.array([_text(value) for value in column], pa.string())
    if types.is_floating(kind):
        wide = column.cast(pa.float32()) if types.is_float16(kind) else column
        return pc.if_else(pc.is_nan(wide), pa.scalar(None, wide.type), wide)
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return pa.array([None if v is None else v.hex() for v in column.to_pylist()], pa.string())
    return column


def _text(value: pa.Scalar) -> str | None:
    """A nested value as Python shows it, or as Arrow does where Python has no such value."""
    try:
        found = value.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return " ".join(pa.array([value], value.type).to_string(window=1 << 20).split())
    return None if found is None else str(found)


def _typed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A column of cells as the output has it."""
    arrays = [present(chunk) for chunk in column.chunks]
    numbers = pa.types.is_floating(kind)
    return pa.chunked_array([cell_numbers(a) if numbers else a for a in arrays], kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


@contextmanager
def errors_told(target: Path) -> Iterator[None]:
    """What the disk says of a target, on one line."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise InputError(
            f"{target}: cannot be written: {reason}; once that is fixed, start again to go on"
        ) from None
