"""How many bytes rows hold, and rows in tables of so many: what keeps memory bounded."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_VIEWS = ((pa.string_view(), pa.string()), (pa.binary_view(), pa.binary()))


class Size(NamedTuple):
    """A table ends at so many rows, or with the row that makes it this large."""

    rows: int
    bytes: int


def sized(
    batches: Iterable[pa.RecordBatch], size: Size, start: int, reasons: Mapping[int, str]
) -> Iterator[pa.Table]:
    """The rows, the first of which is row `start`, in tables of that size; the last may be smaller.
    `reasons` are texts that are held beside rows. Where a table ends hangs on its rows alone, not
    on the batches, so that a run that goes on at a table cuts as the run before it."""
    held: list[pa.RecordBatch] = []
    count = size_held = 0
    for batch in batches:
        ends = np.cumsum(_with(widths(batch), start, reasons))
        start += len(batch)
        place = before = 0
        while place < len(batch):
            full = int(np.searchsorted(ends, size.bytes - size_held + before)) + 1
            end = min(full, place + size.rows - count, len(batch))
            held.append(batch.slice(place, end - place))
            count += end - place
            size_held += int(ends[end - 1]) - before
            place, before = end, int(ends[end - 1])
            if count == size.rows or size_held >= size.bytes:
                yield pa.Table.from_batches(held).combine_chunks()
                held, count, size_held = [], 0, 0
    if count:
        yield pa.Table.from_batches(held).combine_chunks()


def widths(batch: pa.RecordBatch) -> np.ndarray:
    """The bytes of each row's values."""
    return sum((_widths(column) for column in batch.columns), np.zeros(len(batch), np.int64))


def without_views(kind: pa.DataType) -> pa.DataType:
    """The type without views of text, which few of Arrow's functions take."""
    types = pa.types
    for view, plain in _VIEWS:
        if kind == view:
            return plain
    if types.is_struct(kind):
        return pa.struct([_field(kind.field(place)) for place in range(kind.num_fields)])
    if types.is_map(kind):
        return pa.map_(_field(kind.key_field), _field(kind.item_field), kind.keys_sorted)
    if types.is_fixed_size_list(kind):
        return pa.list_(_field(kind.value_field), kind.list_size)
    if types.is_large_list(kind):
        return pa.large_list(_field(kind.value_field))
    if types.is_list(kind):
        return pa.list_(_field(kind.value_field))
    if types.is_dictionary(kind):
        return pa.dictionary(kind.index_type, without_views(kind.value_type), kind.ordered)
    return kind


def _field(field: pa.Field) -> pa.Field:
    return field.with_type(without_views(field.type))


def _with(sizes: np.ndarray, start: int, reasons: Mapping[int, str]) -> np.ndarray:
    for row, reason in reasons.items():
        if 0 <= row - start < len(sizes):
            sizes[row - start] += len(reason)
    return sizes


def _widths(array: pa.Array) -> Any:
    """A value that a dictionary shares counts wherever it stands: as text it is written there."""
    kind, types = array.type, pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _widths(array.storage)
    if types.is_dictionary(kind):
        codes = array.indices.cast(pa.int64()).fill_null(len(array.dictionary))
        return np.append(_widths(array.dictionary), 0)[codes.to_numpy(zero_copy_only=False)]
    if types.is_fixed_size_list(kind):
        items = array.values.slice(array.offset * kind.list_size, len(array) * kind.list_size)
        return _widths(items).reshape(len(array), kind.list_size).sum(axis=1)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_map(kind):
        ends = np.append(0, np.cumsum(_widths(array.values)))
        return np.diff(ends[array.offsets.to_numpy()])
    if types.is_list_view(kind) or types.is_large_list_view(kind):
        ends = np.append(0, np.cumsum(_widths(array.values)))
        first = array.offsets.to_numpy()
        return ends[first + array.sizes.to_numpy()] - ends[first]
    if types.is_struct(kind):
        fields = (_widths(array.field(place)) for place in range(kind.num_fields))
        return sum(fields, np.zeros(len(array), np.int64))
    if not _is_long(kind):
        return np.full(len(array), _fixed(kind), np.int64)
    return pc.binary_length(array).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)


def _fixed(kind: pa.DataType) -> int:
    try:
        return 0 if pa.types.is_null(kind) else (int(kind.bit_width) + 7) // 8
    except ValueError:  # a view in a place where it cannot be replaced
        return 16


def _is_long(kind: pa.DataType) -> bool:
    tests = ("string", "large_string", "binary", "large_binary")
    return any(getattr(pa.types, f"is_{name}")(kind) for name in tests)
