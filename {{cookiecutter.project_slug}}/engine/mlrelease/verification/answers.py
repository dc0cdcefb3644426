"""What a model answers to rows of its holdout: a fingerprint that other digests cannot hide.

Ledgers are read by many, so a row is named by a hash that only who has all rows of the holdout can
make: a hash without a key would tell whoever knows the rest of a row what its target is. The rows
are the ones whose hashes are smallest, so that two holdouts which share rows share them.
"""

import hashlib
import heapq
import hmac
from collections.abc import Iterable, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from mlrelease.errors import RefusedError
from mlrelease.scoring.contents import Contents

if TYPE_CHECKING:
    import pandas as pd

    from mlrelease.evaluation.metrics import Scored
    from mlrelease.records.ledger import Entry
    from mlrelease.workspace import Workspace

ROWS = 64
LOOKED = 20  # newest entries; a ledger may have hundreds
OTHERS = 5  # holdouts of releases before; a registry may have hundreds, of gigabytes each
PLAIN = 16  # digits of a hash without a key, as earlier versions wrote it
PURPOSE = b"answers to the rows of a holdout"  # so that the public digest of the rows is no key


def secret_of(holdout: Contents) -> bytes:
    """The key of a holdout's answers: it takes every byte of the rows to make it."""
    found = hmac.new(PURPOSE, digestmod=hashlib.sha256)
    for name, content in sorted(holdout.files.items()):
        found.update(f"{name} {len(content)} ".encode() + content)
    return found.digest()


def answers_of(
    holdout: "pd.DataFrame", scored: "Scored", secrets: Sequence[bytes], wanted: Set[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """The candidate's score of each of at most 64 rows that are answered, by the row's hash under
    the first of the secrets; and of each row with a `wanted` hash, under any secret or none."""
    from pandas.util import hash_pandas_object

    ordered, scores = holdout[sorted(holdout.columns)], scored.candidate
    if scored.places is not None:
        ordered = ordered.iloc[scored.places]
    rows = hash_pandas_object(ordered, index=False).to_numpy()
    own = [_hash(secrets[0], row) for row in rows]
    chosen = heapq.nsmallest(ROWS, zip(own, range(len(own)), strict=True))
    found = [(name, at) for at, name in enumerate(own) if name in wanted]
    for secret in secrets[1:]:
        names = (_hash(secret, row) for row in rows)
        found += [(name, at) for at, name in enumerate(names) if name in wanted]
    if any(len(name) == PLAIN for name in wanted):
        names = (f"{int(row):016x}" for row in rows)
        found += [(name, at) for at, name in enumerate(names) if name in wanted]
    return _scores(chosen, scores), _scores(found, scores)


def asked(
    workspace: "Workspace", entries: Iterable["Entry"], own: str
) -> dict[str, list[list[str]] | list[str]]:
    """What a process that evaluates needs to find the answers of these entries again: their hashes,
    and the holdouts other than its `own` that key them, of the newest and as far as they are there.
    """
    wanted, others = set[str](), dict[str, list[str]]()
    keyed: list[Entry] = []
    for entry in entries:
        wanted |= entry.released.answers.keys()
        if len(keyed) < LOOKED and any(len(name) > PLAIN for name in entry.released.answers):
            keyed.append(entry)
    for record in workspace.records(keyed):
        digest = record.data.holdout
        if digest in (own, *others) or len(others) == OTHERS:
            continue
        try:
            others[digest] = [str(workspace.store.fetch(digest)), digest]
        except RefusedError:
            continue  # erased or away: that one cannot be compared
    return {"wanted": sorted(wanted), "others": list(others.values())}


def _hash(secret: bytes, row: "np.integer[Any]") -> str:
    return hashlib.blake2b(row.tobytes(), key=secret, digest_size=PLAIN).hexdigest()


def _scores(rows: Iterable[tuple[str, int]], scores: np.ndarray) -> dict[str, float]:
    return {name: float(f"{float(scores[at]):.9g}") for name, at in rows}
