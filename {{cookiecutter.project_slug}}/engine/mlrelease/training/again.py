"""What verification runs at a source commit, with the code of that commit: training, once more."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlrelease.objects import read
from mlrelease.params import Params
from mlrelease.training import split
from mlrelease.training.inputs import input_key
from mlrelease.training.train import divide, train, write_rows


def make(arguments: Mapping[str, Any], output: Path) -> None:
    """Train in the folder `root` into `output/candidate`, as `model train` does."""
    root = Path(arguments["root"])
    train(read(root / "params.yaml", Params), root, output / "candidate")


def rows(arguments: Mapping[str, Any], output: Path) -> None:
    """Write the rows that `make` fits on, and their digest: two models are compared on them."""
    root = Path(arguments["root"])
    fit_rows, *_ = divide(read(root / "params.yaml", Params), root)
    fit_rows.to_parquet(output / "rows.parquet", index=False)
    (output / "rows").write_text(split.digest(fit_rows))


def key(arguments: Mapping[str, Any], output: Path) -> None:
    """Write what the key of these inputs is under the version `python`."""
    root = Path(arguments["root"])
    found = input_key(read(root / "params.yaml", Params), root, str(arguments["python"]))
    (output / "key").write_text(found)


def hold_out(arguments: Mapping[str, Any], output: Path) -> None:
    """Only divide the rows: write what `model train` writes of them, and the digest of the rest."""
    root, candidate = Path(arguments["root"]), output / "candidate"
    params = read(root / "params.yaml", Params)
    fit_rows, holdout, _ = divide(params, root)
    places = {name: candidate / name for name in ("holdout", "fitted")}
    digests = write_rows(params, fit_rows, holdout, places)
    (candidate / "train").write_text(digests["train"])
