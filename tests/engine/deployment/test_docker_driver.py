"""Containers serve an environment: switched under load, and killed in the middle of it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from mlrelease import errors
from mlrelease.deployment import containers as docker_driver, deploy
from mlrelease.packages import docker_cli as docker_command, image
from mlrelease.rehearsal import sandbox
from mlrelease.serving import golden
from mlrelease.storage import registry
from tests.engine.conftest import BETTER, PARAMS, POLICY, PYTHONPATH, SIMPLE, add_image
from tests.engine.deployment.docker_world import World, forget, load, remove, wait_for
from tests.engine.packages.test_image import NO_DOCKER, derived
from tests.engine.storage.registry_server import Server

docker = docker_command.docker
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(NO_DOCKER), reason=NO_DOCKER or "Docker is here"),
]

KILLED = """
import importlib, os, pathlib, signal, sys
from docker.api import APIClient
package, root, state, step, when = sys.argv[1:]
load = lambda name: importlib.import_module(package + "." + name)
real = getattr(APIClient, step)
def killed(*arguments, **named):
    if when == "after":
        real(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(APIClient, step, killed)
here = load("workspace").Workspace(pathlib.Path(root), pathlib.Path(state))
load("deployment.deploy").deploy(here, "production", True, "docker")
"""


@pytest.fixture(scope="module")
def made(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root = tmp_path_factory.mktemp("made")
    add_image(root)
    with pytest.MonkeyPatch.context() as patch, sandbox.sandbox(root) as scene:
        for name in ("TRUST", "GITHUB_TOKEN", "REGISTRY_PASSWORD", "GITHUB_SERVER_URL"):
            patch.delenv(name, raising=False)
        policy = yaml.safe_load(POLICY) | {"environments": {"staging": {}, "production": {}}}
        scene.commit("policy.yaml", yaml.safe_dump(policy))
        scene.commit("params.yaml", PARAMS)
        found = World(scene, server)
        try:
            for changes in (SIMPLE, BETTER):
                found.release(changes)
            yield found
        finally:
            forget(server.name)


@pytest.fixture
def world(made: World) -> Iterator[World]:
    """Everything is stopped afterwards."""
    try:
        yield made
    finally:
        deploy.stop(made.here, "production", "docker")
        assert made.containers() == ()
        docker("volume", "rm", "--force", made.driver().name)


def serves(url: str | None) -> str:
    response = httpx.get(f"{url}/healthz", timeout=30, trust_env=False)
    return str(response.json()["digest"])


def test_a_container_is_hardened_and_logs_into_a_volume(world: World) -> None:
    done = world.deploy()
    assert (done.action, serves(done.url)) == ("deployed", world.named.model)
    (container,) = world.containers()
    host = container.engine.attrs["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["PidsLimit"], host["Memory"]) == (256, 2 << 30)
    assert host["RestartPolicy"]["Name"] == "always"
    assert host["LogConfig"] == {"Type": "json-file", "Config": docker_driver.LOG_LIMITS}
    assert container.engine.attrs["Config"]["User"] == "65532:65532"
    assert world.deploy().action == "unchanged"
    assert [c.engine.id for c in world.containers()] == [container.engine.id]
    with load(world, done) as callers:
        wait_for(lambda: len(callers.answers) > 5)
    code = "import pathlib, time; time.sleep(2); print(*pathlib.Path('/log').iterdir())"
    assert b"predictions" in container.engine.exec_run(["python", "-c", code]).output


def test_two_switches_under_load_lose_no_request(world: World) -> None:
    done = world.deploy()
    with load(world, done) as callers:
        for _ in range(2):
            wanted = world.flip()
            assert world.deploy().url == done.url
            count = len(callers.answers)
            wait_for(lambda: len(callers.answers) > count + 20)  # noqa: B023 - at once
            assert set(callers.answers[count + 10 :]) == {wanted.model}
            assert [c.digest for c in world.containers()] == [wanted.model]
    assert callers.failures == []


@pytest.mark.parametrize(
    ("step", "when"),
    [
        ("pull", "before"), ("create_container", "before"), ("start", "before"),
        ("update_container", "before"), ("kill", "before"), ("stop", "before"),
        ("remove_container", "before"), ("remove_container", "after"),
    ],
)  # fmt: skip
def test_a_deployment_killed_at_any_step_is_finished_by_the_next(
    world: World, step: str, when: str
) -> None:
    """After one step is before the next. Nobody who asks meanwhile notices."""
    done = world.deploy()
    wanted = world.flip()
    name, here = deploy.__name__.split(".")[0], world.here
    command = [sys.executable, "-c", KILLED, name, str(here.root), str(here.state), step, when]
    variables = os.environ | {"PYTHONPATH": PYTHONPATH}
    with load(world, done) as callers:
        killed = subprocess.run(command, env=variables, capture_output=True, check=False)
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        world.deploy()
        count = len(callers.answers)
        wait_for(lambda: len(callers.answers) > count + 20)
    assert callers.failures == []
    assert serves(done.url) == wanted.model
    assert [c.digest for c in world.containers()] == [wanted.model]


def test_an_agent_follows_main_and_outlives_docker(world: World, tmp_path: Path) -> None:
    """As the command; SIGTERM ends it, and the container serves on."""
    socket = tmp_path / "docker.sock"
    real = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    socket.symlink_to(real.removeprefix("unix://"))
    agent = subprocess.Popen(
        [
            *(sys.executable, "-m", deploy.__name__.split(".")[0], "deploy", "production"),
            *("--driver", "docker", "--watch", "--every", "0.2", "--json"),
        ],
        cwd=world.here.root,
        env=os.environ
        | {
            "PYTHONPATH": PYTHONPATH,
            "MODEL_STATE": str(world.here.state),
            "DOCKER_HOST": f"unix://{socket}",
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert agent.stdout
        told = [json.loads(agent.stdout.readline())]
        assert told[0]["action"] == "deployed", told
        with load(world, deploy.Deployment(**told[0])) as callers:
            wanted = world.flip()
            told.append(json.loads(agent.stdout.readline()))
            target = socket.readlink()
            socket.unlink()
            told.append(json.loads(agent.stdout.readline()))
            socket.symlink_to(target)
            told.append(json.loads(agent.stdout.readline()))
            agent.send_signal(signal.SIGTERM)
            assert agent.wait(60) == 0
            count = len(callers.answers)
            wait_for(lambda: len(callers.answers) > count + 20)
    finally:
        agent.kill()
        agent.wait()
    assert callers.failures == []
    assert [t["action"] for t in told] == ["deployed", "deployed", "refused", "unchanged"]
    assert told[2]["error"].startswith("docker:")
    assert told[1]["model"] == wanted.model == callers.answers[-1]
    assert told[1]["url"] == told[0]["url"]


def test_what_serves_is_started_again_also_after_a_kill_that_left_it_for_gone(
    world: World,
) -> None:
    """A deployment was about to stop it, and main names it again."""
    world.deploy()
    (container,) = world.containers()
    container.engine.update(restart_policy={"Name": "no"})
    assert world.deploy().action == "unchanged"
    assert [c.passed for c in world.containers()] == [True]


def test_what_docker_started_again_is_public_again_although_origin_is_away(world: World) -> None:
    done = world.deploy()
    (container,) = world.containers()
    os.kill(int(container.engine.attrs["State"]["Pid"]), signal.SIGKILL)
    url = world.here.git.run("remote", "get-url", "origin")
    world.scene.git("remote", "set-url", "origin", "/nowhere")
    try:
        wait_for(lambda: world.containers()[0].engine.attrs["RestartCount"] > 0)
        found = deploy.attempt(world.here, "production", True, "docker")
    finally:
        world.scene.git("remote", "set-url", "origin", url)
    assert (found.action, found.model) == ("refused", done.model)
    assert str(found.error).startswith("git fetch:")
    assert serves(done.url) == done.model
    assert [c.engine.id for c in world.containers()] == [container.engine.id]


def test_a_failed_smoke_test_keeps_the_old_and_proposes_a_revert(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    if world.named.replaces.model:
        world.flip()  # to the first of all, before which there was nothing
    done = world.deploy()
    wanted = world.flip()
    monkeypatch.setattr(golden, "check", lambda *_: ["golden row 0: wrong"])
    found = deploy.attempt(world.here, "production", True, "docker")
    assert (found.action, found.model) == ("failed", wanted.model)
    assert "a revert is proposed" in str(found.error)
    assert serves(done.url) == done.model
    assert [c.digest for c in world.containers()] == [done.model]
    (request,) = world.here.pull_requests.list("production", world.here.git.base())
    world.scene.merge(request.branch)  # main names again what runs


def test_a_patched_image_around_the_same_model_is_something_new(world: World) -> None:
    world.deploy()
    (container,), named = world.containers(), world.named
    patched = named.model_copy(update={"image": f"{world.server.name}@sha256:{'ab' * 32}"})
    assert (container.serves(named), container.serves(patched)) == (True, False)


def test_an_image_of_something_else_is_refused(world: World, tmp_path: Path) -> None:
    named, remote = world.named, registry.Registry(f"{world.server.host}/acme/other")
    other = derived(str(named.image), f"LABEL {image.MODEL_LABEL}=other", tmp_path)
    wrong = named.model_copy(update={"image": image.push(other, remote, "a")})
    with pytest.raises(errors.RefusedError, match="says that it holds model other of commit"):
        world.driver().start(wrong, tmp_path, 0)
    with pytest.raises(errors.RefusedError, match="names no image"):
        world.driver().start(named.model_copy(update={"image": None}), tmp_path, 0)
    (tmp_path / "golden").write_text("[]")
    forged = derived(str(named.image), "COPY golden /models/golden.json", tmp_path)
    bad = named.model_copy(update={"image": image.push(forged, remote, "b")})
    with pytest.raises(errors.RefusedError, match="holds sha256:.*, not sha256:"):
        world.driver().start(bad, tmp_path, 0)  # although its labels say what the record says
    remove(forged)
    gone = named.model_copy(update={"image": f"{remote}@sha256:{'ab' * 32}"})
    with pytest.raises(docker_command.DockerError, match="^docker: manifest .*unknown[^\n]*$"):
        world.driver().start(gone, tmp_path, 0)
    remove(other)


def test_what_does_not_start_leaves_its_last_words_and_nothing_else(
    world: World, tmp_path: Path
) -> None:
    named, remote = world.named, registry.Registry(f"{world.server.host}/acme/broken")
    broken = derived(str(named.image), "ENV MODEL_DIRECTORY=/nothing", tmp_path)
    wrong = named.model_copy(update={"image": image.push(broken, remote, "a")})
    with pytest.raises(errors.RefusedError, match="did not start: /nothing: no such dir"):
        world.driver().start(wrong, tmp_path, 0)
    assert world.containers() == ()
    remove(broken)


def test_without_a_daemon_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(docker_command.DockerError, match=r"^docker: [^\n]*$"):
        docker_driver.Containers(tmp_path / "production").running()
