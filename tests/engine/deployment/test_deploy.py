"""Deployment makes what runs equal to main, from whatever state it finds."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from mlrelease import errors, files, workspace
from mlrelease.deployment import deploy, drivers as driver, processes as supervisor, status
from mlrelease.environments import ENVIRONMENTS
from mlrelease.rehearsal import sandbox
from mlrelease.scoring import artifact
from mlrelease.serving import golden
from tests.engine.conftest import BETTER, PYTHONPATH
from tests.engine.scoring.swap import replace
from tests.engine.verification.changes import entries, live, merge_both, release_both

pytestmark = pytest.mark.slow  # each starts real services

KILLED = """
import importlib, os, pathlib, signal, sys
package, root, state, where, when = sys.argv[1:]
load = lambda name: importlib.import_module(package + "." + name)
deploy, workspace = load("deployment.deploy"), load("workspace")
releases, ledger = load("promotion.release"), load("records.ledger_branch")
places = {
    "check": load("serving.golden"), "verify": releases, "append": ledger, "observe": deploy
}
owner = places.get(where, load("deployment.processes").Processes)
real = getattr(owner, where)
def killed(*arguments, **named):
    outcome = real(*arguments, **named) if when == "after" else None
    os.kill(os.getpid(), signal.SIGKILL)
setattr(owner, where, killed)
deploy.deploy(workspace.Workspace(pathlib.Path(root), pathlib.Path(state)), "production")
"""


@pytest.fixture
def deployed(world: sandbox.Sandbox) -> Iterator[sandbox.Sandbox]:
    """Production runs what main names; everything is stopped afterwards."""
    try:
        yield world
    finally:
        for environment in ENVIRONMENTS:
            deploy.stop(world.here, environment)


def processes(world: sandbox.Sandbox) -> tuple[supervisor.Process, ...]:
    return of_production(world).running()


def of_production(world: sandbox.Sandbox) -> supervisor.Processes:
    return supervisor.Processes(world.here.state / "environments" / "production", world.here.git)


def serves(url: str | None) -> str:
    response = httpx.get(f"{url}/healthz", timeout=5, trust_env=False)
    return str(response.json()["digest"])


def test_what_main_names_is_served(deployed: sandbox.Sandbox) -> None:
    done = deploy.deploy(deployed.here, "production")
    assert done.action == "deployed"
    assert serves(done.url) == live(deployed)


def test_a_second_run_changes_nothing(deployed: sandbox.Sandbox) -> None:
    deploy.deploy(deployed.here, "production")
    before = processes(deployed)
    assert deploy.deploy(deployed.here, "production").action == "unchanged"
    assert processes(deployed) == before


def test_a_new_model_takes_over_the_same_address(deployed: sandbox.Sandbox) -> None:
    old = deploy.deploy(deployed.here, "production")
    digest = release_both(deployed, BETTER)
    new = deploy.deploy(deployed.here, "production")
    assert new.url == old.url
    assert serves(new.url) == digest
    assert [p.digest for p in processes(deployed)] == [digest]


def test_golden_requests_are_no_traffic_and_not_logged(deployed: sandbox.Sandbox) -> None:
    done = deploy.deploy(deployed.here, "production")
    deploy.deploy(deployed.here, "production")
    log = deploy.prediction_log(deployed.here, "production")
    assert not log.exists()
    row = files.read_json(deployed.here.store.fetch(str(done.model)) / "golden.json")[0]["row"]
    httpx.post(f"{done.url}/predict", json=row, timeout=5, trust_env=False).raise_for_status()
    end = time.monotonic() + 10
    while not log.exists() and time.monotonic() < end:  # it is written a moment later
        time.sleep(0.02)
    assert len(log.read_text().splitlines()) == 1


def test_a_killed_service_is_started_again(deployed: sandbox.Sandbox) -> None:
    done = deploy.deploy(deployed.here, "production")
    os.kill(processes(deployed)[0].pid, signal.SIGKILL)
    while processes(deployed):
        time.sleep(0.02)
    assert deploy.deploy(deployed.here, "production").action == "deployed"
    assert serves(done.url) == live(deployed)


def test_every_start_is_told_the_digest_so_swapped_files_are_never_served(
    deployed: sandbox.Sandbox, tmp_path: Path
) -> None:
    """Also the start after a death: the service itself refuses what has another digest."""
    done = deploy.deploy(deployed.here, "production")
    place = deployed.here.store.fetch(str(done.model))
    other = Path(shutil.copytree(place, tmp_path / "other"))
    (other / "golden.json").write_text("[]")
    started = supervisor.Processes.start

    def start(*given: Any) -> Any:
        replace(place, other)  # after `deploy` has looked at it
        return started(*given)

    for process in processes(deployed):
        told = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        assert told[told.index(b"--digest") + 1].decode() == done.model
        os.kill(process.pid, signal.SIGKILL)
    while processes(deployed):
        time.sleep(0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supervisor.Processes, "start", start)
        with pytest.raises(errors.RefusedError, match="did not start: .*: content is sha256:"):
            deploy.deploy(deployed.here, "production")
    assert not processes(deployed)


def test_what_serves_is_not_stopped_before_there_is_another(
    deployed: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever changes the token cannot ask the service any more; its callers still can."""
    done = deploy.deploy(deployed.here, "production")
    (before,) = processes(deployed)
    with monkeypatch.context() as patch:
        patch.setenv("MODEL_TOKEN", "new")
        started = supervisor.Processes.start

        def start(*given: Any) -> Any:
            assert serves(done.url) == live(deployed)
            return started(*given)

        patch.setattr(supervisor.Processes, "start", start)
        patch.setattr(golden, "check", lambda *_: ["golden row 0: wrong"])
        found = deploy.attempt(deployed.here, "production", revert=False)
        assert "what ran before still runs" in str(found.error)
        assert serves(done.url) == live(deployed)
    assert before in processes(deployed)


def test_a_rollback_is_deployed(deployed: sandbox.Sandbox) -> None:
    first = live(deployed)
    release_both(deployed, BETTER)
    deploy.deploy(deployed.here, "production")
    deployed.roll_back("production")
    done = deploy.deploy(deployed.here, "production")
    assert done.rollback
    assert serves(done.url) == first


def test_a_failed_smoke_test_keeps_the_old_and_proposes_a_revert(
    deployed: sandbox.Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = deploy.deploy(deployed.here, "production")
    digest = release_both(deployed, BETTER)
    real = golden.check

    def wrong(url: str, requests: list[dict[str, Any]], model: str) -> list[str]:
        moved = [r | {"answer": r["answer"] | {"probability": 0.123}} for r in requests]
        return real(url, moved if model == digest else requests, model)

    monkeypatch.setattr(golden, "check", wrong)
    with pytest.raises(deploy.SmokeTestError, match="a revert is proposed: rollback/production"):
        deploy.deploy(deployed.here, "production")
    assert serves(old.url) == old.model
    assert [p.digest for p in processes(deployed)] == [old.model]
    base = deployed.here.git.base()
    requests = deployed.here.pull_requests.list("production", base)
    assert [p.branch.split("/")[0] for p in requests] == ["rollback"]


def test_a_record_edited_by_hand_is_not_deployed(deployed: sandbox.Sandbox) -> None:
    old = deploy.deploy(deployed.here, "production")
    digest = deployed.candidate(BETTER)
    path = deployed.here.root / "deploy" / "production" / "model.yaml"
    path.write_text(path.read_text().replace(str(old.model), digest, 1))
    deployed.git("commit", "--quiet", "--all", "--message", "Quickly")
    deployed.git("push", "--quiet", "origin", "main")
    with pytest.raises(errors.RefusedError, match="what ran before still runs"):
        deploy.deploy(deployed.here, "production")
    assert serves(old.url) == old.model


def test_a_tag_on_main_is_not_deployed(deployed: sandbox.Sandbox) -> None:
    old = deploy.deploy(deployed.here, "production")
    path = deployed.here.root / "deploy" / "production" / "model.yaml"
    path.write_text(path.read_text().replace(str(old.model), "latest", 1))
    deployed.git("commit", "--quiet", "--all", "--message", "Latest")
    deployed.git("push", "--quiet", "origin", "main")
    with pytest.raises(errors.RefusedError, match="model"):
        deploy.deploy(deployed.here, "production")
    assert serves(old.url) == old.model


@pytest.fixture
def neighbour(deployed: sandbox.Sandbox, tmp_path: Path) -> Iterator[workspace.Workspace]:
    """Another project of this person, with the same port in its policy.yaml."""
    shutil.copytree(deployed.here.root, tmp_path / "neighbour")
    made = workspace.Workspace(tmp_path / "neighbour", tmp_path / "neighbour-state")
    shutil.copytree(deployed.here.state, made.state)
    port = driver.free_port()
    for here in (deployed.here, made):
        place = here.state / "environments" / "production" / "port.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(str(port))
    yield made
    deploy.stop(made, "production")


def test_two_projects_do_not_share_a_port(
    deployed: sandbox.Sandbox, neighbour: workspace.Workspace
) -> None:
    done = deploy.deploy(deployed.here, "production")
    for _ in range(2):
        with pytest.raises(errors.RefusedError, match="another environment or project") as caught:
            deploy.deploy(neighbour, "production")
        assert str(caught.value).count("\n") == 0
    assert driver.driver(neighbour, "production", "process").running() == ()
    release_both(deployed, BETTER)
    new = deploy.deploy(deployed.here, "production")
    assert (new.action, new.url) == ("deployed", done.url)
    assert {serves(new.url) for _ in range(20)} == {new.model}


def test_of_two_projects_that_want_a_port_at_once_one_gets_it(
    deployed: sandbox.Sandbox, neighbour: workspace.Workspace
) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = (deployed.here, neighbour)
        done = [*pool.map(lambda here: deploy.attempt(here, "production", by="process"), both)]
    (lost,) = [one for one in done if one.error]
    assert "cannot be taken over" in str(lost.error)
    (won,) = [one for one in done if not one.error]
    assert serves(won.url) == won.model


def test_a_service_that_hangs_is_replaced_and_one_that_ended_has_no_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert driver.Service(port, "").may_listen(8000)
    assert not driver.Service(port, "").may_listen(8000)


def test_a_taken_port_leaves_one_clear_line(deployed: sandbox.Sandbox) -> None:
    place = of_production(deployed)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        (place.folder).mkdir(parents=True)
        (place.folder / "port.json").write_text(str(other.getsockname()[1]))
        with pytest.raises(errors.RefusedError, match="cannot be taken over"):
            deploy.deploy(deployed.here, "production")


def test_two_deployments_of_one_environment_do_not_mix(deployed: sandbox.Sandbox) -> None:
    place = of_production(deployed)
    with place.exclusive(), pytest.raises(errors.RefusedError, match="going on"):
        deploy.deploy(deployed.here, "production")


def test_an_environment_without_a_record_is_left_alone(deployed: sandbox.Sandbox) -> None:
    deployed.git("rm", "-r", "--quiet", "deploy")
    deployed.git("commit", "--quiet", "--message", "Start over")
    deployed.git("push", "--quiet", "origin", "main")
    with pytest.raises(errors.RefusedError, match="removed"):
        deploy.deploy(deployed.here, "production")


@pytest.mark.parametrize(
    ("where", "when"),
    [
        ("verify", "before"), ("append", "before"), ("append", "after"), ("start", "before"),
        ("check", "before"), ("take_over", "before"), ("stop", "before"), ("stop", "after"),
        ("observe", "before"), ("observe", "after"),
    ],
)  # fmt: skip
def test_a_deployment_killed_anywhere_is_finished_by_the_next(
    deployed: sandbox.Sandbox, where: str, when: str
) -> None:
    old = deploy.deploy(deployed.here, "production")
    digest = merge_both(deployed, BETTER)
    package = deploy.__name__.split(".")[0]
    here = deployed.here
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, package, str(here.root), str(here.state), where, when],
        capture_output=True,
        check=False,
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert serves(old.url) in (old.model, digest)  # never nothing, never anything else
    deploy.deploy(deployed.here, "production")
    assert serves(old.url) == digest
    assert [p.digest for p in processes(deployed)] == [digest]
    first, second = entries(deployed)[::-1]  # one entry for each change, and one outcome
    assert second.live
    assert first.outcome_commit != second.outcome_commit


def test_status_shows_main_and_the_world_side_by_side(deployed: sandbox.Sandbox) -> None:
    before = status.status(deployed.here)[1]
    assert (before.released, before.running) == (live(deployed), None)
    assert before.advice == "run `model deploy production`"
    deploy.deploy(deployed.here, "production")
    after = status.status(deployed.here)[1]
    assert (after.running, after.advice) == (live(deployed), "")
    assert artifact.read_card(deployed.here.store.read(str(after.running)))


def test_watching_starts_again_what_died(deployed: sandbox.Sandbox) -> None:
    package = deploy.__name__.split(".")[0]
    watch = subprocess.Popen(
        [sys.executable, "-m", package, "deploy", "production", "--watch", "--every", "0.2"],
        cwd=deployed.here.root,
        env=os.environ
        | {
            "PYTHONPATH": PYTHONPATH,
            "MODEL_STATE": str(deployed.here.state),
        },
    )
    try:
        first = wait_for_another(deployed, None)
        os.kill(first, signal.SIGKILL)
        assert wait_for_another(deployed, first) != first
    finally:
        watch.terminate()
        watch.wait(30)


def wait_for_another(world: sandbox.Sandbox, pid: int | None) -> int:
    """The process that serves production, once it is another one and public."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for process in processes(world):
            if process.pid != pid and process.public_port():
                return process.pid
        time.sleep(0.1)
    raise AssertionError("nothing was started")
