"""The world before anything was released, made once and copied."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mlrelease.storage import store
from tests.engine.law.law_models import PARAMS, build_models
from tests.engine.law.law_objects import PLAIN, Objects
from tests.engine.law.law_world import CLONES, World

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
    rebuild: train
    freeze: [{first: 2026-03-20, last: 2026-03-22, reason: a sale}]
"""


def build(root: Path) -> None:
    """The world before anything was released, to be copied."""
    origin = root / "origin.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(origin)], check=True)
    objects = Objects(origin)
    first = {
        "policy.yaml": POLICY,
        "params.yaml": PARAMS.format(0),
        ".github/workflows/deploy.yml": "on:\n",
    }
    blobs = {p: (PLAIN, objects.put("blob", text.encode())) for p, text in first.items()}
    objects.move("main", objects.commit(blobs, [], b"Begin"))
    (root / "person-state").mkdir()
    for name in CLONES[1:]:
        (root / f"{name}-state").mkdir()
        (root / f"{name}-state" / "store").symlink_to("../person-state/store")
    build_models(store.Store(root / "person-state" / "store"), root, objects)
    for place in (root / name for name in CLONES):
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
