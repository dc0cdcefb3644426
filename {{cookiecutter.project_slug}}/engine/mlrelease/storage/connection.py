"""HTTP to an OCI registry: credentials, tokens, retries, and errors that say what to do."""

import io
import os
import re
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

import httpx
import msgspec

from mlrelease.errors import ModelError

PAUSES = (0.5, 1.0, 2.0)  # seconds, before each further attempt
MAX_PAUSE = 30.0  # seconds, when the registry says how long
TIMEOUT = httpx.Timeout(60, connect=10)  # for the next bytes, not for all of them
MAX_ANSWER = 4_000_000  # bytes, of anything but a layer

Result = TypeVar("Result")


class RegistryError(ModelError):
    """The registry did not do what it was asked for."""


class DeniedError(RegistryError):
    """These credentials may not do this; or nobody may without."""


class _BusyError(Exception):
    """The registry asks to come again."""

    def __init__(self, answer: "Answer") -> None:
        super().__init__(answer.reason())
        told = answer.headers.get("retry-after", "")
        self.after = min(float(told), MAX_PAUSE) if told.isdecimal() else 0.0


@dataclass(frozen=True)
class Credentials:
    """Who asks. `source` is the variable that the password came from."""

    username: str
    password: str
    source: str

    @classmethod
    def find(cls, host: str, variables: Mapping[str, str] = os.environ) -> "Credentials | None":
        """REGISTRY_USERNAME and REGISTRY_PASSWORD; else GITHUB_TOKEN, but only for a registry of
        that GitHub or of this machine: no other host has any business with it."""
        if variables.get("REGISTRY_PASSWORD"):
            username = variables.get("REGISTRY_USERNAME", "")
            return cls(username, variables["REGISTRY_PASSWORD"], "REGISTRY_PASSWORD")
        server = variables.get("GITHUB_SERVER_URL") or "https://github.com"
        own = host == "ghcr.io" or host.endswith("." + server.partition("://")[2])
        if not variables.get("GITHUB_TOKEN") or not (own or is_local(host)):
            return None
        actor = variables.get("GITHUB_ACTOR") or "x-access-token"
        return cls(actor, variables["GITHUB_TOKEN"], "GITHUB_TOKEN")


@dataclass(frozen=True)
class Answer:
    """A response that was read to its end."""

    status: int
    headers: httpx.Headers
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty one when it is none."""
        try:
            content = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return {}
        return content if isinstance(content, dict) else {}

    def reason(self) -> str:
        """The registry's own words, on one line."""
        errors = self.json().get("errors")
        first = errors[0] if isinstance(errors, list) and errors else {}
        words = (first.get("message") or first.get("code")) if isinstance(first, dict) else None
        return f"{self.status} {' '.join(str(words or 'without a reason').split())[:200]}"


def is_local(host: str) -> bool:
    """Whether a host is this machine: plain HTTP, and no proxy between."""
    name = re.sub(r":\d+$", "", host)
    return name in ("localhost", "[::1]") or re.fullmatch(r"127(\.\d{1,3}){3}", name) is not None


class Auth(httpx.Auth):
    """Gives credentials once they are asked for: Basic, or for a token (as ghcr.io does)."""

    def __init__(self, base: httpx.URL, scope: str, credentials: Credentials | None) -> None:
        self.base, self.scope, self.header = base, scope, ""
        self.basic: httpx.Auth = httpx.Auth()
        if credentials:
            self.basic = httpx.BasicAuth(credentials.username, credentials.password)

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        if (request.url.host, request.url.port) != (self.base.host, self.base.port):
            yield request  # an upload may go elsewhere, without what is meant for the registry
            return
        if self.header:
            request.headers["authorization"] = self.header
        response = yield request
        if response.status_code != 401:
            return
        challenge = response.headers.get("www-authenticate", "")
        bearer = re.search(r"\bbearer\s+(.*)", challenge, re.IGNORECASE)
        fields = dict(re.findall(r'(\w+)="([^"]*)"', bearer[1])) if bearer else {}
        if bearer is None:
            again = next(self.basic.auth_flow(request))
            self.header = again.headers.get("authorization", "")
            yield again
            return
        realm = httpx.URL(fields.get("realm", ""))
        if realm.scheme != "https" and not is_local(realm.host):
            raise RegistryError(f"{self.base.host}: wants credentials sent to {realm}; not sent")
        parameters = {"scope": self.scope} | {k: v for k, v in fields.items() if k == "service"}
        token = yield next(self.basic.auth_flow(httpx.Request("GET", realm, params=parameters)))
        token.read()
        if token.status_code in (401, 403, 429) or token.status_code >= 500:
            return  # this is the answer
        found = Answer(token.status_code, token.headers, token.content).json()
        value = found.get("token") or found.get("access_token")
        if not value:
            raise RegistryError(f"{self.base.host}: {realm} gave no token ({token.status_code})")
        request.headers["authorization"] = self.header = f"Bearer {value}"
        yield request


class Connection:
    """Requests about one repository of a registry."""

    def __init__(self, host: str, path: str, anonymous: bool = False) -> None:
        self.name = f"{host}/{path}"
        self.credentials = None if anonymous else Credentials.find(host)
        scheme = "http" if is_local(host) else "https"
        self.base = httpx.URL(f"{scheme}://{host}/v2/{path}/")
        self._auth = {
            actions: Auth(self.base, f"repository:{path}:{actions}", self.credentials)
            for actions in ("pull", "pull,push", "pull,push,delete")
        }
        self._client = httpx.Client(
            timeout=TIMEOUT,
            follow_redirects=True,  # to where blobs are kept; httpx takes no token there
            trust_env=not is_local(host),
            headers={"accept-encoding": "identity", "user-agent": "model"},
        )

    def patiently(self, action: Callable[[], Result]) -> Result:
        """Do it again, after a pause, when the line breaks or the registry is busy.

        Raises:
            RegistryError: It stayed so.
        """
        for pause in (*PAUSES, None):
            try:
                return action()
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                problem, after = str(error) or type(error).__name__, 0.0
            except _BusyError as busy:
                problem, after = str(busy), busy.after
            if pause is not None:
                time.sleep(max(pause, after))
        raise RegistryError(f"{self.name}: tried {len(PAUSES) + 1} times, last: {problem}")

    def ask(
        self,
        method: str,
        where: str,
        *,
        write: bool = False,
        accept: str = "*/*",
        content: BinaryIO | None = None,
        kind: str = "application/octet-stream",
        into: BinaryIO | None = None,
        most: int = MAX_ANSWER,
    ) -> Answer | None:
        """One request; None when what it wants to read is not there. To be called `patiently`.

        `content` is sent from its start; a good answer's body, of `most` bytes, goes `into` a
        stream.

        Raises:
            DeniedError: Not with these credentials.
            RegistryError: The registry says no.
        """
        url = self.base.join(where)
        if url.scheme != self.base.scheme:
            raise RegistryError(f"{self.name}: leads to {url.scheme}://{url.host}; not followed")
        headers = {"accept": accept}
        if content:
            headers["content-type"] = kind
            headers["content-length"] = str(content.seek(0, os.SEEK_END))
            content.seek(0)
        body = into or io.BytesIO()
        body.seek(0)
        body.truncate()
        actions = "pull,push" if write else "pull"
        auth = self._auth["pull,push,delete" if method == "DELETE" else actions]
        request = self._client.stream(method, url, headers=headers, content=content, auth=auth)
        with request as response:
            body = body if response.is_success else io.BytesIO()
            limit = most if body is into else MAX_ANSWER
            for chunk in response.iter_bytes():
                if body.tell() + len(chunk) > limit:
                    raise RegistryError(f"{self.name}: sends more than {limit:,} bytes; not kept")
                body.write(chunk)
        read = b"" if body is into or not isinstance(body, io.BytesIO) else body.getvalue()
        answer = Answer(response.status_code, response.headers, read)
        if answer.status == 429 or answer.status >= 500:
            raise _BusyError(answer)
        if answer.status == 404 and method in ("GET", "HEAD"):
            return None
        if answer.status in (401, 403):
            raise DeniedError(self._denied(answer, write))
        if not response.is_success:
            raise RegistryError(f"{self.name}: {method} {where[:100]}: {answer.reason()}")
        return answer

    def _denied(self, answer: Answer, write: bool) -> str:
        verb, scope = ("write", "packages: write") if write else ("read", "packages: read")
        if self.credentials is None:
            advice = (
                "no credentials were given; set REGISTRY_USERNAME and REGISTRY_PASSWORD, or on"
                f" GitHub give the job `{scope}` and GITHUB_TOKEN in its environment"
            )
        elif self.credentials.source == "GITHUB_TOKEN":
            advice = (
                f"give the job `{scope}`, and if it has that, this repository access in the"
                " package's settings (Manage Actions access)"
            )
        else:
            advice = "check REGISTRY_USERNAME and REGISTRY_PASSWORD, and what they may do"
        return f"{self.name}: may not {verb} ({answer.reason()}): {advice}"
