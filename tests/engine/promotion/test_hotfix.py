"""A hotfix skips waiting, never quality, and says so where people look."""

import pytest

from mlrelease import errors
from mlrelease.evaluation import report
from mlrelease.objects import parse
from mlrelease.promotion import promote
from mlrelease.records import record
from mlrelease.rehearsal import sandbox
from mlrelease.verification import verify
from tests.engine.conftest import BETTER, WORSE
from tests.engine.verification.changes import failed, on_main


def hotfix(world: sandbox.Sandbox, model: str, reason: str | None = "the caller is down") -> str:
    opened = promote.promote(world.here, "production", model=model, reason=reason, intent="hotfix")
    return opened.pull_request.branch


def test_a_hotfix_needs_no_staging_no_soak_and_no_thaw(world: sandbox.Sandbox) -> None:
    policy = (world.here.root / "policy.yaml").read_text()
    day = f"{world.clock:%Y-%m-%d}"
    freeze = f"soak_hours: 24\n    freeze: [{{first: {day}, last: {day}, reason: audit}}]"
    world.commit("policy.yaml", policy.replace("soak_hours: 24", freeze))
    branch = hotfix(world, world.candidate(BETTER))
    request = world.here.pull_requests.list("production", world.here.git.base())[0]
    assert "(hotfix)" in request.title
    assert "HOTFIX, not soaked: the caller is down" in report.summary(request.body)
    world.merge(branch)
    assert verify.verify(world.here, on_main(world)).passed


def test_a_hotfix_must_be_good(world: sandbox.Sandbox) -> None:
    with pytest.raises(errors.RefusedError, match=r"champion\.roc_auc\.margin"):
        hotfix(world, world.candidate(WORSE))


def test_a_hotfix_without_a_reason_is_refused(world: sandbox.Sandbox) -> None:
    with pytest.raises(errors.RefusedError, match="needs a reason"):
        hotfix(world, world.candidate(BETTER), reason=None)


def test_a_record_that_calls_itself_a_hotfix_needs_a_reason_too(world: sandbox.Sandbox) -> None:
    world.merge(hotfix(world, world.candidate(BETTER)))
    path = world.here.root / "deploy/production/model.yaml"
    made = record.Record.read(path.read_bytes(), str(path))
    forged = made.model_copy(update={"reason": None, "version": "forged"})
    world.commit("deploy/production/model.yaml", forged.write())
    assert failed(world, on_main(world))["hotfix"] == "gives no reason"


def test_an_intent_that_nobody_knows_is_refused() -> None:
    with pytest.raises(errors.InputError, match="intent"):
        parse(b"intent: force\n", record.Record, "model.yaml")
