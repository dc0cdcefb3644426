"""The seam: which project the engine finds, whose types it trusts, and whose faults it names."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.preprocessing import FunctionTransformer

from mlrelease import errors, project
from mlrelease.scoring import artifact

PYPROJECT = '[project.entry-points.mlrelease]\nproject = "{name}:project"\n'
OURS = """
import mlrelease
import sklearn.base

def load(params, root):
    raise ValueError("Alice Smith, born in 1970")

class Lag(sklearn.base.BaseEstimator):
    pass

named = ("sklearn.preprocessing._label.LabelEncoder",)
project = mlrelease.Project(load, None, None, trusted=named)
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose package is called as no other test's."""
    package = tmp_path / "src" / "corner_shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(OURS)
    (tmp_path / "pyproject.toml").write_text(PYPROJECT.format(name="corner_shop"))
    monkeypatch.syspath_prepend(str(tmp_path / "src"))
    monkeypatch.setenv(project.VARIABLE, "corner_shop:project")
    monkeypatch.delitem(sys.modules, "corner_shop", raising=False)
    return tmp_path


def test_the_entry_point_of_the_repository_goes_before_the_variable(
    shop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(project.VARIABLE, "dummy.project:project")
    assert project.find(shop).trusted
    (shop / "pyproject.toml").unlink()
    assert not project.find(shop).trusted


@pytest.mark.parametrize("name", ["no_such_package", "corner_shop.nothing", "json"])
def test_an_entry_point_that_leads_nowhere_is_one_clear_line(shop: Path, name: str) -> None:
    (shop / "pyproject.toml").write_text(PYPROJECT.format(name=name))
    with pytest.raises(errors.InputError, match=name.partition(".")[0]) as refusal:
        project.find(shop)
    assert "\n" not in str(refusal.value)


def test_a_fault_of_the_users_code_names_its_line_and_quotes_no_row(shop: Path) -> None:
    with pytest.raises(errors.InputError) as refusal, project.faults(shop):
        project.find(shop).load(None, shop)  # type: ignore[arg-type]  # it asks for neither
    line = OURS.splitlines().index('    raise ValueError("Alice Smith, born in 1970")') + 1
    assert f"src/corner_shop/__init__.py, line {line}: ValueError" in str(refusal.value)
    assert "Alice" not in str(refusal.value)


def test_a_fault_of_somebody_else_stays_what_it_is(shop: Path) -> None:
    with pytest.raises(ZeroDivisionError), project.faults(shop):
        _ = 1 / 0


def test_a_library_that_is_missing_is_named(shop: Path) -> None:
    (shop / "src" / "corner_shop" / "__init__.py").write_text("import no_such_library\n")
    with pytest.raises(errors.InputError, match=r"line 1: ModuleNotFoundError: .*no_such_library"):
        project.find(shop)


def test_types_of_the_project_and_those_that_it_names_may_be_in_a_model(shop: Path) -> None:
    """In a process of its own: what one has imported stays imported."""
    program = """
import corner_shop, pathlib
from mlrelease.scoring import artifact
from sklearn.preprocessing import LabelEncoder
for made in (corner_shop.Lag(), LabelEncoder().fit([1, 2])):
    print(type(artifact.load_estimator(artifact.dump_estimator(made), pathlib.Path("m"))).__name__)
"""
    path = os.pathsep.join([str(shop / "src"), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": path},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["Lag", "LabelEncoder"]


def test_any_other_type_is_refused_with_where_to_name_it(shop: Path) -> None:
    hidden = artifact.dump_estimator(FunctionTransformer(func=os.system))
    with pytest.raises(errors.RefusedError, match=r"system; .*`trusted` of src/\*/project\.py"):
        artifact.load_estimator(hidden, shop / "model.skops")
    assert project.trusted({"posix.system"}) == set()
    assert np.array_equal(sorted(project.trusted({"corner_shop.Lag"})), ["corner_shop.Lag"])
