"""Is this what its source commit gives? The model is trained again there, or its rows are divided
again, with the code, params.yaml and data of that commit."""

import platform
import tempfile
from pathlib import Path
from typing import Any

from mlrelease.errors import ModelError, RefusedError
from mlrelease.evaluation.gate import NOT_REBUILT, Finding
from mlrelease.files import canonical_json, read_json, sha256, write_atomically
from mlrelease.policy import EnvironmentRules
from mlrelease.programs.commit_files import write_files
from mlrelease.programs.libraries import LibrariesError, lacking, pinned, python
from mlrelease.programs.limits import EndedError, LimitError, limited
from mlrelease.programs.own_code import ENGINE, engine_of
from mlrelease.records.git import Git, GitError
from mlrelease.records.record import Record
from mlrelease.scoring.artifact import digest_of
from mlrelease.training.inputs import libraries
from mlrelease.training.train import Candidate
from mlrelease.verification import compare
from mlrelease.verification.likeness import TOLERANCE
from mlrelease.workspace import Workspace

SECONDS = 600.0  # of training, where policy.yaml does not ask for it
MOST_SECONDS = 6 * 3600.0
COMPARISON = 2  # what was found by an older one is found again


class NotRebuiltError(ModelError):
    """It cannot be made again here; that says nothing about the model."""


def check(workspace: Workspace, record: Record, rules: EnvironmentRules) -> Finding:
    """Make again what the policy asks for, once on this machine; what was not done is tried again.
    Nobody signs an entry, so none is believed that says that it was made again when it was
    released."""
    facts = record.model_dump(mode="json", include={"model", "source", "data", "key"})
    about = [facts, rules.rebuild, libraries(workspace.root), COMPARISON]
    place = workspace.state / "rebuilt" / f"{sha256(canonical_json(about).encode())[7:]}.json"
    known = str(read_json(place)["message"]) if place.is_file() else NOT_REBUILT
    if not known.startswith(NOT_REBUILT):  # an earlier version kept that too
        return Finding("rebuilt", True, known)
    try:
        message = _rebuilt(workspace, record, rules.rebuild)
        if not message.startswith(NOT_REBUILT):  # the host was busy, perhaps
            write_atomically(place, canonical_json({"message": message}))
    except NotRebuiltError as error:
        return Finding("rebuilt", rules.rebuild is None, f"{NOT_REBUILT}{error}")
    except RefusedError as error:
        return Finding("rebuilt", False, str(error))
    return Finding("rebuilt", True, message)


def _rebuilt(workspace: Workspace, record: Record, asked: str | None) -> str:
    """What was found to be the same.

    Raises:
        RefusedError: Something else comes out.
        NotRebuiltError: It could not be made.
    """
    commit = record.source.commit
    with tempfile.TemporaryDirectory(prefix="rebuilt-") as name:
        tree, output = Path(name) / "source", Path(name) / "output"
        output.mkdir()
        again = _check_out(workspace.git, record, tree)
        interpreter = _python(workspace, commit, asked)
        made = output / "candidate"
        if asked != "rows":
            seconds = SECONDS if asked is None else MOST_SECONDS
            if _run(f"{again}:make", commit, tree, output, seconds, interpreter):
                return _same_model(workspace, record, tree, output, again, interpreter)
            if asked == "train":
                raise NotRebuiltError(f"training at {commit[:7]} takes over {seconds / 3600:g} h")
        if not _run(f"{again}:hold_out", commit, tree, output, SECONDS, interpreter):
            raise NotRebuiltError(f"dividing the rows of {commit[:7]} takes over {SECONDS:g} s")
        _same_rows(record, (made / "train").read_text(), made)
    if asked == "rows":
        return (
            f"the rows were divided again at {commit[:7]}: the same; policy.yaml asks for no more"
        )
    return f"{NOT_REBUILT}training takes over {SECONDS:g} s; {commit[:7]} gives the same rows"


def _python(workspace: Workspace, commit: str, asked: str | None) -> Path | None:
    """The interpreter with the libraries of the source commit, None for this one. Where the policy
    asks, they are installed: else nobody whose own have moved on could tell an honest release from
    a forged one.

    Raises:
        NotRebuiltError: They are not here.
    """
    try:
        missing = lacking(workspace.git, commit)
    except RefusedError as error:
        raise NotRebuiltError(str(error)) from None
    if not missing:
        return None
    text = f"{commit[:7]} needs {', '.join(missing[:3])}"
    if asked is None:
        raise NotRebuiltError(text)
    try:
        place = workspace.state / "environments" / "libraries"
        return python(pinned(workspace.git, commit), place, commit)
    except LibrariesError as error:
        raise NotRebuiltError(f"{text}; {error}") from None


def _run(
    call: str, commit: str, tree: Path, output: Path, seconds: float,
    interpreter: Path | None, **more: str,
) -> bool:  # fmt: skip
    """Whether it was done in time."""
    what, arguments = f"the code of {commit[:7]}", {"root": str(tree)} | more
    try:
        limited(
            what, call, arguments, output, seconds=seconds, source=tree, python=interpreter
        )  # fmt: skip
    except LimitError as error:
        if "not done" in str(error):
            return False
        raise NotRebuiltError(str(error)) from None
    except (RefusedError, EndedError) as error:
        raise RefusedError(f"{commit[:7]} gives no model: {error}") from None
    except ModelError as error:  # data that is not here; a network that may not be reached
        raise NotRebuiltError(f"{commit[:7]}: {error}") from None
    return True


def _check_out(git: Git, record: Record, tree: Path) -> str:
    """Put the files of the source commit there, links left out, and return the module that makes a
    model again.

    Raises:
        NotRebuiltError: What it needs is not here.
    """
    commit = record.source.commit
    try:
        files = {n: facts for n, facts in git.tree(commit).items() if facts.startswith("100")}
        write_files(git, commit, files, tree)
    except (GitError, RefusedError) as error:
        raise NotRebuiltError(f"{commit[:7]}: {error}") from None
    try:
        engine = engine_of(tree, commit)
    except RefusedError as error:
        raise NotRebuiltError(str(error)) from None
    if engine == ENGINE:
        return f"{ENGINE}.training.again"
    if not (tree / "src" / engine / "pipeline" / "again.py").is_file():
        raise NotRebuiltError(f"{commit[:7]} is of a version that cannot be asked")
    return f"{engine}.pipeline.again"


def _same_rows(record: Record, train: str, made: Path) -> None:
    pairs = {
        "training rows": (train, record.data.train),
        "holdout": (digest_of(made / "holdout"), record.data.holdout),
        "hashes of training rows": (digest_of(made / "fitted"), record.data.fitted),
    }
    wrong = [name for name, (here, there) in pairs.items() if here != there]
    if wrong:
        commit = record.source.commit[:7]
        raise RefusedError(f"{commit} gives other rows than the record's {' and '.join(wrong)}")


def _same_model(
    workspace: Workspace, record: Record, tree: Path, output: Path, again: str,
    interpreter: Path | None,
) -> str:  # fmt: skip
    commit, made = record.source.commit, output / "candidate"
    found, short = Candidate.read(made), commit[:7]
    _same_rows(record, found.train, made)
    digest, key = digest_of(made / "model"), found.key
    if digest == record.model:
        _same_key(record, key)
        return f"trained again at {short}: the same bytes"
    rows = None
    if again.startswith(f"{ENGINE}."):  # versions before cannot be asked
        if not _run(f"{again}:rows", commit, tree, output, SECONDS, interpreter):
            raise NotRebuiltError(f"reading the rows of {short} takes over {SECONDS:g} s")
        if (output / "rows").read_text() != record.data.train:
            raise RefusedError(f"{short} gives other rows than the record's training rows")
        rows = str(output / "rows.parquet")
    fetch, holdout = workspace.store.fetch, record.data.holdout
    arguments = {
        "model": [str(fetch(record.model)), record.model],
        "holdout": [str(fetch(holdout)), holdout],
        "again": [str(made / "model"), digest],
        "rows": rows,
    }
    limited("comparing models", f"{compare.__name__}:compare", arguments, output)
    facts: dict[str, Any] = read_json(output / "apart.json")
    if facts["others"]:
        raise RefusedError(f"{short} gives a model with another {facts['others'][0]}")
    if not facts["largest"] <= TOLERANCE:
        text = f"{short} gives another model: answers differ by up to {facts['largest']:.2g}"
        raise RefusedError(f"{text} of {facts['rows']} rows")
    if interpreter and record.runtime == "onnx":  # ours would export another graph
        raise NotRebuiltError(f"{short} gives other bytes, and its graph is not made again here")
    answers = f"{facts['rows']} answers at most {facts['largest']:.1g} apart"
    message = f"trained again at {short}: other bytes, and {answers} (allowed: {TOLERANCE:g})"
    python = str(facts["python"])
    if python != platform.python_version() and key != record.key:
        ours = tuple(platform.python_version_tuple()[:2])
        if rows is None or tuple(python.split(".")[:2]) != ours:  # it may need other libraries
            return f"{message}; its key is of Python {python}, and was not compared"
        _run(f"{again}:key", commit, tree, output, SECONDS, interpreter, python=python)
        key = (output / "key").read_text()
    _same_key(record, key)
    return message


def _same_key(record: Record, key: str) -> None:
    if record.key not in (None, key):
        commit = record.source.commit[:7]
        raise RefusedError(f"{commit} has other inputs than the record's key says")
