"""The world before anything was released, made once and copied."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..package import store
from .law_objects import PLAIN, Objects
from .law_standins import KINDS
from .law_world import World, pack

POLICY = """\
metrics:
  roc_auc: {min: 0.95}
champion:
  roc_auc: {margin: 0.02}
budgets: {size_mb: 20, latency_ms: 2000}
environments:
  staging: {}
  production:
    needs: staging
    soak_hours: 24
    approvals: 1
    freeze: [{first: 2026-03-20, last: 2026-03-22, reason: a sale}]
"""
PARAMS = "task: classification\ndata: {source: 'csv:rows.csv', target: y}\nmodel: {estimator: x}\n"


def build(root: Path) -> None:
    """The world before anything was released, to be copied."""
    origin, person = root / "origin.git", root / "person"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(origin)], check=True)
    objects = Objects(origin)
    first = {"policy.yaml": POLICY, "params.yaml": PARAMS, ".github/workflows/deploy.yml": "on:\n"}
    blobs = {p: (PLAIN, objects.put("blob", text.encode())) for p, text in first.items()}
    objects.move("main", objects.commit(blobs, [], b"Begin"))
    (root / "person-state").mkdir()
    (root / "agent-state").mkdir()
    (root / "agent-state" / "store").symlink_to("../person-state/store")
    kept = store.Store(root / "person-state" / "store")
    main = objects.branch("main") or ""
    digests = [pack(kept, root / "made", number, main) for number in range(len(KINDS))]
    (root / "digests.json").write_text(json.dumps(digests))
    (root / "holdout.json").write_text(json.dumps(kept.provenance(digests[0]).data.holdout))
    for place in (person, root / "agent"):
        command = ["git", "clone", "-q", "origin.git", str(place)]
        subprocess.run(command, check=True, cwd=root)
        for name, value in (
            ("user.name", "Rehearsal"), ("user.email", "r@localhost"), ("gc.auto", "0"),
            ("remote.origin.url", "../origin.git"),
        ):  # fmt: skip
            subprocess.run(["git", "-C", str(place), "config", name, value], check=True)


@contextmanager
def copied(template: Path, root: Path, on_github: bool) -> Iterator[World]:
    """A copy of it with the stand-ins in place."""
    shutil.copytree(template, root, symlinks=True)
    with pytest.MonkeyPatch.context() as patch:
        world = World(root, on_github)
        world.install(patch)
        yield world
    shutil.rmtree(root)
