"""What verification runs at a source commit, with the code of that commit: training, once more."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlrelease.objects import read
from mlrelease.params import Params
from mlrelease.training.train import divide, train, write_rows


def make(arguments: Mapping[str, Any], output: Path) -> None:
    """Train in the folder `root` into `output/candidate`, as `model train` does."""
    root = Path(arguments["root"])
    train(read(root / "params.yaml", Params), root, output / "candidate")


def hold_out(arguments: Mapping[str, Any], output: Path) -> None:
    """Only divide the rows: write what `model train` writes of them, and the digest of the rest."""
    root, candidate = Path(arguments["root"]), output / "candidate"
    params = read(root / "params.yaml", Params)
    fit_rows, holdout, _ = divide(params, root)
    places = {name: candidate / name for name in ("holdout", "fitted")}
    digests = write_rows(params, fit_rows, holdout, places)
    (candidate / "train").write_text(digests["train"])
