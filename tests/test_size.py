"""A generated project stays small enough to be read."""

from .conftest import BakedProject


def test_the_source_is_short(project: BakedProject) -> None:
    lines = {
        name: len(project.read(name).splitlines())
        for name in project.files()
        if name.startswith("src/") and name.endswith(".py")
    }

    assert sum(lines.values()) < 3000
    assert {name: count for name, count in lines.items() if count > 250} == {}


def test_the_readme_is_short(project: BakedProject) -> None:
    assert len(project.read("README.md").splitlines()) < 120
