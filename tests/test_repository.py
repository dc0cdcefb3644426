"""What may not stand in this repository, and how its own workflow is hardened."""

import re
from pathlib import Path

import yaml

from .conftest import ROOT

WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def files(template: Path) -> list[Path]:
    return [path for path in template.rglob("*") if path.is_file()]


def test_no_path_of_a_machine_and_no_address_of_a_registry(template: Path) -> None:
    unwanted = re.compile(rb"/work/main|/root/|/home/[a-z]|files\.pythonhosted|/simple/|index-url")

    for path in files(template):
        if path != template / "tests" / "test_repository.py":
            assert not unwanted.search(path.read_bytes()), path


def test_no_lock_file(template: Path) -> None:
    locks = {"uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock", "pylock.toml", "pixi.lock"}

    assert [path for path in files(template) if path.name in locks] == []


def test_scripts_can_be_run_and_nothing_else_can(template: Path) -> None:
    runnable = {
        path.relative_to(template).as_posix() for path in files(template) if path.stat().st_mode & 1
    }

    assert runnable == {".ci/run"}


def test_every_action_is_pinned_by_commit_with_its_version_beside_it() -> None:
    used = re.findall(r"uses: (.+)", WORKFLOW.read_text(encoding="utf-8"))

    assert used
    for line in used:
        assert re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_jobs_have_a_limit_and_their_own_permissions() -> None:
    workflow = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))

    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 30, name
        assert set(job["permissions"].values()) <= {"read"}, name
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False, name
            assert "${{" not in step.get("run", ""), name


def test_the_last_job_needs_every_other_and_always_runs() -> None:
    jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
    gate = jobs["gate"]

    assert list(jobs)[-1] == "gate"
    assert gate["if"] == "always()"
    assert set(gate["needs"]) == set(jobs) - {"gate"}
