"""What is asked of GitHub twice is done once, and a GitHub that is down is no fault of ours."""

import datetime as dt
import time
from collections.abc import Callable

import httpx
import pytest

from mlrelease.github import api as github_api, repository as github
from tests.engine.github.fake_github import REPOSITORY, FakeGitHub

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeGitHub:
    monkeypatch.setattr(time, "sleep", lambda _: None)
    return FakeGitHub()


TWICE: list[Callable[[github.GitHub], object]] = [
    lambda g: g.comment(1, "candidate", "text"),
    lambda g: g.issue("drift-production", "drifted", "text"),
    lambda g: g.status("a" * 40, "success", "verified"),
    lambda g: g.deployment("staging", "a" * 40, "success", "runs"),
]


@pytest.mark.parametrize("action", TWICE)
def test_a_second_time_changes_nothing(
    fake: FakeGitHub, action: Callable[[github.GitHub], object]
) -> None:
    action(fake.client())
    wrote = fake.wrote()
    action(fake.client())
    assert wrote
    assert fake.wrote() == wrote


def test_the_one_comment_is_changed_not_repeated(fake: FakeGitHub) -> None:
    fake.client().comment(1, "candidate", "old")
    fake.client().comment(1, "other", "another")
    fake.client().comment(1, "candidate", "new")
    texts = [row["body"] for row in fake.rows["/issues/1/comments"]]
    assert texts == ["<!-- other -->\nanother", "<!-- candidate -->\nnew"]


def test_an_issue_is_closed_with_a_word_and_opened_anew(fake: FakeGitHub) -> None:
    first = fake.client().issue("drift-production", "drifted", "a")
    fake.client().close_issue("drift-production", "gone")
    second = fake.client().issue("drift-production", "drifted", "b")
    assert first != second
    assert fake.rows[f"/issues/{first}/comments"][0]["body"].endswith("gone")


def test_a_lost_answer_makes_nothing_a_second_time(fake: FakeGitHub) -> None:
    fake.lost_answers = 1
    fake.client().issue("drift-production", "drifted", "text")
    assert len(fake.rows["/issues"]) == 1


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(502),
        httpx.Response(429, headers={"retry-after": "1"}),
        httpx.Response(403, headers={"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"}),
        httpx.ConnectError("refused"),
    ],
)
def test_what_passes_is_waited_for(fake: FakeGitHub, failure: httpx.Response | Exception) -> None:
    fake.failures = [failure, failure]
    assert fake.client().get("/issues") == []


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(403, json={"message": "Resource not accessible by integration"}),
        httpx.Response(422, json={"message": "Validation Failed", "errors": [{"message": "head"}]}),
        httpx.Response(429, headers={"retry-after": "3600"}),
        httpx.Response(404, text="<html>"),
    ],
)
def test_what_does_not_pass_is_one_line_at_once(fake: FakeGitHub, failure: httpx.Response) -> None:
    fake.failures = [failure]
    with pytest.raises(github_api.GitHubError, match=str(failure.status_code)) as error:
        fake.client().get("/issues")
    assert "\n" not in str(error.value)
    assert len(fake.calls) == 1


def test_a_github_that_stays_away_ends_in_one_line(fake: FakeGitHub) -> None:
    fake.failures = [httpx.ConnectError("refused")] * github_api.ATTEMPTS
    with pytest.raises(github_api.GitHubError, match="refused"):
        fake.client().get("/issues")


def test_every_page_is_read(fake: FakeGitHub) -> None:
    fake.page = 2
    fake.rows["/issues"] = [{"number": n, "state": "open"} for n in range(5)]
    assert [row["number"] for row in fake.client().pages("/issues")] == [0, 1, 2, 3, 4]


def test_nothing_there_is_none(fake: FakeGitHub) -> None:
    fake.failures = [httpx.Response(404, json={"message": "Not Found"})]
    assert fake.client().find("/environments/staging") is None


def test_a_failed_deployment_is_another_state_of_the_same_one(fake: FakeGitHub) -> None:
    client = fake.client()
    assert client.deployment("staging", "a" * 40, "failure", "golden requests failed")
    assert client.deployment("staging", "a" * 40, "success", "runs")
    assert len(fake.rows["/deployments"]) == 1
    assert client.runs("staging", "a" * 40)
    assert not client.runs("staging", "b" * 40)
    assert not client.runs("production", "a" * 40)


def test_a_model_is_offered_once_a_day(fake: FakeGitHub) -> None:
    now, day = dt.datetime.now(dt.UTC), dt.timedelta(days=1)
    client = fake.client()
    assert client.offer("a" * 40, "production", now, day)
    assert not client.offer("a" * 40, "production", now + day / 2, day)
    assert client.offer("a" * 40, "production", now + 2 * day, day)


def pull(**changes: object) -> dict[str, object]:
    return {
        "number": 7, "merged_at": "2026-11-21T12:00:00Z", "base": {"ref": "main"},
        "head": {"sha": "h"}, "user": {"login": "bot"}, "merge_commit_sha": "c",
    } | changes  # fmt: skip


def review(who: str, state: str, commit: str = "h", **changes: object) -> dict[str, object]:
    """As a job's token sees it: nobody is a member."""
    return {
        "user": {"login": who, "type": "User"}, "state": state, "commit_id": commit,
        "author_association": "NONE",
    } | changes  # fmt: skip


def merged(fake: FakeGitHub, *reviews: dict[str, object], **changes: object) -> FakeGitHub:
    fake.rows = {"/commits/c/pulls": [pull(**changes)], "/pulls/7/reviews": [*reviews]}
    fake.rows["/pulls/7/commits"] = [{"sha": "g"}, {"sha": "h"}]
    fake.permissions = {"ann": "write", "ben": "admin", "bot": "write"}
    fake.permissions |= {"eve": "read", "max": "none"}
    return fake


BOT = {"login": "github-actions[bot]", "type": "Bot"}


@pytest.mark.parametrize(
    ("reviews", "people"),
    [
        ([review("ann", "APPROVED")], ("ann",)),
        ([review("ben", "APPROVED"), review("ann", "APPROVED")], ("ann", "ben")),
        ([review("ann", "APPROVED"), review("ann", "COMMENTED")], ("ann",)),
        ([review("ann", "APPROVED"), review("ann", "CHANGES_REQUESTED")], ()),
        ([review("ann", "APPROVED"), review("ann", "DISMISSED")], ()),
        ([review("ann", "CHANGES_REQUESTED"), review("ann", "APPROVED")], ("ann",)),
        ([review("ann", "APPROVED", commit="earlier")], ()),
        ([review("bot", "APPROVED")], ()),
        ([review("ann", "APPROVED", user=BOT)], ()),
        ([review("ann", "APPROVED", user=None)], ()),
        ([review("eve", "APPROVED", author_association="COLLABORATOR")], ()),
        ([review("max", "APPROVED")], ()),
        ([review("nobody", "APPROVED", author_association="MEMBER")], ()),
        ([], ()),
    ],
)
def test_an_approval_is_of_the_last_state_and_by_somebody_else_who_may_write(
    fake: FakeGitHub, reviews: list[dict[str, object]], people: tuple[str, ...]
) -> None:
    expected = github.Review(7, "h", "bot", people, NOW)
    assert merged(fake, *reviews).client().approvals("c") == expected


def test_who_asked_for_it_does_not_approve_it(fake: FakeGitHub) -> None:
    merged(fake, review("ann", "APPROVED"), review("ben", "APPROVED"))
    found = fake.client().approvals("c", exclude=["Ann"])
    assert found is not None
    assert found.approved_by == ("ben",)


def test_the_pull_request_of_a_deleted_account_is_nobodys(fake: FakeGitHub) -> None:
    found = merged(fake, review("ann", "APPROVED"), user=None).client().approvals("c")
    assert found is not None
    assert (found.author, found.approved_by) == ("", ("ann",))


@pytest.mark.parametrize(
    "changes",
    [{"merged_at": None}, {"base": {"ref": "other"}}],
    ids=["not merged", "merged elsewhere"],
)
def test_a_pull_request_that_was_not_merged_into_main_approves_nothing(
    fake: FakeGitHub, changes: dict[str, object]
) -> None:
    assert merged(fake, review("ann", "APPROVED"), **changes).client().approvals("c") is None


def test_a_commit_of_the_branch_that_was_pushed_to_main_was_not_approved(fake: FakeGitHub) -> None:
    """GitHub lists it for the pull request, which was squashed into another commit."""
    merged(fake, review("ann", "APPROVED"), merge_commit_sha="squashed")
    fake.rows["/pulls/7/commits"] = [{"sha": "c"}, {"sha": "h"}]
    assert fake.client().approvals("c") is None
    fake.rows["/pulls/7/commits"] = [{"sha": "g"}, {"sha": "h"}]  # rebased: c was made of g
    found = fake.client().approvals("c")
    assert found is not None
    assert found.approved_by == ("ann",)


def test_main_stood_where_a_pull_request_ended_and_nowhere_in_it(fake: FakeGitHub) -> None:
    merged(fake)
    assert fake.client().middle("c") is None  # a merge, a squash, the last commit of a rebase
    fake.rows["/commits/b/pulls"] = fake.rows["/commits/c/pulls"]
    assert fake.client().middle("b") == 7
    fake.rows["/commits/b/pulls"] = [pull(), pull(number=6, merge_commit_sha="b")]
    assert fake.client().middle("b") is None  # another one ended there
    fake.rows["/commits/b/pulls"] = [pull(merged_at=None), pull(base={"ref": "other"})]
    assert fake.client().middle("b") is None
    assert fake.client().middle("pushed") is None


@pytest.mark.parametrize("after", range(3))
def test_approvals_that_cannot_be_read_are_no_answer(fake: FakeGitHub, after: int) -> None:
    merged(fake, review("ann", "APPROVED"))
    answer = fake.answer

    def refuse(request: httpx.Request) -> httpx.Response:
        if len(fake.calls) >= after:
            fake.failures = [httpx.Response(403, json={"message": "Resource not accessible"})]
        return answer(request)

    client = github.GitHub(REPOSITORY, httpx.MockTransport(refuse))
    with pytest.raises(github_api.GitHubError, match="403"):
        client.approvals("c")


def test_a_file_is_asked_for_as_it_is_at_a_commit(fake: FakeGitHub) -> None:
    """Not as it is on the default branch, which is what was merged in any case."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked = (request.url.path, dict(request.url.params))
        found = asked == ("/repos/acme/churn/contents/deploy/staging/model.yaml", {"ref": "h"})
        return httpx.Response(200 if found else 404, json={"sha": "b" * 40})

    client = github.GitHub(REPOSITORY, httpx.MockTransport(answer))
    assert client.blob("h", "deploy/staging/model.yaml") == "b" * 40
    assert client.blob("main", "deploy/staging/model.yaml") is None


def test_the_clock_is_github_s(fake: FakeGitHub) -> None:
    """Its address has no slash at the end: GitHub would not know it."""

    def answer(request: httpx.Request) -> httpx.Response:
        found = request.url.path == "/repos/acme/churn"
        return httpx.Response(
            200 if found else 404, json={}, headers={"date": "Sat, 21 Nov 2026 12:00:00 GMT"}
        )

    assert github.GitHub(REPOSITORY, httpx.MockTransport(answer)).clock() == NOW
