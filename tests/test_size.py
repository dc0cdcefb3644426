"""What is the user's stays small enough to be read, and no file of the engine is long."""

from .conftest import BakedProject


def lines(project: BakedProject, folder: str) -> dict[str, int]:
    return {
        name: len(project.read(name).splitlines())
        for name in project.files()
        if name.startswith(folder) and name.endswith(".py")
    }


def test_no_source_file_is_long(project: BakedProject) -> None:
    counted = lines(project, "engine/") | lines(project, "src/")

    assert len(counted) > 150
    assert {name: count for name, count in counted.items() if count > 250} == {}


def test_what_is_the_users_is_short(project: BakedProject) -> None:
    assert sum(lines(project, "src/").values()) < 250
    assert sum(lines(project, "tests/").values()) < 150


def test_the_readme_is_short(project: BakedProject) -> None:
    assert len(project.read("README.md").splitlines()) < 120
