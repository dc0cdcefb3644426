"""The pages agree with what they speak of."""

import ast
import json
import re
from pathlib import Path

import pytest

from .conftest import FOLDER, OTHER_ANSWERS, ROOT, BakedProject

CONTEXT = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)#\s]+)(?:#[^)]*)?\)")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def broken_links(page: Path, text: str) -> list[str]:
    local = [target for target in LINK.findall(text) if "://" not in target]
    return [target for target in local if not (page.parent / target).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_the_templates_pages_lead_somewhere(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


def test_links_of_a_projects_pages_lead_somewhere(project: BakedProject) -> None:
    pages = [name for name in project.files() if name.endswith(".md")]

    assert len(pages) >= 6
    for name in pages:
        assert broken_links(project.path / name, project.read(name)) == [], name


def test_the_options_page_explains_each_question_and_each_choice() -> None:
    page = (ROOT / "docs" / "options.md").read_text(encoding="utf-8")

    for question, default in CONTEXT.items():
        if question.startswith("_"):
            continue
        assert f"| `{question}` |" in page
        for choice in default if isinstance(default, list) else []:
            assert f"`{choice}`" in page


def short(name: str) -> str:
    """A file as the tour names it."""
    return name.removeprefix("src/PACKAGE/").removeprefix("engine/mlrelease/")


def test_the_tour_names_every_file_of_a_project() -> None:
    page = (ROOT / "docs" / "project-tour.md").read_text(encoding="utf-8")
    tree = (ROOT / "tests" / "tree.txt").read_text(encoding="utf-8").splitlines()
    shown = [short(name) for name in tree if not name.endswith("__init__.py")]

    missing = [name for name in shown if not re.search(rf"`{re.escape(name)}`", page)]
    assert [name for name in missing if name != "py.typed"] == []


def test_the_tour_names_no_file_that_is_not_there() -> None:
    page = (ROOT / "docs" / "project-tour.md").read_text(encoding="utf-8")
    tree = (ROOT / "tests" / "tree.txt").read_text(encoding="utf-8").splitlines()
    known = {short(name) for name in tree} | set(tree)

    rows = re.findall(r"^\| `([^`]+)` \|", page, flags=re.MULTILINE)
    assert len(rows) > 40
    assert [name for name in rows if name not in known] == []


def test_the_tour_says_of_each_module_what_it_says_of_itself(project: BakedProject) -> None:
    page = (ROOT / "docs" / "project-tour.md").read_text(encoding="utf-8")
    package = f"src/{OTHER_ANSWERS['package_name']}/"
    modules = [name for name in project.files() if name.startswith((package, "engine/mlrelease/"))]

    assert len(modules) > 150
    for name in modules:
        if name.endswith(".py") and not name.endswith("__init__.py"):
            docstring = ast.get_docstring(ast.parse(project.read(name))) or ""
            first = " ".join(docstring.split("\n\n")[0].split())
            assert f"| `{short(name).removeprefix(package)}` | {first} |" in page


def test_every_make_target_in_the_pages_exists() -> None:
    own = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    theirs = set(
        re.findall(r"^([a-z-]+):", (ROOT / FOLDER / "Makefile").read_text(), flags=re.MULTILINE)
    )
    for page in [*PAGES, *(ROOT / FOLDER).rglob("*.md")]:
        text = page.read_text(encoding="utf-8")
        named = set(re.findall(r"(?:`|^\$ )make ([a-z-]+)", text, flags=re.MULTILINE))
        assert named <= own | theirs, page
