"""Rows are of people: who may read the registry that keeps them is asked, not believed."""

import io
import os
from collections.abc import Iterator

from mlrelease.documents import YAML_BYTES, read_bytes
from mlrelease.errors import ModelError, RefusedError
from mlrelease.github.settings import Check, Settings
from mlrelease.objects import read
from mlrelease.params import Params
from mlrelease.records.record import Record, short
from mlrelease.storage.connection import DeniedError
from mlrelease.storage.registry import Registry

MARK = "rows"  # a tag that holds nothing: a stranger's pull of it is tried before rows are there
MARK_KIND = "application/vnd.model.mark.v1+json"
SETTING = "MODEL_ROWS"


def refuse_unnamed(models: Registry) -> RefusedError:
    """Why rows that not everybody may see do not go where the models are."""
    return RefusedError(
        f"the holdout is not pushed to {models}, whose readers could read it: set {SETTING} to a"
        f" private repository of a registry, such as {models}-rows (in a private project {models}"
        " itself), or `data.public: true` in params.yaml if everybody may see the rows"
    )


def refuse_readable(place: Registry) -> None:
    """Try whether a stranger could read what is pushed here, before rows are.

    Raises:
        RefusedError: Yes.
    """
    place.push(MARK, MARK_KIND, io.BytesIO(b"{}"))
    if readable(place.name, MARK):
        raise RefusedError(
            f"{SETTING}: everybody can read {place}, without credentials: make it private, or name"
            " another; no rows were pushed"
        )


def readable(name: str, tag: str) -> bool:
    """Whether what a tag names is given to somebody without credentials."""
    try:
        return Registry(name, anonymous=True).digest(tag) is not None
    except DeniedError:
        return False


def check(settings: Settings, models: str) -> Iterator[Check]:
    """Are rows kept where nobody else can read them? `models` is the registry of the models."""
    if read(settings.root / "params.yaml", Params).data.public:
        yield Check("rows", "ok", "params.yaml says that everybody may see them")
        return
    name, page = _named(settings), settings.page("settings/variables/actions")
    if not name:
        yield Check("rows", "FAILED", str(refuse_unnamed(Registry(models))), (page,))
    elif readable(name, MARK):
        message = f"everybody can read {Registry(name)}, without credentials"
        yield Check("rows", "FAILED", message, (f"make it private, or set {SETTING}", page))
    else:
        yield Check("rows", "ok", f"{Registry(name)} gives nothing without credentials")
    for path in sorted(settings.root.glob("deploy/*/model.yaml")):
        try:
            kept = Record.read(read_bytes(path, YAML_BYTES), path.name).data.kept
        except ModelError:
            continue  # `model verify` says what is wrong with it
        for rows in kept:
            if readable(models, f"dir-{rows.removeprefix('sha256:')}"):
                message = f"everybody can read the rows {short(rows)} in {models}"
                how = (f"model forget --data {short(rows)}, or make {models} private",)
                yield Check("rows", "FAILED", message, how)


def _named(settings: Settings) -> str | None:
    return os.environ.get(SETTING) or settings.variables.get(SETTING) or None
