"""The image of a candidate, built, run, pushed and pulled by a real Docker with a real registry."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from mlrelease import errors, files, workspace
from mlrelease.packages import docker_cli as docker_command, image, package
from mlrelease.records import record
from mlrelease.rehearsal import sandbox
from mlrelease.scoring import artifact, contents
from mlrelease.serving import golden
from mlrelease.storage import registry
from mlrelease.verification import attestation
from tests.engine.conftest import add_image
from tests.engine.deployment.docker_world import forget, remove
from tests.engine.storage import registry_server
from tests.engine.storage.registry_server import HASH, Server

docker = docker_command.docker
BASE_IMAGE = os.environ.get("BASE_IMAGE")  # what the tests themselves are not told
LABELS, LAYERS = "{{json .Config.Labels}}", "{{json .RootFS.Layers}}"


def why_not() -> str:
    """Why there is no Docker to test with; nothing when there is."""
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except errors.ModelError as error:
        return str(error)
    return "" if registry_server.PROGRAM else registry_server.WHY_NOT


NO_DOCKER = why_not()
needs_docker = pytest.mark.skipif(bool(NO_DOCKER), reason=NO_DOCKER or "Docker is here")


@dataclass(frozen=True)
class Made:
    """A candidate with its image in a registry, and the repository that it was made from."""

    here: workspace.Workspace
    provenance: record.Provenance
    server: Server

    @property
    def image(self) -> str:
        assert self.provenance.image
        return self.provenance.image

    @property
    def tag(self) -> str:
        return f"{self.server.name}:{image.tag(self.provenance)}"

    @property
    def golden(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = files.read_json(
            self.here.candidate / "model" / "golden.json"
        )
        return found


@pytest.fixture(scope="module")
def made(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """The dummy project, as a repository of its own, with its candidate packaged as an image."""
    if NO_DOCKER:
        pytest.skip(NO_DOCKER)
    root = tmp_path_factory.mktemp("made")
    add_image(root)
    with pytest.MonkeyPatch.context() as patch, sandbox.sandbox(root) as scene:
        for name in ("TRUST", "GITHUB_TOKEN", "REGISTRY_PASSWORD", "GITHUB_SERVER_URL"):
            patch.delenv(name, raising=False)
        scene.candidate({})
        here = workspace.Workspace(scene.here.root, scene.here.state, server.name)
        provenance = package.package(here, image=server.name.replace("acme", "Acme"))
        found = Made(here, provenance, server)
        try:
            yield found
        finally:
            forget(server.name)


@pytest.fixture
def no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object) -> str:
        raise AssertionError("built an image that is there")

    monkeypatch.setattr(package, "build", build)


def labels(reference: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(docker("inspect", "-f", LABELS, reference))
    return found


def layers(reference: str) -> list[str]:
    found: list[str] = json.loads(docker("inspect", "-f", LAYERS, reference))
    return found


def inside(reference: str, code: str) -> str:
    """What a line of Python prints in a container."""
    return docker("run", "--rm", "--entrypoint", "python", reference, "-c", code)


def derived(reference: str, lines: str, folder: Path) -> str:
    """An image on top of another one; its id."""
    (folder / "Dockerfile").write_text(f"FROM {reference}\n{lines}\n")
    docker("build", "--quiet", f"--iidfile={folder / 'id'}", str(folder))
    return (folder / "id").read_text().strip()


def not_onnx(made: Made, folder: Path) -> Path:
    """A copy of the model whose card says that ONNX Runtime cannot serve it."""
    shutil.copytree(made.here.candidate / "model", folder)
    card = files.read_json(folder / "model.json")
    changed = card | {"runtime": "scikit-learn", "not_onnx": "a trap"}
    (folder / "model.json").write_text(json.dumps(changed))
    return folder


@pytest.mark.slow
@needs_docker
class TestImage:
    @pytest.mark.usefixtures("no_build")
    def test_the_record_names_it_as_the_registry_does(self, made: Made) -> None:
        remote = registry.Registry(made.server.name)
        assert made.image == f"{made.server.name}@{remote.digest(image.tag(made.provenance))}"
        assert made.provenance.trust == "digest"
        elsewhere = workspace.Workspace(made.here.root, made.here.state / "new", made.server.name)
        assert elsewhere.store.provenance(made.provenance.model) == made.provenance

    def test_again_builds_nothing(self, made: Made) -> None:
        assert package.package(made.here, image=made.server.name) == made.provenance

    @pytest.mark.usefixtures("no_build")
    def test_what_a_killed_run_pushed_is_tried_and_taken(self, made: Made) -> None:
        """It had not noted it yet."""
        other = f"{made.server.host}/acme/without-notes"
        here = workspace.Workspace(made.here.root, made.here.state / "fresh", other)
        assert package.package(here, image=made.server.name).image == made.image

    @pytest.mark.usefixtures("no_build")
    def test_it_says_where_it_comes_from(self, made: Made) -> None:
        found = labels(made.image)
        names = ("revision", "source", "version", "licenses", "title")
        standard = [found.get(f"org.opencontainers.image.{name}") for name in names]
        assert all(standard)
        assert standard[0] == made.provenance.source.commit
        assert str(standard[1]).startswith("https://")
        assert standard[2] == made.provenance.version
        assert found["model.digest"] == made.provenance.model

    def test_it_runs_as_nobody_and_has_no_installer(self, made: Made) -> None:
        assert docker("inspect", "-f", "{{.Config.User}}", made.image) == "65532:65532"
        code = "import os, importlib.util as u; print(os.getuid(), u.find_spec('pip'))"
        assert inside(made.image, code) == "65532 None"

    def test_it_holds_what_serves_and_nothing_that_trains(self, made: Made) -> None:
        assert artifact.read_card(contents.read(made.here.candidate / "model")).runtime == "onnx"
        code = (
            "import importlib.util as u, pathlib as p, sys; import onnxruntime;"
            "print([n for n in ('pandas', 'sklearn', 'pydantic', 'typer') if u.find_spec(n)],"
            "sorted(x.name for x in p.Path('/').rglob('site-packages/**/tests')))"
        )
        assert inside(made.image, code) == "[] []"
        lines = docker("history", "--human=false", "--format={{.Size}} {{.CreatedBy}}", made.image)
        copied = [int(line.split()[0]) for line in lines.splitlines() if "COPY" in line]
        assert sum(copied) < 160_000_000  # bytes on top of the base image

    def test_an_image_for_another_runtime_says_which_it_needs(
        self, made: Made, tmp_path: Path
    ) -> None:
        """What a `docker build .` without --build-arg RUNTIME gives for such a model."""
        not_onnx(made, tmp_path / "model")
        wrong = derived(made.image, "COPY model /models\nENV MODEL_DIGEST=", tmp_path)
        line = (
            "runs in scikit-learn, and .* not installed here; .* --build-arg RUNTIME=scikit-learn"
        )
        with pytest.raises(errors.RefusedError, match=line):
            image.smoke_test(wrong, made.golden, made.provenance.model)
        remove(wrong)

    def test_it_is_built_for_the_runtime_of_its_model(
        self, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []

        def build(*command: str, **_: object) -> str:
            asked.extend(command)
            raise docker_command.DockerError("enough")

        monkeypatch.setattr(image, "docker", build)
        for model in (made.here.candidate / "model", not_onnx(made, tmp_path / "model")):
            with pytest.raises(docker_command.DockerError, match="enough"):
                image.build(made.here.root, contents.read(model), made.provenance, BASE_IMAGE)
        found = [option for option in asked if "RUNTIME" in option]
        assert found == [f"--build-arg=RUNTIME={x}" for x in ("onnx", "scikit-learn")]

    def test_a_runtime_that_does_not_exist_builds_nothing(self, made: Made) -> None:
        options = [f"--build-arg=BASE_IMAGE={BASE_IMAGE}", "--build-arg=RUNTIME=sklearn"]
        with pytest.raises(docker_command.DockerError, match="RUNTIME is 'sklearn', not onnx or"):
            docker("build", "--network=host", *options, str(made.here.root), seconds=300)

    def test_the_model_is_for_all_to_read(self, made: Made) -> None:
        code = (
            "import os, pathlib as p; paths = [p.Path('/models'), *p.Path('/models').iterdir()];"
            "print(*sorted(f'{x.name} {x.stat().st_mode & 0o777:o} {x.stat().st_mtime:g}'"
            " for x in paths), sep=chr(10))"
        )
        expected = [f"{name} 644 0" for name in artifact.MODEL_FILES]
        assert inside(made.image, code).splitlines() == sorted([*expected, "models 755 0"])

    def test_a_model_is_the_last_layer_and_equal_ones_are_equal(
        self, made: Made, tmp_path: Path
    ) -> None:
        """Other times and modes do not count; nor does another model, for the other layers."""
        copy = tmp_path / "model"
        shutil.copytree(made.here.candidate / "model", copy)
        for number, path in enumerate(copy.iterdir()):
            path.chmod(0o600)
            os.utime(path, (number, number))
        again = image.build(made.here.root, contents.read(copy), made.provenance, BASE_IMAGE)
        (copy / "golden.json").write_text("[]")
        other = image.build(made.here.root, contents.read(copy), made.provenance, BASE_IMAGE)
        try:
            assert layers(again) == layers(made.image)
            assert layers(other)[:-1] == layers(made.image)[:-1]
            assert layers(other)[-1] != layers(made.image)[-1]
        finally:
            remove(again)
            remove(other)

    def test_it_comes_back_by_digest_and_answers(
        self, made: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On the network of this machine, as where Docker has no other."""
        docker("rmi", "--force", made.image, made.tag)
        monkeypatch.setattr(image, "bridge", lambda: None)
        assert image.published(made.provenance, registry.Registry(made.server.name)) == made.image
        image.smoke_test(made.image, made.golden, made.provenance.model)

    def test_a_container_gets_no_token_and_cannot_write(
        self, made: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("GITHUB_TOKEN", "REGISTRY_PASSWORD"):
            monkeypatch.setenv(name, f"secret-{name}")
        seen: list[str] = []

        def check(*_: object) -> list[str]:
            seen.append(docker("inspect", *docker("ps", "--quiet").split()))
            return []

        monkeypatch.setattr(golden, "check", check)
        image.smoke_test(made.image, made.golden, made.provenance.model)
        assert "secret-" not in seen[0]
        (container,) = [c for c in json.loads(seen[0]) if made.image in json.dumps(c["Config"])]
        assert container["HostConfig"]["ReadonlyRootfs"]
        assert container["HostConfig"]["CapDrop"] == ["ALL"]
        assert container["Mounts"] == []
        assert container["Id"] not in docker("ps", "--all", "--quiet", "--no-trunc")

    def test_another_model_and_another_answer_are_refused(self, made: Made) -> None:
        with pytest.raises(errors.RefusedError, match="answered by model"):
            image.smoke_test(made.image, made.golden, "sha256:" + "ab" * 32)
        wrong = json.loads(json.dumps(made.golden))
        wrong[0]["answer"] = dict.fromkeys(wrong[0]["answer"], 0.123)
        with pytest.raises(errors.RefusedError, match="does not answer as its model did: golden"):
            image.smoke_test(made.image, wrong, made.provenance.model)

    def test_what_does_not_start_is_refused_with_its_last_words(
        self, made: Made, tmp_path: Path
    ) -> None:
        broken = derived(made.image, "ENV MODEL_DIRECTORY=/nothing", tmp_path)
        with pytest.raises(errors.RefusedError, match="not get healthy .*: /nothing: no such dir"):
            image.smoke_test(broken, made.golden, made.provenance.model)
        remove(broken)

    def test_another_image_under_the_tag_is_refused(self, made: Made, tmp_path: Path) -> None:
        other = derived(made.image, f"LABEL {image.MODEL_LABEL}=other", tmp_path)
        remote = registry.Registry(f"{made.server.host}/acme/taken")
        image.push(other, remote, image.tag(made.provenance))
        with pytest.raises(errors.RefusedError, match="holds model other of commit"):
            package.package(made.here, image=str(remote))
        remove(other)

    @pytest.mark.usefixtures("no_build")
    def test_a_build_that_fails_says_why(self, made: Made, tmp_path: Path) -> None:
        root = tmp_path / "project"
        shutil.copytree(made.here.root, root)
        (root / "Dockerfile").write_text(
            "ARG BASE_IMAGE=scratch\nFROM ${BASE_IMAGE}\n"
            "RUN python3 -c \"import sys; sys.exit('ERROR: no such package: sklaern')\"\n"
        )
        git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run([*git, "commit", "-qam", "Break it"], check=True)
        here = workspace.Workspace(root, tmp_path / "state")
        source = record.Source(commit=here.git.run("rev-parse", "HEAD"))
        broken = made.provenance.model_copy(update={"source": source})
        with pytest.raises(docker_command.DockerError, match=r"^docker build: .*sklaern[^\n]*$"):
            image.build(root, contents.read(made.here.candidate / "model"), broken, BASE_IMAGE)

    def test_trust_that_is_misspelt_builds_nothing(
        self, made: Made, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("TRUST", "atested")
        with pytest.raises(errors.ModelError, match="TRUST is 'atested'"):
            package.package(made.here, image=f"{made.server.host}/acme/new")
        assert attestation.trust.__doc__

    @pytest.mark.usefixtures("no_build")
    def test_trust_is_recorded(self, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TRUST", "attested")
        other = f"{made.server.host}/acme/trusted-notes"
        here = workspace.Workspace(made.here.root, made.here.state / "trusted", other)
        assert package.package(here, image=made.server.name).trust == "attested"


@pytest.fixture
def small() -> Iterator[str]:
    """The smallest image there is."""
    empty = subprocess.run(["tar", "-cf-", "-T/dev/null"], capture_output=True, check=True).stdout
    done = subprocess.run(["docker", "import", "-"], input=empty, capture_output=True, check=True)
    name = done.stdout.decode().strip()
    yield name
    remove(name)


@pytest.mark.slow
@needs_docker
def test_credentials_are_used_and_left_nowhere(
    small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "users").write_text(f"ann:{HASH}\n")
    auth = f"auth: {{htpasswd: {{realm: here, path: {tmp_path / 'users'}}}}}\n"
    with registry_server.serving(tmp_path / "closed", auth) as closed:
        remote = registry.Registry(closed.name)
        with pytest.raises(docker_command.DockerError, match="docker push: .*(basic|denied|auth)"):
            image.push(small, remote, "a")
        monkeypatch.setenv("REGISTRY_USERNAME", "ann")
        monkeypatch.setenv("REGISTRY_PASSWORD", "right")
        reference = image.push(small, registry.Registry(closed.name), "a")
        answer = httpx.get(
            f"http://{closed.host}/v2/acme/churn/manifests/{reference.partition('@')[2]}",
            headers={"accept": registry.IMAGES},
            auth=("ann", "right"),
            trust_env=False,
        )
    assert files.sha256(answer.content) == reference.partition("@")[2]
    assert list(tmp_path.rglob("config.json")) == []


def test_without_docker_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(errors.InputError, match="docker is not installed"):
        image.smoke_test("x", [], "y")


@pytest.mark.skipif(not shutil.which("docker"), reason="docker is not installed")
def test_without_a_daemon_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(docker_command.DockerError, match=r"^docker network: .*none.sock[^\n]*$"):
        image.smoke_test("x", [], "y")


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "#8 1.2 ERROR: No matching distribution found for sklaern\n#8 ERROR: process"
            ' "/bin/sh -c pip" did not complete successfully: exit code: 1\nfailed to solve: rpc\n',
            "#8 1.2 ERROR: No matching distribution found for sklaern",
        ),
        (
            "Step 3/9 : RUN uv\n  × No solution found\nThe command '/bin/sh' returned a non-zero"
            " code: 1\n",
            "× No solution found",
        ),
        (
            "#8 0.1 ERROR: no such RUNTIME\n------\n > [build 5/9] RUN echo 'ERROR: no such':\n"
            "  22 | >>> RUN echo 'ERROR: no such'\nexecutor failed running [sh -c echo 'ERROR']\n",
            "#8 0.1 ERROR: no such RUNTIME",
        ),
        ("denied:   requested access\n\n", "denied: requested access"),
        ("", "it printed nothing"),
    ],
)
def test_the_line_that_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, output: str, reason: str
) -> None:
    script = tmp_path / "docker"
    script.write_text('#!/bin/sh\ncat "$0.out"\nexit 1\n')
    script.chmod(0o755)
    (tmp_path / "docker.out").write_text(output)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(docker_command.DockerError) as failure:
        docker("build")
    assert str(failure.value) == f"docker build: {reason}"
