"""GitHub's rules for `on:`, each with a case on either side."""

import re
import string
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, strategies as st

from .commits import Commits
from .records import Event
from .repository import ZERO, Repository
from .triggers import events, expression, is_due, matches, should_trigger, skipped

SHA = "a" * 40
NAMES = st.text(string.ascii_lowercase + "/.-", min_size=1, max_size=12)


def push(ref: str = "refs/heads/main", sha: str = SHA) -> Event:
    return Event("push", None, "acme/x", ref, sha, "ann", {"before": "b" * 40, "after": sha})


def pull(action: str = "opened", base: str = "main") -> Event:
    payload = {"pull_request": {"base": {"ref": base}, "head": {"ref": "topic"}}}
    return Event("pull_request", action, "acme/x", "refs/pull/1/merge", SHA, "ann", payload)


def other(name: str, action: str | None = None, **payload: Any) -> Event:
    return Event(name, action, "acme/x", "refs/heads/main", SHA, "ann", payload)


def triggers(on: str, event: Event, *changed: str, message: str = "") -> bool:
    workflow = yaml.safe_load(f"on: {on}")
    return should_trigger(workflow, event, lambda: changed, lambda: message)


# The examples of GitHub's "Filter pattern cheat sheet".
CHEAT_SHEET = """
    feature/*            feature/my-branch feature/your-branch             | feature/a/b feature
    feature/**           feature/beta-a/my-branch feature/mona/the/octocat | features/a
    releases/mona-the-octocat  releases/mona-the-octocat                   | releases/mona
    *                    main releases                                     | all/the/branches
    **                   all/the/branches every/tag main                   |
    *feature             mona-feature feature ver-10-feature               | a/feature
    v2*                  v2 v2.0 v2.9                                      | v1 xv2
    v[12].[0-9]+.[0-9]+  v1.10.1 v2.0.0                                    | v3.0.0 v1.x.0 v1.10
    *.jsx?               page.js page.jsx                                  | a/page.js page.jsxx
    **.js                index.js js/index.js src/js/app.js                | index.jsx
    docs/*               docs/README.md docs/file.txt                      | docs/a/b README.md
    docs/**              docs/README.md docs/mona/octocat.txt              | docs mydocs/a
    docs/**/*.md         docs/README.md docs/mona/hello.md docs/a/p/q.md   | docs/a.txt a/docs/a.md
    **/docs/**           docs/hello.md dir/docs/my-file.txt space/docs/p/b | mydocs/a
    **/README.md         README.md js/README.md                            | README.mdx
    **/*src/**           a/src/app.js my-src/code/js/app.js                | src.js
    **/*-post.md         my-post.md path/their-post.md                     | post.md
    **/migrate-*.sql     migrate-10909.sql db/migrate-v1.0.sql             | db/sept/migrate.sql
"""
PATTERNS = [
    (pattern, name, wanted)
    for line in CHEAT_SHEET.strip().splitlines()
    for pattern, good, bad in [re.fullmatch(r"\s*(\S+)\s+(.*?)\s*\|(.*)", line).groups()]  # type: ignore[union-attr]
    for names, wanted in ((good, True), (bad, False))
    for name in names.split()
]


@pytest.mark.parametrize(("pattern", "name", "wanted"), PATTERNS)
def test_a_pattern_matches_as_the_cheat_sheet_says(pattern: str, name: str, wanted: bool) -> None:
    assert matches([pattern], name) is wanted


@pytest.mark.parametrize(
    ("pattern", "name", "wanted"),
    [
        ("Octoc?t", "Octot", True),
        ("Octoc?t", "Octoct", True),
        ("Octoc?t", "Octocat", False),
        ("a+", "aaa", True),
        ("a+", "b", False),
        (r"a\+", "a+", True),
        (r"a\*", "ab", False),
        ("v1.0", "v1x0", False),
        ("[a.c]", ".", True),
        ("a!b", "a!b", True),
        ("a b", "a b", True),
    ],
)
def test_special_characters(pattern: str, name: str, wanted: bool) -> None:
    assert matches([pattern], name) is wanted


def test_the_last_pattern_that_matches_decides() -> None:
    patterns = ["sub/**", "!sub/docs/**", "sub/docs/index.md"]

    assert matches(patterns, "sub/a")
    assert not matches(patterns, "sub/docs/a")
    assert matches(patterns, "sub/docs/index.md")
    assert matches(list(reversed(patterns)), "sub/docs/a")


@given(NAMES)
def test_any_name_matches_itself_and_two_stars(name: str) -> None:
    assert matches([name], name)
    assert matches(["**"], name)
    assert matches(["*"], name) is ("/" not in name)
    assert not matches(["**", f"!{name}"], name)
    assert matches(["**", f"!{name}", name], name)


@given(st.lists(NAMES, min_size=1, max_size=4), NAMES)
def test_without_stars_only_the_names_themselves_match(names: list[str], name: str) -> None:
    assert matches(names, name) is (name in names)


@given(st.lists(NAMES, max_size=6), st.lists(NAMES, min_size=1, max_size=4))
def test_paths_and_paths_ignore_are_each_others_negative(
    changed: list[str], patterns: list[str]
) -> None:
    """One changed file that is ignored by none is enough; with no change nothing runs."""
    chosen = triggers(f"{{push: {{paths: {patterns}}}}}", push(), *changed)
    ignored = triggers(f"{{push: {{paths-ignore: {patterns}}}}}", push(), *changed)

    assert chosen is any(path in patterns for path in changed)
    assert ignored is any(path not in patterns for path in changed)


@given(st.text(max_size=8))
def test_a_pattern_is_taken_or_refused_in_words(pattern: str) -> None:
    try:
        expression(pattern)
    except ValueError as error:
        assert "nothing stands before" in str(error)  # noqa: PT017


@pytest.mark.parametrize(
    ("on", "event", "wanted"),
    [
        ("push", push(), True),
        ("[push, pull_request]", pull(), True),
        ("push", pull(), False),
        ("{push: , pull_request: }", pull(), True),
        # types
        ("pull_request", pull("synchronize"), True),
        ("pull_request", pull("reopened"), True),
        ("pull_request", pull("closed"), False),
        ("pull_request", pull("labeled"), False),
        ("{pull_request: {types: [closed]}}", pull("closed"), True),
        ("{pull_request: {types: closed}}", pull("opened"), False),
        (
            "merge_group",
            other("merge_group", "checks_requested", merge_group={"base_ref": "x"}),
            True,
        ),
        ("issues", other("issues", "edited"), True),
        ("{issues: {types: [opened]}}", other("issues", "edited"), False),
        ("{repository_dispatch: {types: [train]}}", other("repository_dispatch", "train"), True),
        ("{repository_dispatch: {types: [train]}}", other("repository_dispatch", "stop"), False),
        ("repository_dispatch", other("repository_dispatch", "any"), True),
        # branches and tags
        ("{push: {branches: [main]}}", push(), True),
        ("{push: {branches: [main]}}", push("refs/heads/topic"), False),
        ("{push: {branches: [main]}}", push("refs/tags/main"), False),
        ("{push: {branches: main}}", push(), True),
        ("{push: {branches-ignore: ['dependabot/**']}}", push("refs/heads/dependabot/x/y"), False),
        ("{push: {branches-ignore: ['dependabot/**']}}", push("refs/heads/x"), True),
        ("{push: {branches-ignore: ['dependabot/**']}}", push("refs/tags/x"), False),
        ("{push: {tags: ['v*']}}", push("refs/tags/v1"), True),
        ("{push: {tags: ['v*']}}", push("refs/heads/v1"), False),
        ("{push: {tags: ['v*'], branches: [main]}}", push(), True),
        ("{push: {tags-ignore: ['v*']}}", push("refs/tags/v1"), False),
        ("push", push("refs/tags/v1"), True),
        ("push", push(sha=ZERO), False),  # a branch was deleted
        ("{pull_request: {branches: [main]}}", pull(base="main"), True),
        ("{pull_request: {branches: [topic]}}", pull(base="main"), False),
        ("{pull_request: {branches: ['**', '!main']}}", pull(base="main"), False),
        (
            "{merge_group: {branches: [main]}}",
            other("merge_group", merge_group={"base_ref": "refs/heads/main"}),
            True,
        ),
        (
            "{merge_group: {branches: [main]}}",
            other("merge_group", merge_group={"base_ref": "refs/heads/next"}),
            False,
        ),
        # what takes no filter
        ("workflow_dispatch", other("workflow_dispatch"), True),
        ("{workflow_dispatch: {inputs: {a: {type: string}}}}", other("workflow_dispatch"), True),
        ("workflow_call", other("workflow_dispatch"), False),
        (
            "{schedule: [{cron: '0 1 * * *'}, {cron: '0 2 * * *'}]}",
            other("schedule", schedule="0 2 * * *"),
            True,
        ),
        ("{schedule: [{cron: '0 1 * * *'}]}", other("schedule", schedule="0 2 * * *"), False),
    ],
)
def test_events_types_branches_and_tags(on: str, event: Event, wanted: bool) -> None:
    assert triggers(on, event, "any/file") is wanted


@pytest.mark.parametrize(
    ("paths", "changed", "wanted"),
    [
        ("paths: ['deploy/**']", ["deploy/staging/model.yaml"], True),
        ("paths: ['deploy/**']", ["src/a.py", "deploy/x"], True),
        ("paths: ['deploy/**']", ["src/deploy/a"], False),
        ("paths: ['deploy/**']", [], False),
        ("paths-ignore: ['deploy/**']", ["deploy/staging/model.yaml"], False),
        ("paths-ignore: ['deploy/**']", ["deploy/x", "README.md"], True),
        ("paths-ignore: ['deploy/**', '**.md']", ["deploy/x", "README.md"], False),
        ("paths-ignore: ['deploy/**']", [], False),
        ("paths: ['**', '!deploy/**']", ["deploy/x"], False),
        ("paths: ['**', '!deploy/**']", ["deploy/x", "a"], True),
        ("paths: ['!deploy/**', '**']", ["deploy/x"], True),
        ("branches: [main], paths: ['a']", ["a"], True),
        ("branches: [other], paths: ['a']", ["a"], False),
        ("paths: ['z']", [*map(str, range(300)), "z"], False),  # GitHub sees 300 files
    ],
)
def test_paths(paths: str, changed: list[str], wanted: bool) -> None:
    assert triggers(f"{{push: {{{paths}}}}}", push(), *changed) is wanted
    tagged = triggers(f"{{push: {{tags: ['**'], {paths}}}}}", push("refs/tags/v1"), *changed)
    assert tagged  # of a tag, paths are not looked at


def test_a_branch_alone_asks_for_no_diff() -> None:
    def never() -> list[str]:
        raise AssertionError

    assert should_trigger({"on": {"push": {"branches": ["main"]}}}, push(), never)
    assert not should_trigger({"on": {"push": {"branches": ["x"], "paths": ["a"]}}}, push(), never)


@pytest.mark.parametrize(
    ("message", "wanted"),
    [
        ("Fix it", False),
        ("Fix it [skip ci]", True),
        ("Fix it\n\nbecause [CI SKIP]", True),
        ("[no ci] Fix it", True),
        ("[skip actions]", True),
        ("[actions skip]", True),
        ("skip ci", False),
        ("Fix it\n\nskip-checks: true", True),
        ("Fix it\n\n\nskip-checks:true\n", True),
        ("Fix it\n\nOther: 1\nskip-checks: true", True),
        ("skip-checks: true\n\nis mentioned", False),
    ],
)
def test_a_message_can_skip_runs(message: str, wanted: bool) -> None:
    assert skipped(message) is wanted
    assert triggers("[push, pull_request, merge_group]", push(), message=message) is not wanted
    assert triggers("[push, pull_request]", pull(), message=message) is not wanted
    assert triggers("workflow_dispatch", other("workflow_dispatch"), message=message)


@pytest.mark.parametrize(
    ("on", "reason"),
    [
        ("{push: {branches: [a], branches-ignore: [b]}}", "exclude each other"),
        ("{push: {paths: [a], paths-ignore: [b]}}", "exclude each other"),
        ("{push: {branches: ['!a']}}", "needs a pattern without !"),
        ("{push: {paths-ignore: ['!a']}}", "takes no pattern with !"),
        ("{push: {branch: [a]}}", "GitHub knows no branch here"),
        ("{pull_request: {tags: [a]}}", "GitHub knows no tags here"),
        ("{workflow_dispatch: {branches: [a]}}", "GitHub knows no branches here"),
        ("{schedule: [{timer: 1}]}", "GitHub knows no timer here"),
    ],
)
def test_what_github_does_not_take_is_an_error(on: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        events(yaml.safe_load(f"on: {on}"))


def test_yaml_reads_on_as_true_and_that_is_understood() -> None:
    assert list(yaml.safe_load("on: push")) == [True]
    assert events(yaml.safe_load("on: push")) == events({"on": "push"}) == {"push": {}}


@pytest.mark.parametrize(
    ("cron", "per_week"),
    [
        ("0 */6 * * *", 28),
        ("17 4 * * *", 7),
        ("23 4 * * 1", 1),
        ("0 0 * * 1-5", 5),
        ("0,30 12-13 * * 0", 4),
        ("0 12 1 * *", 1),
        ("0 12 3 * 1", 2),  # either day
        ("0 0 31 2 *", 0),
        ("5/20 0 * * *", 21),
    ],
)
def test_schedules(cron: str, per_week: int) -> None:
    start = datetime(2026, 11, 29, tzinfo=UTC)  # a Sunday; the first of the month follows

    minutes = [start + timedelta(minutes=number) for number in range(7 * 24 * 60)]

    assert sum(is_due(cron, moment) for moment in minutes) == per_week


@pytest.mark.parametrize(
    "cron", ["* * * *", "60 * * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *"]
)
def test_a_schedule_that_is_none(cron: str) -> None:
    with pytest.raises(ValueError, match=r"five fields|outside|not a field"):
        is_due(cron, datetime(2026, 11, 29, tzinfo=UTC))


# The changed files, from a real repository.


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    repository = Repository("acme/x", tmp_path / "x.git", False, "main", 1)
    repository.path.mkdir()
    repository.git("init", "--quiet", "--bare", "--initial-branch=main")
    return repository


def commit(repository: Repository, branch: str, parent: str | None, *paths: str) -> str:
    files = {path: f"{branch} {path}" for path in paths}
    sha = repository.write(files, parent=parent, message="m", author="ann")
    repository.set_ref(f"refs/heads/{branch}", sha)
    return sha


def pushed(before: str, after: str, branch: str) -> Event:
    payload = {"before": before, "after": after}
    return Event("push", None, "acme/x", f"refs/heads/{branch}", after, "ann", payload)


def test_changed_files_of_a_push_are_the_difference_of_its_ends(repository: Repository) -> None:
    commits = Commits(repository.path)
    first = commit(repository, "main", None, "a", "b")
    second = commit(repository, "main", first, "c", "sub/Ünïcode name")
    third = commit(repository, "main", second, "d")

    assert commits.changed(pushed(first, third, "main")) == ["c", "d", "sub/Ünïcode name"]
    assert commits.changed(pushed(second, first, "main")) == ["c", "sub/Ünïcode name"]  # forced
    assert commits.changed(pushed(ZERO, third, "main")) == ["a", "b", "c", "d", "sub/Ünïcode name"]


def test_a_moved_file_counts_where_it_was_and_where_it_is(repository: Repository) -> None:
    base = commit(repository, "main", None, "a")
    moved = repository.write({"a": None, "b": "main a"}, parent=base, message="m", author="ann")

    assert Commits(repository.path).changed(pushed(base, moved, "main")) == ["a", "b"]


def test_changed_files_of_a_new_branch_are_those_of_its_own_commits(repository: Repository) -> None:
    commits = Commits(repository.path)
    base = commit(repository, "main", None, "a")
    commit(repository, "main", base, "later")
    one = commit(repository, "topic", base, "b")
    two = commit(repository, "topic", one, "c")

    assert commits.changed(pushed(ZERO, two, "topic")) == ["b", "c"]
    repository.set_ref("refs/heads/same", two)
    assert commits.changed(pushed(ZERO, two, "same")) == []


def test_changed_files_of_a_pull_request_leave_out_what_the_base_got(
    repository: Repository,
) -> None:
    base = commit(repository, "main", None, "a")
    head = commit(repository, "topic", base, "b")
    newer = commit(repository, "main", base, "c")
    payload = {"pull_request": {"base": {"sha": newer}, "head": {"sha": head}}}
    event = Event("pull_request", "opened", "acme/x", "refs/pull/1/merge", head, "ann", payload)

    assert Commits(repository.path).changed(event) == ["b"]


def test_workflow_files_lie_in_one_folder(repository: Repository) -> None:
    base = repository.write(
        {
            ".github/workflows/a.yml": "on: push",
            ".github/workflows/b.yaml": "on: push",
            ".github/workflows/c.txt": "on: push",
            ".github/workflows/sub/d.yml": "on: push",
        },
        parent=None,
        message="m",
        author="ann",
    )

    found = [path for path, _ in Commits(repository.path).workflows(base)]

    assert found == [".github/workflows/a.yml", ".github/workflows/b.yaml"]
