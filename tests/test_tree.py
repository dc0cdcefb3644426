"""Which files a bake holds."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import pytest

from .conftest import LICENSES, TASKS, BakedProject

TREE = (Path(__file__).parent / "tree.txt").read_text(encoding="utf-8").splitlines()
ALL_LICENSES_ONE_TASK = [(TASKS[0], license) for license in LICENSES]
NUMBERED = {f"{port}{n}" for port in ("com", "lpt") for n in range(10)}
WINDOWS_DEVICES = {"con", "prn", "aux", "nul"} | NUMBERED


@pytest.mark.parametrize(("task", "license"), [*ALL_LICENSES_ONE_TASK, (TASKS[1], "MIT")])
def test_a_bake_holds_exactly_the_listed_files(
    bake: Callable[..., BakedProject], task: str, license: str
) -> None:
    project = bake(task=task, license=license)

    assert project.files() == [line.replace("PACKAGE", "my_model") for line in TREE]


def test_a_bake_holds_no_empty_folder(project: BakedProject) -> None:
    folders = [path for path in project.path.rglob("*") if path.is_dir()]

    assert [path for path in folders if not any(path.iterdir())] == []


def test_the_task_decides_params_and_policy(baked: dict[str, BakedProject]) -> None:
    for task, project in baked.items():
        assert f"\ntask: {task}\n" in project.read("params.yaml")
    assert baked[TASKS[0]].read("policy.yaml") != baked[TASKS[1]].read("policy.yaml")


@pytest.mark.parametrize(
    ("license", "words"),
    [
        ("MIT", "Permission is hereby granted, free of charge"),
        ("BSD-3-Clause", "Neither the name of the copyright holder"),
        ("Apache-2.0", "Apache License\n                           Version 2.0"),
        ("Proprietary", "All rights reserved."),
    ],
)
def test_the_licence_is_the_chosen_one(
    bake: Callable[..., BakedProject], license: str, words: str
) -> None:
    project = bake(license=license, author_name="Ann Lee")

    assert words in project.read("LICENSE")
    if license != "Apache-2.0":  # its text names no holder
        assert "Copyright (c) Ann Lee" in project.read("LICENSE")


def test_file_names_are_legal_on_windows(project: BakedProject) -> None:
    for name in project.files():
        for part in PureWindowsPath(name).parts:
            assert not set(part) & set('<>:"|?*\\'), name
            assert not part.endswith((".", " ")), name
            assert part.split(".")[0].lower() not in WINDOWS_DEVICES, name
        assert len(name) < 120, name  # Windows stops at 260, the folder's own path included


def test_file_names_differ_in_more_than_case(project: BakedProject) -> None:
    lower = Counter(name.lower() for name in project.files())

    assert [name for name, times in lower.items() if times > 1] == []
