"""`model predict`: the model's answers for a file of rows, as the service would give them.

Rows are scored in chunks and kept in parts beside the output, which appears once it is whole. A row
that the service would refuse goes to a file of its own, with the reason.
"""

import contextlib
import functools
import itertools
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np
import pyarrow as pa

from mlrelease.errors import InputError, RefusedError
from mlrelease.files import TABLES
from mlrelease.predicting.outcome import (
    Form,
    check_writable,
    claimed,
    errors_told,
    reasons,
    rejects_of,
    write_answered,
    write_rejected,
)  # fmt: skip
from mlrelease.predicting.parts import CHUNKS_EACH, Parts, parts_of
from mlrelease.predicting.rows import Rows
from mlrelease.scoring.artifact import read_card
from mlrelease.scoring.batch import Chunk, DamagedError, answers, score, stored
from mlrelease.scoring.contents import read
from mlrelease.scoring.features import Signature
from mlrelease.scoring.runtime import load

LIBRARIES = ("numpy", "onnxruntime", "pandas", "pyarrow", "scikit-learn")
THREADS = min(8, os.cpu_count() or 1)  # each holds a chunk
Progress = Callable[[str, float, int], None]  # what is done, which share of it, rows so far


@dataclass(frozen=True)
class Summary:
    """What became of the rows. An earlier run that did not end had scored `resumed` of them; the
    seconds and the speed are those of this run alone."""

    file: str
    rows: int
    scored: int
    rejected: int
    reasons: dict[str, int]
    rejects: str | None
    model: str
    version: str
    resumed: int
    seconds: float
    rows_per_second: int


def predict(
    directory: Path,
    source: Path,
    target: Path,
    *,
    digest: str | None = None,
    version: str = "candidate",
    prefix: str = "",
    max_rejects: int | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
    progress: Progress = lambda *_: None,
) -> Summary:
    """Write the rows of `source` that get an answer to `target`, its columns last, each name after
    `prefix`; write the others to `<target>.rejects.csv`.

    A run that was killed goes on where it was when it is started again with the same arguments, and
    then gives the same bytes.

    Raises:
        RefusedError: More than `max_rejects` rows get no answer (None: all), the directory has
            another digest, another run writes `target`, or a file is there, which no earlier run
            wrote, and not to `overwrite`; it stays as it was.
        InputError: A file cannot be read or written, or a column is missing.
    """
    began = time.perf_counter()
    files = read(directory, digest)
    digest, card = files.digest, read_card(files)
    runtime = load(files, card)
    files.forget()
    rows = Rows(source)
    facts = {"model_digest": digest, "model_version": version}
    schema = _schema(rows, card.signature, target, prefix)
    target, suffix = claimed(target, overwrite), target.suffix
    form = Form(schema, facts, len(rows.schema) if rows.csv else 0)
    scorer = functools.partial(score, runtime=runtime, signature=card.signature)
    key = {
        "the input": rows.identity,
        "the model": digest,
        "a library": {name: installed(name) for name in LIBRARIES},
    }
    with errors_told(target), parts_of(target, key, say) as parts:
        resumed = sum(map(len, parts))
        if resumed:
            say(f"going on at row {resumed:,}, where a run before this one ended early")
        try:
            for chunk in itertools.islice(rows.chunks(), 1):
                check_writable(chunk.table.slice(0, 256), suffix)
            total, found = _score(rows, scorer, parts, max_rejects, progress)
        except InputError as error:
            shutil.rmtree(parts.folder)
            raise InputError(f"{source}: {error}") from None
        rejects = rejects_of(target)
        left_out = sum(found.values())
        refused = left_out == total if max_rejects is None else left_out > max_rejects
        if left_out:
            with _publishing(parts.folder / "rejects", rejects) as path:
                write_rejected(parts, path, rows.schema.names)
        if not refused:
            with _publishing(parts.folder / f"answers{suffix}", target, parts.note) as path:
                write_answered(_shown(parts, progress), path, form)
            if not left_out:
                rejects.unlink(missing_ok=True)  # of an earlier run
        shutil.rmtree(parts.folder)
    if refused:
        more = "all" if max_rejects is None else f"more than --max-rejects {max_rejects}"
        told = "; ".join(f"{count:,} {name}" for name, count in found.most_common(5))
        raise RefusedError(
            f"{source}: {left_out:,} of {total:,} rows read get no answer, {more}: {told}."
            f" {target} is not written; the rows are in {rejects}"
        )
    seconds = time.perf_counter() - began
    return Summary(
        file=str(target),
        rows=total,
        scored=total - left_out,
        rejected=left_out,
        reasons=dict(found.most_common()),
        rejects=str(rejects) if left_out else None,
        model=digest,
        version=version,
        resumed=resumed,
        seconds=round(seconds, 3),
        rows_per_second=round((total - resumed) / seconds),
    )


def _schema(rows: Rows, signature: Signature, target: Path, prefix: str) -> pa.Schema:
    """The output's columns, after a look at whether there can be an output."""
    source, schema = rows.path, rows.schema
    if target.suffix not in TABLES:
        raise InputError(f"{target}: is neither .csv nor .parquet")
    for path in (target, rejects_of(target)):
        if path.exists() and path.samefile(source):
            raise InputError(f"{path}: is the input; name another output")
    kinds = {column.name: column.type for column in signature.columns}
    missing = [name for name in kinds if name not in schema.names]
    if missing:
        there = ", ".join(schema.names[:10])
        raise InputError(f"{source}: has no column {', '.join(map(repr, missing))}; has {there}")
    for field in schema:
        if field.name in kinds and pa.types.is_nested(stored(field.type)):
            raise InputError(
                f"{source}: column {field.name!r} is no {kinds[field.name]}, but {field.type}"
            )
    fields = list(schema)
    if rows.csv:
        types = {"number": pa.float64()}
        fields = [pa.field(n, types.get(kinds.get(n, ""), pa.string())) for n in schema.names]
    for name, values in answers(signature, np.empty(0)).items():
        if prefix + name in schema.names:
            raise InputError(
                f"{source}: has a column {prefix + name!r}, as the answers have; rename it, or give"
                " theirs another name with --prefix"
            )
        fields.append(pa.field(prefix + name, values.type))
    return pa.schema(fields, schema.metadata)


def _score(
    rows: Rows,
    scorer: Callable[..., pa.Table],
    parts: Parts,
    max_rejects: int | None,
    progress: Progress,
) -> tuple[int, Counter[str]]:
    """Finish the parts, or stop at too many rejects; how many rows they hold, and why some get no
    answer."""
    total, found = 0, Counter[str]()
    for part in parts:
        total += len(part)
        found += reasons(part)
    with ThreadPoolExecutor(THREADS) as pool:
        results = _in_order(pool, functools.partial(scorer, csv=rows.csv), rows.chunks(total))
        while max_rejects is None or sum(found.values()) <= max_rejects:
            first = next(results, None)
            if first is None:
                break
            with parts.writing(first.schema) as write:
                for table in itertools.chain([first], itertools.islice(results, CHUNKS_EACH - 1)):
                    write(table)
                    total += len(table)
                    found += reasons(table)
                    progress("scoring", rows.share, total)
    if rows.changed():
        raise DamagedError("changed while it was read; start again")
    if not total:
        raise DamagedError("holds no rows")
    return total, found


def _in_order(
    pool: ThreadPoolExecutor, work: Callable[[Chunk], pa.Table], chunks: Iterable[Chunk]
) -> Iterator[pa.Table]:
    """The result for each chunk, while the next ones are worked on."""
    waiting: deque[Future[pa.Table]] = deque()
    for chunk in chunks:
        waiting.append(pool.submit(work, chunk))
        if len(waiting) > THREADS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _shown(parts: Parts, progress: Progress) -> Iterator[pa.Table]:
    total = 0
    for number, part in enumerate(parts):
        progress("writing", number / len(parts), total)
        yield part
        total += len(part)


@contextlib.contextmanager
def _publishing(
    temporary: Path, target: Path, note: Callable[[Path], None] = lambda _: None
) -> Iterator[Path]:
    """A file that takes the place of `target` when the block has ended well."""
    yield temporary
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    note(temporary)
    temporary.replace(target)
