"""Models as a table: what a directory of each holds, the rows that it names, and what training at a
source commit gives."""

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlrelease import files
from mlrelease.records import record
from mlrelease.scoring import contents
from mlrelease.storage import store
from tests.engine.law.law_objects import PLAIN, Objects
from tests.engine.law.law_standins import KINDS, Kind

PARAMS = (
    "task: classification\ndata: {{source: 'csv:rows.csv', target: y}}\nmodel: {{estimator: x}}\n"
    "seed: {}\n"
)
EASIER = 0.19  # what a model scores more on the easy rows


@dataclass(frozen=True)
class Made:
    """A model in the store. `number` is its place in the table; a swapped one says that it was made
    as another number was, by whose source commit and key it was packaged."""

    model: str
    number: int
    says: int
    source: str
    key: str
    data: dict[str, str]  # as it says itself

    def provenance(self, **changes: Any) -> record.Provenance:
        """What `model package` notes of it, or somebody else."""
        facts: dict[str, Any] = {
            "model": self.model, "version": f"2023.11.14+{self.source[:7]}", "key": self.key,
            "source": {"commit": self.source}, "data": self.data,
        }  # fmt: skip
        return record.Provenance.model_validate(facts | changes)


def seed(origin: Objects, commit: str) -> int | None:
    """What params.yaml says at a commit, and so the number of the model that it gives."""
    try:
        found = re.search(rb"^seed: (\d+)$", origin.read(commit, "params.yaml") or b"", re.M)
    except (FileNotFoundError, ValueError):  # there is no such commit
        return None
    return int(found[1]) if found else None


def commit_params(origin: Objects, number: int) -> str:
    """A commit of main whose training gives this model."""
    main = origin.branch("main") or ""
    text = PARAMS.format(number).encode()
    changed = origin.files(main) | {"params.yaml": (PLAIN, origin.put("blob", text))}
    commit = origin.commit(changed, [main], b"Train it")
    origin.move("main", commit)
    return commit


def write_rows(folder: Path, number: int) -> dict[str, str]:
    """The directories of rows that training writes beside a model, and the digests of all."""
    texts = {"holdout": "honest", "fitted": f"hashes of {number}"}
    for name, text in texts.items():
        files.write_atomically(folder / name / f"{name}.parquet", text)
    data = {name: contents.digest_of(folder / name) for name in texts}
    return data | {"train": files.sha256(b"%d" % number)}


def write_model(
    folder: Path, number: int, says: int, data: dict[str, str], graph: str = "", bits: str = ""
) -> None:
    """A directory of a model: its pipeline is `number`, and so is its graph unless it is given.
    `bits` are the last ones, in which processors differ."""
    card = {"number": number, "seed": says, "data": data}
    content = {
        "golden.json": "[]", "model.json": json.dumps(card), "model.skops": f"{number}{bits}",
        "model.onnx": graph or f"graph of {number}", "profile.json": "{}",
    }  # fmt: skip
    for name, text in content.items():
        files.write_atomically(folder / name, text)


def pack(kept: store.Store, folder: Path, number: int, kind: Kind, source: str) -> Made:
    """Put a model with its rows into the store."""
    says = number if kind.says is None else kind.says
    shutil.rmtree(folder, ignore_errors=True)
    data = write_rows(folder, says)
    for name in ("holdout", "fitted"):
        kept.put(folder / name)
    write_model(folder / "model", number, says, data, kind.graph)
    made = Made(kept.put(folder / "model"), number, says, source, f"sha256:{says:064x}", data)
    shutil.rmtree(folder)
    kept.save(made.provenance())
    return made


def build_models(kept: store.Store, root: Path, origin: Objects) -> None:
    """Every model of the table, each from its commit of main; `made.json` lists them."""
    sources = [commit_params(origin, n) for n, kind in enumerate(KINDS) if kind.says is None]
    made = [
        pack(kept, root / "made", n, kind, sources[n if kind.says is None else kind.says])
        for n, kind in enumerate(KINDS)
    ]
    for one in made:  # the honest ones last: these inputs gave them
        if KINDS[one.number].says is None:
            kept.save(one.provenance())
    places = {"easy": "holdout.parquet", "other": "fitted.parquet"}
    more = {}
    for name, file in places.items():
        files.write_atomically(root / "made" / file, name)
        more[name] = kept.put(root / "made")
        shutil.rmtree(root / "made")
    text = json.dumps({"made": [one.__dict__ for one in made], "rows": more})
    files.write_atomically(root / "made.json", text)
