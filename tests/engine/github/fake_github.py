"""A GitHub that keeps what it is told, for tests of the client. The template's own tests run the
workflows against a strict one."""

import datetime as dt
import json
import re
from typing import Any

import httpx

from mlrelease.github import api as github_api, repository as github

Row = dict[str, Any]
REPOSITORY = github_api.Repository("acme/churn", "secret", "https://api.example.org")


class FakeGitHub:
    """Collections of rows by path, such as `/issues`; failures are answered first, in order."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {}
        self.permissions: dict[str, str] = {}  # of people, by login
        self.calls: list[tuple[str, str]] = []
        self.failures: list[httpx.Response | Exception] = []
        self.lost_answers = 0  # requests that work, but whose answer never arrives
        self.page = 100
        self.clock: dt.datetime | None = None

    def client(self) -> github.GitHub:
        return github.GitHub(REPOSITORY, httpx.MockTransport(self.answer))

    def wrote(self) -> list[str]:
        return [f"{method} {path}" for method, path in self.calls if method != "GET"]

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/repos/acme/churn")
        self.calls.append((request.method, path))
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        content = json.loads(request.content) if request.content else {}
        made = self._apply(request, path, content)
        if self.lost_answers and request.method != "GET":
            self.lost_answers -= 1
            raise httpx.ReadTimeout("lost")
        return made

    def _apply(self, request: httpx.Request, path: str, content: Row) -> httpx.Response:
        if request.method == "GET":
            return self._list(request, path)
        if path.endswith("/dispatches"):
            self.rows.setdefault(path, []).append(content)
            return httpx.Response(204)
        if request.method == "PATCH":
            row = self._row(path)
            row.update(content)
            return httpx.Response(200, json=row)
        if path.endswith("/labels"):
            row = self._row(path.removesuffix("/labels").replace("/issues", "/pulls"))
            row["labels"] += [{"name": name} for name in content["labels"]]
            return httpx.Response(200, json=row["labels"])
        collection = path.replace("/statuses/", "/commits/", 1) + "/statuses" * (
            path.startswith("/statuses/")
        )
        number = 1 + sum(len(rows) for rows in self.rows.values())
        row = {
            "id": number, "number": number, "state": "open", "labels": [], "merged_at": None,
            "html_url": f"https://github.com/acme/churn/pull/{number}",
            "created_at": (self.clock or dt.datetime.now(dt.UTC)).isoformat(),
        } | content | {"sha": content.get("ref")}  # fmt: skip
        row["labels"] = [{"name": name} for name in content.get("labels", [])]
        if path == "/pulls":
            row["head"] = {
                "ref": content["head"], "sha": "0" * 40, "repo": {"full_name": "acme/churn"},
            }  # fmt: skip
        self.rows.setdefault(collection, []).insert(0, row)
        return httpx.Response(201, json=row)

    def _list(self, request: httpx.Request, path: str) -> httpx.Response:
        if person := re.fullmatch(r"/collaborators/(.+)/permission", path):
            role = self.permissions.get(person[1])
            return httpx.Response(200 if role else 404, json={"permission": role})
        query = dict(request.url.params)
        found = [row for row in self.rows.get(path, []) if self._fits(row, query)]
        start = int(query.get("page", 1)) - 1
        part = found[start * self.page : (start + 1) * self.page]
        more = len(found) > (start + 1) * self.page
        following = str(request.url.copy_merge_params({"page": str(start + 2)}))
        links = {"link": f'<{following}>; rel="next"'} if more else {}
        return httpx.Response(200, json=part, headers=links)

    def _fits(self, row: Row, query: Row) -> bool:
        state, head = query.get("state", "all"), query.get("head", "").partition(":")[2]
        labels = {label["name"] for label in row.get("labels", [])}
        return (
            state in {"all", row.get("state")}
            and (not head or row["head"]["ref"] == head)
            and ("labels" not in query or query["labels"] in labels)
            and ("environment" not in query or row["environment"] == query["environment"])
        )

    def _row(self, path: str) -> Row:
        collection, number = re.fullmatch(r"(.*)/(\d+)", path).groups()  # type: ignore[union-attr]
        if collection == "/issues/comments":
            comments = [rows for name, rows in self.rows.items() if name.endswith("/comments")]
            rows = [row for rows in comments for row in rows]
        else:
            rows = self.rows.get(collection, [])
        return next(row for row in rows if row["number"] == int(number))
