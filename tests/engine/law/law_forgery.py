"""What somebody who may push to `env/*` appends there."""

import datetime as dt
import json
from typing import Any

from tests.engine.law.law_hands import Hands
from tests.engine.law.law_objects import LINK

FORGERIES = (
    "pending", "backdated", "soon", "later", "as rollback", "as anchor", "copy", "other model",
    "other environment", "garbage", "huge", "deep", "live", "failed", "failed later", "files",
)  # fmt: skip


def forge(
    hands: Hands, name: str, what: str, facts: list[Any], known: list[str], model: str
) -> None:
    """Append to a ledger by hand."""
    origin, now = hands.origin, hands.world.true
    main, files, named = hands.named(name)
    last = facts[-1].commit if facts else None
    times = {
        "backdated": facts[-1].stamp if facts else now - dt.timedelta(days=9),
        "soon": now + dt.timedelta(minutes=5), "later": now + dt.timedelta(days=400),
        "failed later": now + dt.timedelta(days=400),
    }  # fmt: skip
    stamp = times.get(what, now).strftime("%Y-%m-%dT%H:%M:%SZ")
    note = entry(name, main, named, last, stamp)
    outcome = noted(last or "1" * 40, what.split()[0], stamp)
    raw = b""
    if what == "copy" and known:
        files, raw = origin.files(known[-1]), origin.read(known[-1], "ledger.json") or b""
    changes: dict[str, dict[str, Any]] = {
        "other model": {"model": model},
        "other environment": {"environment": "production" if name == "staging" else "staging"},
        "as rollback": {"change": "rollback", "restores": facts[-2].commit if facts[1:] else None},
        "as anchor": {"change": "anchor"},
    }
    note |= changes.get(what, {})
    raw = {
        "garbage": b"{", "huge": b'"' + b"x" * 300_000 + b'"', "deep": b"[" * 100_000,
        "live": json.dumps(outcome).encode(), "failed": json.dumps(outcome).encode(),
        "failed later": json.dumps(outcome).encode(),
    }.get(what, raw or json.dumps(note).encode())  # fmt: skip
    if what == "files":
        files["evil.py"] = (LINK, origin.put("blob", b"/etc/passwd"))
    hands.append(name, files, raw)


def entry(name: str, main: str, model: str, last: str | None, stamp: str) -> dict[str, Any]:
    """A release as the ledger has it."""
    return {
        "kind": "entry", "environment": name, "change": "promote", "main": main, "model": model,
        "version": "1", "image": None, "replaces": last, "restores": None, "time": stamp,
        "requested_by": None, "approved_by": ["ann", "bob"], "pull_request": 1, "head": None,
        "run": None, "reason": None, "checks": [], "answers": {}, "schema_version": 1,
    }  # fmt: skip


def noted(commit: str, outcome: str, stamp: str) -> dict[str, Any]:
    """An outcome as the ledger has it."""
    return {
        "kind": "outcome", "entry": commit, "time": stamp, "outcome": outcome, "observer": None,
        "run": None, "message": None, "schema_version": 1,
    }  # fmt: skip
