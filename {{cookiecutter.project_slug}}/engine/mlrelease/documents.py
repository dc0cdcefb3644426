"""YAML and JSON that anybody may have written: read within limits, every fault one `InputError`.

YAML is built from the parser's events, without recursion. What a hostile file needs is refused
before it costs anything: aliases, tags, directives, deep nesting, too many values. A file that both
of PyYAML's parsers read, the one in C and the one in Python, has the same value in both.
"""

import json
import re
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from mlrelease.errors import InputError

YAML_BYTES, JSON_BYTES, DEPTH, VALUES = 1_000_000, 2_000_000, 20, 50_000
SHOWN_FAULTS, SHOWN_LETTERS, NUMBER_LETTERS, NUMBER_KEY_LETTERS = 20, 60, 64, 9
Loader: TypeAlias = "type[yaml.CSafeLoader | yaml.SafeLoader]"  # text: not every PyYAML has both
LOADER: Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + kind for kind in ("str", "int", "float", "bool", "null", "timestamp")}
_COLLECTIONS = {None, _TAG + "map", _TAG + "seq"}
_UNPRINTABLE = re.compile(
    r"[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)
_REFUSED = (
    (_UNPRINTABLE, "a control character is not allowed; remove it"),
    (re.compile(r"\t"), "a tab is not allowed; write spaces"),  # the parsers disagree on tabs
    (re.compile(r"(?:\A|[\n\r\x85\u2028\u2029])%"), "a % directive is not allowed; remove it"),
    (re.compile(r"(?:\A|[\n\r])<{7} "), "git left a conflict: keep one side, and remove the marks"),
)
_NO_KEY = object()


@dataclass
class _Open:
    """A mapping or a list whose end has not been read yet."""

    content: dict[Any, Any] | list[Any]
    key: Any = _NO_KEY

    @property
    def wants_key(self) -> bool:
        return isinstance(self.content, dict) and self.key is _NO_KEY

    def add(self, value: Any) -> None:
        if isinstance(self.content, list):
            self.content.append(value)
        else:
            self.content[self.key], self.key = value, _NO_KEY


def parse_yaml(content: str | bytes, name: str, loader: Loader = LOADER) -> Any:
    """The value of the YAML file called `name`; None for an empty one.

    Raises:
        InputError: It is not YAML, or needs more than the limits of this module.
    """
    text = _text(content, YAML_BYTES, name)
    for pattern, fault in _REFUSED:
        if found := pattern.search(text):
            line = len(text[: found.end()].splitlines())
            raise InputError(f"{name}: line {line}: {fault}")
    try:
        return _build(loader(text), name)
    except yaml.MarkedYAMLError as error:
        mark, lines = error.problem_mark or error.context_mark, text.splitlines()
        at = min(mark.line if mark else 0, len(lines) - 1)
        message = f"line {at + 1} is not valid YAML: {shown(lines[at])!r}"
        raise InputError(f"{name}: {message}; check indentation, quotes and brackets") from None
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{name}: not valid YAML: {shown(str(error))}") from None


def parse_json(content: str | bytes, name: str) -> Any:
    """The value of the JSON file called `name`.

    Raises:
        InputError: It is not JSON, too large or too deep, or has a key twice.
    """
    text = _text(content, JSON_BYTES, name)
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        message = f"line {error.lineno}, column {error.colno}: not valid JSON"
    except RecursionError:
        message = "nested too deep"
    except ValueError as error:  # a key given twice, or an integer of thousands of digits
        message = f"not valid JSON: {shown(str(error))}"
    raise InputError(f"{name}: {message}")


def read_bytes(path: Path, limit: int) -> bytes:
    """The file, or so much of it that a parser with this limit refuses it.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        return file.read(limit + 1)


def shown(text: str, letters: int = SHOWN_LETTERS) -> str:
    """Text of unknown origin for a message: one line, short, no control characters."""
    short = text if len(text) <= letters else text[:letters] + "..."
    return " ".join("".join(c if c.isprintable() else " " for c in short).split())


def _text(content: str | bytes, limit: int, name: str) -> str:
    if len(content) > limit:
        raise InputError(f"{name}: larger than {limit / 1e6:g} MB, which is more than is read")
    if isinstance(content, str):
        return content
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: byte {error.start} is not UTF-8; save it as UTF-8") from None


def _build(loader: Any, name: str) -> Any:
    root: Any = None
    opened: list[_Open] = []
    documents = values = 0
    while not isinstance(event := loader.get_event(), yaml.StreamEndEvent):
        where = f"{name}: line {event.start_mark.line + 1}:"
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise InputError(f"{where} a second document begins; keep one, without `---`")
        if isinstance(event, yaml.NodeEvent):
            values += 1
            if values > VALUES:
                raise InputError(f"{name}: more than {VALUES} values")
            if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
                raise InputError(f"{where} anchors and aliases are not allowed; write it out")
        if isinstance(event, yaml.CollectionStartEvent):
            _check_collection(event, opened, where)
            opened.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else []))
            continue
        if isinstance(event, yaml.ScalarEvent):
            value = _scalar(loader, event, where)
            if opened and opened[-1].wants_key:
                opened[-1].key = _key(value, event.value, opened[-1].content, where)
                continue
        elif isinstance(event, yaml.CollectionEndEvent):
            value = opened.pop().content
        else:
            continue
        if opened:
            opened[-1].add(value)
        else:
            root = value
    return root


def _check_collection(event: Any, opened: list[_Open], where: str) -> None:
    if opened and opened[-1].wants_key:
        raise InputError(f"{where} a key must be text, not a list or a mapping")
    if event.tag not in _COLLECTIONS:
        raise InputError(f"{where} tag {shown(event.tag)!r} is not allowed; remove it")
    if len(opened) == DEPTH:
        raise InputError(f"{where} nested more than {DEPTH} levels deep")


def _scalar(loader: Any, event: Any, where: str) -> Any:
    tag, value = event.tag, event.value
    if tag is None:
        tag = loader.resolve(yaml.ScalarNode, value, event.implicit)
    if tag not in _SCALARS:
        what = f"tag {shown(event.tag)!r}" if event.tag else repr(shown(value))
        raise InputError(f"{where} {what} is not allowed; write text in quotes, without a tag")
    if event.style == '"' and _UNPRINTABLE.search(value):
        raise InputError(f"{where} a control character is not allowed; remove it")
    if tag == _TAG + "str":
        return value
    kind = tag.removeprefix(_TAG)
    if len(value) > NUMBER_LETTERS:  # time grows with the square of the digits
        raise InputError(f"{where} {shown(value)!r} is too long for {kind}; write text in quotes")
    try:
        return loader.construct_object(yaml.ScalarNode(tag, value))
    except Exception:
        fault = f"{shown(value)!r} is not a valid {kind}; write text in quotes"
        raise InputError(f"{where} {fault}") from None


def _key(value: Any, text: str, siblings: Any, where: str) -> Hashable:
    """Long numbers as keys can be chosen so that a dict of them takes minutes; text cannot."""
    if not isinstance(value, str) and len(text) > NUMBER_KEY_LETTERS:
        raise InputError(f"{where} key {shown(text)!r}: write keys as text, in quotes")
    if value in siblings:
        raise InputError(f"{where} key {shown(text)!r} is given twice")
    return value  # type: ignore[no-any-return]  # a scalar


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"key {key!r} is given twice")
            seen.add(key)
    return found
