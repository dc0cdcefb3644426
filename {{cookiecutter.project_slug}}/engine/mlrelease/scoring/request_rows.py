"""The bytes of one request to typed columns; the first fault is named by row and column."""

import json
import re
from collections import Counter
from collections.abc import Collection, KeysView
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlrelease.scoring.features import FLOAT32_MAX, Column, Inputs, Signature, category_text

MAX_ROWS, MAX_BYTES = 10_000, 10_000_000  # of one request
_KINDS = {str: "text", bool: "a boolean", list: "an array", dict: "an object", type(None): "null"}

# Why a request was refused, as /metrics counts it.
Reason = Literal[
    "not_parsed", "size", "not_a_row", "unknown_column", "missing_column", "given_twice",
    "missing_value", "wrong_type", "out_of_range", "unknown_category", "no_answer", "not_accepted",
    "too_slow", "overload",
]  # fmt: skip


class RequestError(Exception):
    """What is wrong with a request; `field` is where, such as `rows[3].mean radius`."""

    def __init__(
        self, message: str, field: str | None = None, status: int = 422, reason: Reason = "size"
    ) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field, self.status, self.reason = field or None, status, reason


def overloaded() -> RequestError:
    """What a caller hears whose request cannot be answered in time."""
    return RequestError("too many requests wait; try again soon", None, 503, "overload")


class ValueFaultError(ValueError):
    """What is wrong with one value."""

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as the model takes them, `many` when they came as an array or a table, and as they were
    sent: JSON, or None for a table."""

    inputs: Inputs
    many: bool
    body: bytes | None = None


def decode(body: bytes, signature: Signature) -> Batch:
    """One row object, or an array of them, checked and typed. Slow and exact: `decoder.Decoder` is
    quick, and comes here whenever anything is unusual.

    Raises:
        RequestError: 400 for what is not JSON, 413 for too many rows, 422 for wrong values.
    """
    _count_brackets(body, signature)
    try:  # unlike faster readers, this one can see a key given twice, and NaN with its column
        content = json.loads(body.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        why = f"is not valid JSON: {error}" if body.strip() else "is empty; send a row as JSON"
        raise RequestError(f"the body {why}", None, 400, "not_parsed") from None
    many = isinstance(content, list)
    rows = content if many else [content]
    check_count(len(rows))
    columns = known_columns(signature)
    table: dict[str, list[Any]] = {name: [] for name in columns}
    for index, row in enumerate(rows):
        place = f"rows[{index}]." if many else ""
        if not isinstance(row, dict):
            message = f"must be an object with one value per column, not {_kind(row)}"
            raise RequestError(message, place[:-1], reason="not_a_row")
        check_names(row.keys(), columns, place)
        for name, (column, known) in columns.items():
            try:
                table[name].append(typed(row[name], column, known))
            except ValueFaultError as fault:
                raise RequestError(str(fault), place + name, reason=fault.reason) from None
    return Batch(to_inputs(table, len(rows), signature), many, body)


def known_columns(signature: Signature) -> dict[str, tuple[Column, frozenset[str]]]:
    """Each column with its categories, by name."""
    return {c.name: (c, frozenset(c.categories)) for c in signature.columns}


def check_count(rows: int) -> None:
    """Refuse a request without rows, and one with too many."""
    if not rows:
        raise RequestError("the array is empty; send at least one row", reason="not_a_row")
    if rows > MAX_ROWS:
        raise RequestError(f"{rows} rows; send at most {MAX_ROWS} at once", None, 413)


def check_names(names: KeysView[str], columns: dict[str, Any], place: str = "") -> None:
    """Refuse a column that the model has not, and one that is missing, in this order."""
    if names == columns.keys():
        return
    for name in names:
        if name not in columns:
            import difflib

            near = difflib.get_close_matches(name[:80], columns, n=1)  # quadratic in the length
            hint = f"; did you mean `{near[0]}`?" if near else ""
            message = f"is not a column of this model{hint}"
            raise RequestError(message, place + clip(name), reason="unknown_column")
    for name in columns:
        if name not in names:
            raise RequestError("is missing", place + clip(name), reason="missing_column")


def to_inputs(table: dict[str, list[Any]], rows: int, signature: Signature) -> Inputs:
    """Typed values by column as a runtime takes them."""
    numbers, texts = ([table[name] for name in names] for names in signature.names())
    return Inputs(
        np.array(numbers, dtype=np.float32).reshape(len(numbers), rows).T,  # None becomes NaN
        np.array(texts, dtype=object).reshape(len(texts), rows).T,
    )


def given_twice(name: str) -> RequestError:
    """The refusal of a column that stands twice in one row."""
    return RequestError("is given twice in one object", clip(name), reason="given_twice")


def typed(value: Any, column: Column, known: Collection[str]) -> float | str | None:
    """A float or None, or the text of a category. Value by value: in Python `True`, 1 and 1.0 are
    equal, so in a set of values a row's text would hang on the rows beside it.

    Raises:
        ValueFaultError: It does not fit the column.
    """
    number = column.type == "number"
    fits = (int, float) if number else (str, bool, int, float)
    if value is None or (value == "" and not number):
        if not column.nullable:
            raise ValueFaultError("must not be missing: it never was in training", "missing_value")
        return None if number else ""
    if type(value) not in fits or value != value:
        raise ValueFaultError(f"must be a {column.type}, not {_kind(value)}", "wrong_type")
    if number:
        if abs(value) > FLOAT32_MAX:
            message = f"is beyond the range of float32, {FLOAT32_MAX:.3g}"
            raise ValueFaultError(message, "out_of_range")
        return float(value)
    text = category_text(value)
    if text not in known:
        names = ", ".join(f"'{clip(name)}'" for name in column.categories[:10])
        more = f" and {len(known) - 10} more" if len(known) > 10 else ""
        message = f"unknown category '{clip(text)}'; known: {names or 'none'}{more}"
        raise ValueFaultError(message, "unknown_category")
    return text


def clip(text: str) -> str:
    """A caller's text, safe to repeat: short, on one line, without lone surrogates."""
    short = text if len(text) <= 60 else f"{text[:57]}..."
    return short if short.isprintable() else repr(short)[1:-1]


def _count_brackets(body: bytes, signature: Signature) -> None:
    """Refuse an array that becomes a hundred times its size in memory, before it does. A good row
    has one bracket, and those in its names and categories."""
    if len(body) > 2 * MAX_ROWS and re.match(rb"\s*\[", body):
        texts = [text for c in signature.columns for text in (c.name, *c.categories)]
        most = 1 + sum(text.count("[") + text.count("{") for text in texts)
        if body.count(b"{") + body.count(b"[") - 1 > MAX_ROWS * most:
            raise RequestError(f"more than {MAX_ROWS} rows; send at most that many", None, 413)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise given_twice(name)
    return row


def _kind(value: Any) -> str:
    if value != value:
        return "NaN"
    if type(value) in (int, float):
        return "a number"
    return _KINDS.get(type(value), f"a {type(value).__name__}")
