"""A baked project's own checks, for both tasks, in one environment that they share."""

import resource
from pathlib import Path

import pytest

from .conftest import PYTHON_VERSION, TASKS, BakedProject, Baker, make, run
from .github.engines import missing

pytestmark = pytest.mark.slow

REAL_DATA = Path(__file__).parents[2] / "shared" / "data"  # beside some checkouts


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


def test_its_own_checks_are_green(
    project: BakedProject, venv: Path, request: pytest.FixtureRequest
) -> None:
    """Lint, strict types, tests, and their coverage of at least 90 %. Where there is Docker, those
    of the container image too; on a machine without, they skip and the coverage holds as well.

    The tests are the same bytes for both tasks, so those that release models and start services
    run once.
    """
    if "[regression]" in request.node.name:
        printed = make(project, venv, "lint") + make(project, venv, "test-fast")
    else:
        given = {"SHARED_DATA": str(REAL_DATA)} if REAL_DATA.is_dir() else {}
        if not missing():
            given |= request.getfixturevalue("engines").environment()
        printed = make(project, venv, "check", **given)
        assert "Required test coverage of 90" in printed
        assert "TOTAL" in printed

    assert "no issues found" in printed  # mypy
    assert " passed" in printed


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
