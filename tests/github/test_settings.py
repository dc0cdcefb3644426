"""`model setup-github` and `model doctor`, run by people and jobs against the strict stand-in."""

import base64
import json
import os
import pty
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from ..conftest import BakedProject, run
from . import api_accounts
from .repository import Repository
from .standin import GitHub

pytestmark = pytest.mark.slow

UNKNOWN = "nobody-gave-this"
LABELS = {"code", "model", "template-update"} | {
    f"{kind}-{environment}"
    for kind in ("deployment", "drift")
    for environment in ("staging", "production")
}


class World:
    """A GitHub with one repository, and Ann's clone of it."""

    def __init__(
        self, github: GitHub, project: BakedProject, venv: Path, root: Path, name: str
    ) -> None:
        self.github = github
        self.python = venv / "bin" / "python"
        self.root = root / "clone"
        self.ann = github.user("ann", role="admin")
        self.name = name
        shutil.copytree(project.path, self.root, ignore=shutil.ignore_patterns("__pycache__"))
        self.git("init", "--quiet", "--initial-branch=main")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message=Start")
        self.git("remote", "add", "origin", f"{github.url}/{name}.git")

    @property
    def repository(self) -> Repository:
        return self.github.repositories[self.name]

    def git(self, *arguments: str) -> None:
        words = base64.b64encode(f"x-access-token:{self.ann}".encode()).decode()
        header = f"http.{self.github.url}/.extraheader=AUTHORIZATION: basic {words}"
        who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", header)
        run("git", *who, *arguments, cwd=self.root, GIT_CONFIG_GLOBAL=os.devnull)

    def push(self) -> None:
        self.git("push", "--quiet", "origin", "main")

    def model(
        self, *arguments: str, token: str | None = None, stdin: int = subprocess.DEVNULL
    ) -> tuple[int, str]:
        """Run a verb as somebody, Ann if nobody else; its exit code, and its words on one line."""
        return self.runs("-m", "mlrelease", *arguments, token=token, stdin=stdin)

    def runs(
        self, *arguments: str, token: str | None = None, stdin: int = subprocess.DEVNULL
    ) -> tuple[int, str]:
        """The same for any arguments of Python."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "GH_"))}
        told = {
            "GITHUB_SERVER_URL": self.github.url,
            "GITHUB_API_URL": self.github.api_url,
            "GITHUB_TOKEN": self.ann if token is None else token,
            "PYTHONPATH": os.pathsep.join(str(self.root / n) for n in ("engine", "src")),
            "GIT_CONFIG_GLOBAL": os.devnull,
        }
        done = subprocess.run(
            [str(self.python), *arguments],
            cwd=self.root,
            env=kept | told,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in done.stdout
        assert "ghp_" not in done.stdout, "a token was printed"
        return done.returncode, " ".join(done.stdout.split())

    def states(self, token: str | None = None) -> dict[str, set[str]]:
        """What `model doctor` says, by the name of the check."""
        code, printed = self.model("doctor", "--json", token=token)
        facts = json.loads(printed[printed.index("{") :])
        found: dict[str, set[str]] = {}
        for check in facts["checks"]:
            found.setdefault(check["name"], set()).add(check["state"])
        assert code == (0 if facts["passed"] else 1)
        assert facts["passed"] == (not failed(found))
        return found

    def writes(self) -> list[tuple[str, str]]:
        """Every call so far that changed something, by path, without git's."""
        api = [c for c in self.github.calls if c.path.startswith("/repos")]
        start = len(f"/repos/{self.name}")
        return [(c.method, c.target[start:]) for c in api if c.method != "GET" and c.status < 300]


def failed(states: dict[str, set[str]]) -> set[str]:
    return {name for name, found in states.items() if "FAILED" in found}


@pytest.fixture
def world(installed: BakedProject, venv: Path, tmp_path: Path) -> Iterator[World]:
    """A public repository of the organisation acme, not pushed to yet."""
    with GitHub(tmp_path / "github") as github:
        github.create_repository("acme/my-model")
        yield World(github, installed, venv, tmp_path, "acme/my-model")
        assert github.unknown == []
    api_accounts.SHARED.clear()


def complete(world: World) -> None:
    """What the API cannot do, and what GitHub Enterprise Server needs besides."""
    world.github.teams |= {"acme/model-approvers", "acme/model-developers"}
    kept = {"name": "REGISTRY", "value": world.github.registry}
    world.repository.variables["REGISTRY"] = kept


def test_from_an_empty_repository_to_one_where_nothing_fails(world: World) -> None:
    assert failed(world.states()) >= {"repository", "code owners", "labels", "environments"}
    code, printed = world.model("setup-github", "--yes")
    assert (code, "run this again after the first push" in printed) == (0, True)
    assert world.repository.rulesets == {}

    world.push()
    expected = {"ruleset", "ledger", "code owners", "approvers", "registry"}
    assert failed(world.states()) == expected
    code, printed = world.model("setup-github", "--yes")
    assert (code, "2 of 2 steps done" in printed) == (0, True)
    complete(world)

    assert failed(world.states()) == set()
    assert [rules["name"] for rules in world.repository.rulesets.values()] == ["main", "env"]
    for rules in world.repository.rulesets.values():
        file = world.root / ".github" / "rulesets" / f"{rules['name']}.json"
        wanted = json.loads(file.read_text())
        assert {name: rules[name] for name in wanted} == wanted
    assert set(world.repository.labels) == LABELS
    assert set(world.repository.environments) == {"staging", "production"}
    assert world.repository.variables["TRUST"]["value"] == "digest"
    assert world.repository.workflow_permissions == {
        "default_workflow_permissions": "read",
        "can_approve_pull_request_reviews": True,
    }


def test_a_second_run_changes_nothing_and_the_doctor_never_does(world: World) -> None:
    world.push()
    world.states()
    assert world.writes() == []
    code, printed = world.model("setup-github")
    assert (code, world.writes()) == (0, [])
    assert printed.endswith("nothing was changed; --yes does it")
    assert world.model("setup-github", "--yes")[0] == 0
    before = world.writes()
    assert len(before) == 13

    code, printed = world.model("setup-github", "--yes")

    assert (code, " nothing to do " in printed) == (0, True)
    assert world.writes() == before


@pytest.mark.parametrize(("answer", "changes"), [("y\n", 13), ("n\n", 0)])
def test_on_a_terminal_a_person_is_asked(world: World, answer: str, changes: int) -> None:
    world.push()
    person, terminal = pty.openpty()
    try:
        os.write(person, answer.encode())
        code, printed = world.model("setup-github", stdin=terminal)
    finally:
        os.close(person)
        os.close(terminal)

    assert code == 0
    assert "Change these settings? [y/N]" in printed
    assert len(world.writes()) == changes


@pytest.mark.parametrize(
    ("status", "after"), [(422, False), (500, True)], ids=["refused", "answer lost"]
)
def test_what_fails_in_the_middle_is_named_and_a_second_run_finishes(
    world: World, status: int, after: bool
) -> None:
    world.push()
    world.github.fail("POST", "/repos/acme/my-model/rulesets", status, after=after)

    code, printed = world.model("setup-github", "--yes")

    assert code == 1
    assert f"FAILED ruleset main: GitHub: POST /rulesets: {status}" in printed
    assert "12 of 13 steps done" in printed
    assert set(world.repository.labels) == LABELS
    code, printed = world.model("setup-github", "--yes")
    assert (code, ("nothing to do" if after else "1 of 1 steps done") in printed) == (0, True)
    assert len(world.repository.rulesets) == 2


def test_what_people_changed_is_named_by_its_key_and_put_back(world: World) -> None:
    world.push()
    world.model("setup-github", "--yes")
    complete(world)
    rules, ledger = world.repository.rulesets.values()
    del ledger["rules"][0]
    review, checks = (rule["parameters"] for rule in rules["rules"][2:])
    review["required_approving_review_count"] = 0
    checks["strict_required_status_checks_policy"] = True
    world.repository.workflow_permissions["default_workflow_permissions"] = "write"
    del world.repository.environments["staging"]
    del world.repository.labels["model"]
    world.repository.variables["TRUST"] = {"name": "TRUST", "value": "attested"}

    assert failed(world.states()) == {
        *(
            "ruleset",
            "ledger",
            "branches",
            "workflow permissions",
            "environments",
            "labels",
            "trust",
        ),
    }
    code, printed = world.model("setup-github", "--yes")

    assert code == 0
    key = "ruleset main, pull_request.required_approving_review_count"
    assert f" ~ {key}: 0 -> 1 ~ ruleset main, required_status_checks.strict_" in printed
    assert " ~ workflow permissions: write -> read ~ " in printed
    assert " ~ ruleset env, deletion: no -> yes " in printed
    assert " + environment staging + label model: The model is wrong " in printed
    assert failed(world.states()) == {"trust"}, "a variable that somebody set is theirs"


def test_without_administration_nothing_is_called_good_unseen(world: World) -> None:
    world.push()
    world.model("setup-github", "--yes")
    complete(world)
    ben = world.github.user("ben", role="write")
    job = world.github.job_token(world.repository, {"contents": "read"}, "setup")
    before = world.writes()

    for token in (ben, job):
        states = world.states(token)
        for name in ("token", "actions", "workflows", "ruleset", "ledger"):
            assert states[name] == {"note"}, name
        code, printed = world.model("setup-github", "--yes", token=token)
        assert (code, "token" in printed) == (1, True)
    assert failed(world.states(UNKNOWN)) == {"token"}
    code, printed = world.model("setup-github", "--yes", token=UNKNOWN)
    assert (code, "does not know it" in printed) == (2, True)
    assert world.writes() == before


def test_strict_lets_only_the_key_append_once_there_is_one(world: World) -> None:
    world.push()
    world.model("setup-github", "--yes")
    complete(world)
    rulesets, key = world.repository.rulesets, "GET /repos/{owner}/{repo}/keys"

    code, printed = world.model("setup-github", "--strict", "--yes")
    assert (code, "2 of 2 steps done" in printed) == (0, True)
    assert "FAILED ledger key: no deploy key may write; the environment release has no" in printed
    assert "gh secret set LEDGER_KEY --env release < ~/.ssh/ledger-key" in printed
    assert [rules["name"] for rules in rulesets.values()] == ["main", "env"]
    assert key in {call.name for call in world.github.calls}
    release = world.repository.environments["release"]
    assert [policy["name"] for policy in release["policies"]] == ["main"]
    assert "append-only: nobody can delete" in world.model("doctor")[1]

    world.github.deploy_key(world.repository, "mirror", read_only=True)
    release["secrets"] = ["LEDGER_KEY"]
    assert "FAILED ledger key: no deploy key" in world.model("setup-github", "--strict")[1]
    world.github.deploy_key(world.repository, "ledger")
    code, printed = world.model("setup-github", "--strict", "--yes")
    assert (code, "1 of 1 steps done" in printed) == (0, True)
    assert [rules["name"] for rules in rulesets.values()] == ["main", "env", "env-key"]
    assert "nothing to do" in world.model("setup-github", "--yes")[1]
    assert failed(world.states()) == set()
    printed = world.model("doctor")[1]
    assert "ledger: key: nobody can delete" in printed
    assert "append: ledger ok" in printed

    release["policies"].append({"id": 1, "name": "*", "type": "branch"})
    assert failed(world.states()) == {"release"}
    assert world.model("setup-github", "--yes")[0] == 0
    assert failed(world.states()) == set()
    world.repository.keys.clear()
    assert failed(world.states()) == {"ledger key"}


def test_a_private_repository_on_the_free_plan(world: World) -> None:
    world.github.plan, world.repository.private = "free", True
    world.push()

    code, printed = world.model("setup-github", "--yes")

    assert code == 0
    assert "ruleset main" not in printed
    assert "deployment itself asks for 1 approval(s)" in printed
    complete(world)
    states = world.states()
    assert failed(states) == set()
    for name in ("ruleset", "ledger", "environments", "code owners"):
        assert states[name] == {"note"}, name
    assert "nothing to do" in world.model("setup-github", "--yes")[1]


def test_what_the_organisation_decided_is_not_decided_again(world: World) -> None:
    world.push()
    api_accounts.SHARED["acme"] = {"TRUST": "digest", "REGISTRY": world.github.registry}

    assert world.model("setup-github", "--yes")[0] == 0

    assert "TRUST" not in world.repository.variables
    assert failed(world.states()) == {"code owners", "approvers"}


def test_a_repository_of_a_person_has_no_teams(
    installed: BakedProject, venv: Path, tmp_path: Path
) -> None:
    with GitHub(tmp_path / "github") as github:
        github.create_repository("ann/my-model")
        world = World(github, installed, venv, tmp_path, "ann/my-model")
        owners = world.root / "CODEOWNERS"
        owners.write_text(owners.read_text().replace("@acme/", "@ann/"))
        world.git("commit", "--quiet", "--all", "--message=Owners")
        world.push()
        assert "approvers" in failed(world.states())
        _, printed = world.model("doctor")
        assert "@ann/model-approvers is a team, and ann/my-model belongs to a" in printed
        owners.write_text("* @ann\n/deploy/production/ @ann\n")
        world.git("commit", "--quiet", "--all", "--message=Owners")
        world.push()
        states = world.states()
        assert (states["code owners"], states["approvers"]) == ({"ok"}, {"ok"})
        assert github.unknown == []


def test_when_github_is_down_one_line_says_so(world: World) -> None:
    world.github.fail("GET", "/repos", 503, times=1000)

    code, printed = world.model("doctor")

    assert code == 1
    assert printed.count("FAILED repository: cannot be asked: GitHub: GET") == 1
    assert world.model("setup-github", "--yes")[0] == 2
    assert world.writes() == []


APPROVALS = """
import sys
from mlrelease.records.git import Git
from mlrelease.github.repository import GitHub
from mlrelease.github.api import Repository
from pathlib import Path

print(GitHub(Repository.of(Git(Path()))).approvals(sys.argv[1]))
"""


def test_a_job_counts_the_approval_of_somebody_whose_membership_is_private(world: World) -> None:
    world.push()
    world.model("setup-github", "--yes")
    world.github.private_members.add("ann")
    repository, github = world.repository, world.github
    github.commit(repository, {"params.yaml": "seed: 1\n"}, branch="topic", by=github.user("ben"))
    say = {"ann": world.ann, "ben": github.user("ben"), "eve": github.user("eve", role="read")}

    def ask(who: str, method: str, path: str, **content: str) -> httpx.Response:
        address, headers = (
            f"{github.api_url}/repos/{world.name}",
            {"Authorization": f"Bearer {say[who]}"},
        )
        return httpx.request(method, f"{address}{path}", json=content, headers=headers)

    opened = ask("ben", "POST", "/pulls", title="Change", head="topic", base="main")
    assert opened.status_code == 201
    head = opened.json()["head"]["sha"]
    ask("ben", "POST", f"/statuses/{head}", state="success", context="gate")
    for who in ("eve", "ann"):
        assert ask(who, "POST", "/pulls/1/reviews", event="APPROVE").status_code == 200
    merged = ask("ann", "PUT", "/pulls/1/merge", merge_method="squash")
    assert merged.status_code == 200, merged.text

    job = github.job_token(repository, {"pull-requests": "read"}, "deploy")
    code, printed = world.runs("-c", APPROVALS, merged.json()["sha"], token=job)
    assert (code, "ann" in printed, "eve" in printed) == (0, True, False), printed
    code, printed = world.runs("-c", APPROVALS, head, token=job)
    assert (code, printed) == (0, "None"), "a commit of the branch is not what came to main"
