"""A baked project's own checks, for both tasks, in one environment that they share."""

import json
import resource
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from .conftest import PYTHON_VERSION, TASKS, BakedProject, Baker, make, run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=TASKS)
def project(
    request: pytest.FixtureRequest,
    template: Path,
    venv: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> BakedProject:
    """A bake as its owner has it: committed to git, and installed."""
    folder = tmp_path_factory.mktemp(request.param)
    project = Baker(template, folder).bake(task=request.param, python_version=PYTHON_VERSION)
    identity = ("-c", "user.name=Template Test", "-c", "user.email=test@example.org")
    project.run("git", "init", "--quiet", "--initial-branch=main")
    project.run("git", "add", "--all")
    project.run("git", *identity, "commit", "--quiet", "--message", "Start")
    make(project, venv, "setup")
    return project


def processor_seconds() -> float:
    """Of all programs that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_its_own_checks_are_green(project: BakedProject, venv: Path) -> None:
    """Lint, strict types and the project's own tests: half a minute, whatever the engine's take."""
    printed = make(project, venv, "check")

    assert "no issues found" in printed  # mypy
    assert " passed" in printed
    assert "TOTAL" in printed  # what they cover


def test_a_change_of_the_engine_is_not_clean(project: BakedProject, venv: Path) -> None:
    path = project.path / "engine" / "mlrelease" / "plain.py"
    before = path.read_text()
    path.write_text(before + "# By hand.\n")
    try:
        with pytest.raises(AssertionError, match=r"engine/ was changed: see engine/README\.md"):
            make(project, venv, "lint")
    finally:
        path.write_text(before)


def test_a_policy_that_refuses_nothing_is_named(project: BakedProject, venv: Path) -> None:
    """The project's own negative control, and what it says to set."""
    path = project.path / "policy.yaml"
    before = path.read_text()
    metric = "r2: {min: -9}" if "r2:" in before else "accuracy: {min: 0.01}"
    policy = yaml.safe_load(before)
    policy["metrics"] = yaml.safe_load(metric)
    policy.pop("slices", None)
    path.write_text(yaml.safe_dump(policy))
    command = (str(venv / "bin" / "python"), "-m", "pytest", "-q", "-k", "learned_nothing")
    try:
        with pytest.raises(AssertionError, match=r"(?s)shuffled answers. Set one of:.*metrics\."):
            run(*command, cwd=project.path)
    finally:
        path.write_text(before)


def test_the_engine_may_be_a_dependency(project: BakedProject, venv: Path, tmp_path: Path) -> None:
    """A wheel instead of the folder: the same model, and the whole life of it."""
    if "classification" not in str(project.path):
        pytest.skip("one of both tasks is enough")
    model = str(venv / "bin" / "model")
    trained = json.loads(run(model, "train", "--json", cwd=project.path).stdout)["model"]
    root, python = tmp_path / "project", str(tmp_path / "venv" / "bin" / "python")
    shutil.copytree(
        project.path, root, ignore=shutil.ignore_patterns(".git", "candidate", ".model")
    )
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    run(uv, "build", "--quiet", "--wheel", "--out-dir", str(tmp_path), "engine", cwd=root)
    (wheel,) = tmp_path.glob("*.whl")
    shutil.rmtree(root / "engine")
    text = (root / "pyproject.toml").read_text()
    version = wheel.name.split("-")[1]
    named = f'dependencies = ["mlrelease[training]=={version}"]'
    (root / "pyproject.toml").write_text(text.replace("dependencies = []", named, 1))
    run(uv, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv"), cwd=root)
    install = (uv, "pip", "install", "--quiet", "--python", python, "--find-links", str(tmp_path))
    run(*install, "--editable", ".", cwd=root)
    for command in (("init", "--quiet", "-b", "main"), ("add", "--all")):
        run("git", *command, cwd=root)
    run("git", "-c", "user.name=T", "-c", "user.email=t@e.org", "commit", "-qm", "Start", cwd=root)

    model = str(tmp_path / "venv" / "bin" / "model")
    assert json.loads(run(model, "train", "--json", cwd=root).stdout)["model"] == trained
    assert "the rules hold" in run(model, "rehearse", cwd=root).stdout


def test_it_rehearses_the_life_of_a_model(project: BakedProject, venv: Path) -> None:
    """In under a minute on an idle machine. Beside other tests, and on a slower machine, what it
    computes is compared with what importing its libraries does: ten times that, where a minute on
    the clock would be about eighteen."""
    before = project.run("git", "rev-parse", "HEAD").stdout
    start = processor_seconds()
    imports = "import matplotlib.pyplot, onnxruntime, pandera.pandas, skl2onnx, sklearn.ensemble"
    run(str(venv / "bin" / "python"), "-c", imports, cwd=project.path)
    importing, start = processor_seconds() - start, processor_seconds()

    printed = make(project, venv, "rehearse").lower()

    assert processor_seconds() - start < 18 * importing
    for word in ("staging", "production", "refused", "rolled back", "held", "drift"):
        assert word in printed, printed
    assert project.run("git", "rev-parse", "HEAD").stdout == before
    assert project.run("git", "status", "--porcelain").stdout == "", (
        "it works in a throw-away clone"
    )


def test_a_second_setup_installs_nothing(project: BakedProject, venv: Path) -> None:
    """So that it works without a network."""
    assert make(project, venv, "setup", "UV=false") == ""


def test_help_answers_at_once(project: BakedProject, venv: Path) -> None:
    """Processor time, which equals the time on the clock of an idle machine: the best of five."""
    times = []
    for _ in range(5):
        used = processor_seconds()
        printed = run(str(venv / "bin" / "model"), "--help", cwd=project.path).stdout
        times.append(processor_seconds() - used)

        assert "promote" in printed

    assert min(times) < 0.3, times
