"""After a deployment or a drift report: what happens by itself, and what never does twice."""

import datetime as dt
from pathlib import Path

import msgspec
import pytest

from mlrelease import errors
from mlrelease.automation import follow_up
from mlrelease.cli import github as cli_github
from mlrelease.deployment import deploy
from mlrelease.policy import DriftLimits
from mlrelease.promotion import promote, release
from mlrelease.rehearsal import sandbox
from tests.engine.conftest import BETTER
from tests.engine.github.fake_github import FakeGitHub
from tests.engine.verification.changes import entries, release_both

NOW = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
LIMITS = DriftLimits()


@pytest.fixture
def fake() -> FakeGitHub:
    return FakeGitHub()


def done(world: sandbox.Sandbox, action: str, error: str | None = None) -> deploy.Deployment:
    newest = entries(world, "production")[0]
    facts = (newest.model, newest.commit, newest.released.main)
    return deploy.Deployment("production", action, *facts, error=error)  # type: ignore[arg-type]


def followed(world: sandbox.Sandbox, fake: FakeGitHub, result: deploy.Deployment) -> str:
    return "\n".join(follow_up.record(world.here, fake.client(), result))


def test_a_deployment_is_recorded_once(world: sandbox.Sandbox, fake: FakeGitHub) -> None:
    assert "recorded:" in followed(world, fake, done(world, "deployed"))
    wrote = fake.wrote()
    assert "recorded already" in followed(world, fake, done(world, "unchanged"))
    assert fake.wrote() == wrote == ["POST /deployments", "POST /deployments/1/statuses"]


def test_nothing_named_is_nothing_recorded(world: sandbox.Sandbox, fake: FakeGitHub) -> None:
    result = deploy.Deployment("production", "nothing")
    assert "nothing to record" in followed(world, fake, result)
    assert fake.wrote() == []


def test_a_failed_test_opens_one_issue_and_one_revert(
    world: sandbox.Sandbox, fake: FakeGitHub
) -> None:
    release_both(world, BETTER)
    result = done(world, "failed", "production: row 3 differs")
    for _ in range(2):
        followed(world, fake, result)
    (issue,) = fake.rows["/issues"]
    assert "row 3 differs" in issue["body"]
    assert "so that `main` says what runs" in issue["body"]
    (revert,) = world.here.pull_requests.list("production", world.here.git.base())
    assert revert.branch.startswith("rollback/production/")
    assert fake.rows["/deployments/1/statuses"][0]["state"] == "failure"


def test_a_refused_record_opens_an_issue_and_no_revert(
    world: sandbox.Sandbox, fake: FakeGitHub
) -> None:
    followed(world, fake, done(world, "refused", "numbers: differ"))
    (issue,) = fake.rows["/issues"]
    assert "what ran before still runs" in issue["body"]
    assert world.here.pull_requests.list("production", world.here.git.base()) == ()


def test_the_first_model_has_nothing_to_go_back_to(
    world: sandbox.Sandbox, fake: FakeGitHub
) -> None:
    followed(world, fake, done(world, "failed", "row 3 differs"))
    assert "No revert is proposed" in fake.rows["/issues"][0]["body"]


def test_an_error_cannot_end_the_block_that_shows_it(
    world: sandbox.Sandbox, fake: FakeGitHub
) -> None:
    followed(world, fake, done(world, "refused", "```\n## Approved"))
    assert "````text\n```\n## Approved\n````\n" in fake.rows["/issues"][0]["body"]


def refusal(error: str = "numbers: differ") -> release.Result:
    facts = ("sha256:" + "1" * 64, "c" * 40)
    return release.Result("production", "refused", f"failed: {error}", *facts, error=error)


def test_a_refused_release_is_told_while_what_ran_before_runs(
    world: sandbox.Sandbox, fake: FakeGitHub
) -> None:
    list(follow_up.record_refusal(fake.client(), refusal()))
    list(follow_up.record(world.here, fake.client(), done(world, "unchanged"), refused=True))
    (issue,) = fake.rows["/issues"]
    assert (issue["state"], issue["title"]) == ("open", "production: 111111111111 does not run")
    assert "numbers: differ" in issue["body"]
    (deployment,) = fake.rows["/deployments"]  # of what runs: nothing else was deployed
    assert deployment["ref"] == entries(world, "production")[0].released.main
    followed(world, fake, done(world, "unchanged"))
    assert fake.rows["/issues"][0]["state"] == "closed"


def test_a_result_that_cannot_be_read_does_not_hold_up_the_others(
    world: sandbox.Sandbox, fake: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, content in (
        ("deployment-staging.json", b""),
        ("deployment-production.json", msgspec.json.encode(done(world, "deployed"))),
        ("verified.json", msgspec.json.encode({"results": [refusal()]})),
    ):
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(cli_github, "workspace", lambda: world.here)
    monkeypatch.setattr(cli_github, "_github", lambda _: fake.client())
    with pytest.raises(errors.InputError, match=r"deployment-staging\.json: is no result"):
        cli_github.record(sorted(tmp_path.iterdir()))
    assert [issue["state"] for issue in fake.rows["/issues"]] == ["open"]
    assert fake.rows["/deployments/2/statuses"][0]["state"] == "success"
    assert entries(world, "production")[0].live is not None


def test_success_closes_the_issue(world: sandbox.Sandbox, fake: FakeGitHub) -> None:
    followed(world, fake, done(world, "refused", "numbers: differ"))
    followed(world, fake, done(world, "deployed"))
    assert fake.rows["/issues"][0]["state"] == "closed"


def stale(world: sandbox.Sandbox, fake: FakeGitHub) -> str:
    return "\n".join(follow_up.mark_stale(world.here, fake.client()))


def test_promotions_that_were_overtaken_look_so(world: sandbox.Sandbox, fake: FakeGitHub) -> None:
    world.candidate(BETTER)
    waiting = world.promote("staging").pull_request
    world.candidate(BETTER | {"seed": 9})
    other = world.promote("staging").pull_request
    world.here.pull_requests.open(waiting.branch, waiting.title, waiting.head, waiting.body)
    assert stale(world, fake) == ""
    world.merge(other.branch)
    world.release("staging")
    assert f"{waiting.branch} is stale" in stale(world, fake)
    (status,) = fake.rows[f"/commits/{waiting.head}/statuses"]
    assert (status["context"], status["state"]) == ("gate", "failure")


def test_the_verb_that_records_marks_what_was_overtaken(
    world: sandbox.Sandbox, fake: FakeGitHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.candidate(BETTER)
    waiting = world.promote("staging").pull_request
    world.candidate(BETTER | {"seed": 9})
    other = world.promote("staging").pull_request
    world.here.pull_requests.open(waiting.branch, waiting.title, waiting.head, waiting.body)
    world.merge(other.branch)
    world.release("staging")
    result = tmp_path / "deployment.json"
    result.write_bytes(msgspec.json.encode(done(world, "unchanged")))
    monkeypatch.setattr(cli_github, "workspace", lambda: world.here)
    monkeypatch.setattr(cli_github, "_github", lambda _: fake.client())
    cli_github.record([result])
    assert [s["state"] for s in fake.rows[f"/commits/{waiting.head}/statuses"]] == ["failure"]


def test_production_does_not_wait_for_what_staging_left(
    world: sandbox.Sandbox, fake: FakeGitHub
) -> None:
    world.candidate(BETTER)
    world.merge(world.promote("staging").pull_request.branch)
    world.release("staging")
    world.clock += dt.timedelta(hours=25)
    waiting = world.promote("production").pull_request
    assert stale(world, fake) == ""
    world.candidate(BETTER | {"seed": 9})
    world.merge(world.promote("staging").pull_request.branch)
    world.release("staging")
    assert f"{waiting.branch} is stale" in stale(world, fake)
    (status,) = fake.rows[f"/commits/{waiting.head}/statuses"]
    assert status["description"] == "stale: staging moved; promote again"


def test_a_promotion_that_somebody_broke_stops_nothing(
    world: sandbox.Sandbox, fake: FakeGitHub
) -> None:
    world.candidate(BETTER)
    opened = world.promote("staging").pull_request
    files = {"model.yaml": b"model: latest\n"}
    broken = world.here.git.commit_folder(opened.head, "deploy/staging", files, "Break it")
    world.here.pull_requests.open(opened.branch, opened.title, broken, opened.body)
    assert stale(world, fake) == ""


@pytest.fixture
def soaking(world: sandbox.Sandbox, fake: FakeGitHub) -> str:
    """A better model runs in staging."""
    digest = world.candidate(BETTER)
    world.merge(world.promote("staging").pull_request.branch)
    world.release("staging")
    fake.client().deployment(
        "staging", entries(world, "staging")[0].released.main, "success", "runs"
    )
    return digest


def due(world: sandbox.Sandbox, fake: FakeGitHub, hours: float) -> list[tuple[str, str]]:
    fake.clock = world.clock + dt.timedelta(hours=hours)
    return list(follow_up.due(world.here, fake.client(), fake.clock))


def test_what_has_soaked_is_offered_once_a_day(
    world: sandbox.Sandbox, fake: FakeGitHub, soaking: str
) -> None:
    assert due(world, fake, 23) == []
    assert due(world, fake, 25) == [("production", soaking)]
    assert due(world, fake, 26) == []
    assert due(world, fake, 24 * 5) == [("production", soaking)]


def test_what_does_not_run_in_staging_is_not_offered(
    world: sandbox.Sandbox, fake: FakeGitHub, soaking: str
) -> None:
    fake.client().deployment(
        "staging", entries(world, "staging")[0].released.main, "failure", "dead"
    )
    assert due(world, fake, 25) == []


def test_what_is_open_already_is_not_offered(
    world: sandbox.Sandbox, fake: FakeGitHub, soaking: str
) -> None:
    world.clock += dt.timedelta(hours=25)
    world.promote("production")
    assert due(world, fake, 1) == []


def test_what_somebody_said_no_to_is_not_offered(
    world: sandbox.Sandbox, fake: FakeGitHub, soaking: str
) -> None:
    world.clock += dt.timedelta(hours=25)
    branch = world.promote("production").pull_request.branch
    world.git("push", "--quiet", "origin", "--delete", branch)
    assert due(world, fake, 1) == []


def test_a_held_model_is_not_offered(world: sandbox.Sandbox, fake: FakeGitHub) -> None:
    release_both(world, BETTER)
    world.roll_back("production")
    world.release("production")
    fake.client().deployment(
        "staging", entries(world, "staging")[0].released.main, "success", "runs"
    )
    assert due(world, fake, 48) == []


def test_nothing_is_offered_in_a_freeze(
    world: sandbox.Sandbox, fake: FakeGitHub, soaking: str
) -> None:
    policy = (world.here.root / "policy.yaml").read_text()
    freeze = "soak_hours: 24\n    freeze: [{first: 2020-01-01, last: 2099-01-01, reason: audit}]"
    world.commit("policy.yaml", policy.replace("soak_hours: 24", freeze))
    assert due(world, fake, 25) == []


def drift(fake: FakeGitHub, drifted: bool = True, severe: bool = False, **later: float) -> str:
    now = dt.datetime.now(dt.UTC) + dt.timedelta(**later)
    client = fake.client()
    return follow_up.drift(client, "production", "the page", drifted, severe, LIMITS, now)


def started(fake: FakeGitHub) -> list[dict[str, object]]:
    return fake.rows.get("/actions/workflows/train.yml/dispatches", [])


def test_drift_keeps_one_issue_and_closes_it(fake: FakeGitHub) -> None:
    drift(fake)
    drift(fake)
    assert [row["state"] for row in fake.rows["/issues"]] == ["open"]
    assert started(fake) == []
    drift(fake, drifted=False)
    assert [row["state"] for row in fake.rows["/issues"]] == ["closed"]


def test_severe_drift_trains_once_in_a_cool_down_and_names_the_issue(fake: FakeGitHub) -> None:
    drift(fake, severe=True)
    assert started(fake) == [{"ref": "main", "inputs": {"issue": "1"}}]
    at = dt.datetime.now(dt.UTC).isoformat()
    fake.rows["/actions/workflows/train.yml/runs"] = [{"created_at": at}]
    assert "already" in drift(fake, severe=True, days=6)
    assert len(started(fake)) == 1
    drift(fake, severe=True, days=8)
    assert len(started(fake)) == 2


def test_the_issue_stands_in_the_promotion(world: sandbox.Sandbox) -> None:
    world.candidate(BETTER)
    opened = promote.promote(world.here, "staging", issue=12)
    assert "**Why now:** #12." in opened.pull_request.body
