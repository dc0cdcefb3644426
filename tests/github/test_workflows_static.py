"""What must be true of every generated workflow, read without running one."""

import ast
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from ..conftest import TASKS, BakedProject, run
from .act import tool
from .actions import STANDINS
from .pins import PINS
from .records import Event
from .triggers import events, is_due, should_trigger
from .workflows import EXPRESSION, Workflows

HERE = Path(__file__).parent
SHA = "a" * 40
WORKFLOWS = {"_package", "ci", "deploy", "monitor", "promote", "template-update", "train"}


@dataclass(frozen=True)
class Workflow:
    """A workflow or an action as written."""

    path: str
    text: str

    @property
    def name(self) -> str:
        return Path(self.path).stem

    @property
    def written(self) -> dict[Any, Any]:
        parsed: dict[Any, Any] = yaml.safe_load(self.text)
        return parsed

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        return dict(self.written["jobs"])

    def steps(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Each step with the job that it is in; of an action, its own."""
        if "runs" in self.written:
            for step in self.written["runs"]["steps"]:
                yield self.path, step
            return
        for job, written in self.jobs.items():
            for step in written.get("steps", []):
                yield f"{self.path}: {job}", step


@pytest.fixture(scope="module")
def project(baked: dict[str, BakedProject]) -> BakedProject:
    """The workflows are the same files for both tasks, as the first test here shows."""
    return baked[TASKS[0]]


@pytest.fixture(scope="module")
def workflows(project: BakedProject) -> dict[str, Workflow]:
    paths = sorted((project.path / ".github" / "workflows").glob("*.y*ml"))
    assert paths, "the project has no workflows"
    found = [
        Workflow(path.relative_to(project.path).as_posix(), path.read_text(encoding="utf-8"))
        for path in paths
    ]
    return {workflow.name: workflow for workflow in found}


@pytest.fixture(scope="module")
def files(project: BakedProject, workflows: dict[str, Workflow]) -> list[Workflow]:
    """The workflows and the project's own actions."""
    names = [name for name in project.files() if re.search(r"/action\.ya?ml$", name)]
    assert names, "the project has no action of its own"
    return [*workflows.values(), *(Workflow(name, project.read(name)) for name in names)]


def test_both_tasks_have_the_same_files(baked: dict[str, BakedProject]) -> None:
    for name in baked[TASKS[0]].files():
        if name.startswith(".github/"):
            assert baked[TASKS[0]].read(name) == baked[TASKS[1]].read(name), name


def test_these_are_all(workflows: dict[str, Workflow]) -> None:
    assert set(workflows) == WORKFLOWS
    assert {name: workflow.written["name"] for name, workflow in workflows.items()} == {
        name: name.removeprefix("_") for name in WORKFLOWS
    }


def test_every_action_is_pinned_to_the_known_commit_of_its_version(files: list[Workflow]) -> None:
    lines = [
        (file.path, line.strip())
        for file in files
        for line in file.text.splitlines()
        if re.match(r"\s*(- )?uses:", line)
    ]

    assert lines
    for path, line in lines:
        uses = line.removeprefix("- ").removeprefix("uses: ")
        if uses.startswith("./.github/"):
            continue
        name, _, rest = uses.partition("@")
        assert rest == " # ".join(PINS.get(name, ("unknown action", ""))), f"{path}: {line}"


def test_every_job_has_the_permissions_it_names_and_a_limit(
    workflows: dict[str, Workflow],
) -> None:
    for workflow in workflows.values():
        assert workflow.written["permissions"] == {}, workflow.path
        for name, job in workflow.jobs.items():
            where = f"{workflow.path}: {name}"
            assert isinstance(job["permissions"], dict), where
            assert ("timeout-minutes" in job) is ("uses" not in job), where
            assert job.get("timeout-minutes", 1) <= 360, where


def test_every_permission_has_a_reason_beside_it(workflows: dict[str, Workflow]) -> None:
    granted = re.compile(r"^ {6}[a-z-]+: (?:read|write)\b(.*)$", re.MULTILINE)
    for workflow in workflows.values():
        for rest in granted.findall(workflow.text):
            assert re.match(r" # \w", rest), f"{workflow.path}: {rest}"


def test_nothing_is_evaluated_inside_a_script(files: list[Workflow]) -> None:
    for file in files:
        for where, step in file.steps():
            assert "${{" not in step.get("run", ""), where


def test_a_pipe_fails_with_what_stands_before_it(files: list[Workflow]) -> None:
    """GitHub's bash has no pipefail where no shell is named."""
    for file in files:
        named = file.written.get("defaults", {}).get("run", {}).get("shell")
        for where, step in file.steps():
            if re.search(r"[^|]\|[^|]", step.get("run", "")):
                assert step.get("shell", named) == "bash", where


def test_no_checkout_leaves_its_token_behind(files: list[Workflow]) -> None:
    checkouts = [
        (where, step)
        for file in files
        for where, step in file.steps()
        if step.get("uses", "").startswith("actions/checkout@")
    ]

    assert checkouts
    for where, step in checkouts:
        assert step["with"]["persist-credentials"] is False, where


def test_no_event_gives_strangers_a_token_that_writes(workflows: dict[str, Workflow]) -> None:
    dangerous = {"pull_request_target", "workflow_run", "issue_comment", "issues"}
    for workflow in workflows.values():
        assert not dangerous & set(events(workflow.written)), workflow.path


def test_no_path_filter_on_what_may_be_required(workflows: dict[str, Workflow]) -> None:
    """A workflow that a filter skips leaves its required check pending for ever."""
    for workflow in workflows.values():
        on = events(workflow.written)
        if {"pull_request", "merge_group"} & set(on):
            for name, filters in on.items():
                assert not {"paths", "paths-ignore"} & set(filters), f"{workflow.path}: {name}"
                assert name not in ("pull_request", "merge_group") or not filters, workflow.path


def test_the_gate_always_runs_and_needs_every_other_job(workflows: dict[str, Workflow]) -> None:
    jobs = workflows["ci"].jobs
    gate = jobs["gate"]

    assert gate["if"] == "always()"
    assert set(gate["needs"]) == set(jobs) - {"gate"}
    assert gate["name"] == "gate"
    assert gate["permissions"] == {}
    assert "concurrency" not in gate


def test_only_the_jobs_that_package_and_release_sign(workflows: dict[str, Workflow]) -> None:
    signers = {
        (workflow.name, name)
        for workflow in workflows.values()
        for name, job in workflow.jobs.items()
        if "write" in (job["permissions"].get(kind) for kind in ("id-token", "attestations"))
    }
    assert signers == {("_package", "package"), ("train", "package"), ("deploy", "release")}
    assert "cache" not in EXPRESSION.sub("", str(workflows["_package"].jobs))


def test_only_jobs_that_load_no_model_may_write(workflows: dict[str, Workflow]) -> None:
    """To the repository, that is: packages are pushed by the job that tried the image."""
    loads_none = {"github", "ledger", "propose"}
    for workflow in workflows.values():
        for name, job in workflow.jobs.items():
            granted = {kind for kind, level in job["permissions"].items() if level == "write"}
            script = "\n".join(step.get("run", "") for step in job.get("steps", []))
            verbs = set(re.findall(r"(?<![\w./-])model ([a-z-]+)", script))
            if granted - {"packages", "id-token", "attestations"}:
                assert verbs <= loads_none, f"{workflow.path}: {name}"


def test_the_key_of_the_ledger_reaches_only_jobs_of_its_environment(
    workflows: dict[str, Workflow],
) -> None:
    holders = {
        (workflow.name, name): job.get("environment")
        for workflow in workflows.values()
        for name, job in workflow.jobs.items()
        if "LEDGER_KEY" in str(job)
    }
    place = {"name": "release", "deployment": False}  # no second deployment on GitHub
    assert holders == {("deploy", "release"): place, ("deploy", "record"): place}


def test_the_runner_takes_every_workflow(project: BakedProject, tmp_path: Path) -> None:
    """Each action has a stand-in that knows its inputs, each call grants what is asked for."""
    clone = tmp_path / "clone"
    shutil.copytree(project.path / ".github", clone / ".github")
    granted: dict[str, dict[str, str]] = {}

    def token(permissions: dict[str, str], job: str) -> str:
        granted[job] = permissions
        return "ghs_0"

    for path in sorted((clone / ".github" / "workflows").glob("*.yml")):
        Workflows(clone, STANDINS, token).prepare(path.relative_to(clone).as_posix())

    assert granted[".github/workflows/ci.yml: gate"] == {}


# Verbs.


def verbs(project: BakedProject) -> dict[str, set[str]]:
    """Every verb of the command line with the names of its parameters, read from its source."""
    found: dict[str, set[str]] = {}
    folder = project.path / "engine" / "mlrelease" / "cli"
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for decorator in node.decorator_list if isinstance(node, ast.FunctionDef) else ():
                call = decorator if isinstance(decorator, ast.Call) else None
                if call and isinstance(call.func, ast.Attribute) and call.func.attr == "command":
                    assert isinstance(node, ast.FunctionDef)
                    assert isinstance(call.func.value, ast.Name)
                    group = call.func.value.id
                    named = [arg.value for arg in call.args if isinstance(arg, ast.Constant)]
                    verb = str(named[0]) if named else node.name.replace("_", "-")
                    arguments = {argument.arg for argument in node.args.args}
                    found[verb if group == "app" else f"{group} {verb}"] = arguments
    return found


def options(project: BakedProject) -> set[str]:
    """Every option that is written out somewhere in the command line's source."""
    text = "\n".join(
        path.read_text(encoding="utf-8") for path in project.path.glob("engine/mlrelease/cli/*.py")
    )
    return set(re.findall(r"--[a-z][a-z-]+", " ".join(re.findall(r'"(--[a-z/-]+)"', text))))


def commands(files: list[Workflow]) -> Iterator[tuple[str, str]]:
    """What workflows ask of `model`: each command, up to where another one starts."""
    for file in files:
        for where, step in file.steps():
            for command in re.findall(r"(?<![\w./-])model ([^|;&\n]*)", step.get("run", "")):
                yield where, command


def test_every_verb_and_option_exists(project: BakedProject, files: list[Workflow]) -> None:
    known, written = verbs(project), options(project)
    groups = {name.split()[0] for name in known if " " in name}
    called = set()

    for where, command in commands(files):
        words = command.split()
        verb = " ".join(words[:2] if words[0] in groups else words[:1])
        called.add(verb)
        assert verb in known, f"{where}: model {verb}"
        for option in re.findall(r"--[a-z-]+", command):
            named = option.removeprefix("--").removeprefix("no-").replace("-", "_")
            assert named in known[verb] or option in written, f"{where}: {verb} {option}"

    assert {"check-data", "train", "evaluate", "gate", "report", "package"} <= called
    assert {"promote", "verify", "deploy", "rollback", "monitor"} <= called


def test_every_make_target_exists(project: BakedProject, files: list[Workflow]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", project.read("Makefile"), re.MULTILINE))
    called = {
        target
        for file in files
        for _, step in file.steps()
        for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))
    }

    assert called
    assert called <= targets


# Triggers.


def push(ref: str = "refs/heads/main") -> Event:
    return Event("push", None, "o/x", ref, SHA, "ann", {"before": "b" * 40, "after": SHA})


def pull(action: str = "opened", base: str = "main") -> Event:
    payload = {"pull_request": {"base": {"ref": base}}}
    return Event("pull_request", action, "o/x", "refs/pull/1/merge", SHA, "ann", payload)


GROUP = {"merge_group": {"base_ref": "refs/heads/main"}}
MERGE = Event("merge_group", "checks_requested", "o/x", "refs/heads/q", SHA, "ann", GROUP)
DISPATCH = Event("workflow_dispatch", None, "o/x", "refs/heads/main", SHA, "ann", {})
RECORD = "deploy/production/model.yaml"
EXPECTED: list[tuple[str, Event, list[str], set[str]]] = [
    ("a pull request", pull(), ["README.md"], {"ci"}),
    ("a pull request with records only", pull(), [RECORD], {"ci"}),
    ("a pull request without a change", pull(), [], {"ci"}),
    ("a new commit in it", pull("synchronize"), ["src/a.py"], {"ci"}),
    ("a pull request into another branch", pull(base="next"), ["src/a.py"], {"ci"}),
    ("a closed pull request", pull("closed"), ["src/a.py"], set()),
    ("a label on it", pull("labeled"), ["src/a.py"], set()),
    ("a merge group", MERGE, ["src/a.py"], {"ci"}),
    ("code on main", push(), ["src/a.py"], {"ci", "train"}),
    ("documentation on main", push(), ["README.md"], {"ci", "train"}),
    ("a record on main", push(), [RECORD, "deploy/production/report.md"], {"ci", "deploy"}),
    ("both on main", push(), [RECORD, "params.yaml"], {"ci", "deploy", "train"}),
    ("a file that is only called so", push(), ["src/deploy/a.py"], {"ci", "train"}),
    ("an empty commit on main", push(), [], {"ci"}),
    ("a topic branch", push("refs/heads/topic"), ["src/a.py"], set()),
    ("a promotion's branch", push("refs/heads/promote/staging/0123"), [RECORD], set()),
    ("a release, with a deploy key", push("refs/heads/env/production"), ["model.yaml"], set()),
    ("a tag", push("refs/tags/v1"), [RECORD], set()),
    ("a dispatch", DISPATCH, [], {"deploy", "monitor", "promote", "template-update", "train"}),
]


@pytest.mark.parametrize(
    ("event", "changed", "expected"),
    [row[1:] for row in EXPECTED],
    ids=[row[0] for row in EXPECTED],
)
def test_an_event_starts_exactly_these(
    event: Event, changed: list[str], expected: set[str], workflows: dict[str, Workflow]
) -> None:
    started = {
        name
        for name, workflow in workflows.items()
        if should_trigger(workflow.written, event, lambda: changed)
    }

    assert started == expected


def test_schedules(workflows: dict[str, Workflow]) -> None:
    start = datetime(2026, 11, 22, tzinfo=UTC)
    week = [start + timedelta(minutes=number) for number in range(7 * 24 * 60)]
    times: dict[str, list[datetime]] = {}
    minutes: list[int] = []
    for name, workflow in workflows.items():
        for entry in events(workflow.written).get("schedule", []):
            times[name] = [moment for moment in week if is_due(entry["cron"], moment)]
            minutes += {moment.minute for moment in times[name]}

    counted = {name: len(moments) for name, moments in times.items()}
    assert counted == {"deploy": 28, "monitor": 7, "template-update": 1, "train": 1}
    gaps = {later - one for one, later in zip(times["deploy"], times["deploy"][1:], strict=False)}
    assert gaps == {timedelta(hours=6)}
    assert len(set(minutes)) == len(minutes)  # not all at once
    assert 0 not in minutes  # GitHub is late at the full hour


def test_a_called_workflow_is_only_called(workflows: dict[str, Workflow]) -> None:
    for name, workflow in workflows.items():
        assert (set(events(workflow.written)) == {"workflow_call"}) is name.startswith("_"), name


def test_dispatch_inputs_are_described_and_typed(workflows: dict[str, Workflow]) -> None:
    for workflow in workflows.values():
        dispatch = events(workflow.written).get("workflow_dispatch", {})
        for name, about in dispatch.get("inputs", {}).items():
            assert about["description"].strip(), name
            assert about["type"] in ("string", "choice", "boolean", "number"), name


# Other people's linters.


@pytest.fixture(scope="module")
def checkout(project: BakedProject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's .github folder where linters look for one."""
    root = tmp_path_factory.mktemp("linted") / "project"
    shutil.copytree(project.path / ".github", root / ".github")
    return root


def test_zizmor_finds_nothing(checkout: Path) -> None:
    command = [tool("zizmor"), "--offline", "--persona", "pedantic", "--format", "json"]
    config = str(checkout / ".github" / "zizmor.yml")

    done = subprocess.run(
        [*command, "--config", config, str(checkout)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert json.loads(done.stdout) == [], done.stdout
    assert done.returncode == 0, done.stderr


def test_zizmor_rules_are_switched_off_with_a_reason_only(project: BakedProject) -> None:
    text = project.read(".github/zizmor.yml")

    for line in text.splitlines():
        if "disable:" in line or line.strip().startswith("- "):
            assert re.search(r" # \S+ \S+", line), line


@pytest.mark.parametrize(
    ("schema", "pattern"),
    [
        ("github-workflows", "workflows/*.yml"),
        ("github-actions", "actions/*/action.yml"),
        ("dependabot", "dependabot.yml"),
    ],
)
def test_the_schema_holds(schema: str, pattern: str, checkout: Path) -> None:
    paths = [str(path) for path in (checkout / ".github").glob(pattern)]

    assert paths
    run(tool("check-jsonschema"), "--builtin-schema", f"vendor.{schema}", *paths, cwd=checkout)


# The payload of merge_group is not in GitHub's own list of payloads.
UNKNOWN_TO_IT = {"Context access might be invalid: merge_group"}


@pytest.mark.slow
def test_github_s_own_language_service_finds_nothing(
    checkout: Path, files: list[Workflow], tmp_path: Path
) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        pytest.skip("npm and node are not installed: GitHub's language service needs them")
    service = tmp_path / "languageservice"
    shutil.copytree(HERE / "languageservice", service)
    quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent")
    run(npm, "install", *quiet, cwd=service)
    hooks, check = str(service / "json.js"), str(service / "check.js")

    done = run(
        node, "--import", hooks, check, str(checkout), str(STANDINS),
        *(file.path for file in files), cwd=service,
    )  # fmt: skip

    found = json.loads(done.stdout)
    assert [entry for entry in found if entry["message"] not in UNKNOWN_TO_IT] == []


@pytest.mark.parametrize(
    ("name", "is_code"),
    [
        (".python-version", True), (".dockerignore", True), ("Dockerfile", True),
        ("src/new.py", True), ("engine/schemas/record.schema.json", True), ("new.toml", True),
        (".github/workflows/ci.yml", True), ("tests/new/data.csv", True),
        ("params.yaml", False), ("policy.yaml", False), ("README.md", False), ("CODEOWNERS", False),
        ("docs/serving/picture.png", False), ("deploy/staging/model.yaml", False),
    ],
)  # fmt: skip
def test_checks_are_skipped_only_for_what_they_do_not_look_at(
    project: BakedProject, tmp_path: Path, name: str, is_code: bool
) -> None:
    """The step of `ci` itself, in a real repository in which one file changed."""
    ci = yaml.safe_load(project.read(".github/workflows/ci.yml"))
    (step,) = (step for step in ci["jobs"]["test"]["steps"] if step.get("id") == "code")
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    run("git", "init", "--quiet", cwd=tmp_path)
    run("git", *identity, "commit", "--quiet", "--allow-empty", "--message", "One", cwd=tmp_path)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("changed\n")
    run("git", "add", "--all", cwd=tmp_path)
    run("git", *identity, "commit", "--quiet", "--message", "Two", cwd=tmp_path)
    output = tmp_path / "output"
    variables = {"BASE": "HEAD~1", "CODE": ci["env"]["CODE"], "GITHUB_OUTPUT": str(output)}
    command = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"])
    subprocess.run(command, cwd=tmp_path, env={**os.environ, **variables}, check=True, timeout=30)
    assert output.exists() == is_code
