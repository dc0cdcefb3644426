"""Which rows were answered, and how: JSON lines, one per row. No request fails with its log."""

import datetime as dt
import os
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from ..errors import InputError

Records = list[dict[str, Any]]
FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT


class PredictionLog:
    """Appends to a file that processes may share; counts the rows that it had to drop."""

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest, self.dropped = path, digest, 0

    def append(self, time: dt.datetime, request_id: str, rows: Records, answers: Records) -> None:
        """Log one request in a single write, so that no other process cuts in."""
        head = {"time": time.isoformat(), "model": self.digest, "request_id": request_id}
        pairs = zip(rows, answers, strict=True)
        lines = [{**head, "row": row, "answer": answer} for row, answer in pairs]
        data = msgspec.json.Encoder().encode_lines(lines)
        try:  # opened each time: the file may have been rotated, or its disk mended
            with os.fdopen(os.open(self.path, FLAGS, 0o600), "rb") as f:
                size = os.fstat(f.fileno()).st_size
                torn = size > 0 and os.pread(f.fileno(), 1, size - 1) != b"\n"
                data = b"\n" + data if torn else data
                dropped = os.write(f.fileno(), data) < len(data)
        except OSError:
            dropped = True
        self.dropped += len(rows) if dropped else 0


def read(path: Path, model: str | None = None) -> pd.DataFrame:
    """Logged rows, as they were sent, with their `score`: P(positive class) or the value. All
    models, or the one with this digest; `attrs["skipped"]` counts lines that a crash cut short.

    Raises:
        InputError: The file cannot be read.
    """
    rows, skipped = [], 0
    try:
        with path.open("rb") as lines:
            for line in filter(bytes.strip, lines):
                try:
                    entry = msgspec.json.decode(line)
                    answer = entry["answer"]
                    score = answer["value"] if "value" in answer else answer["probability"]
                    if model in (None, entry["model"]):
                        rows.append({"score": score, **entry["row"]})
                except (ValueError, KeyError, TypeError):
                    skipped += 1
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    frame = pd.DataFrame(rows)
    frame.attrs["skipped"] = skipped
    return frame
