"""What people did with a project of an earlier version, days ago; run with that version's code.

A model ran in staging and, a day later, in production. A second one ran in staging, and was rolled
back. Only what that version has is used: its sandbox, whose clock is ours, and `deploy`.
"""

import datetime as dt
import importlib
import json
import sys
from pathlib import Path
from typing import Any

package, folder = sys.argv[1:]
sandbox, workspace, deploy = (
    importlib.import_module(f"{package}.{name}")
    for name in ("sandbox", "release.workspace", "release.deploy")
)
here = workspace.Workspace.find(Path(folder))
life = sandbox.Sandbox(here, clock=dt.datetime.now(dt.UTC) - dt.timedelta(days=9))


def forest(trees: int) -> dict[str, Any]:
    parameters = {"n_estimators": trees, "max_depth": 3}
    return {"model": {"estimator": "random_forest", "parameters": parameters}}


def run(environment: str) -> str:
    life.clock += dt.timedelta(minutes=5)
    done = deploy.deploy(life.here, environment)
    life.clock += dt.timedelta(minutes=5)
    return str(done.model)


def release(environment: str) -> None:
    life.merge(life.promote(environment).pull_request.branch)
    run(environment)


life.candidate(forest(20))
release("staging")
life.clock += dt.timedelta(days=1)
release("production")
life.candidate(forest(30))
release("staging")
life.roll_back("staging")
print(json.dumps([run(name) for name in ("staging", "production")]))
