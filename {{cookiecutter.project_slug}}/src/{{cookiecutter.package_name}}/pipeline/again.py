"""What verification runs at a source commit, with the code of that commit: training, once more."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import split
from ..config import Params, read
from .train import divide, train, write_holdout


def make(arguments: Mapping[str, Any], output: Path) -> None:
    """Train in the folder `root` into `output/candidate`, as `model train` does."""
    root = Path(arguments["root"])
    train(read(root / "params.yaml", Params), root, output / "candidate")


def hold_out(arguments: Mapping[str, Any], output: Path) -> None:
    """Only divide the rows: write those held out, and the digest of those to fit on."""
    root = Path(arguments["root"])
    _, fit_rows, holdout = divide(read(root / "params.yaml", Params), root)
    write_holdout(holdout, output / "candidate" / "holdout")
    (output / "candidate" / "train").write_text(split.digest(fit_rows))
