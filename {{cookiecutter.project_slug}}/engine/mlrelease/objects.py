"""YAML and JSON files as typed, validated objects; unknown keys are refused by path."""

from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mlrelease.documents import SHOWN_FAULTS, YAML_BYTES, parse_yaml, read_bytes, shown
from mlrelease.errors import InputError

Kind = TypeVar("Kind", bound=BaseModel)


Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Strict(BaseModel):
    """Unknown keys are refused, objects do not change, NaN and infinity are no values."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def validate(content: Any, kind: type[Kind], name: str) -> Kind:
    """The content of the file called `name` as a typed object.

    Raises:
        InputError: The first faults, each with the path of its key.
    """
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise InputError(f"{name}: expected keys and values, found {found}")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{name}: {_faults(error)}") from None
    except Exception as error:  # a validator met what it was not written for
        raise InputError(f"{name}: cannot be read: {shown(str(error))}") from None


def parse(text: str | bytes, kind: type[Kind], name: str) -> Kind:
    """Parse YAML into a validated object.

    Raises:
        InputError: Each fault with its line, or the path of its key.
    """
    return validate(parse_yaml(text, name), kind, name)


def read(path: Path, kind: type[Kind]) -> Kind:
    """Read and validate a YAML file, such as `read(Path("params.yaml"), Params)`."""
    try:
        return parse(read_bytes(path, YAML_BYTES), kind, path.name)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _faults(error: ValidationError) -> str:
    """The first faults of a file on one line, each with its path."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    lines = []
    for fault in found[:SHOWN_FAULTS]:
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"].startswith("date"):
            message = "should be a day, written as YYYY-MM-DD"
        place = ".".join(shown(str(part)) for part in fault["loc"]) or "file"
        lines.append(f"{place}: {shown(message, 200)}")
    more = [f"and {len(found) - SHOWN_FAULTS} more"] if len(found) > SHOWN_FAULTS else []
    return "; ".join(lines + more)
