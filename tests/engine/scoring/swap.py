"""Somebody who changes a directory in the moment after its digest was found right."""

import shutil
from pathlib import Path

import pytest

from mlrelease.scoring import contents


def replace(directory: Path, other: Path) -> None:
    """Put copies of the files of `other` in the place of those of a directory."""
    shutil.rmtree(directory)
    shutil.copytree(other, directory)


def swap_after_check(patch: pytest.MonkeyPatch, directory: Path, other: Path) -> list[Path]:
    """From its first check on, a directory holds what `other` holds; the checks, as they come."""
    check, seen = contents._refuse_other, list[Path]()

    def check_and_swap(checked: Path, found: str, digest: str) -> None:
        check(checked, found, digest)
        if checked == directory:
            seen.append(checked)
            replace(directory, other)

    patch.setattr(contents, "_refuse_other", check_and_swap)
    return seen
