"""The bytes of one request to typed columns; the first fault is named by row and column."""

import difflib
import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..features import FLOAT32_MAX, Column, Signature, category_text, to_frame

MAX_ROWS, MAX_BYTES = 10_000, 10_000_000  # of one request
_KINDS = {str: "text", bool: "a boolean", list: "an array", dict: "an object", type(None): "null"}


class RequestError(Exception):
    """What is wrong with a request; `field` is where, such as `rows[3].mean radius`."""

    def __init__(self, message: str, field: str | None = None, status: int = 422) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field, self.status = field or None, status


@dataclass(frozen=True)
class Batch:
    """Rows as they were sent, `many` when they came as an array, and as the model takes them."""

    rows: list[dict[str, Any]]
    many: bool
    frame: pd.DataFrame


def decode(body: bytes, signature: Signature) -> Batch:
    """One row object, or an array of them, checked and typed.

    Raises:
        RequestError: 400 for what is not JSON, 413 for too many rows, 422 for wrong values.
    """
    try:  # unlike faster readers, this one can see a key given twice, and NaN with its column
        content = json.loads(body.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        why = f"is not valid JSON: {error}" if body.strip() else "is empty; send a row as JSON"
        raise RequestError(f"the body {why}", None, 400) from None
    many = isinstance(content, list)
    rows = content if many else [content]
    if not rows:
        raise RequestError("the array is empty; send at least one row")
    if len(rows) > MAX_ROWS:
        raise RequestError(f"{len(rows)} rows; send at most {MAX_ROWS} at once", None, 413)
    columns = {c.name: (c, frozenset(c.categories)) for c in signature.columns}
    table: dict[str, list[Any]] = {name: [] for name in columns}
    for index, row in enumerate(rows):
        place = f"rows[{index}]." if many else ""
        if not isinstance(row, dict):
            message = f"must be an object with one value per column, not {_kind(row)}"
            raise RequestError(message, place[:-1])
        if row.keys() != columns.keys():
            name, message = _name_fault(row, columns)
            raise RequestError(message, place + clip(name))
        for name, (column, known) in columns.items():
            try:
                table[name].append(_typed(row[name], column, known))
            except ValueError as fault:
                raise RequestError(str(fault), place + name) from None
    return Batch(rows, many, to_frame(table, signature.columns))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise RequestError("is given twice in one object", clip(name))
    return row


def _name_fault(row: dict[str, Any], columns: Collection[str]) -> tuple[str, str]:
    for name in row:
        if name not in columns:
            near = difflib.get_close_matches(name[:80], columns, n=1)  # quadratic in the length
            hint = f"; did you mean `{near[0]}`?" if near else ""
            return name, f"is not a column of this model{hint}"
    return next(name for name in columns if name not in row), "is missing"


def _typed(value: Any, column: Column, known: Collection[str]) -> float | str | None:
    """A float, or the text of a category. Typed before `to_frame` sees the column: in Python
    `True`, 1 and 1.0 are one value, so a row's text would hang on the rows beside it."""
    number = column.type == "number"
    fits = (int, float) if number else (str, bool, int, float)
    if value is None or (value == "" and not number):
        if not column.nullable:
            raise ValueError("must not be missing: it never was in training")
        return None
    if type(value) not in fits or value != value:
        raise ValueError(f"must be a {column.type}, not {_kind(value)}")
    if number:
        if abs(value) > FLOAT32_MAX:
            raise ValueError(f"is beyond the range of float32, {FLOAT32_MAX:.3g}")
        return float(value)
    text = category_text(value)
    if text not in known:
        names = ", ".join(f"'{clip(name)}'" for name in column.categories[:10])
        more = f" and {len(known) - 10} more" if len(known) > 10 else ""
        raise ValueError(f"unknown category '{clip(text)}'; known: {names or 'none'}{more}")
    return text


def _kind(value: Any) -> str:
    return "NaN" if value != value else _KINDS.get(type(value), "a number")


def clip(text: str) -> str:
    """A caller's text, safe to repeat: short, on one line, without lone surrogates."""
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return short if short.isprintable() else repr(short)[1:-1]
