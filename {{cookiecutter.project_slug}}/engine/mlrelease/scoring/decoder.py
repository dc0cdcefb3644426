"""The quick way from the bytes of a request to typed columns, made for one signature.

It takes what is as it should be, and leaves all else to `requests.decode`, which names the fault or
takes the rows after all. So both give the same for every body; a property test says so.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from mlrelease.scoring.features import FLOAT32_MAX, Column, Inputs, Signature, category_text
from mlrelease.scoring.request_rows import MAX_ROWS, Batch, decode

Number = Annotated[float, msgspec.Meta(ge=-FLOAT32_MAX, le=FLOAT32_MAX)]
Category = str | bool | int | float | None
EXACT = 2**53  # beyond it, a float has lost digits that a category could have


class Decoder:
    """Called with a body, it returns a `Batch` or raises `RequestError`, as `decode` does."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        numbers = [c for c in signature.columns if c.type == "number"]
        texts = [c for c in signature.columns if c.type == "category"]
        self.numbers, self.known = len(numbers), [_spelled(column) for column in texts]
        names = [column.name for column in (*numbers, *texts)]
        fields: list[tuple[str, Any]] = [
            (f"f{n}", Category if c.type == "category" else Number | None if c.nullable else Number)
            for n, c in enumerate((*numbers, *texts))
        ]
        self.width, self.name_colons = len(names), "".join(names).count(":")
        every = "".join([*names, *(text for column in texts for text in column.categories)])
        self.has_colons = ":" in every
        row = msgspec.defstruct(
            "Row",
            fields,
            rename={f"f{n}": name for n, name in enumerate(names)},
            forbid_unknown_fields=True,
            gc=False,
        )
        self.read = msgspec.json.Decoder(row | list[row]).decode  # type: ignore[valid-type]
        self.values = msgspec.structs.astuple

    def __call__(self, body: bytes) -> Batch:
        return self.quick(body) or decode(body, self.signature)

    def quick(self, body: bytes) -> Batch | None:
        """The batch, or None for what only the slow way can judge."""
        try:
            content = self.read(body)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
        many = type(content) is list
        rows = len(content) if many else 1
        if not 0 < rows <= MAX_ROWS:
            return None
        columns: list[Any] = list(
            zip(*map(self.values, content if many else [content]), strict=True)
        )
        numbers = np.empty((rows, self.numbers), np.float32)
        for place, column in enumerate(columns[: self.numbers]):
            try:
                numbers[:, place] = np.fromiter(column, np.float64, rows)
            except TypeError:  # some are None
                numbers[:, place] = column
        texts = list(map(_texts, columns[self.numbers :], self.known))
        if None in texts or body.count(b":") != self._colons(rows, texts, body):
            return None
        categories = np.array(texts, dtype=object).reshape(len(texts), rows).T
        return Batch(Inputs(numbers, categories), many, body)

    def _colons(self, rows: int, texts: list[Any], body: bytes) -> int:
        """How many colons a body of these rows has. msgspec keeps the last of two values with one
        name: then there are more, whatever the one that is lost was."""
        if not self.has_colons:
            return rows * self.width
        if b"\\" in body:  # a colon may be spelled otherwise, and make up for one too many
            return -1
        inside: int = sum(text.count(":") for column in texts for text in column)
        return rows * (self.width + self.name_colons) + inside


def _spelled(column: Column) -> dict[str | None, str]:
    """The text for each text that the column takes, and for null."""
    known: dict[str | None, str] = {text: text for text in column.categories}
    return known | ({None: "", "": ""} if column.nullable else {})


def _texts(given: Sequence[Any], known: dict[str | None, str]) -> list[str] | None:
    """The text of each value; None if one is not known."""
    texts: list[Any] = list(map(known.get, given))  # no key is a number, so True is not 1 here
    if None not in texts:
        return texts
    for place, value in enumerate(given):
        if texts[place] is None:
            if value is None or type(value) is str or not -EXACT < value < EXACT:
                return None
            text = category_text(value)
            if not text or text not in known:
                return None
            texts[place] = text
    return texts
