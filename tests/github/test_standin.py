"""The stand-in, used as a workflow uses GitHub, and how it refuses."""

import base64
import hashlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from .repository import Repository, environment
from .standin import GitHub

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # quicker than the usual one, and not used
WRITE = {"contents": "write", "pull-requests": "write", "issues": "write", "statuses": "write"}
WORKFLOW = """
on:
  workflow_dispatch:
    inputs:
      environment: {type: choice, options: [staging, production], required: true}
      reason: {default: none given}
      digest: {required: true}
      dry-run: {type: boolean}
"""
CHECK = {
    "type": "required_status_checks",
    "parameters": {
        "required_status_checks": [{"context": "gate"}],
        "strict_required_status_checks_policy": False,
    },
}
REVIEW = {
    "type": "pull_request",
    "parameters": {
        "dismiss_stale_reviews_on_push": True,
        "require_code_owner_review": False,
        "require_last_push_approval": False,
        "required_approving_review_count": 1,
        "required_review_thread_resolution": False,
    },
}


LEDGER = {"ref_name": {"include": ["refs/heads/env/*"], "exclude": []}}
APPEND_ONLY = ({"type": "deletion"}, {"type": "non_fast_forward"})
KEYS_ONLY = [{"actor_id": None, "actor_type": "DeployKey", "bypass_mode": "always"}]
ACTIONS = {"actor_id": 15368, "actor_type": "Integration", "bypass_mode": "always"}


class Client:
    """One caller of one repository."""

    def __init__(self, github: GitHub, repository: Repository, token: str | None) -> None:
        self.github, self.repository, self.token = github, repository, token
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.http = httpx.Client(headers=headers, verify=NO_TLS, trust_env=False, timeout=30)

    def __call__(self, call: str, **body: Any) -> httpx.Response:
        """`client("POST pulls", title=...)`; a path with `/` in front is not the repository's."""
        method, path = call.split(" ", 1)
        if not path.startswith("/"):
            path = f"/repos/{self.repository.full_name}/{path}".rstrip("/")
        content = body or None
        return self.http.request(method, self.github.api_url + path, json=content)

    def push(self, *refspecs: str) -> str:
        """What git says of a push from a clone; the clone's HEAD is the branch `work`."""
        host = self.github.url.removeprefix("http://")
        address = f"http://any:{self.token}@{host}/{self.repository.full_name}.git"
        return git("push", address, *refspecs, cwd=self.github.root / "clone")


def git(*arguments: str, cwd: Path) -> str:
    """What git prints, also when it fails."""
    result = subprocess.run(
        ["git", *arguments],
        cwd=cwd,
        env=environment(GIT_TERMINAL_PROMPT="0"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return result.stdout + result.stderr


def message(response: httpx.Response) -> str:
    """All that an error says."""
    content = response.json()
    return f"{content['message']} {content.get('errors', '')}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitHub]:
    with GitHub(tmp_path_factory.mktemp("github")) as github:
        yield github


@pytest.fixture
def github(server: GitHub, tmp_path: Path) -> Iterator[GitHub]:
    """One server for all tests, nothing of the tests before."""
    server.plan = "team"
    server.root = tmp_path
    for kept in (server.events, server.suppressed, server.calls, server.unknown, server.runs):
        kept.clear()
    server.repositories.clear()
    server.teams.clear()
    server.private_members.clear()
    yield server
    assert server.unknown == []


@pytest.fixture(scope="module")
def template(server: GitHub) -> Repository:
    """One commit on main, and one more on topic; made once, as it takes many git processes."""
    repository = server.create_repository("acme/template")
    server.commit(repository, {"README.md": "# Model\n", ".github/workflows/go.yml": WORKFLOW})
    server.commit(repository, {"deploy/staging/model.yaml": "digest: a\n"}, branch="topic")
    return repository


@pytest.fixture
def repository(template: Repository, github: GitHub) -> Repository:
    repository = github.create_repository("acme/my-model")
    shutil.copytree(template.path, repository.path, dirs_exist_ok=True)
    return repository


@pytest.fixture
def ann(github: GitHub, repository: Repository) -> Client:
    return Client(github, repository, github.user("ann"))


@pytest.fixture
def bob(github: GitHub, repository: Repository) -> Client:
    return Client(github, repository, github.user("bob"))


@pytest.fixture
def admin(github: GitHub, repository: Repository) -> Client:
    return Client(github, repository, github.user("root", role="admin"))


@pytest.fixture
def clone(github: GitHub, repository: Repository) -> Path:
    """A clone on the branch `work`, one commit ahead of main."""
    folder = github.root / "clone"
    address = f"{github.url}/{repository.full_name}.git"
    git("clone", "--quiet", address, str(folder), cwd=github.root)
    git("switch", "--quiet", "--create", "work", cwd=folder)
    commit(folder, "data.csv")
    github.calls.clear()
    return folder


def commit(clone: Path, name: str) -> None:
    path = clone / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("changed\n")
    git("add", "--all", cwd=clone)
    git("commit", "--quiet", "--message", f"Change {name}", cwd=clone)


def job(github: GitHub, repository: Repository, **permissions: str) -> Client:
    """A job called `propose`; `pull_requests="write"` grants pull-requests: write."""
    granted = {name.replace("_", "-"): level for name, level in permissions.items()}
    return Client(github, repository, github.job_token(repository, granted, job="propose"))


def open_pull(client: Client, **more: Any) -> dict[str, Any]:
    body = {"title": "Promote a", "head": "topic", "base": "main"} | more
    response = client("POST pulls", **body)
    assert response.status_code == 201, response.text
    content: dict[str, Any] = response.json()
    return content


def protect(admin: Client, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    conditions = {"ref_name": {"include": ["~DEFAULT_BRANCH"], "exclude": []}}
    body = {"name": "main", "enforcement": "active", "conditions": conditions} | more
    response = admin("POST rulesets", **body, rules=list(rules))
    assert response.status_code == 201, response.text
    content: dict[str, Any] = response.json()
    return content


class TestPromotion:
    def test_a_model_goes_from_a_branch_to_a_deployment(
        self, github: GitHub, repository: Repository, ann: Client, admin: Client
    ) -> None:
        """The whole sequence, as the workflows and their people go through it."""
        protect(admin, CHECK, REVIEW, {"type": "deletion"}, {"type": "non_fast_forward"})
        admin(
            "PUT actions/permissions/workflow",
            default_workflow_permissions="read",
            can_approve_pull_request_reviews=True,
        )
        promote = job(github, repository, **{k.replace("-", "_"): v for k, v in WRITE.items()})
        pull = open_pull(promote, body="digest a")
        number, head = pull["number"], pull["head"]["sha"]
        assert promote(f"POST issues/{number}/labels", labels=["promotion"]).status_code == 200
        assert promote(f"POST issues/{number}/comments", body="# Report").status_code == 201
        assert github.events == []  # a job's events start nothing ...
        actions = [event.action for event in github.suppressed]
        assert actions == ["opened", "labeled", "created"]

        assert ann(f"PUT pulls/{number}/merge").status_code == 405
        promote(f"POST statuses/{head}", state="success", context="gate")
        assert "approving review" in message(ann(f"PUT pulls/{number}/merge"))
        ann(f"POST pulls/{number}/reviews", event="APPROVE")
        assert ann(f"GET pulls/{number}").json()["mergeable_state"] == "clean"
        merged = ann(f"PUT pulls/{number}/merge", sha=head, merge_method="squash")
        assert merged.status_code == 200
        assert repository.branch("main") == merged.json()["sha"]

        review, closed, push = github.events  # ... a person's do
        assert (review.name, review.action) == ("pull_request_review", "submitted")
        assert (push.name, push.ref) == ("push", "refs/heads/main")
        assert push.payload["after"] == merged.json()["sha"]
        assert push.payload["commits"][0]["added"] == ["deploy/staging/model.yaml"]
        assert (closed.name, closed.payload["pull_request"]["merged"]) == ("pull_request", True)
        assert ann(f"GET commits/{push.sha}/pulls").json()[0]["number"] == number

        deploy = job(github, repository, contents="read", deployments="write")
        made = deploy("POST deployments", ref=push.sha, environment="staging", auto_merge=False)
        assert made.status_code == 201
        path = f"deployments/{made.json()['id']}/statuses"
        assert deploy(f"POST {path}", state="success").status_code == 201
        assert deploy(f"GET {path}").json()[0]["state"] == "success"
        assert deploy("GET environments/staging").status_code == 200
        used = {call.permission for call in github.calls if call.who == "propose"}
        assert ("deployments", "write") in used

    def test_a_pull_request_follows_its_branch(
        self, github: GitHub, repository: Repository, ann: Client
    ) -> None:
        number = open_pull(ann)["number"]
        opened = github.events[-1]
        assert (opened.action, opened.ref) == ("opened", "refs/pull/1/merge")
        assert opened.sha == repository.refs()["refs/pull/1/merge"]

        new = github.commit(repository, {"b": "b"}, branch="topic", by=ann.token)
        assert ann(f"GET pulls/{number}").json()["head"]["sha"] == new
        assert github.events[-1].action == "synchronize"
        assert github.events[-1].payload["after"] == new
        files = [file["filename"] for file in ann(f"GET pulls/{number}/files").json()]
        assert files == ["b", "deploy/staging/model.yaml"]
        assert len(ann(f"GET pulls/{number}/commits").json()) == 2

    def test_a_push_of_its_commits_to_the_base_merges_it(self, github: GitHub, ann: Client) -> None:
        pull = open_pull(ann)
        ann("PATCH git/refs/heads/main", sha=pull["head"]["sha"])
        assert ann("GET pulls/1").json()["merged"] is True
        assert github.events[-1].payload["pull_request"]["merged"] is True

    def test_deleting_its_branch_closes_it_for_good(self, github: GitHub, ann: Client) -> None:
        open_pull(ann)
        assert ann("DELETE git/refs/heads/topic").status_code == 204
        pull = ann("GET pulls/1").json()
        assert (pull["state"], pull["merged"]) == ("closed", False)
        names = [(event.name, event.action) for event in github.events[1:]]
        assert names == [("delete", None), ("push", None), ("pull_request", "closed")]
        assert "deleted" in message(ann("PATCH pulls/1", state="open"))

    @pytest.mark.parametrize("method", ["merge", "squash", "rebase"])
    def test_merging_deletes_nothing(
        self, repository: Repository, ann: Client, method: str
    ) -> None:
        github = ann.github
        github.commit(repository, {"c": "c"})  # main has moved on
        pull = open_pull(ann)
        assert ann("PUT pulls/1/merge", merge_method=method).status_code == 200
        assert repository.branch("topic") == pull["head"]["sha"]
        content = ann("GET contents/deploy/staging/model.yaml").json()
        assert content["encoding"] == "base64"
        parents = ann("GET commits/main").json()["parents"]
        assert len(parents) == (2 if method == "merge" else 1)
        files = [file["filename"] for file in ann("GET pulls/1/files").json()]
        assert files == ["deploy/staging/model.yaml"]
        assert ann("PUT pulls/1/merge").status_code == 405

    def test_a_rebase_brings_commits_that_main_never_stood_at(
        self, github: GitHub, repository: Repository, ann: Client
    ) -> None:
        """The pull request names the last one; the engine asks so where a model was built."""
        github.commit(repository, {"c": "c"})
        open_pull(ann)
        github.commit(repository, {"d": "d"}, branch="topic")
        assert ann("PUT pulls/1/merge", merge_method="rebase").status_code == 200
        tip, middle = repository.git("rev-list", "--max-count=2", "main").split()
        for commit in (tip, middle):
            (pull,) = ann(f"GET commits/{commit}/pulls").json()
            assert (pull["number"], pull["merge_commit_sha"]) == (1, tip)

    def test_no_workflow_runs_for_a_conflict(
        self, github: GitHub, repository: Repository, ann: Client
    ) -> None:
        open_pull(ann)
        github.commit(repository, {"deploy/staging/model.yaml": "digest: c\n"})
        ann("POST issues/1/labels", labels=["promotion"])
        ann("PATCH pulls/1", state="closed")
        events = [event.action for event in github.events if event.name == "pull_request"]
        assert events == ["opened", "closed"]
        assert [event.action for event in github.suppressed] == ["labeled"]

    def test_one_of_many_at_once_opens_it(self, github: GitHub, ann: Client) -> None:
        body = {"title": "Promote", "head": "topic", "base": "main"}
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: ann("POST pulls", **body).status_code, range(16)))
        assert sorted(answers) == [201] + [422] * 15
        assert len(github.events) == 1

    def test_a_renamed_file_is_listed_with_both_names(
        self, github: GitHub, repository: Repository, ann: Client
    ) -> None:
        github.commit(repository, {"README.md": None, "deploy/x.md": "# Model\n"}, branch="topic")
        open_pull(ann)
        renamed = [f for f in ann("GET pulls/1/files").json() if f["status"] == "renamed"]
        assert renamed[0]["previous_filename"] == "README.md"
        assert renamed[0]["filename"] == "deploy/x.md"

    def test_a_fork_proposes_from_its_own_branch(
        self, github: GitHub, repository: Repository, ann: Client
    ) -> None:
        eve = Client(github, repository, github.user("eve", role="none"))
        fork = github.fork("acme/my-model", "eve")
        github.commit(fork, {"x": "x"}, branch="patch", by=eve.token)
        pull = open_pull(eve, head="eve:patch")
        assert pull["head"]["repo"]["full_name"] == "eve/my-model"
        assert eve("PUT pulls/1/merge").status_code == 403
        new = github.commit(fork, {"x": "y"}, branch="patch", by=eve.token)
        assert ann("GET pulls/1").json()["head"]["sha"] == new
        assert ann("GET pulls?head=eve:patch").json()[0]["number"] == 1
        assert ann("PUT pulls/1/merge").status_code == 200


class TestRefusals:
    """Each answer is GitHub's, by status and by words."""

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"head": "absent"}, "'field': 'head', 'code': 'invalid'"),
            ({"base": "absent"}, "'field': 'base', 'code': 'invalid'"),
            ({"head": "main"}, "No commits between main and main"),
            ({"body": "x" * 65537}, "body is too long (maximum is 65536 characters)"),
            ({"title": 5}, "title is not a string"),
            ({"title": None}, '"title" wasn\'t supplied'),
            ({"titel": "x"}, '"titel" is not a permitted key'),
        ],
    )
    def test_a_pull_request_that_cannot_be(
        self, ann: Client, body: dict[str, Any], words: str
    ) -> None:
        good = {"title": "Promote", "head": "topic", "base": "main"}
        response = ann("POST pulls", **good | body)
        assert response.status_code == 422
        assert words in message(response)

    def test_a_second_pull_request_for_the_same_branch(self, ann: Client) -> None:
        open_pull(ann)
        response = ann("POST pulls", title="Again", head="topic", base="main")
        assert response.status_code == 422
        assert "A pull request already exists for acme:topic." in message(response)
        ann("PATCH pulls/1", state="closed")
        open_pull(ann)
        assert ann("PATCH pulls/1", state="open").status_code == 422

    def test_approving_ones_own(self, ann: Client) -> None:
        open_pull(ann)
        response = ann("POST pulls/1/reviews", event="APPROVE")
        assert response.status_code == 422
        assert "Can not approve your own pull request" in message(response)

    def test_jobs_neither_open_nor_approve_unless_the_repository_says_so(
        self, github: GitHub, repository: Repository, ann: Client, admin: Client
    ) -> None:
        writer = job(github, repository, pull_requests="write")
        body = {"title": "Promote", "head": "topic", "base": "main"}
        response = writer("POST pulls", **body)
        assert response.status_code == 403
        words = "GitHub Actions is not permitted to create or approve pull requests."
        assert message(response).strip() == words
        open_pull(ann)
        assert writer("POST pulls/1/reviews", event="APPROVE").status_code == 422
        admin("PUT actions/permissions/workflow", can_approve_pull_request_reviews=True)
        assert writer("POST pulls/1/reviews", event="APPROVE").status_code == 200

    def test_merging_what_has_moved_or_conflicts(
        self, github: GitHub, repository: Repository, ann: Client
    ) -> None:
        stale = open_pull(ann)["head"]["sha"]
        github.commit(repository, {"deploy/staging/model.yaml": "digest: b\n"}, branch="topic")
        assert ann("PUT pulls/1/merge", sha=stale).status_code == 409
        github.commit(repository, {"deploy/staging/model.yaml": "digest: c\n"})
        pull = ann("GET pulls/1").json()
        assert (pull["mergeable"], pull["mergeable_state"]) == (False, "dirty")
        assert ann("PUT pulls/1/merge").status_code == 405
        assert "refs/pull/1/merge" not in repository.refs()

    def test_who_one_is(self, github: GitHub, repository: Repository) -> None:
        nobody = Client(github, repository, None)
        assert nobody("GET ").status_code == 200
        assert nobody("POST issues", title="x").status_code == 401
        assert Client(github, repository, "ghp_forged")("GET ").status_code == 401
        reader = Client(github, repository, github.user("carl", role="read"))
        assert reader("POST issues", title="x").status_code == 201
        assert reader("POST git/refs", ref="refs/heads/x", sha="0").status_code == 403
        quiet = httpx.get(github.api_url + "/user", headers={"User-Agent": ""}, verify=NO_TLS)
        assert quiet.status_code == 403

    @pytest.mark.parametrize(
        "call",
        [
            "POST pulls",
            "POST issues",
            "POST git/refs",
            "POST deployments",
            "POST check-runs",
            "POST dispatches",
            "POST rulesets",
            "POST actions/variables",
            "POST actions/workflows/go.yml/dispatches",
            "GET actions/permissions/workflow",
            "GET actions/variables",
        ],
    )
    def test_a_job_without_the_permission(
        self, github: GitHub, repository: Repository, call: str
    ) -> None:
        response = job(github, repository, contents="read")(call)
        assert response.status_code == 403
        assert response.json()["message"] == "Resource not accessible by integration"

    def test_a_private_repository_is_not_there(self, github: GitHub) -> None:
        private = github.create_repository("acme/secret", private=True)
        elsewhere = github.create_repository("acme/other")
        github.commit(private, {"a": "a"})
        assert Client(github, private, None)("GET ").status_code == 404
        stranger = github.user("eve", role="none")
        assert Client(github, private, stranger)("GET ").status_code == 404
        foreign = github.job_token(elsewhere, {"contents": "read"}, job="x")
        assert Client(github, private, foreign)("GET ").status_code == 404
        assert job(github, private)("GET contents/a").status_code == 403
        assert job(github, private, contents="read")("GET contents/a").status_code == 200

    @pytest.mark.parametrize(
        ("call", "body"),
        [
            ("POST issues", {"title": "x", "labels": ["x" * 51]}),
            ("POST issues", {"title": "x" * 257}),
            ("POST issues", {"title": "x", "body": "x" * 65537}),
            ("POST issues/1/comments", {"body": "x" * 65537}),
            ("POST issues/1/comments", {"body": " "}),
            ("POST labels", {"name": "x" * 51}),
            ("POST labels", {"name": "x", "color": "#ffffff"}),
            ("POST labels", {"name": "Known"}),
            ("POST statuses/HEAD", {"state": "passed"}),
            ("POST statuses/HEAD", {"state": "success", "context": "x" * 256}),
            ("POST statuses/HEAD", {"state": "success", "description": "x" * 141}),
            ("POST statuses/HEAD", {"state": "success", "target_url": "ftp://x"}),
            ("POST statuses/" + "1" * 40, {"state": "success"}),
            ("POST deployments", {"ref": "absent"}),
            ("POST git/refs", {"ref": "refs/heads/topic", "sha": "HEAD"}),
            ("POST git/refs", {"ref": "heads/new", "sha": "HEAD"}),
            ("POST git/refs", {"ref": "refs/heads/new", "sha": "1" * 40}),
            ("PATCH git/refs/heads/topic", {"sha": "HEAD"}),
            ("PATCH git/refs/heads/absent", {"sha": "HEAD"}),
        ],
    )
    def test_what_is_too_long_or_unknown(
        self, repository: Repository, ann: Client, call: str, body: dict[str, Any]
    ) -> None:
        ann("POST issues", title="first")
        ann("POST labels", name="known")
        head = repository.branch("main") or ""
        filled = {name: head if value == "HEAD" else value for name, value in body.items()}
        response = ann(call.replace("HEAD", head), **filled)
        assert response.status_code == 422, response.text

    def test_what_is_not_json(self, github: GitHub, ann: Client) -> None:
        address = f"{github.api_url}/repos/acme/my-model/issues"
        assert ann.http.post(address, content=b"{").status_code == 400
        assert ann.http.post(address, json="text").status_code == 400

    def test_what_nobody_knows_is_recorded(self, github: GitHub, ann: Client) -> None:
        assert ann("GET actions/secrets/public-key").status_code == 404
        assert github.unknown == ["GET /repos/acme/my-model/actions/secrets/public-key"]
        github.unknown.clear()
        ann("GET issues?assignee=ann")  # GitHub knows this parameter, the stand-in does not
        assert github.unknown == ["GET /repos/acme/my-model/issues?assignee"]
        github.unknown.clear()

    def test_permissions_that_a_job_cannot_have(
        self, github: GitHub, repository: Repository
    ) -> None:
        with pytest.raises(ValueError, match="administration: write"):
            github.job_token(repository, {"administration": "write"}, job="x")


class TestRulesets:
    def test_a_missing_check_and_a_missing_review_block_the_merge(
        self, github: GitHub, repository: Repository, ann: Client, bob: Client, admin: Client
    ) -> None:
        protect(admin, CHECK, REVIEW)
        head = open_pull(ann)["head"]["sha"]
        blocked = message(ann("PUT pulls/1/merge"))
        assert 'Required status check "gate" is expected.' in blocked
        assert "At least 1 approving review is required" in blocked
        github.add_run(repository, "ci.yml", "pull_request", head, jobs={"gate": "success"})
        bob("POST pulls/1/reviews", event="APPROVE")
        # A check run and a status of one name must both have passed.
        ann(f"POST statuses/{head}", state="failure", context="gate")
        assert "is failing" in message(ann("PUT pulls/1/merge"))
        ann(f"POST statuses/{head}", state="success", context="gate")
        github.commit(repository, {"x": "x"}, branch="topic")  # voids check and approval
        assert bob("GET pulls/1/reviews").json()[0]["state"] == "DISMISSED"
        assert bob("GET pulls/1").json()["mergeable_state"] == "blocked"
        assert ann("PUT pulls/1/merge").status_code == 405

    @pytest.mark.parametrize("conclusion", ["failure", "cancelled", None])
    def test_a_check_that_did_not_pass(
        self,
        github: GitHub,
        repository: Repository,
        ann: Client,
        admin: Client,
        conclusion: str | None,
    ) -> None:
        protect(admin, CHECK)
        head = open_pull(ann)["head"]["sha"]
        run = github.add_run(repository, "ci.yml", "push", head, jobs={"gate": conclusion})
        assert ann("PUT pulls/1/merge").status_code == 405
        github.finish_run(run, {"gate": "skipped"}, "success")
        assert ann("PUT pulls/1/merge").status_code == 200

    @pytest.mark.usefixtures("clone")
    def test_pushes_keep_to_the_rules_too(
        self, repository: Repository, ann: Client, admin: Client
    ) -> None:
        protect(admin, REVIEW, {"type": "deletion"}, {"type": "non_fast_forward"})
        before = repository.branch("main")
        refused = ann.push("work:main")
        assert "GH013: Repository rule violations found for refs/heads/main" in refused
        assert "push declined due to repository rule violations" in refused
        assert repository.branch("main") == before
        response = ann("PATCH git/refs/heads/main", sha=repository.branch("topic"))
        assert response.status_code == 422
        assert "declined" in admin.push("work:main")  # the ruleset lets nobody bypass it
        ruleset = admin("GET rulesets").json()[0]["id"]
        bypass = [{"actor_id": 5, "actor_type": "RepositoryRole", "bypass_mode": "always"}]
        assert admin(f"PUT rulesets/{ruleset}", bypass_actors=bypass).status_code == 200
        assert "work -> main" in admin.push("work:main")
        assert "declined" in ann.push("+HEAD~1:main")

    def test_only_administrators_write_them(self, ann: Client, admin: Client) -> None:
        assert ann("POST rulesets", name="x", enforcement="active").status_code == 403
        number = protect(admin, CHECK)["id"]
        assert ann(f"GET rulesets/{number}").json()["rules"] == [CHECK]
        assert ann("GET rules/branches/main").json()[0]["type"] == CHECK["type"]
        assert ann("GET branches/main").json()["protected"] is True
        again = admin("POST rulesets", name="main", enforcement="active")
        assert "Name must be unique" in message(again)
        half = {"type": "pull_request", "parameters": {"required_approving_review_count": 1}}
        assert (
            admin("POST rulesets", name="x", enforcement="active", rules=[half]).status_code == 422
        )
        assert admin(f"DELETE rulesets/{number}").status_code == 204

    @pytest.mark.usefixtures("clone")
    def test_a_ledger_branch_only_grows(
        self, github: GitHub, repository: Repository, ann: Client, admin: Client
    ) -> None:
        protect(admin, *APPEND_ONLY, name="env", conditions=LEDGER)
        release = job(github, repository, contents="write")
        assert "new branch" in release.push("work~1:refs/heads/env/production")
        assert "work -> env/production" in release.push("work:env/production")
        tip = repository.branch("env/production")
        for client in (release, ann, admin):
            assert "Cannot force-push to this branch" in client.push("+work~1:env/production")
            assert "Cannot delete this branch" in client.push("--delete", "env/production")
            moved = client(
                "PATCH git/refs/heads/env/production", sha=repository.branch("main"), force=True
            )
            assert "Cannot force-push to this branch" in message(moved)
            gone = client("DELETE git/refs/heads/env/production")
            assert "Cannot delete this branch" in message(gone)
        assert repository.branch("env/production") == tip
        assert "new branch" in ann.push("work:refs/heads/env/a/b"), "* ends at a slash"
        assert "[deleted]" in ann.push("--delete", "env/a/b")

    @pytest.mark.usefixtures("clone")
    def test_only_a_deploy_key_that_may_write_passes_the_rule_update(
        self, github: GitHub, repository: Repository, ann: Client, admin: Client
    ) -> None:
        protect(admin, *APPEND_ONLY, name="env", conditions=LEDGER)
        only = [{"type": "creation"}, {"type": "update"}]
        protect(admin, *only, name="key", conditions=LEDGER, bypass_actors=KEYS_ONLY)
        key, reader = (
            Client(github, repository, github.deploy_key(repository, title, read_only))
            for title, read_only in (("ledger", False), ("mirror", True))
        )
        release = job(github, repository, contents="write")
        for client in (release, ann, admin):
            assert "creations being restricted" in client.push("work~1:refs/heads/env/staging")
        assert "403" in reader.push("work~1:refs/heads/env/staging")
        assert "new branch" in key.push("work~1:refs/heads/env/staging")
        for client in (release, ann, admin):
            assert "Cannot update this protected ref" in client.push("work:env/staging")
            moved = client(
                "PATCH git/refs/heads/env/staging", sha=repository.branch("topic"), force=True
            )
            assert "Cannot update this protected ref" in message(moved)
        assert "work -> env/staging" in key.push("work:env/staging")
        assert "Cannot force-push" in key.push("+work~1:env/staging"), "the other ruleset holds"
        assert key("GET branches/main").status_code == 401, "a key is for git"
        assert github.events[-1].ref == "refs/heads/env/staging", "its push starts workflows"

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"bypass_actors": [ACTIONS]}, "Actor GitHub Actions integration must be part of"),
            ({"bypass_actors": [KEYS_ONLY[0] | {"actor_id": 7}]}, "a DeployKey has no id"),
            ({"bypass_actors": [KEYS_ONLY[0] | {"bypass_mode": "pull_request"}]}, "has no id"),
            ({"bypass_actors": [{"actor_type": "Bot"}]}, "Invalid actor 'Bot'"),
            ({"conditions": {"ref_name": {"include": ["main"]}}}, "Invalid target patterns: 'main"),
        ],
    )
    def test_what_a_ruleset_cannot_say(
        self, admin: Client, changes: dict[str, Any], words: str
    ) -> None:
        refused = admin("POST rulesets", name="x", enforcement="active", **changes)
        assert (refused.status_code, words in message(refused)) == (422, True), refused.text

    @pytest.mark.parametrize(
        ("patterns", "branches"),
        [
            (["~ALL"], {"main", "env", "env/a", "env/a/b"}),
            (["~DEFAULT_BRANCH"], {"main"}),
            (["refs/heads/env/*"], {"env/a"}),
            (["refs/heads/env/**/*"], {"env/a", "env/a/b"}),
            (["refs/heads/en?"], {"env"}),
        ],
    )
    def test_patterns(self, admin: Client, patterns: list[str], branches: set[str]) -> None:
        protect(admin, CHECK, conditions={"ref_name": {"include": patterns}})
        asked = ("main", "env", "env/a", "env/a/b")
        assert {name for name in asked if admin(f"GET rules/branches/{name}").json()} == branches

    def test_who_may_bypass_is_shown_to_administrators(self, ann: Client, admin: Client) -> None:
        number = protect(admin, CHECK, bypass_actors=KEYS_ONLY)["id"]
        assert admin(f"GET rulesets/{number}").json()["bypass_actors"] == KEYS_ONLY
        assert "bypass_actors" not in ann(f"GET rulesets/{number}").json()

    def test_who_pushed_last_cannot_be_the_only_approver(
        self, github: GitHub, repository: Repository, ann: Client, bob: Client, admin: Client
    ) -> None:
        parameters = REVIEW["parameters"] | {"require_last_push_approval": True}  # type: ignore[operator]
        protect(admin, REVIEW | {"parameters": parameters})
        open_pull(bob)
        github.commit(repository, {"x": "x"}, branch="topic", by=ann.token)
        ann("POST pulls/1/reviews", event="APPROVE")
        refused = message(ann("PUT pulls/1/merge"))
        assert "approval from someone other than the last pusher" in refused
        assert "At least" not in refused
        admin("POST pulls/1/reviews", event="APPROVE")
        assert ann("PUT pulls/1/merge").status_code == 200

    def test_free_private_repositories_have_none(self, github: GitHub) -> None:
        github.plan = "free"
        private = github.create_repository("acme/secret", private=True)
        admin = Client(github, private, github.user("root", role="admin"))
        response = admin("GET rulesets")
        assert response.status_code == 403
        assert "Upgrade to GitHub Pro or make this repository public" in message(response)


class TestGit:
    @pytest.mark.usefixtures("clone")
    def test_branches_do_not_nest(self, repository: Repository, ann: Client) -> None:
        main = repository.branch("main")
        assert ann("POST git/refs", ref="refs/heads/env", sha=main).status_code == 201
        assert "remote rejected" in ann.push("work:refs/heads/env/production")
        nested = ann("POST git/refs", ref="refs/heads/env/production", sha=main)
        assert (nested.status_code, message(nested).strip()) == (422, "Reference update failed")
        assert ann("DELETE git/refs/heads/env").status_code == 204
        assert "new branch" in ann.push("work:refs/heads/env/production")
        assert "remote rejected" in ann.push("work:refs/heads/env")
        assert ann("POST git/refs", ref="refs/heads/env", sha=main).status_code == 422
        assert ann("GET branches/env").status_code == 404

    def test_a_person_pushes_and_workflows_start(
        self, github: GitHub, ann: Client, clone: Path
    ) -> None:
        assert "new branch" in ann.push("work")
        create, push = github.events
        assert (create.name, create.payload["ref"]) == ("create", "work")
        head = git("rev-parse", "HEAD", cwd=clone).strip()
        assert (push.sha, push.payload["before"]) == (head, "0" * 40)
        assert [one["added"] for one in push.payload["commits"]] == [["data.csv"]]
        ann.push("--delete", "work")
        assert github.events[-1].payload["deleted"] is True
        assert github.calls[-1].permission == ("contents", "write")

    def test_a_job_pushes_and_nothing_starts(
        self, github: GitHub, repository: Repository, clone: Path
    ) -> None:
        assert "new branch" in job(github, repository, contents="write").push("work")
        assert github.events == []
        assert [event.name for event in github.suppressed] == ["create", "push"]
        app = Client(github, repository, github.app_token({"contents": "write"}))
        commit(clone, "more.csv")
        app.push("work")
        assert [(event.name, event.actor) for event in github.events] == [("push", "promoter[bot]")]

    @pytest.mark.usefixtures("clone")
    def test_a_job_may_not_push_without_the_permission(
        self, github: GitHub, repository: Repository
    ) -> None:
        refused = job(github, repository, contents="read").push("work")
        assert "403" in refused
        assert repository.branch("work") is None

    def test_a_job_may_not_change_workflows(
        self, github: GitHub, repository: Repository, ann: Client, clone: Path
    ) -> None:
        writer = job(github, repository, contents="write", pull_requests="write")
        commit(clone, ".github/workflows/go.yml")
        refused = writer.push("work")
        assert "refusing to allow a GitHub App to create or update workflow" in refused
        head = git("rev-parse", "HEAD", cwd=clone).strip()
        assert repository.resolve(head) is None  # nothing of the push was kept
        assert "new branch" in ann.push("work")
        open_pull(ann, head="work")
        assert writer("PUT pulls/1/merge").status_code == 403

    @pytest.mark.usefixtures("clone")
    def test_nobody_pushes_to_what_github_owns(self, repository: Repository, ann: Client) -> None:
        assert "deny updating a hidden ref" in ann.push("work:refs/pull/7/head")
        assert "refusing to delete the current branch" in ann.push("--delete", "main")
        assert repository.branch("main")

    def test_a_private_repository_is_fetched_with_contents_read(self, github: GitHub) -> None:
        private = github.create_repository("acme/secret", private=True)
        github.commit(private, {"a": "a"})
        host = github.url.removeprefix("http://")
        granted = github.job_token(private, {"contents": "read"}, job="yes")
        refused = github.job_token(private, {"issues": "read"}, job="no")

        def seen(token: str) -> str:
            return git("ls-remote", f"http://x:{token}@{host}/acme/secret", cwd=github.root)

        assert "refs/heads/main" in seen(granted)
        assert "403" in seen(refused)
        assert "refs/heads/main" not in git(
            "ls-remote", f"{github.url}/acme/secret", cwd=github.root
        )

    def test_the_first_push_of_a_new_repository(self, github: GitHub, tmp_path: Path) -> None:
        """With the header that actions/checkout leaves in a clone."""
        github.create_repository("acme/new", private=True)
        basic = base64.b64encode(f"x-access-token:{github.user('ann')}".encode()).decode()
        git("init", "--quiet", "--initial-branch=main", "new", cwd=tmp_path)
        commit(tmp_path / "new", "README.md")
        header = f"http.{github.url}/.extraheader=AUTHORIZATION: basic {basic}"
        said = git("-c", header, "push", f"{github.url}/acme/new", "main", cwd=tmp_path / "new")
        assert "main -> main" in said
        assert [(event.name, event.ref) for event in github.events] == [
            ("create", "refs/heads/main"),
            ("push", "refs/heads/main"),
        ]

    def test_a_large_push(self, ann: Client, clone: Path) -> None:
        """More than git sends in one piece."""
        (clone / "large").write_bytes(bytes(range(256)) * 4096 * 2)
        git("config", "core.compression", "0", cwd=clone)
        git("add", "--all", cwd=clone)
        git("commit", "--quiet", "--message", "Large", cwd=clone)
        assert "new branch" in ann.push("work")


GOOD = {"environment": "staging", "digest": "sha256:a"}


class TestDispatch:
    def test_a_job_starts_a_workflow(self, github: GitHub, repository: Repository) -> None:
        starter = job(github, repository, actions="write", contents="write")
        call = "POST actions/workflows/go.yml/dispatches"
        assert starter(call, ref="main", inputs=GOOD).status_code == 204
        event = github.events[-1]
        assert (event.name, event.actor) == ("workflow_dispatch", "github-actions[bot]")
        expected = {**GOOD, "reason": "none given", "dry-run": ""}
        assert event.payload["inputs"] == expected
        assert event.payload["workflow"] == ".github/workflows/go.yml"
        sent = starter("POST dispatches", event_type="drift", client_payload={"limit": 1})
        assert sent.status_code == 204
        assert github.events[-1].action == "drift"

    @pytest.mark.parametrize(
        ("workflow", "ref", "inputs", "status", "words"),
        [
            ("absent.yml", "main", GOOD, 404, "Not Found"),
            ("go.yml", "absent", GOOD, 422, "No ref found for: absent"),
            ("other.yml", "main", {}, 422, "does not have 'workflow_dispatch' trigger"),
            ("go.yml", "main", GOOD | {"x": "1"}, 422, "Unexpected inputs provided: ['x']"),
            ("go.yml", "main", {"environment": "staging"}, 422, "'digest' not provided"),
            ("go.yml", "main", GOOD | {"environment": "test"}, 422, "not in the list"),
            ("go.yml", "main", GOOD | {"dry-run": "yes"}, 422, "not in the list"),
            ("go.yml", "main", GOOD | {"digest": 5}, 422, "inputs are texts"),
        ],
    )
    def test_what_cannot_start(
        self,
        github: GitHub,
        repository: Repository,
        ann: Client,
        workflow: str,
        ref: str,
        inputs: dict[str, Any],
        status: int,
        words: str,
    ) -> None:
        github.commit(repository, {".github/workflows/other.yml": "on: [push]\n"})
        github.events.clear()
        body = {"ref": ref, "inputs": inputs}
        response = ann(f"POST actions/workflows/{workflow}/dispatches", **body)
        assert response.status_code == status
        assert words in message(response)
        assert github.events == []

    def test_runs_are_listed(self, github: GitHub, repository: Repository, ann: Client) -> None:
        sha = repository.branch("main") or ""
        github.add_run(
            repository, ".github/workflows/go.yml", "schedule", sha, conclusion="success"
        )
        found = ann("GET actions/workflows/go.yml/runs?event=schedule").json()
        assert found["total_count"] == 1
        assert found["workflow_runs"][0]["conclusion"] == "success"
        assert ann("GET actions/runs?status=failure").json()["total_count"] == 0
        names = [one["path"] for one in ann("GET actions/workflows").json()["workflows"]]
        assert names == [".github/workflows/go.yml"]


class TestChecks:
    def test_check_runs_belong_to_apps(
        self, github: GitHub, repository: Repository, ann: Client
    ) -> None:
        sha = repository.branch("main")
        checker = job(github, repository, checks="write")
        made = checker("POST check-runs", name="gate", head_sha=sha, status="in_progress").json()
        path = f"check-runs/{made['id']}"
        assert checker(f"PATCH {path}", status="completed").status_code == 422
        assert checker(f"PATCH {path}", conclusion="success").status_code == 200
        assert ann("POST check-runs", name="gate", head_sha=sha).status_code == 403
        listed = ann(f"GET commits/{sha}/check-runs?check_name=gate").json()
        assert (listed["total_count"], listed["check_runs"][0]["conclusion"]) == (1, "success")

    def test_the_newest_status_of_a_context_counts(
        self, repository: Repository, ann: Client
    ) -> None:
        sha = repository.branch("main")
        assert ann("GET commits/main/status").json()["state"] == "pending"
        for state, context in (("failure", "gate"), ("success", "gate"), ("error", "lint")):
            ann(f"POST statuses/{sha}", state=state, context=context)
        combined = ann("GET commits/main/status").json()
        assert (combined["state"], combined["total_count"]) == ("failure", 2)
        assert len(ann(f"GET commits/{sha}/statuses").json()) == 3

    def test_a_deployment_waits_for_its_contexts(self, repository: Repository, ann: Client) -> None:
        sha = repository.branch("main")
        ann(f"POST statuses/{sha}", state="pending", context="gate")
        refused = ann("POST deployments", ref="main")
        assert refused.status_code == 409
        assert refused.json()["errors"][0]["contexts"][0]["context"] == "gate"
        assert ann("POST deployments", ref="main", required_contexts=["x"]).status_code == 409
        made = ann("POST deployments", ref="main", required_contexts=[])
        assert made.status_code == 201
        assert made.json()["production_environment"] is True
        assert len(ann(f"GET deployments?sha={sha}&environment=production").json()) == 1

    def test_a_success_makes_earlier_deployments_inactive(self, ann: Client) -> None:
        ids = []
        for _ in range(2):
            ids.append(ann("POST deployments", ref="main", environment="staging").json()["id"])
            ann(f"POST deployments/{ids[-1]}/statuses", state="success")
        assert ann(f"GET deployments/{ids[0]}/statuses").json()[0]["state"] == "inactive"
        assert ann(f"GET deployments/{ids[1]}/statuses").json()[0]["state"] == "success"

    def test_attestations(self, github: GitHub, repository: Repository, ann: Client) -> None:
        digest = "sha256:" + "a" * 64
        assert ann(f"GET attestations/{digest}").status_code == 404
        signer = job(github, repository, attestations="write")
        assert signer("POST attestations", bundle={"subjects": [digest]}).status_code == 201
        assert len(ann(f"GET attestations/{digest}").json()["attestations"]) == 1
        repository.private = True
        assert signer("POST attestations", bundle={"subjects": [digest]}).status_code == 403


class TestConversation:
    def test_issues_and_pull_requests_share_numbers_not_permissions(
        self, github: GitHub, repository: Repository, ann: Client
    ) -> None:
        open_pull(ann)
        assert ann("POST issues", title="Drift", labels=["drift"]).json()["number"] == 2
        assert len(ann("GET issues").json()) == 2
        assert len(ann("GET pulls").json()) == 1
        reporter = job(github, repository, issues="write")
        assert reporter("POST issues/2/comments", body="x").status_code == 201
        assert reporter("POST issues/1/comments", body="x").status_code == 403
        proposer = job(github, repository, pull_requests="write")
        assert proposer("POST issues/1/comments", body="x").status_code == 201
        assert proposer("POST issues/1/labels", labels=["drift"]).status_code == 200
        assert proposer("POST issues/1/labels", labels=["new"]).status_code == 403

    def test_a_comment_is_updated(self, github: GitHub, ann: Client) -> None:
        ann("POST issues", title="Drift")
        made = ann("POST issues/1/comments", body="one").json()
        assert ann(f"PATCH issues/comments/{made['id']}", body="two").status_code == 200
        assert [c["body"] for c in ann("GET issues/1/comments").json()] == ["two"]
        names = [(event.name, event.action) for event in github.events]
        assert names[1:] == [("issue_comment", "created"), ("issue_comment", "edited")]

    def test_an_issue_is_found_by_label_and_closed(self, ann: Client) -> None:
        ann("POST issues", title="Drift", labels=["drift", "staging"])
        ann("POST issues", title="Other")
        found = ann("GET issues?labels=drift,staging&creator=ann").json()
        assert [issue["number"] for issue in found] == [1]
        closed = ann("PATCH issues/1", state="closed").json()
        assert (closed["state"], closed["state_reason"]) == ("closed", "completed")
        assert ann("GET issues?labels=drift").json() == []
        assert ann("DELETE issues/1/labels/drift").json()[0]["name"] == "staging"
        assert ann("DELETE issues/1/labels/drift").status_code == 404

    def test_lists_come_in_pages(self, ann: Client) -> None:
        for number in range(5):
            ann("POST issues", title=f"Issue {number}")
        first = ann("GET issues?per_page=2&direction=asc")
        assert [issue["number"] for issue in first.json()] == [1, 2]
        last = ann.http.get(first.links["last"]["url"])
        assert [issue["number"] for issue in last.json()] == [5]
        assert "next" not in last.links

    def test_reviewers_are_collaborators_or_teams(
        self, github: GitHub, ann: Client, bob: Client
    ) -> None:
        open_pull(ann)
        github.teams.add("acme/ml")
        path = "POST pulls/1/requested_reviewers"
        assert ann(path, reviewers=["bob"], team_reviewers=["ml"]).status_code == 201
        assert ann(path, reviewers=["ann"]).status_code == 422
        assert ann(path, reviewers=["nobody"]).status_code == 422
        assert ann(path, team_reviewers=["absent"]).status_code == 422
        asked = ann("GET pulls/1/requested_reviewers").json()
        assert (asked["users"][0]["login"], asked["teams"][0]["slug"]) == ("bob", "ml")
        bob("POST pulls/1/reviews", event="COMMENT", body="Why?")
        assert ann("GET pulls/1").json()["requested_reviewers"] == []


class TestSettings:
    def test_what_somebody_may_do_is_told_to_a_job(
        self, github: GitHub, repository: Repository, ann: Client, bob: Client
    ) -> None:
        """While `author_association` hides a private membership from it."""
        github.private_members.add("bob")
        for name, role in (("max", "maintain"), ("tom", "triage"), ("eve", "none")):
            github.user(name, role=role)
        open_pull(ann)
        bob("POST pulls/1/reviews", event="APPROVE")
        reader = job(github, repository, pull_requests="read")
        (review,) = reader("GET pulls/1/reviews").json()
        assert (review["user"]["login"], review["author_association"]) == ("bob", "NONE")
        assert ann("GET pulls/1/reviews").json()[0]["author_association"] == "COLLABORATOR"

        def may(login: str) -> tuple[str, str]:
            shown = reader(f"GET collaborators/{login}/permission").json()
            return shown["permission"], shown["role_name"]

        assert may("bob") == ("write", "write")
        assert may("max") == ("write", "maintain")
        assert may("tom") == ("read", "triage")
        assert may("eve") == ("read", "read")
        assert reader("GET collaborators/nobody/permission").status_code == 404
        eve = Client(github, repository, github.user("eve", role="none"))
        assert eve("GET collaborators/bob/permission").status_code == 403
        anybody = Client(github, repository, None)
        assert anybody("GET collaborators/bob/permission").status_code == 401

    def test_an_environment_is_limited_to_branches(self, ann: Client, admin: Client) -> None:
        path = "environments/release/deployment-branch-policies"
        branches = {"protected_branches": False, "custom_branch_policies": True}
        assert admin("PUT environments/release").status_code == 200
        assert admin(f"GET {path}").status_code == 404
        same = dict.fromkeys(branches, True)
        assert admin("PUT environments/release", deployment_branch_policy=same).status_code == 422
        admin("PUT environments/release", deployment_branch_policy=branches)
        assert ann(f"POST {path}", name="main").status_code == 403
        assert admin(f"POST {path}", name="main").status_code == 200
        assert admin(f"POST {path}", name="main").status_code == 303
        (policy,) = ann(f"GET {path}").json()["branch_policies"]
        assert (policy["name"], policy["type"]) == ("main", "branch")
        assert admin(f"DELETE {path}/{policy['id']}").status_code == 204
        assert admin("GET environments/release/secrets").json()["secrets"] == []
        assert ann("GET environments/release").json()["deployment_branch_policy"] == branches
        admin("PUT environments/release", wait_timer=5)
        shown = ann("GET environments/release").json()
        assert shown["deployment_branch_policy"] is None, "what is not given is switched off"

    def test_deploy_keys(self, ann: Client, admin: Client) -> None:
        good = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ ledger"
        assert ann("GET keys").status_code == 403
        assert ann("POST keys", key=good).status_code == 403
        assert "key is invalid" in message(admin("POST keys", key="a private one"))
        made = admin("POST keys", title="ledger", key=good, read_only=False)
        assert (made.status_code, made.json()["read_only"]) == (201, False)
        assert "already in use" in message(admin("POST keys", key=good))
        assert [key["title"] for key in admin("GET keys").json()] == ["ledger"]
        assert admin(f"DELETE keys/{made.json()['id']}").status_code == 204
        assert admin("GET keys").json() == []

    def test_variables_and_environments(self, ann: Client, admin: Client) -> None:
        assert ann("POST actions/variables", name="trust", value="digest").status_code == 201
        assert ann("POST actions/variables", name="TRUST", value="digest").status_code == 409
        assert ann("POST actions/variables", name="GITHUB_X", value="x").status_code == 422
        assert ann("PATCH actions/variables/TRUST", value="attested").status_code == 204
        assert ann("GET actions/variables/TRUST").json()["value"] == "attested"
        assert ann("GET actions/variables").json()["total_count"] == 1
        assert ann("PUT environments/production", wait_timer=1).status_code == 403
        assert admin("PUT environments/production", wait_timer=1).status_code == 200
        assert ann("GET environments/production").json()["protection_rules"][0]["wait_timer"] == 1
        assert ann("GET environments/absent").status_code == 404

    def test_new_repositories_do_not_let_actions_open_pull_requests(self, admin: Client) -> None:
        shown = admin("GET actions/permissions/workflow").json()
        assert shown == {
            "default_workflow_permissions": "read",
            "can_approve_pull_request_reviews": False,
        }

    def test_owners_that_do_not_exist(
        self, github: GitHub, repository: Repository, ann: Client
    ) -> None:
        assert ann("GET codeowners/errors").status_code == 404
        github.teams.add("acme/ml")
        owners = "* @acme/ml @ann ml@example.org\n/deploy/ @acme/risk # @comment\n/x @nobody\n"
        github.commit(repository, {"CODEOWNERS": owners})
        errors = ann("GET codeowners/errors").json()["errors"]
        assert [(error["line"], error["column"]) for error in errors] == [(2, 10), (3, 4)]
        assert ann("GET /orgs/acme/teams/ml").status_code == 200
        assert ann("GET /orgs/acme/teams/risk").status_code == 404
        assert ann("GET /users/acme").json()["type"] == "Organization"
        assert ann("GET /users/nobody").status_code == 404

    def test_git_data(self, repository: Repository, ann: Client) -> None:
        topic = repository.branch("topic")
        assert ann("GET git/ref/heads/topic").json()["object"]["sha"] == topic
        assert ann("GET git/ref/heads/top").status_code == 404
        assert len(ann("GET git/matching-refs/heads/").json()) == 2
        made = ann("POST git/refs", ref="refs/tags/v1", sha=topic)
        assert made.json()["ref"] == "refs/tags/v1"
        compared = ann("GET compare/main...topic").json()
        assert (compared["status"], compared["ahead_by"]) == ("ahead", 1)
        assert compared["files"][0]["filename"] == "deploy/staging/model.yaml"
        shown = ann("GET commits/topic").json()
        assert (shown["sha"], shown["stats"]["additions"]) == (topic, 1)
        assert ann("GET contents/deploy?ref=topic").json()[0]["type"] == "dir"
        assert ann("GET contents/deploy").status_code == 404


class TestFaults:
    def test_the_next_calls_fail(self, github: GitHub, ann: Client) -> None:
        github.fail("GET", "/repos/acme/my-model/pulls", 502, times=2)
        states = [ann("GET pulls").status_code for _ in range(3)]
        assert states == [502, 502, 200]
        github.fail("POST", "/repos", 403, headers={"retry-after": "1"})
        limited = ann("POST issues", title="x")
        assert (limited.status_code, limited.headers["retry-after"]) == (403, "1")
        assert "rate limit" in message(limited)

    def test_an_answer_gets_lost(self, github: GitHub, ann: Client) -> None:
        github.fail("POST", "/repos/acme/my-model/issues", 502, after=True)
        assert ann("POST issues", title="x").status_code == 502
        assert len(ann("GET issues").json()) == 1

    def test_every_call_is_recorded(self, github: GitHub, repository: Repository) -> None:
        job(github, repository)("POST issues", title="x")
        call = github.calls[-1]
        assert (call.who, call.name) == ("propose", "POST /repos/{owner}/{repo}/issues")
        assert (call.status, call.permission) == (403, ("issues", "write"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real registry."""
    command = shutil.which("docker-registry")
    if command is None:
        pytest.skip("docker-registry is not installed (Debian: apt-get install docker-registry)")
    folder = tmp_path_factory.mktemp("registry")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "config.yml").write_text(
        f"version: 0.1\nstorage: {{filesystem: {{rootdirectory: {folder}}}}}\n"
        f"http: {{addr: '{address}'}}\nlog: {{level: error}}\n"
    )
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(
        [command, "serve", str(folder / "config.yml")], stdout=quiet, stderr=quiet
    )
    for _ in range(100):
        try:
            httpx.get(f"http://{address}/v2/", verify=NO_TLS)
            break
        except httpx.TransportError:
            time.sleep(0.05)
    yield address
    process.terminate()
    process.wait(timeout=10)


class TestRegistry:
    BLOB = bytes(range(256)) * 4096

    def log_in(self, github: GitHub, token: str) -> dict[str, str]:
        """What `docker login` does: the challenge's address gives the token for the others."""
        challenge = httpx.get(f"{github.url}/v2/", verify=NO_TLS)
        assert challenge.status_code == 401
        realm = challenge.headers["www-authenticate"].split('"')[1]
        answer = httpx.get(realm, auth=("any", token), verify=NO_TLS)
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    def test_a_job_pushes_and_pulls_by_digest(self, tmp_path: Path, registry: str) -> None:
        digest = f"sha256:{hashlib.sha256(self.BLOB).hexdigest()}"
        with GitHub(tmp_path, registry=registry) as github:
            repository = github.create_repository("acme/my-model")
            writer = github.job_token(repository, {"packages": "write"}, job="package")
            reader = github.job_token(repository, {"packages": "read"}, job="deploy")
            images = f"{github.url}/v2/acme/my-model/blobs"

            headers = self.log_in(github, writer)
            started = httpx.post(f"{images}/uploads/", headers=headers, verify=NO_TLS)
            assert started.status_code == 202
            assert started.headers["location"].startswith(github.url)
            address = f"{started.headers['location']}&digest={digest}"
            put = httpx.put(address, content=self.BLOB, headers=headers, verify=NO_TLS)
            assert put.status_code == 201

            headers = self.log_in(github, reader)
            got = httpx.get(f"{images}/{digest}", headers=headers, verify=NO_TLS)
            assert got.content == self.BLOB
            refused = httpx.post(f"{images}/uploads/", headers=headers, verify=NO_TLS)
            assert refused.status_code == 403
            elsewhere = images.replace("acme", "other")
            foreign = httpx.get(f"{elsewhere}/{digest}", headers=headers, verify=NO_TLS)
            assert foreign.status_code == 403
            used = {(call.who, call.permission) for call in github.calls if call.status < 300}
            assert used == {
                ("package", ("packages", "write")),
                ("deploy", ("packages", "read")),
            }

    def test_there_is_none_without_an_address(self, github: GitHub) -> None:
        assert httpx.get(f"{github.url}/v2/", verify=NO_TLS).status_code == 404
