"""From a request to the function that answers it, with what every endpoint has in common."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from . import activity
from .records import Issue, Json, Pull, Refusal
from .repository import Repository
from .tokens import Token

if TYPE_CHECKING:
    from .standin import GitHub

Answer = tuple[int, Any]
Kind = type | int | list[type] | tuple[str, ...]
KINDS: dict[str, Kind] = {
    "text": str,
    "int": int,
    "bool": bool,
    "object": dict,
    "texts": [str],
    "objects": [dict],
}
Handler = Callable[["Request"], Answer]


class Query(dict[str, str]):
    """The query of a call, which notices what nobody asks for."""

    def __init__(self, given: Mapping[str, str]) -> None:
        super().__init__(given)
        self._read: set[str] = set()

    def ask(self, name: str, usual: str = "") -> str:
        """A parameter, or what it usually is."""
        self._read.add(name)
        return self.get(name, usual)

    def select(self, items: Iterable[Json], **keys: str) -> list[Json]:
        """The items that have what the parameters ask for; each names a key of the items."""
        found = list(items)
        for name, key in keys.items():
            if wanted := self.ask(name):
                found = [item for item in found if item[key] == wanted]
        return found

    def unread(self) -> set[str]:
        return self.keys() - self._read


@dataclass
class Request:
    """One call of an endpoint, as far as it has been let in."""

    github: GitHub
    method: str
    query: Query
    accept: str
    route: Route | None = None
    path: Mapping[str, str] = field(default_factory=dict)
    token: Token | None = None
    permission: tuple[str, str] | None = None
    body: Json = field(default_factory=dict)
    found: Repository | None = None

    @property
    def repository(self) -> Repository:
        assert self.found is not None
        return self.found

    @property
    def caller(self) -> Token:
        """Who calls; only for endpoints that refuse anonymous calls."""
        assert self.token is not None
        return self.token

    def issue(self) -> Issue:
        return self.repository.issue(self.path["number"])

    def pull(self) -> Pull:
        return self.repository.pull(self.path["number"])

    def api(self, rest: str) -> str:
        """The address of something in this repository."""
        return f"{self.repository.api}/{rest}"

    def tell(self, issue: Issue, action: str, more: Json | None = None, name: str = "") -> None:
        """Record what the caller did to an issue or a pull request."""
        activity.tell(self.repository, issue, action, self.caller, more, name)


@dataclass(frozen=True)
class Route:
    """An endpoint; `needs` is "permission: level", or a function of the request that gives it."""

    method: str
    template: str
    pattern: re.Pattern[str]
    needs: str | Callable[[Request], str]
    least: str | None
    public: bool
    fields: Mapping[str, Kind]
    required: frozenset[str]
    handler: Handler


ROUTES: list[Route] = []


def route(
    call: str,
    needs: str | Callable[[Request], str],
    fields: str = "",
    *,
    least: str | None = None,
    public: bool | None = None,
) -> Callable[[Handler], Handler]:
    """Register an endpoint: `METHOD path`, without `/` in front below a repository's address.

    `fields` are those of the body, `name:kind`, with `!` behind the name of a required one: a kind
    of KINDS (text if there is none), the greatest length of a text, or `one|of|these`. `least` is
    the role with which a person may do it, where that differs from the permission's own. `public`:
    a public repository answers everybody (reading, unless told otherwise).
    """
    method, path = call.split(" ")
    template = path if path.startswith("/") else f"/repos/{{owner}}/{{repo}}/{path}".rstrip("/")
    expression = re.sub(r"\{(\w+):path\}", r"(?P<\1>.+?)", template)
    expression = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", expression)

    def register(handler: Handler) -> Handler:
        is_public = method == "GET" if public is None else public
        named = [field.partition(":") for field in fields.split()]
        kinds = {field.rstrip("!"): _kind(kind) for field, _, kind in named}
        required = frozenset(field[:-1] for field, _, _ in named if field.endswith("!"))
        name, pattern = template.replace(":path}", "}"), re.compile(expression)
        ROUTES.append(
            Route(method, name, pattern, needs, least, is_public, kinds, required, handler)
        )
        return handler

    return register


def _kind(text: str) -> Kind:
    if text.isdigit():
        return int(text)
    return tuple(text.split("|")) if "|" in text else KINDS[text or "text"]


def find(method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
    for candidate in ROUTES:
        if candidate.method == method and (match := candidate.pattern.fullmatch(path)):
            return candidate, match.groupdict()
    return None


def conversation(level: str) -> Callable[[Request], str]:
    """Issues and pull requests share endpoints, not permissions."""

    def needs(request: Request) -> str:
        name = "pull-requests" if isinstance(request.issue(), Pull) else "issues"
        return f"{name}: {level}"

    return needs


def parsed_body(route: Route, content: bytes) -> Json:
    """The body, checked against the endpoint's fields."""
    try:
        body = json.loads(content) if content else {}
    except ValueError:
        raise Refusal(400, "Problems parsing JSON") from None
    if isinstance(body, list) and len(route.fields) == 1:  # labels may come as a bare list
        body = {next(iter(route.fields)): body}
    if not isinstance(body, dict):
        raise Refusal(400, "Body should be a JSON object")
    for name in body:
        if name not in route.fields:
            raise Refusal(422, f'Invalid request.\n\n"{name}" is not a permitted key.')
    for name in sorted(route.required):
        if body.get(name) is None:
            raise Refusal(422, f'Invalid request.\n\n"{name}" wasn\'t supplied.')
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        if complaint := _complaint(route.fields[name], value):
            error = {"field": name, "code": "custom", "message": f"{name} {complaint}"}
            shown = str(value)[:60]
            raise Refusal(422, f"Invalid request: {name} {complaint} (given: {shown})", [error])
    return given


def _complaint(kind: Kind, value: object) -> str | None:
    """What is wrong with a value, or nothing."""
    if isinstance(kind, tuple):
        return None if value in kind else f"is not one of {', '.join(kind)}"
    if isinstance(kind, list):
        fine = isinstance(value, list) and all(type(item) is kind[0] for item in value)
        return None if fine else f"is not a list of {kind[0].__name__}"
    if isinstance(kind, int):
        if not isinstance(value, str):
            return "is not a string"
        fine = len(value) <= kind
        return None if fine else f"is too long (maximum is {kind} characters)"
    return None if type(value) is kind else f"is not a {kind.__name__}"


def page(content: Any, query: Mapping[str, str], address: str) -> tuple[Any, dict[str, str]]:
    """One page of a list, and the Link header to the others."""
    name = None
    if isinstance(content, dict) and "total_count" in content:
        name = next(key for key, value in content.items() if isinstance(value, list))
    items = content[name] if name else content
    if not isinstance(items, list):
        return content, {}
    size = _number(query, "per_page", 30, 100)
    number = _number(query, "page", 1, 10**6)
    last = max(1, -(-len(items) // size))
    wanted: dict[str, int] = {}
    if number > 1:
        wanted |= {"prev": number - 1, "first": 1}
    if number < last:
        wanted |= {"next": number + 1, "last": last}
    links = [
        f'<{address}?{urlencode({**query, "page": str(at)})}>; rel="{rel}"'
        for rel, at in wanted.items()
    ]
    part = items[(number - 1) * size : number * size]
    return ({**content, name: part} if name else part), (
        {"Link": ", ".join(links)} if links else {}
    )


def _number(query: Mapping[str, str], name: str, usual: int, greatest: int) -> int:
    text = query.get(name, "")
    return min(int(text), greatest) if text.isdigit() and int(text) > 0 else usual
