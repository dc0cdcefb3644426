"""`model doctor` and `model setup-github` against answers of GitHub that each test chooses."""

import copy
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from mlrelease import errors, workspace
from mlrelease.automation import template
from mlrelease.cli import app as cli_app
from mlrelease.github import api as github_api, repository as github, settings
from mlrelease.records import record
from mlrelease.settings import doctor, owners, setup, steps
from mlrelease.storage import connection, privacy, registry, store
from tests.engine.conftest import GENERATED
from tests.engine.storage.registry_server import Server
from tests.engine.storage.test_archive import plant

PROJECT = GENERATED
RULES, LEDGER, KEY = (
    json.loads((PROJECT / path).read_text())
    for path in (settings.RULESET, settings.LEDGER_RULESET, settings.KEY_RULESET)
)
REPOSITORY = {
    "full_name": "acme/tides",
    "owner": {"login": "acme", "type": "Organization"},
    "private": False,
    "visibility": "public",
    "default_branch": "main",
    "clone_url": "https://github.com/acme/tides.git",
    "permissions": {"admin": True, "push": True},
}
STRICT = [{
    "type": "required_status_checks", "ruleset_source": "acme",
    "parameters": {"strict_required_status_checks_policy": True},
}]  # fmt: skip
UPGRADE = (403, {"message": "Upgrade to GitHub Pro or make this repository public."})
HIDDEN = (403, {"message": "Must have admin rights to Repository."})
OWNERS = "* @acme/developers\n/deploy/production/ @acme/approvers\n"
PRIVATE = {"/repos/acme/tides": REPOSITORY | {"private": True, "visibility": "private"}}
ANSWERS: dict[str, Any] = {
    "/repos/acme/tides": REPOSITORY,
    "/user": {"login": "ann"},
    "/users/ben": {"login": "ben"},
    "/orgs/acme/teams/approvers": {"slug": "approvers"},
    "/branches/main": {"name": "main"},
    "/actions/permissions": {"enabled": True, "allowed_actions": "all"},
    "/actions/permissions/workflow": {
        "default_workflow_permissions": "read",
        "can_approve_pull_request_reviews": True,
    },
    "/rulesets": [
        {"id": 6, "name": "main", "source_type": "Organization"},
        {"id": 7, "name": "main", "source_type": "Repository"},
        {"id": 8, "name": "env", "source_type": "Repository"},
    ],
    "/rulesets/7": RULES | {"id": 7},
    "/rulesets/8": LEDGER | {"id": 8},
    "/rules/branches/main": [],
    "/environments": {"environments": [{"name": "staging"}, {"name": "production"}]},
    "/codeowners/errors": {"errors": []},
    "/labels": [{"name": name, "description": words} for name, (_, words) in setup.LABELS.items()],
    "/actions/organization-variables": {"variables": []},
    "/actions/variables": {"variables": [{"name": "TRUST", "value": "attested"}]},
}
Verb = Callable[..., tuple[int, str, str]]


class World:
    """A clone, and the GitHub of the tests behind it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers = copy.deepcopy(ANSWERS)
        self.written: list[tuple[str, str, Any]] = []
        self.faults: dict[str, tuple[int, Any]] = {}

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.root, check=True, capture_output=True)

    def set_variables(self, **variables: str) -> None:
        listed = [{"name": name, "value": value} for name, value in variables.items()]
        self.answers["/actions/variables"] = {"variables": listed}

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v3")
        path = path if path == "/repos/acme/tides" else path.removeprefix("/repos/acme/tides")
        if request.method == "GET":
            found = self.answers.get(path, (404, {"message": "Not Found"}))
            status, body = found if isinstance(found, tuple) else (200, found)
            if body is None:
                raise httpx.ConnectError("nobody answers", request=request)
            return httpx.Response(status, json=body)
        self.written.append((request.method, path, json.loads(request.content)))
        status, body = self.faults.get(path, (200, {}))
        if body is None:
            raise httpx.ConnectError("nobody answers", request=request)
        return httpx.Response(status, json=body)

    @property
    def here(self) -> workspace.Workspace:
        return workspace.Workspace(self.root, self.root / ".model")

    def checks(self) -> dict[str, list[settings.Check]]:
        """What the doctor finds, by the name of the check."""
        found: dict[str, list[settings.Check]] = {}
        for check in doctor.examine(self.here):
            found.setdefault(check.name, []).append(check)
        return found

    def plan(self) -> list[steps.Step]:
        return setup.plan(doctor.settings_of(self.here))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A repository on github.com where all is as it should be."""
    world = World(tmp_path / "tides")
    rules = (settings.RULESET, settings.LEDGER_RULESET, settings.KEY_RULESET)
    for name in ("CODEOWNERS", *rules):
        (world.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / name, world.root / name)
    for name in ("policy", "params"):
        shutil.copy(PROJECT / f"{name}.classification.yaml", world.root / f"{name}.yaml")
    (world.root / "CODEOWNERS").write_text(OWNERS)
    world.git("init", "--quiet")
    world.git("config", "user.name", "Ann")
    world.git("config", "user.email", "ann@example.org")
    world.git("remote", "add", "origin", "https://x:secret@github.com/acme/tides.git")
    monkeypatch.setenv("GITHUB_TOKEN", "token")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(registry.Registry, "tags", lambda _: ["candidate-1"])
    made = github.GitHub.__init__

    def with_answers(self: github.GitHub, repository: github_api.Repository) -> None:
        made(self, repository)
        address = f"{repository.api}/repos/{repository.name}"
        transport = httpx.MockTransport(world.answer)
        self.client = httpx.Client(transport=transport, base_url=address)

    monkeypatch.setattr(github.GitHub, "__init__", with_answers)
    return world


@pytest.fixture
def verb(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verb:
    """Run a verb in the clone: exit code, output, errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(world.root)
        monkeypatch.setattr(sys, "argv", ["model", *arguments])
        code = 0
        try:
            cli_app.main()
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_nothing_is_wrong_where_all_is_as_it_should_be(world: World) -> None:
    found = world.checks()

    states = {name: check.state for name, checks in found.items() for check in checks}
    notes = {name for name, state in states.items() if state != "ok"}
    assert notes == {"DEPLOY_RUNNER", "TRAIN_RUNNER", "PREDICTION_LOG"}
    assert len(states) == 21
    assert world.written == []
    assert world.plan() == []


@pytest.mark.parametrize(
    ("answers", "name", "state", "words"),
    [
        ({"/repos/acme/tides": (401, {})}, "token", "FAILED", "does not know it"),
        ({"/repos/acme/tides": (404, {})}, "repository", "FAILED", "https://github.com/new"),
        ({"/repos/acme/tides": (301, {})}, "origin", "FAILED", "git remote set-url origin"),
        ({"/repos/acme/tides": (200, None)}, "repository", "FAILED", "nobody answers"),
        ({"/repos/acme/tides": REPOSITORY | {"full_name": "acme/tide"}}, "origin", "FAILED",
         "renamed to acme/tide"),
        ({"/user": HIDDEN}, "token", "note", "of an app or a job"),
        ({"/user": (500, {})}, "token", "FAILED", "cannot be checked"),
        ({"/repos/acme/tides": REPOSITORY | {"permissions": {"push": True}}}, "token", "note",
         "ann, who may push"),
        ({"/repos/acme/tides": REPOSITORY | {"default_branch": "trunk"}}, "repository", "FAILED",
         "trunk, not main Settings > General > Default branch"),
        ({"/branches/main": (404, {})}, "repository", "FAILED", "git push"),
        ({"/actions/permissions": HIDDEN}, "actions", "note", "not visible with this token"),
        ({"/actions/permissions": (500, {})}, "actions", "FAILED", "cannot be checked"),
        ({"/actions/permissions": {"enabled": False}}, "actions", "FAILED",
         "https://github.com/acme/tides/settings/actions"),
        ({"/actions/permissions": {"enabled": True, "allowed_actions": "local_only"}}, "actions",
         "FAILED", "astral-sh/setup-uv"),
        ({"/actions/permissions": {"enabled": True, "allowed_actions": "selected"}}, "actions",
         "note", "astral-sh/setup-uv"),
        ({"/actions/permissions/workflow": {"default_workflow_permissions": "write"}},
         "workflow permissions", "FAILED", "write; should be read model setup-github"),
        ({"/actions/permissions/workflow": {"default_workflow_permissions": "read"}},
         "GitHub Actions may open pull requests", "FAILED",
         "Allow GitHub Actions to create and approve pull requests"),
        ({"/actions/permissions/workflow": HIDDEN}, "workflows", "note", "not visible"),
        ({"/rulesets": []}, "ruleset", "FAILED", "missing: main model setup-github"),
        ({"/rulesets": HIDDEN}, "ruleset", "note", "not visible"),
        ({"/rulesets/7": RULES | {"id": 7, "enforcement": "disabled"}}, "ruleset", "FAILED",
         "enforcement: disabled; should be active"),
        ({"/rulesets/7": RULES | {"id": 7, "rules": RULES["rules"][1:]}}, "ruleset", "FAILED",
         "deletion: no; should be yes"),
        ({"/rulesets/7": RULES | {"id": 7, "rules": [{"type": "update"}, *RULES["rules"]]}},
         "ruleset", "FAILED", "update: yes; should be no"),
        ({"/rulesets/7": RULES | {"id": 7, "bypass_actors": [{"actor_id": 5}]}}, "ruleset",
         "FAILED", 'bypass_actors: [{"actor_id": 5}]; should be []'),
        ({"/rulesets/7": {k: RULES[k] for k in RULES if k != "bypass_actors"} | {"id": 7}},
         "ruleset", "note", "who may bypass it is not visible"),
        ({"/rulesets": ANSWERS["/rulesets"][:2]}, "ledger", "FAILED",
         "none: whoever may push can delete, rewrite and append to env/* model setup-github"),
        ({"/rulesets/8": LEDGER | {"rules": LEDGER["rules"][1:], "id": 8}}, "ledger", "FAILED",
         "ruleset env, deletion: no; should be yes"),
        ({"/rulesets/8": LEDGER | {"enforcement": "evaluate", "id": 8}}, "ledger", "FAILED",
         "ruleset env, enforcement: evaluate; should be active"),
        ({"/rulesets/8": LEDGER | {"bypass_actors": KEY["bypass_actors"], "id": 8}}, "ledger",
         "FAILED", "ruleset env, bypass_actors"),
        ({"/rulesets/8": {k: LEDGER[k] for k in LEDGER if k != "bypass_actors"} | {"id": 8}},
         "ledger", "note", "who may bypass it is not visible"),
        ({"/rulesets": HIDDEN}, "ledger", "note", "not visible"),
        ({"/branches/env": {"name": "env"}}, "branch env", "FAILED",
         "git cannot make env/production git fetch origin && git push origin origin/env:refs/heads"
         "/env-old git push origin --delete env"),
        ({"/rules/branches/main": STRICT}, "branches", "FAILED", "the ruleset of acme"),
        ({"/environments": {"environments": [{"name": "staging"}]}}, "environments", "FAILED",
         "missing: production"),
        ({"/environments": HIDDEN}, "environments", "note", "not visible"),
        ({"/codeowners/errors": (404, {})}, "code owners", "FAILED", "CODEOWNERS is not on main"),
        ({"/codeowners/errors": {"errors": [
            {"line": 1, "message": "Unknown owner on line 1: x\n\n  ^", "source": "* @acme/x"},
            {"line": 2, "message": "Unknown owner on line 2: y", "source": "a @acme/y"}]}},
         "code owners", "FAILED", "Unknown owner on line 1: x, and 1 more"),
        ({"/orgs/acme/teams/approvers": (404, {})}, "approvers", "note", "read:org"),
        ({"/orgs/acme/teams/approvers": HIDDEN}, "approvers", "note", "not visible"),
        ({"/orgs/acme/teams/approvers": (404, {}), "/codeowners/errors": {"errors": [
            {"line": 2, "message": "Unknown owner", "source": "/deploy/ @acme/approvers"}]}},
         "approvers", "FAILED", "https://github.com/orgs/acme/new-team"),
        ({"/repos/acme/tides": REPOSITORY | {"owner": {"type": "User"}}}, "approvers", "FAILED",
         "write @acme: edit CODEOWNERS"),
        ({"/labels": [{"name": "Model", "description": ""}]}, "labels", "FAILED",
         "missing: deployment-staging,"),
        ({"/actions/variables": HIDDEN}, "trust", "note", "not visible"),
        ({"/actions/variables": HIDDEN}, "variables", "note", "not visible"),
        ({"/actions/variables": HIDDEN}, "registry", "note", "not visible"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_what_to_do(
    world: World, answers: dict[str, Any], name: str, state: str, words: str
) -> None:
    world.answers |= answers
    found = world.checks()[name]

    said = [f"{check.message} {' '.join(check.remedy)}" for check in found if check.state == state]
    assert any(words in text for text in said), found
    assert not {check.state for check in found} & {"ok"} - {"ok" if name == "origin" else ""}


@pytest.mark.parametrize(
    ("variables", "answers", "name", "state", "words"),
    [
        ({}, {}, "trust", "note", "TRUST is not set, so digest: UNATTESTED"),
        ({"TRUST": "digest"}, {}, "trust", "note", "UNATTESTED"),
        ({"TRUST": "atested"}, {}, "trust", "FAILED", "'atested'"),
        ({"TRUST": "attested"}, PRIVATE | {"/orgs/acme": {"plan": {"name": "team"}}}, "trust",
         "FAILED", "the plan is team"),
        ({"TRUST": "attested"}, PRIVATE | {"/orgs/acme": {"plan": {"name": "enterprise"}}}, "trust",
         "ok", "attested"),
        ({"TRUST": "attested"}, PRIVATE | {"/orgs/acme": {}}, "trust", "note", "the plan is not"),
        ({"TRUST": "attested"}, {"/repos/acme/tides": PRIVATE["/repos/acme/tides"] | {
            "visibility": "internal"}}, "trust", "ok", "attested"),
        ({"TRUST": "attested"}, {"/repos/acme/tides": PRIVATE["/repos/acme/tides"] | {
            "owner": {"type": "User"}}}, "trust", "FAILED", "the plan is free"),
        ({"DEPLOY_RUNNER": "pier"}, {}, "DEPLOY_RUNNER", "ok", "pier"),
        ({"DEPLOY_RUNNER": "pier"}, {}, "MODEL_STATE", "FAILED", "settings/variables/actions"),
        ({"DEPLOY_RUNNER": "pier"}, {}, "PREDICTION_LOG", "note", "reads what the service"),
        ({"REGISTRY": "no registry"}, {}, "registry", "FAILED", "not HOST/NAME"),
        ({"PROMOTION_APP_ID": "1"}, {"/actions/permissions/workflow": {
            "default_workflow_permissions": "read"}},
         "GitHub Actions may open pull requests", "ok", "PROMOTION_APP_KEY"),
    ],
)  # fmt: skip
def test_variables(
    world: World, variables: dict[str, str], answers: dict[str, Any],
    name: str, state: str, words: str,
) -> None:  # fmt: skip
    world.set_variables(**variables)
    world.answers |= answers
    (found,) = world.checks()[name]

    assert found.state == state
    assert words in f"{found.message} {' '.join(found.remedy)}"


def test_the_organisations_variables_count_and_the_repositorys_win(world: World) -> None:
    shared = [{"name": "TRUST", "value": "x"}, {"name": "TRAIN_RUNNER", "value": "big"}]
    world.answers["/actions/organization-variables"] = {"variables": shared}

    found = world.checks()

    assert found["trust"][0].message == "attested"
    assert found["TRAIN_RUNNER"][0].message == "big"
    world.set_variables()
    assert "variable TRUST" not in str(world.plan())


def test_a_plan_without_rulesets_has_a_word_about_what_stands_in(world: World) -> None:
    world.answers |= PRIVATE | {"/rulesets": UPGRADE, "/environments": (404, {})}
    world.set_variables()
    found = world.checks()

    for name in ("ruleset", "ledger", "environments", "code owners"):
        assert [check.state for check in found[name]] == ["note"]
    assert found["ledger"][0].message.startswith("none: private repositories have no rulesets")
    assert "deployment itself asks for 1 approval" in found["ruleset"][0].message
    assert "branches" not in found
    assert [str(step) for step in world.plan()] == ["+ variable TRUST: digest"]
    policy = world.root / "policy.yaml"
    policy.write_text(policy.read_text().replace("approvals: 1", "approvals: 0"))
    found = world.checks()
    (check,) = found["ruleset"]
    assert (check.state, check.remedy[0][:12]) == ("FAILED", "environments")
    (check,) = found["alone"]
    assert (check.state, check.message[-35:]) == ("note", "nobody but you approves, explicitly")


@pytest.mark.parametrize(
    ("tags", "released", "state", "words"),
    [
        (["dir-1", "dir-2"], True, "ok", "ghcr.io/acme/tides may be read, and has 2 tags"),
        ([], False, "note", "holds nothing yet"),
        ([], True, "FAILED", "is empty, and deploy/ names a model"),
        (connection.DeniedError("no"), False, "note", "may not be read, or holds nothing yet"),
        (connection.DeniedError("may not read"), True, "FAILED", "may not read"),
        (connection.RegistryError("tried 4 times"), False, "FAILED", "tried 4 times"),
    ],
)
def test_the_registry(
    world: World, monkeypatch: pytest.MonkeyPatch,
    tags: Any, released: bool, state: str, words: str,
) -> None:  # fmt: skip
    def answer(_: registry.Registry) -> list[str]:
        if isinstance(tags, Exception):
            raise tags
        found: list[str] = tags
        return found

    monkeypatch.setattr(registry.Registry, "tags", answer)
    if released:
        (world.root / "deploy" / "staging").mkdir(parents=True)
        (world.root / "deploy" / "staging" / "model.yaml").touch()
    (found,) = world.checks()["registry"]

    assert found.state == state
    assert words in found.message


def test_github_enterprise_server_has_other_addresses(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://git.acme.org")
    world.git("remote", "set-url", "origin", "git@git.acme.org:acme/tides.git")
    world.answers["/rulesets"] = []
    found = world.checks()

    assert found["origin"][0].message == "git.acme.org:acme/tides.git"
    assert "https://git.acme.org/acme/tides/settings/rules" in found["ruleset"][0].remedy
    assert "containers.git.acme.org" in found["registry"][0].remedy[0]
    assert (found["trust"][0].state, found["trust"][0].remedy[0]) == (
        "FAILED", "set TRUST to digest",
    )  # fmt: skip


def test_a_clone_that_is_shallow_and_nobodys(world: World) -> None:
    world.git("config", "--unset", "user.email")
    (world.root / ".git" / "shallow").write_text("a" * 40 + "\n")

    found = {check.name: check for check in doctor.clone(world.here.git)}

    assert (found["clone"].state, found["clone"].remedy) == ("FAILED", ("git fetch --unshallow",))
    assert (found["identity"].state, len(found["identity"].remedy)) == ("note", 2)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (None, "git remote add origin https://github.com/OWNER/NAME.git"),
        ("https://x:secret@example.org/a/b.git", "GITHUB_SERVER_URL"),
        ("https://github.community/a/b.git", "GITHUB_SERVER_URL"),
        ("https://not-github.com/a/b.git", "GITHUB_SERVER_URL"),
        ("https://github.com/a", "GITHUB_SERVER_URL"),
    ],
)
def test_an_origin_elsewhere(world: World, address: str | None, words: str) -> None:
    world.git("remote", "remove", "origin")
    if address:
        world.git("remote", "add", "origin", address)
    found = world.checks()

    (check,) = found["origin"]
    assert check.state == "FAILED"
    assert words in " ".join(check.remedy)
    assert "secret" not in str(found)
    assert "repository" not in found


def test_without_a_token_the_clone_is_checked(
    world: World, monkeypatch: pytest.MonkeyPatch, verb: Verb
) -> None:
    monkeypatch.delenv("GITHUB_TOKEN")

    code, out, _ = verb("doctor")

    assert code == 1
    assert "FAILED token: GITHUB_TOKEN is not set\n       export GITHUB_TOKEN=$(gh auth" in out
    code, _, err = verb("setup-github", "--yes")
    assert code == 2
    assert err.splitlines()[-1].startswith("model: token: GITHUB_TOKEN is not set: export ")
    assert world.written == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (OWNERS, ("@acme/approvers",)),
        ("/deploy/production/ @a\n* @b\n", ("@b",)),
        ("* @a\n/deploy/ @b @c # both\n\n# /deploy/ @d\n", ("@b", "@c")),
        ("model.yaml @a\n/production/ @b\nproduction/ @c\n", ("@c",)),
        ("* @a\n/deploy/production/\n", ()),
        ("/deploy/staging/ @a\n", ()),
    ],
)
def test_the_last_line_that_matches_names_the_owners(text: str, found: tuple[str, ...]) -> None:
    assert owners.owners(text) == found


def test_people_own_production_too(world: World) -> None:
    (world.root / "CODEOWNERS").write_text("/deploy/production/ @ben @gone mail@example.org\n")
    assert [check.state for check in world.checks()["approvers"]] == ["ok", "FAILED", "note"]
    (world.root / "CODEOWNERS").write_text("/deploy/production/\n")
    (check,) = world.checks()["approvers"]
    assert (check.state, "nobody owns" in check.message) == ("FAILED", True)
    world.answers["/users/ben"] = (500, {})
    (world.root / "CODEOWNERS").write_text("* @ben\n")
    assert world.checks()["code owners"][-1].message.startswith("cannot be checked")


def test_a_change_of_the_engine_is_named(tmp_path: Path) -> None:
    place = tmp_path / "engine" / "mlrelease"
    place.mkdir(parents=True)
    (place / "gate.py").write_text("LIMIT = 1\n")
    sums = f"{hashlib.sha256(b'LIMIT = 1' + bytes([10])).hexdigest()}  mlrelease/gate.py\n"
    assert list(doctor.engine(tmp_path)) == [], "a project may have it as a dependency"
    (tmp_path / "engine" / "SHA256SUMS").write_text(sums)
    assert [check.state for check in doctor.engine(tmp_path)] == ["ok"]
    for name, content in (("gate.py", "LIMIT = 0\n"), ("added.py", "")):
        before = (place / name).read_text() if (place / name).exists() else None
        (place / name).write_text(content)
        (check,) = doctor.engine(tmp_path)
        assert (check.state, f"engine/mlrelease/{name}" in check.message) == ("FAILED", True)
        (place / name).unlink() if before is None else (place / name).write_text(before)


def test_labels_are_exactly_those_that_are_used() -> None:
    forms = [yaml.safe_load(p.read_text()) for p in (PROJECT / ".github").glob("ISSUE*/*.yml")]
    used = {label for form in forms for label in form.get("labels", [])}
    source = Path(cli_app.__file__).parents[1] / "automation" / "follow_up.py"
    for kind in re.findall(r'(?:label =|return) f"(\w+)-\{', source.read_text()):
        used |= {f"{kind}-{environment}" for environment in ("staging", "production")}

    assert used | {template.LABEL} == set(setup.LABELS)
    assert all(len(words) <= 100 for _, words in setup.LABELS.values())  # GitHub takes no more


def test_the_plan_of_a_new_repository(world: World) -> None:
    world.answers |= {
        "/actions/permissions/workflow": {"default_workflow_permissions": "write"},
        "/rulesets": [],
        "/environments": {"environments": []},
        "/labels": [
            {"name": "Model", "description": None},
            {"name": "code", "description": "Ours"},
        ],
    }
    world.set_variables()
    lines = [str(difference) for step in world.plan() for difference in step.differences]

    assert lines[:7] == [
        "~ workflow permissions: write -> read",
        "~ GitHub Actions may open pull requests: no -> yes",
        "+ variable TRUST: attested",
        "+ ruleset main: deletion, non_fast_forward, pull_request, required_status_checks",
        "+ ruleset env: deletion, non_fast_forward",
        "+ environment staging",
        "+ environment production",
    ]
    assert "~ label model: no description -> The model is wrong" in lines
    assert not [line for line in lines if "label code" in line]
    assert len(lines) == 13


ONLY_MAIN = {
    "name": "release", "protection_rules": [{"type": "branch_policy"}],
    "deployment_branch_policy": {"protected_branches": False, "custom_branch_policies": True},
}  # fmt: skip
RELEASE = "/environments/release"
POLICIES = f"{RELEASE}/deployment-branch-policies"
MAIN = {"id": 1, "name": "main", "type": "branch"}


def make_strict(world: World, *keys: str) -> None:
    """A repository where `--strict` is done, and these deploy keys may push."""
    listed = [*ANSWERS["/rulesets"], {"id": 9, "name": "env-key", "source_type": "Repository"}]
    world.answers |= {
        "/rulesets": listed,
        "/rulesets/9": copy.deepcopy(KEY) | {"id": 9},
        "/keys": [{"title": key, "read_only": False} for key in keys]
        + [{"title": "mirror", "read_only": True}],
        RELEASE: ONLY_MAIN,
        POLICIES: {"branch_policies": [MAIN]},
        f"{RELEASE}/secrets": {"secrets": [{"name": "LEDGER_KEY"}]},
    }


def test_the_level_append_only_says_what_it_does_not_stop(world: World) -> None:
    world.set_variables(TRUST="digest")
    (check,) = world.checks()["ledger"]
    assert (check.state, check.message) == (
        "ok",
        "append-only: nobody can delete or rewrite env/*; whoever may push can append",
    )
    world.set_variables(TRUST="attested")
    (check,) = world.checks()["ledger"]
    assert check.message.startswith("append-only, attested: ")
    assert check.message.endswith("deploy.yml signs entries, which nothing checks so far")


def test_the_level_key_names_every_key_that_may_append(world: World) -> None:
    make_strict(world, "ledger")
    world.set_variables(TRUST="digest")
    found = world.checks()
    (check,) = found["ledger"]
    assert (check.state, check.message) == (
        "ok",
        "key: nobody can delete or rewrite env/*; only deploy keys that may write append: ledger",
    )
    assert [check.state for check in found["release"]] == ["ok"]
    assert "ledger key" not in found
    assert world.plan() == []

    make_strict(world, "ledger", "old CI")
    (check,) = world.checks()["ledger"]
    assert (check.state, check.message[-14:]) == ("note", "ledger, old CI")


@pytest.mark.parametrize(
    ("answers", "name", "words"),
    [
        ({"/keys": []}, "ledger key", "no deploy key may write ssh-keygen -q -t ed25519"),
        ({f"{RELEASE}/secrets": {"secrets": []}}, "ledger key", "has no secret LEDGER_KEY"),
        ({RELEASE: (404, {})}, "ledger key", "gh secret set LEDGER_KEY --env release < "),
        ({RELEASE: (404, {})}, "release", "missing: release, main"),
        ({RELEASE: {"name": "release", "deployment_branch_policy": None}}, "release",
         "environment release: every branch; should be only main model setup-github"),
        ({POLICIES: {"branch_policies": [MAIN, MAIN | {"name": "*"}]}}, "release",
         "environment release, branch *: yes; should be no"),
        ({POLICIES: {"branch_policies": [MAIN | {"type": "tag"}]}}, "release", "tag main: yes"),
        ({"/rulesets/9": KEY | {"id": 9, "rules": KEY["rules"][:1]}}, "ledger", "update: no"),
        ({"/rulesets/9": KEY | {"id": 9, "bypass_actors": [
            *KEY["bypass_actors"], {"actor_id": 5, "actor_type": "RepositoryRole"}]}},
         "ledger", "ruleset env-key, bypass_actors"),
    ],
)  # fmt: skip
def test_what_the_level_key_lacks_is_said(
    world: World, answers: dict[str, Any], name: str, words: str
) -> None:
    make_strict(world, "ledger")
    world.answers |= answers
    found = world.checks()[name]

    assert {check.state for check in found} == {"FAILED"}
    said = [f"{check.message} {' '.join(check.remedy)}" for check in found]
    assert any(words in text for text in said), said


def test_strict_first_makes_the_environment_and_only_with_a_key_the_rule(
    world: World, verb: Verb
) -> None:
    make_strict(world)
    for name in (RELEASE, POLICIES, f"{RELEASE}/secrets"):
        del world.answers[name]
    world.answers["/rulesets"] = ANSWERS["/rulesets"]

    code, out, _ = verb("setup-github", "--strict", "--yes")

    assert code == 0
    limited = {"deployment_branch_policy": ONLY_MAIN["deployment_branch_policy"]}
    assert world.written == [
        ("PUT", RELEASE, limited), ("POST", POLICIES, {"name": "main", "type": "branch"}),
    ]  # fmt: skip
    commands = [
        "FAILED ledger key: no deploy key may write; the environment release has no",
        "       secret LEDGER_KEY",
        "       ssh-keygen -q -t ed25519 -N '' -C ledger -f ~/.ssh/ledger-key",
        "       gh repo deploy-key add ~/.ssh/ledger-key.pub --title ledger --allow-write",
        "       gh secret set LEDGER_KEY --env release < ~/.ssh/ledger-key",
        "       rm ~/.ssh/ledger-key ~/.ssh/ledger-key.pub",
        "       model setup-github --strict",
    ]
    assert "\n".join(commands) in out, "each whole on its line, to be copied"
    make_strict(world, "ledger")
    world.answers["/rulesets"] = ANSWERS["/rulesets"]
    world.written.clear()
    code, out, _ = verb("setup-github", "--strict", "--yes")
    assert world.written == [("POST", "/rulesets", KEY)]
    assert "ledger key" not in out
    world.written.clear()
    assert "nothing to do" in verb("setup-github", "--yes")[1], "strict is asked for"


def test_who_reviews_and_waits_stays_when_branches_are_limited(world: World) -> None:
    make_strict(world, "ledger")
    rules: list[Any] = [
        {"type": "wait_timer", "wait_timer": 30},
        {
            "type": "required_reviewers", "prevent_self_review": True,
            "reviewers": [{"type": "Team", "reviewer": {"id": 4, "slug": "approvers"}}],
        },
    ]  # fmt: skip
    world.answers[RELEASE] = {
        "protection_rules": [*rules, {"type": "branch_policy"}],
        "deployment_branch_policy": {"protected_branches": True, "custom_branch_policies": False},
    }

    put, post = world.plan()

    assert (put.method, put.path, post.method) == ("PUT", RELEASE, "POST")
    assert put.content == {
        "wait_timer": 30,
        "reviewers": [{"type": "Team", "id": 4}],
        "prevent_self_review": True,
        "deployment_branch_policy": ONLY_MAIN["deployment_branch_policy"],
    }


def test_a_plan_without_rulesets_cannot_be_strict(world: World, verb: Verb) -> None:
    world.answers |= PRIVATE | {"/rulesets": UPGRADE, "/environments": (404, {})}
    out = verb("setup-github", "--strict", "--yes")[1]
    assert "nothing to do" in out
    assert "note   ledger: none: private repositories have no rulesets on this plan" in out
    assert "ledger key" not in out


def test_nothing_is_planned_that_a_token_cannot_see(world: World) -> None:
    world.answers["/actions/variables"] = HIDDEN
    with pytest.raises(errors.RefusedError, match="cannot see every setting .*Variables"):
        world.plan()
    world.answers["/actions/variables"] = (500, {})
    with pytest.raises(github_api.GitHubError, match="500"):
        world.plan()
    world.answers["/actions/permissions/workflow"] = HIDDEN
    with pytest.raises(errors.RefusedError, match="ask somebody who administers acme/tides"):
        world.plan()
    world.answers["/repos/acme/tides"] = (404, {})
    with pytest.raises(errors.InputError, match="acme/tides is not there"):
        world.plan()


def test_without_a_terminal_and_without_yes_nothing_is_changed(world: World, verb: Verb) -> None:
    world.answers["/environments"] = {"environments": []}

    code, out, _ = verb("setup-github")

    assert code == 0
    assert "+ environment staging\n+ environment production\n" in out
    assert out.endswith("nothing was changed; --yes does it\n")
    assert json.loads(verb("setup-github", "--json")[1])["changed"] == 0
    assert world.written == []


@pytest.mark.parametrize(("answer", "changes"), [("y\n", 2), ("n\n", 0), ("", 0)])
def test_on_a_terminal_a_person_is_asked(
    world: World, verb: Verb, monkeypatch: pytest.MonkeyPatch, answer: str, changes: int
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    world.answers["/environments"] = {"environments": []}
    monkeypatch.setattr(sys, "stdin", Terminal(answer))

    code, out, _ = verb("setup-github")

    assert len(world.written) == changes
    assert ("2 of 2 steps done" in out) == bool(changes)
    assert code == (0 if answer else 1)


def test_a_step_that_fails_is_named_and_the_others_are_done(world: World, verb: Verb) -> None:
    world.answers |= {"/environments": {"environments": []}, "/rulesets": []}
    world.set_variables()
    world.faults["/rulesets"] = (422, {"message": "Validation Failed"})

    code, out, _ = verb("setup-github", "--yes")

    assert code == 1
    assert "FAILED ruleset main: GitHub: POST /rulesets: 422 Validation Failed\n" in out
    assert "FAILED ruleset env: GitHub: POST /rulesets: 422 Validation Failed\n" in out
    assert "3 of 5 steps done\nrun it again: what is done stays done\n" in out
    assert [path for _, path, _ in world.written] == [
        "/actions/variables", "/rulesets", "/rulesets", "/environments/staging",
        "/environments/production",
    ]  # fmt: skip
    assert [content for _, path, content in world.written if path == "/rulesets"] == [RULES, LEDGER]


def test_when_nobody_answers_any_more_it_stops(world: World, verb: Verb) -> None:
    world.answers |= {"/environments": {"environments": []}}
    world.faults["/environments/staging"] = (0, None)

    facts = json.loads(verb("setup-github", "--yes", "--json")[1])

    assert facts["changed"] == 0
    assert "nobody answers" in facts["failed"][0]["fault"]
    assert "/environments/production" not in {path for _, path, _ in world.written}


def test_what_is_left_for_people_is_listed(world: World, verb: Verb) -> None:
    world.answers |= {"/branches/main": (404, {}), "/rulesets": []}
    code, out, _ = verb("setup-github", "--yes")
    assert (code, world.written) == (0, [])
    assert "nothing to do\n\nby hand:\nnote   ruleset: run this again after the first push" in out
    assert "https://github.com/organizations/acme/settings/apps/new" in out
    world.answers |= {name: ANSWERS[name] for name in ("/branches/main", "/rulesets")}
    world.set_variables(TRUST="digest", PROMOTION_APP_ID="1")
    assert "by hand" not in verb("setup-github")[1]


def test_what_is_printed_fits_80_columns(world: World, verb: Verb) -> None:
    world.answers |= {"/rulesets": [], "/labels": [], "/environments": HIDDEN}
    code, out, _ = verb("doctor")
    long = [line for line in out.splitlines() if len(line) > 80 and "http" not in line]
    assert (code, long) == (1, [])
    assert out.startswith("acme/tides on https://github.com\n\nok     clone: ")
    assert out.endswith("\n\n3 FAILED\n")
    facts = json.loads(verb("doctor", "--json")[1])
    assert facts["passed"] is False
    assert {"name": "clone", "state": "ok", "message": "has the whole history", "remedy": []} in (
        facts["checks"]
    )


def keep_rows_secret(world: World) -> None:
    path = world.root / "params.yaml"
    path.write_text(path.read_text().replace("  public: true", "  public: false"))


def test_rows_that_not_everybody_may_see_need_a_registry(world: World) -> None:
    keep_rows_secret(world)
    (found,) = world.checks()["rows"]
    assert found.state == "FAILED"
    assert "set MODEL_ROWS to a private repository" in found.message
    assert "ghcr.io/acme/tides-rows" in found.message


def test_a_registry_that_strangers_can_read_is_found(
    world: World, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_rows_secret(world)
    models = registry.Registry(f"{server.host}/acme/tides-{tmp_path.name}")
    rows = registry.Registry(f"{models}-rows")
    monkeypatch.setenv("MODEL_STORE", str(models))
    world.set_variables(MODEL_ROWS=str(rows))
    assert [check.state for check in world.checks()["rows"]] == ["ok"]  # it holds nothing yet
    with pytest.raises(errors.RefusedError):
        privacy.refuse_readable(rows)
    (found,) = world.checks()["rows"]
    assert (found.state, found.message) == (
        "FAILED", f"everybody can read {rows}, without credentials",
    )  # fmt: skip


def test_a_holdout_that_was_published_before_is_found(
    world: World, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = registry.Registry(f"{server.host}/acme/tides-{tmp_path.name}")
    holdout = plant(tmp_path / "holdout", {("holdout.parquet",): b"Ann, 39"})
    digest = store.Store(tmp_path / "store", models).put_rows(holdout, public=True)
    path = world.root / "deploy" / "staging" / "model.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(
        record.Record(
            environment="staging",
            model=digest,
            version="1",
            runtime="onnx",
            source=record.Source(commit="a" * 40),
            data=record.DataDigests(train=digest, holdout=digest),
            evaluation=digest,
            policy=digest,
            trust="digest",
            replaces=record.Replaces(),
        ).write()
    )
    monkeypatch.setenv("MODEL_STORE", str(models))
    world.set_variables(MODEL_ROWS=f"{models}-none")  # answers, and holds nothing
    keep_rows_secret(world)
    first, second = world.checks()["rows"]
    assert first.state == "ok"
    assert second.state == "FAILED"
    assert "model forget --data" in second.remedy[0]
