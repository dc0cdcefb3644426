"""What HEAD does not hold byte for byte is not packaged, whatever `git status` says of it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mlrelease import documents as document, errors, files
from mlrelease.packages import committed
from mlrelease.params import Params
from mlrelease.records import git
from tests.engine.conftest import GENERATED, add_code, commit_all

ROWS = "x,y\n1,a\n2,b\n"
SOURCE = "data/rows.csv"
PACKAGE = "src/dummy"


class Place:
    """A repository of a project with its rows, all of it committed."""

    def __init__(self, root: Path) -> None:
        self.root, self.source = root, SOURCE
        add_code(root)
        self.write(SOURCE, ROWS)
        self.git = commit_all(root)

    def write(self, name: str, content: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode())

    def commit(self, *options: str) -> None:
        self.git.run("add", "--all", *options)
        person = ("-c", "user.name=T", "-c", "user.email=t@localhost")
        self.git.run(*person, "commit", "--quiet", "--message", "Change")

    def check(self) -> None:
        content = document.parse_yaml((self.root / "params.yaml").read_bytes(), "params.yaml")
        content["data"]["source"] = self.source
        committed.refuse_uncommitted(self.git, self.root, Params.model_validate(content))


@pytest.fixture
def place(project: Path) -> Place:
    return Place(project)


def test_what_head_holds_is_accepted(place: Place) -> None:
    place.check()
    place.source = f"./{SOURCE}"
    place.check()


def ignored_rows(place: Place) -> None:
    place.write(".gitignore", "*.parquet\n")
    place.commit()
    place.source = "data/more.parquet"
    place.write(place.source, "rows")


def new_rows(place: Place) -> None:
    place.source = "data/more.csv"
    place.write(place.source, ROWS)


def staged_rows(place: Place) -> None:
    place.write(SOURCE, ROWS + "3,a\n")
    place.git.run("add", SOURCE)


def absolute_rows(place: Place) -> None:
    place.source = str(place.root / SOURCE)


def rows_above(place: Place) -> None:
    place.source = f"../{place.root.name}/{SOURCE}"


def linked_rows(place: Place) -> None:
    place.write("../elsewhere.csv", ROWS)
    place.source = "data/link.csv"
    (place.root / place.source).symlink_to(place.root.parent / "elsewhere.csv")
    place.commit()


def rows_behind_a_link(place: Place) -> None:
    place.source = "linked/rows.csv"
    (place.root / "linked").symlink_to("data")
    place.commit()


def a_folder_of_rows(place: Place) -> None:
    place.source = "data"


def rows_not_looked_at(place: Place) -> None:
    place.git.run("update-index", "--assume-unchanged", SOURCE)
    place.write(SOURCE, ROWS + "3,a\n")


def params_not_looked_at(place: Place) -> None:
    place.git.run("update-index", "--skip-worktree", "params.yaml")
    place.write("params.yaml", (place.root / "params.yaml").read_text() + "\n")


def rows_in_a_submodule(place: Place) -> None:
    other = place.root.parent / "other"
    other.mkdir()
    (other / "rows.csv").write_text(ROWS)
    commit_all(other)
    allowed = ("-c", "protocol.file.allow=always")
    place.git.run(*allowed, "submodule", "--quiet", "add", str(other), "vendor")
    place.commit()
    place.source = "vendor/rows.csv"


def rows_with_other_line_ends(place: Place) -> None:
    place.write(".gitattributes", "*.csv text eol=crlf\n")
    place.write(SOURCE, ROWS.replace("\n", "\r\n") + "3,a\r\n")
    place.commit()
    assert place.git.run("status", "--porcelain") == ""


def filtered_rows(place: Place) -> None:
    place.write(".gitattributes", "*.csv filter=upper\n")
    place.git.run("config", "filter.upper.clean", "tr a-z A-Z")
    place.git.run("config", "filter.upper.smudge", "tr A-Z a-z")
    place.write(SOURCE, ROWS + "3,a\n")
    place.commit()
    assert place.git.run("status", "--porcelain") == ""


def an_ignored_module(place: Place) -> None:
    place.write(".gitignore", "secret.py\n")
    place.commit()
    place.write(f"{PACKAGE}/secret.py", "")


def a_new_module_elsewhere(place: Place) -> None:
    place.write("src/ours/lags.py", "")


def a_module_without_its_source(place: Place) -> None:
    place.write(".gitignore", "*.pyc\n")
    place.commit()
    place.write(f"{PACKAGE}/lags.pyc", "")


def committed_bytecode(place: Place) -> None:
    name = f"{PACKAGE}/__pycache__/model.cpython-311.pyc"
    place.write(name, "")
    place.git.run("add", "--force", name)
    place.commit()


def a_link_below_src(place: Place) -> None:
    (place.root / PACKAGE / "lags").symlink_to(place.root / "data")
    place.commit()


def a_module_that_is_not_checked_out(place: Place) -> None:
    place.git.run("update-index", "--skip-worktree", f"{PACKAGE}/model.py")
    (place.root / PACKAGE / "model.py").unlink()


def libraries_not_committed(place: Place) -> None:
    place.write("pyproject.toml", "[project]\ndependencies = ['numpy']\n")


def another_package_runs(place: Place) -> None:
    place.write(f"{PACKAGE}/model.py", "# newer than what is installed\n")
    place.commit()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (ignored_rows, "data/more.parquet: not committed, and git ignores it; .*add --force"),
        (new_rows, "data/more.csv: not committed; commit first"),
        (staged_rows, "data/rows.csv: not committed as it is; commit first"),
        (absolute_rows, "data.source: '/.*leads outside the repository; put the file below"),
        (rows_above, "data.source: '../.*leads outside the repository; put the file below"),
        (linked_rows, "data/link.csv: is a link; put the file itself there"),
        (rows_behind_a_link, "linked: is a link, below linked/rows.csv; put the file itself"),
        (a_folder_of_rows, "data: is no file; put a plain file there"),
        (rows_not_looked_at, "data/rows.csv: .*update-index --no-assume-unchanged"),
        (params_not_looked_at, "params.yaml: .*--no-skip-worktree params.yaml`, then commit"),
        (rows_in_a_submodule, "vendor/rows.csv: lies in the submodule vendor, .*put the file"),
        (rows_with_other_line_ends, "data/rows.csv: git stores other bytes .* -text -filter"),
        (filtered_rows, "data/rows.csv: git stores other bytes .* -text -filter"),
        (an_ignored_module, "secret.py: not committed, and git ignores it; .*move it away"),
        (a_new_module_elsewhere, "src/ours/lags.py: not committed; commit first"),
        (a_module_without_its_source, "lags.pyc: is bytecode or a file of another tool"),
        (committed_bytecode, r"model\.cpython-311\.pyc: is bytecode or .*`git rm --force`$"),
        (a_link_below_src, "lags: is a link; put the file itself there"),
        (a_module_that_is_not_checked_out, "model.py: is in HEAD, and missing here; restore"),
        (libraries_not_committed, "pyproject.toml: not committed as it is; commit first"),
        (another_package_runs, "model.py: HEAD holds another .*run `make setup`"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_what_head_does_not_hold_is_refused_in_one_line(
    place: Place, change: Callable[[Place], None], message: str
) -> None:
    change(place)
    with pytest.raises(errors.RefusedError, match=message) as refusal:
        place.check()
    assert "\n" not in str(refusal.value)


def test_rows_whose_line_ends_git_leaves_alone_are_accepted(place: Place) -> None:
    """As .gitattributes of the project says of every .csv file."""
    place.write(".gitattributes", "* text=auto eol=lf\n*.csv -text\n")
    place.write(SOURCE, ROWS.replace("\n", "\r\n"))
    place.commit()
    place.check()
    own = GENERATED / ".gitattributes"
    assert "*.csv -text" in own.read_text().splitlines()


def test_rows_in_git_lfs_are_known_by_the_digest_in_their_pointer(place: Place) -> None:
    digest = files.sha256(ROWS.encode())
    pointer = f"version https://git-lfs.github.com/spec/v1\noid {digest}\nsize {len(ROWS)}\n"
    place.write(SOURCE, pointer)
    place.commit()
    place.write(SOURCE, ROWS)
    place.check()
    place.write(SOURCE, ROWS + "3,a\n")
    with pytest.raises(errors.RefusedError, match=r"data/rows\.csv: not committed"):
        place.check()


def test_what_tools_write_below_src_is_nobodys_input(place: Place) -> None:
    place.write(f"{PACKAGE}/__pycache__/model.cpython-311.pyc", "")
    place.write("src/project.egg-info/PKG-INFO", "")
    place.write(f"{PACKAGE}/.mypy_cache/x.json", "")
    place.check()


def test_rows_of_another_scheme_are_left_to_their_fingerprint(place: Place) -> None:
    place.source = "s3://bucket/rows.csv"
    place.check()


def test_names_with_special_characters_are_names(place: Place) -> None:
    for name in ("data/[r]*ws.csv", "data/ümläut rows.csv"):
        place.source = name
        place.write(name, ROWS)
        with pytest.raises(errors.RefusedError, match="not committed"):
            place.check()
        place.commit()
        place.check()


def test_git_variables_of_a_hook_change_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", os.fspath(tmp_path / "nowhere"))
    place.check()
    assert isinstance(place.git, git.Git)
