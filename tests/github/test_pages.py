"""docs/github.md of a generated project says what its workflows say."""

import re
from typing import Any

import yaml

from ..conftest import BakedProject

WORKFLOWS = ".github/workflows/"


def workflows(project: BakedProject) -> dict[str, dict[Any, Any]]:
    names = [name for name in project.files() if name.startswith(WORKFLOWS)]
    return {name.removeprefix(WORKFLOWS)[:-4]: yaml.safe_load(project.read(name)) for name in names}


def test_each_variable_and_secret_of_the_workflows_has_its_line(project: BakedProject) -> None:
    text = "".join(project.read(f"{WORKFLOWS}{name}.yml") for name in workflows(project))
    page = project.read("docs/github.md")
    listed = re.findall(r"^\| `([A-Z_]+)` \|", page, flags=re.MULTILINE)

    assert set(listed) == set(re.findall(r"vars\.(\w+)", text))
    assert len(listed) == len(set(listed)) > 5
    secrets = {"PROMOTION_APP_KEY", "LEDGER_KEY"}
    assert set(re.findall(r"secrets\.(\w+)", text)) == secrets
    assert all(f"`{name}`" in page for name in secrets)


def test_each_workflow_is_listed_with_what_its_jobs_may_write(project: BakedProject) -> None:
    page = project.read("docs/github.md")
    told = {
        name: set(re.findall(r"`([a-z-]+)`", rights))
        for name, rights in re.findall(
            r"^- \*\*`([\w-]+)`\*\*:.*?May write ((?:`[a-z-]+`,?\s*)+)\.",
            page,
            flags=re.MULTILINE | re.DOTALL,
        )
    }
    given = {
        name: {
            right
            for job in workflow["jobs"].values()
            for right, level in job.get("permissions", {}).items()
            if level == "write"
        }
        for name, workflow in workflows(project).items()
    }

    assert told == given


def test_each_schedule_is_told(project: BakedProject) -> None:
    page = " ".join(project.read("docs/github.md").split())
    days = {"*": "daily ", "1": "Monday ", "2": "Tuesday "}
    told = 0
    for workflow in workflows(project).values():
        for entry in (workflow.get(True) or {}).get("schedule", []):  # YAML's `on` is true
            minute, hour, _, _, day = entry["cron"].split()
            at = f"{days[day]}{int(hour):02}:{int(minute):02}" if hour.isdigit() else "six hours"
            assert at in page, entry
            told += 1

    assert told == 4


def test_lines_of_the_page_fit(project: BakedProject) -> None:
    assert [line for line in project.read("docs/github.md").splitlines() if len(line) > 130] == []
