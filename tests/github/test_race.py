"""In whatever order people, jobs and agents come, and whoever of them is killed: what runs is what
the ledger says, and main agrees."""

import json
import os
import random
from pathlib import Path

import httpx
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from ..conftest import BakedProject, run
from .standin import GitHub

pytestmark = pytest.mark.slow
ACTIONS, ROUNDS = (
    int(os.environ.get("RACE_ACTIONS", "100")),
    int(os.environ.get("RACE_ROUNDS", "1")),
)
KINDS = ["promote", "promote", "deploy", "deploy", "merge", "merge", "rollback"]
Plan = list[tuple[str, str, float | None]]


def planned(seed: int) -> Plan:
    """What happens, where, and for a quarter of it the seconds until kill -9. From a seed, because
    the first example of hypothesis is the simplest: for a list a hundred times the same."""
    chance = random.Random(seed)  # noqa: S311 - a plan, not a secret
    return [
        (
            chance.choice(KINDS),
            chance.choice(["staging", "production"]),
            chance.choice([None, None, None, chance.uniform(0, 2.5)]),
        )
        for _ in range(ACTIONS)
    ]


@settings(
    max_examples=ROUNDS,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(seed=st.integers(0, 2**32 - 1))
def test_main_the_ledger_and_the_world_agree_after_a_hundred_actions(
    seed: int,
    installed: BakedProject,
    venv: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("race")
    policy = yaml.safe_load(installed.read("policy.yaml"))
    for rules in policy["environments"].values():
        rules.pop("port", None)
    policy["environments"]["production"]["soak_hours"] = 0
    with GitHub(root / "github") as github:
        repository = github.create_repository("acme/my-model")
        files: dict[str, str | bytes | None] = {
            name: (installed.path / name).read_bytes()
            for name in installed.files()
            if not name.startswith((".git/", ".venv"))
        }
        files["policy.yaml"] = yaml.safe_dump(policy, sort_keys=False)
        github.commit(repository, files)
        person = github.user("ann", "admin")
        with httpx.Client(
            base_url=f"{github.api_url}/repos/acme/my-model",
            headers={"Authorization": f"Bearer {person}"},
        ) as admin:
            allowed = {"can_approve_pull_request_reviews": True}
            answer = admin.put("/actions/permissions/workflow", json=allowed)
            assert answer.status_code == 204, answer.text
            rules = json.loads(installed.read(".github/rulesets/env.json"))
            assert admin.post("/rulesets", json=rules).status_code == 201
        job = github.job_token(
            repository,
            {"contents": "write", "pull-requests": "write", "statuses": "write"},
            "race",
        )
        (root / "plan.json").write_text(json.dumps({"plan": planned(seed), "seed": seed}))
        script = Path(__file__).with_name("race.py")
        printed = run(
            str(venv / "bin" / "python"), str(script), "mlrelease", github.url, "acme/my-model",
            job, person, str(root / "plan.json"), cwd=installed.path, PYTHONPATH=installed.code,
        ).stdout  # fmt: skip
        print(printed)
        assert github.unknown == []
    facts = json.loads(printed.splitlines()[-1])
    assert facts["actions"] == ACTIONS
    assert facts["killed"] > 0, "nothing was at stake"
    assert facts["ran"] > 1, "nothing was at stake"
    assert facts["released"] > 2, "nothing was at stake"
