"""A bake stays linked to its template: cruft creates, checks and updates it."""

import json
import shutil
from pathlib import Path

import pytest

from .conftest import FOLDER, OTHER_ANSWERS, BakedProject, run

WHO = (
    *("-c", "user.name=Template Test", "-c", "user.email=test@example.org"),
    *("-c", "commit.gpgsign=false", "-c", "init.defaultBranch=main"),
)


def git(folder: Path, *arguments: str) -> str:
    return run("git", *WHO, *arguments, cwd=folder).stdout


def commit_all(folder: Path, message: str) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


@pytest.fixture
def published(template: Path, tmp_path: Path) -> Path:
    """A git repository of the template, as on GitHub."""
    copy = tmp_path / "published"
    shutil.copytree(template, copy)
    git(copy, "init", "--quiet")
    commit_all(copy, "template")
    return copy


@pytest.fixture
def linked(published: Path, tmp_path: Path) -> BakedProject:
    """A project that cruft created from it, committed; its description tests the answers' way."""
    answers = OTHER_ANSWERS | {"description": 'Says "${{ high }}" or {% low %}.'}
    run(
        *("cruft", "create", str(published), "--no-input", "--default-config"),
        *("--output-dir", str(tmp_path), "--extra-context", json.dumps(answers)),
        cwd=tmp_path,
        HOME=str(tmp_path),
    )
    project = BakedProject(tmp_path / answers["project_slug"])
    git(project.path, "init", "--quiet")
    commit_all(project.path, "from the template")
    return project


def change(published: Path) -> None:
    """A later version of the template: one rendered and one verbatim file differ."""
    readme = published / FOLDER / "README.md"
    readme.write_text(readme.read_text() + "\nAdded for {{ cookiecutter.project_slug }}.\n")
    makefile = published / FOLDER / "Makefile"
    makefile.write_text(makefile.read_text() + "\n# A later version.\n")
    commit_all(published, "later")


def test_what_cruft_creates_is_what_cookiecutter_bakes(
    linked: BakedProject, baked: dict[str, BakedProject]
) -> None:
    created = {name for name in linked.files() if not name.startswith(".git/")}

    assert created == {*baked["regression"].files(), ".cruft.json"}
    assert 'Says \\"${{ high }}\\" or {% low %}.' in linked.read("pyproject.toml")
    assert "up to date" in linked.run("cruft", "check").stdout
    assert linked.run("cruft", "diff").stdout == ""


def test_a_later_template_arrives_and_own_changes_stay(
    linked: BakedProject, published: Path
) -> None:
    policy = linked.path / "policy.yaml"
    policy.write_text(policy.read_text() + "\n# ours\n")
    commit_all(linked.path, "our own limit")
    change(published)

    with pytest.raises(AssertionError, match="out of date"):
        linked.run("cruft", "check")
    update = linked.run("cruft", "update", "--skip-apply-ask")

    changed = {line.split()[-1] for line in git(linked.path, "status", "--short").splitlines()}
    assert changed == {".cruft.json", "README.md", "Makefile"}
    assert linked.read("README.md").endswith("Added for harbour-tides.\n")
    assert linked.read("Makefile").endswith("# A later version.\n")
    assert linked.read("policy.yaml").endswith("# ours\n")
    assert "up to date" in linked.run("cruft", "check").stdout
    assert "make setup" not in update.stdout, "an old project needs no next steps"
