"""Credentials go where they belong, and a connection that breaks loses nothing."""

import base64
import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mlrelease import errors
from mlrelease.storage import connection, registry, store
from tests.engine.storage import registry_server
from tests.engine.storage.registry_server import Server
from tests.engine.storage.test_archive import plant

NOTE = store.NOTE
Say = Callable[[BaseHTTPRequestHandler], tuple[int, dict[str, str], object]]


@contextmanager
def answering(say: Say) -> Iterator[str]:
    """An HTTP server whose every answer a test chooses; gives `host:port`."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            status, headers, content = say(self)
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815 - names of the base class

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"127.0.0.1:{http.server_port}"
        finally:
            http.shutdown()
            thread.join()


@contextmanager
def cutting(host: str, after: int, times: int) -> Iterator[tuple[str, list[int]]]:
    """A line to a server that breaks after some bytes in either direction, so many times; gives its
    address, and one entry for each connection that broke."""
    target, port = host.split(":")
    cut: list[int] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(65536):
                passed += len(data)
                if passed > after and len(cut) < times:
                    cut.append(passed)
                    break
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def listen() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            upstream = socket.create_connection((target, int(port)))
            for ends in ((client, upstream), (upstream, client)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=listen, daemon=True).start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", cut
        listener.shutdown(socket.SHUT_RDWR)


def push(name: str, tag: str = "a") -> None:
    registry.Registry(name).push(tag, NOTE, io.BytesIO(b"{}"))


def pull(name: str, tag: str = "a") -> bytes | None:
    stream = io.BytesIO()
    return stream.getvalue() if registry.Registry(name).pull(tag, NOTE, stream, 1000) else None


def test_credentials_open_the_registry(closed: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_USERNAME", "ann")
    monkeypatch.setenv("REGISTRY_PASSWORD", "right")
    push(closed.name)
    assert pull(closed.name) == b"{}"


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "no credentials were given; set REGISTRY_USERNAME .*`packages: write`"),
        ({"REGISTRY_USERNAME": "ann", "REGISTRY_PASSWORD": "wrong"}, "check REGISTRY_USERNAME"),
        ({"GITHUB_TOKEN": "wrong"}, "give the job `packages: write`"),
    ],
)
def test_without_them_it_says_what_is_missing(
    closed: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    message: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    place = store.Store(tmp_path / "store", registry.Registry(closed.name))
    with pytest.raises(connection.DeniedError, match=rf"may not write \(401 .*\): {message}") as no:
        place.put(plant(tmp_path / "model", {("model.json",): b"{}"}))
    assert "wrong" not in str(no.value)
    assert "\n" not in str(no.value)
    with pytest.raises(connection.DeniedError, match="may not read"):
        place.fetch("sha256:" + "ab" * 32)


def test_what_may_not_be_read_is_not_found(closed: Server, tmp_path: Path) -> None:
    """GitHub answers so for a repository that nobody pushed to yet, and the first run is one."""
    place = store.Store(tmp_path / "store", registry.Registry(closed.name))
    assert place.find("sha256:" + "ab" * 32) is None


class Tokens:
    """GitHub's way: a token for one purpose from another address, against Basic credentials."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.asked: list[tuple[str, str | None]] = []

    def __call__(self, request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], object]:
        self.asked.append((request.path, request.headers.get("authorization")))
        return self.status, {}, {"token": "given"} if self.status == 200 else {"errors": []}


@contextmanager
def bearer(folder: Path, tokens: Tokens) -> Iterator[Server]:
    """A real registry that asks for a token, and takes any."""
    with answering(tokens) as realm:
        auth = f"auth: {{silly: {{realm: 'http://{realm}/token', service: here}}}}\n"
        with registry_server.serving(folder, auth) as running:
            yield running


needs_registry = pytest.mark.skipif(not registry_server.PROGRAM, reason=registry_server.WHY_NOT)


@needs_registry
def test_a_token_is_fetched_once_for_each_purpose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    monkeypatch.setenv("GITHUB_ACTOR", "ann")
    tokens = Tokens()
    with bearer(tmp_path, tokens) as server:
        remote = registry.Registry(server.name)
        remote.push("a", NOTE, io.BytesIO(b"{}"))
        remote.push("b", NOTE, io.BytesIO(b"[]"))
        assert remote.pull("a", NOTE, io.BytesIO(), 1000)
    scopes = [path.partition("scope=")[2].partition("&")[0] for path, _ in tokens.asked]
    assert scopes == [f"repository%3Aacme%2Fchurn%3A{x}" for x in ("pull%2Cpush", "pull")]
    basic = base64.b64encode(b"ann:secret").decode()
    assert {given for _, given in tokens.asked} == {f"Basic {basic}"}
    assert all("service=here" in path for path, _ in tokens.asked)


@needs_registry
def test_anybody_may_have_a_token_for_reading(tmp_path: Path) -> None:
    tokens = Tokens()
    with bearer(tmp_path, tokens) as server:
        push(server.name)
        assert pull(server.name) == b"{}"
    assert {given for _, given in tokens.asked} == {None}


@needs_registry
@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_is_denied_says_so(tmp_path: Path, status: int) -> None:
    with (
        bearer(tmp_path, Tokens(status)) as server,
        pytest.raises(connection.DeniedError, match=rf"may not write \({status} "),
    ):
        push(server.name)


@needs_registry
def test_a_token_that_is_none_is_an_error_and_not_absence(tmp_path: Path) -> None:
    with (
        bearer(tmp_path, Tokens(404)) as server,
        pytest.raises(connection.RegistryError, match=r"gave no token \(404\)"),
    ):
        pull(server.name)


def test_credentials_are_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "secret")
    challenge = {"www-authenticate": 'Bearer realm="http://elsewhere.example/token",service="x"'}
    with (
        answering(lambda _: (401, challenge, {})) as host,
        pytest.raises(connection.RegistryError, match=r"elsewhere\.example.*not sent"),
    ):
        pull(f"{host}/a")


def test_credentials_do_not_follow_to_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "secret")
    seen: list[tuple[str, bool]] = []

    def elsewhere(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], object]:
        seen.append((request.command, "authorization" in request.headers))
        return 201, {}, b""

    def here(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], object]:
        if "authorization" not in request.headers:
            return 401, {"www-authenticate": 'Basic realm="here"'}, {}
        if request.command == "POST":
            return 202, {"location": f"http://{other}/upload?state=1"}, b""
        return (201, {}, b"") if request.command == "PUT" else (404, {}, {})

    with answering(elsewhere) as other, answering(here) as host:
        push(f"{host}/a")
    assert seen == [("PUT", False), ("PUT", False)]


@pytest.mark.parametrize(
    ("host", "variables", "source"),
    [
        ("ghcr.io", {"GITHUB_TOKEN": "x"}, "GITHUB_TOKEN"),
        ("registry.example.com", {"GITHUB_TOKEN": "x"}, None),
        ("ghcr.io.example.com", {"GITHUB_TOKEN": "x"}, None),
        (
            "containers.git.example.com",
            {"GITHUB_TOKEN": "x", "GITHUB_SERVER_URL": "https://git.example.com"},
            "GITHUB_TOKEN",
        ),
        ("127.0.0.1:5000", {"GITHUB_TOKEN": "x"}, "GITHUB_TOKEN"),
        ("127.0.0.1.example.com", {"GITHUB_TOKEN": "x"}, None),
        ("ghcr.io", {"GITHUB_TOKEN": "x", "REGISTRY_PASSWORD": "y"}, "REGISTRY_PASSWORD"),
        ("ghcr.io", {}, None),
    ],
)
def test_the_token_of_github_is_for_github(
    host: str, variables: dict[str, str], source: str | None
) -> None:
    found = connection.Credentials.find(host, variables)
    assert (found.source if found else None) == source


@pytest.mark.parametrize("trouble", [(503, {}), (429, {"retry-after": "0"}), (500, {})])
def test_passing_trouble_is_tried_again(trouble: tuple[int, dict[str, str]]) -> None:
    calls: list[str] = []

    def say(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], object]:
        calls.append(request.path)
        return (*trouble, {}) if len(calls) < 3 else (200, {}, {"tags": ["a", "b"]})

    with answering(say) as host:
        assert registry.Registry(f"{host}/x").tags() == ["a", "b"]
    assert len(calls) == 3


def test_lasting_trouble_is_an_error() -> None:
    words = {"errors": [{"code": "UNAVAILABLE", "message": "out for\nlunch"}]}
    with (
        answering(lambda _: (503, {}, words)) as host,
        pytest.raises(connection.RegistryError, match="tried 3 times, last: 503 out for lunch$"),
    ):
        pull(f"{host}/a")


def test_a_registrys_no_is_passed_on() -> None:
    words = {"errors": [{"code": "UNSUPPORTED", "message": "no artefacts here"}]}
    with (
        answering(lambda _: (400, {}, words)) as host,
        pytest.raises(connection.RegistryError, match=r"GET manifests/a: 400 no artefacts here$"),
    ):
        pull(f"{host}/a")


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"layers": []}', b'{"layers": 7}'])
def test_what_is_no_registry_is_an_error(body: bytes) -> None:
    with answering(lambda _: (200, {}, body)) as host:
        with pytest.raises(errors.RefusedError, match="not an artefact of ours"):
            pull(f"{host}/a")
        assert registry.Registry(f"{host}/a").tags() == []


def test_an_endless_answer_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MAX_ANSWER", 1000)
    with (
        answering(lambda _: (200, {}, b"x" * 100_000)) as host,
        pytest.raises(connection.RegistryError, match="sends more than"),
    ):
        pull(f"{host}/a")


def test_every_page_of_tags_is_read() -> None:
    def say(request: BaseHTTPRequestHandler) -> tuple[int, dict[str, str], object]:
        if "last=b" in request.path:
            return 200, {}, {"tags": ["c"]}
        link = {"link": '</v2/x/tags/list?last=b&n=2>; rel="next"'}
        return 200, link, {"tags": ["a", "b"]}

    with answering(say) as host:
        assert registry.Registry(f"{host}/x").tags() == ["a", "b", "c"]


def test_a_line_that_breaks_during_upload_and_download_is_no_loss(
    server: Server, tmp_path: Path
) -> None:
    model = plant(tmp_path / "model", {("weights",): b"broken line" * 100_000})
    with cutting(server.host, after=200_000, times=2) as (line, cut):
        digest = store.Store(tmp_path / "here", registry.Registry(f"{line}/acme/cut")).put(model)
    assert len(cut) == 2
    with cutting(server.host, after=200_000, times=2) as (line, cut):
        place = store.Store(tmp_path / "there", registry.Registry(f"{line}/acme/cut"))
        assert place.fetch(digest)
    assert len(cut) == 2


def test_a_line_that_stays_broken_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    model = plant(tmp_path / "model", {("weights",): b"stays broken" * 100_000})
    whole = registry.Registry(f"{server.host}/acme/broken")
    with cutting(server.host, after=200_000, times=99) as (line, _):
        place = store.Store(tmp_path / "here", registry.Registry(f"{line}/acme/broken"))
        with pytest.raises(connection.RegistryError, match="tried 3 times"):
            place.put(model)
    assert whole.tags() == []
    digest = store.Store(tmp_path / "here", whole).put(model)
    with cutting(server.host, after=200_000, times=99) as (line, _):
        place = store.Store(tmp_path / "there", registry.Registry(f"{line}/acme/broken"))
        with pytest.raises(connection.RegistryError, match="tried 3 times"):
            place.fetch(digest)
    assert [path for path in place.root.rglob("*") if path.is_file()] == []
