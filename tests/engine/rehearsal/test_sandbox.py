"""A rehearsal plays with a copy of the whole project, and with nothing that can be made again."""

from pathlib import Path

from mlrelease.rehearsal import sandbox
from tests.engine.conftest import add_code


def test_a_copy_has_every_module_whatever_its_name(project: Path) -> None:
    add_code(project)
    package = Path("src/dummy")
    ours = [package / "build" / "lags.py", package / "cache.py", Path("data/cache.csv")]
    made = [Path("build/x"), Path(".mypy_cache/x"), package / "__pycache__" / "x.pyc"]
    for path in (*ours, *made):
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_text("")
    with sandbox.sandbox(project) as play:
        assert [path for path in ours if not (play.here.root / path).exists()] == []
        assert [path for path in made if (play.here.root / path).exists()] == []
