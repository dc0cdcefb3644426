"""Whatever bytes a document holds, it is read, or refused with one line that names the fault."""

import datetime as dt
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel

from mlrelease import documents as document, errors
from mlrelease.evaluation import evaluation
from mlrelease.objects import Strict, parse, read, validate
from mlrelease.params import Params
from mlrelease.policy import Policy
from mlrelease.records import record
from tests.engine.conftest import PARAMS, POLICY

LOADERS = [
    pytest.param(yaml.CSafeLoader, id="C"),
    pytest.param(yaml.SafeLoader, id="Python"),
]
SECONDS = 5.0  # of the processor, for each; all take less than one on an idle machine


def one_line(action: Callable[[], object]) -> str:
    """The fault, as the command line shows it; it came quickly."""
    started = time.process_time()
    with pytest.raises(errors.InputError) as refusal:
        action()
    assert time.process_time() - started < SECONDS
    text = str(refusal.value)
    assert text.isprintable()
    assert len(text) < 2000
    return text


def filled(unit: str, before: str = "", after: str = "") -> str:
    """A file of this unit, as large as may be."""
    room = document.YAML_BYTES - len(before) - len(after)
    return before + unit * (room // len(unit)) + after


def lines(line: str, count: int, step: int = 1) -> str:
    return "".join(line.format(step * number) + "\n" for number in range(1, count + 1))


HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "a day that is none": ("seed: 2026-99-99", "line 1: '2026-99-99' is not a valid timestamp"),
    "an offset that is none": ("a: 2026-01-01T00:00:00+99:00", "is not a valid timestamp"),
    "5,000 digits": (f"\nseed: {'9' * 5000}", "line 2: '999.* is too long for int"),
    "a megabyte of digits": (filled("9", "seed: "), "too long for int"),
    "a megabyte of sixtieths": (filled(":1", "seed: 1"), "too long for int"),
    "nested lists": (filled("[", "a: "), "nested more than 20"),
    "nested mappings": (filled("{a: "), "nested more than 20"),
    "nested lists in blocks": (filled("- "), "nested more than 20"),
    "nested keys": (filled("? "), "line 1: a key must be text"),
    "a python tag": ("a: !!python/object/apply:os.getcwd []", "tag '.*getcwd' is not allowed"),
    "a tag of one's own": ("a: !secret x", "tag '!secret' is not allowed"),
    "a set": ("a: !!set {b}", "tag '.*set' is not allowed"),
    "a wrong integer": ("a: !!int x", "'x' is not a valid int"),
    "laughter": ("a: &a [x]\nb: [*a, *a]\n", "line 1: anchors and aliases are not allowed"),
    "an alias of nothing": ("a: *b", "line 1: anchors and aliases are not allowed"),
    "a merge": ("<<: {a: 1}", "'<<' is not allowed"),
    "a conflict": (
        "a: 1\n<<<<<<< ours\nb: 1\n=======\nb: 2\n>>>>>>> theirs\n",
        "line 2: git left a conflict: keep one side, and remove the marks",
    ),
    "a list as key": ("? [a]\n: 1", "line 1: a key must be text"),
    "a mapping as key": ("{{a: 1}: 1}", "line 1: a key must be text"),
    "a key given twice": ("a: 1\nb: {c: 1, c: 2}", "line 2: key 'c' is given twice"),
    "a number given twice": ("a: {1: x, 1.0: y}", "key '1.0' is given twice"),
    "not UTF-8": (b"a: \xff", "byte 3 is not UTF-8"),
    "UTF-16": ("a: 1".encode("utf-16"), "byte 0 is not UTF-8"),
    "half a character": ("a: \ud800", "control character"),
    "half a character, spelt": (r'a: "\ud800"', "not valid YAML|control character"),
    "a NUL byte": (b"a: 1\nb: \0", "line 2: a control character"),
    "a NUL byte, spelt": (r'a: "\0"', "line 1: a control character"),
    "a terminal's escape, spelt": (r'"\e[2J": 1', "line 1: a control character"),
    "a line break in a key": (r'"a\n::error::b": 1', "a ::error::b: Extra"),
    "a tab": ("a:\t1", "line 1: a tab is not allowed; write spaces"),
    "a directive": ("%YAML 1.1\n---\na: 1", "line 1: a % directive is not allowed"),
    "60,000 directives": (lines("%TAG !a{}! x", 60_000), "a % directive"),
    "two documents": ("a: 1\n---\na: 1", "line 2: a second document"),
    "too large": ("a: " + "x" * document.YAML_BYTES, "larger than 1 MB"),
    "20,000 unknown keys": (PARAMS + lines("k{}: 1", 20_000), "and 19980 more"),
    "a key of a megabyte": (filled("a", "? "), "a{60}...: Extra"),
    "numbers that collide": (lines("{}: 1", 24_000, 2**61 - 1), "write keys as text"),
    "too many values": (filled("a,", "a: [", "]"), "more than 50000 values"),
    "too many lists": (filled("[],", "a: [", "]"), "more than 50000 values"),
    "as many faults as fit": (filled("{},", "slices: [", "]")[: 3 * 49_000] + "{}]", "more"),
    "a comment only": (filled("#"), "expected keys and values, found nothing"),
    "nothing": ("", "expected keys and values, found nothing"),
    "a list": ("- 1", "expected keys and values, found list"),
    "a word": ("yes", "expected keys and values, found bool"),
    "spaces only": (filled(" "), "expected keys and values, found nothing"),
    "a bad line": ("a: 1\nb: c: d", r"line 2 is not valid YAML: 'b: c: d'; check"),
    "an open end": ("a: [", "line 1 is not valid YAML: 'a: \\['"),
}  # fmt: skip


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_yaml_is_one_line_that_names_the_fault(case: str, loader: document.Loader) -> None:
    content, fault = HOSTILE[case]
    text = one_line(
        lambda: validate(document.parse_yaml(content, "params.yaml", loader), Params, "params.yaml")
    )
    assert re.match(f"params.yaml: .*(?:{fault})", text), text


def test_the_parser_written_in_c_is_used_where_there_is_one() -> None:
    assert document.LOADER is (yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader)
    code = f"import yaml; del yaml.CSafeLoader; from {document.__name__} import LOADER as found"
    code += "; assert found is yaml.SafeLoader"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("loader", LOADERS)
def test_what_a_person_writes_is_read(loader: document.Loader) -> None:
    text = (
        "first: 2026-12-21\nnone: ~\nyes: true\nsize: -1.5e+3\nseed: 0x1F\nquoted: '2026-99-99'\n"
        "text: !!str 12\nlist: [a, {b: 1}]\nclass_weight: {0: 1, 1: 5}\nlong: |\n  ü €\n  2\n"
    )
    assert document.parse_yaml("\ufeff".encode() + text.encode(), "f", loader) == {
        "first": dt.date(2026, 12, 21), "none": None, True: True, "size": -1500.0, "seed": 31,
        "quoted": "2026-99-99", "text": "12", "list": ["a", {"b": 1}],
        "class_weight": {0: 1, 1: 5}, "long": "ü €\n2\n",
    }  # fmt: skip


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("text", [PARAMS, POLICY])
def test_the_project_s_files_are_read_as_pyyaml_does(text: str, loader: document.Loader) -> None:
    assert document.parse_yaml(text, "f", loader) == yaml.safe_load(text)


def test_the_days_of_a_freeze_are_days() -> None:
    rules = "production: {freeze: [{first: 2026-12-21, last: 2027-01-03, reason: year-end}]}"
    text = POLICY.replace("production: {", f"{rules[:-1]}, ")
    (freeze,) = parse(text, Policy, "policy.yaml").environments["production"].freeze
    assert (freeze.first, freeze.last) == (dt.date(2026, 12, 21), dt.date(2027, 1, 3))


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    with path.open("wb") as file:
        file.truncate(10**12)  # a sparse file: a terabyte would not fit into memory
    assert "larger than 1 MB" in one_line(lambda: read(path, Policy))
    assert "larger than 2 MB" in one_line(lambda: evaluation.Evaluation.read(path))


def json_filled(unit: str, before: str, after: str) -> bytes:
    room = document.JSON_BYTES - len(before) - len(after)
    return (before + unit * (room // len(unit)) + after).encode()


HOSTILE_JSON = {
    "nested lists": (json_filled("[", "", ""), "nested too deep"),
    "nested mappings": (json_filled('{"a":', "", "1"), "nested too deep"),
    "5,000 digits": (b'{"rows": ' + b"9" * 5000 + b"}", "not valid JSON: .*digits"),
    "a key given twice": (b'{"rows": 1, "rows": 2}', "key 'rows' is given twice"),
    "not UTF-8": (b'{"task": "\xff"}', "byte 10 is not UTF-8"),
    "a NUL byte": (b"\0", "line 1, column 1: not valid JSON"),
    "half a file": (b'{\n"task":', "line 2, column 8: not valid JSON"),
    "half a character": (b'{"task": "\\ud800"}', "task: "),
    "a line break in a key": (b'{"a\\n::error::b": 1}', "task: "),
    "NaN": (b'{"rows": NaN}', "rows: "),
    "a list": (b"[]", "expected keys and values, found list"),
    "nothing": (b"", "line 1, column 1: not valid JSON"),
    "faults in every slice": (json_filled("{},", '{"slices": [', "{}]}"), "slices.0.column: "),
    "faults in every metric": (
        json.dumps({"metrics": {f"k{i}": {"candidate": {}} for i in range(60_000)}}).encode(),
        "and 179986 more",
    ),
    "too large": (json_filled(" ", "", "   "), "larger than 2 MB|not valid JSON"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE_JSON)
def test_a_hostile_evaluation_is_one_line_that_names_the_fault(case: str) -> None:
    content, fault = HOSTILE_JSON[case]
    text = one_line(lambda: evaluation.Evaluation.parse(content, "evaluation.json"))
    assert re.match(f"evaluation.json: .*(?:{fault})", text), text


def test_a_validator_that_breaks_is_an_input_error_too() -> None:
    class Broken(Strict):
        @classmethod
        def model_validate(cls, *_: Any, **__: Any) -> "Broken":
            raise ZeroDivisionError("division by zero")

    text = one_line(lambda: validate({}, Broken, "model.yaml"))
    assert text == "model.yaml: cannot be read: division by zero"


KINDS: list[type[BaseModel]] = [Params, Policy, record.Record, record.Provenance]
PIECES = st.sampled_from(
    [*"ab1 \n\r\t:-?,[]{}'\"|>#!&*%@`~=.+é\x85\u2028\u200b\ufeff\0", ": ", "- ", "\n  ", "---",
     "...", "<<", "!!str ", "!!int ", "2026-01-01", "2026-99-99", "0x1", "1.5", "\\x41", "\\0",
     "{a: b}", "task: ", "slices: ", "environments: ", "model: ", "classification"]
)  # fmt: skip
YAML_LIKE = st.lists(PIECES, max_size=20).map("".join)
SETTINGS = settings(deadline=None, max_examples=300)


def fault(action: Callable[..., object], *arguments: Any) -> str | None:
    """Why it was refused, in one line; None when it was read. Nothing else may happen."""
    try:
        action(*arguments)
    except errors.InputError as error:
        return str(error)
    return None


def parses_or_refuses(content: str | bytes) -> None:
    raw = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    found = [fault(parse, content, kind, "file") for kind in KINDS]
    found.append(fault(evaluation.Evaluation.parse, raw, "file"))
    for text in filter(None, found):
        assert text.startswith("file: ")
        assert text.isprintable()


@SETTINGS
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(content: bytes) -> None:
    parses_or_refuses(content)


@SETTINGS
@given(st.text(st.characters(), max_size=200) | YAML_LIKE)
def test_arbitrary_text_is_read_or_refused(content: str) -> None:
    parses_or_refuses(content)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = sorted({name for kind in KINDS for name in kind.model_fields})


@SETTINGS
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=5))
def test_any_values_under_known_keys_are_read_or_refused(content: dict[str, Any]) -> None:
    parses_or_refuses(yaml.safe_dump(content))


@SETTINGS
@given(st.data())
def test_a_good_policy_with_one_part_replaced_is_read_or_refused(data: st.DataObject) -> None:
    content = yaml.safe_load(POLICY)
    place = content
    while True:
        key = data.draw(st.sampled_from(sorted(place)))
        if not isinstance(place[key], dict) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(VALUES)
    parses_or_refuses(yaml.safe_dump(content))


@SETTINGS
@given(st.text(max_size=100) | YAML_LIKE)
def test_both_parsers_read_the_same_value(text: str) -> None:
    found: list[str] = []
    for loader in (yaml.CSafeLoader, yaml.SafeLoader):
        fault(lambda parser: found.append(repr(document.parse_yaml(text, "f", parser))), loader)
    assert len(set(found)) <= 1


@SETTINGS
@given(st.dictionaries(st.text(max_size=9).filter(str.isprintable), VALUES, max_size=4))
def test_values_are_read_as_pyyaml_reads_them_or_refused(content: dict[str, Any]) -> None:
    text = yaml.safe_dump(content, allow_unicode=True)
    found: list[Any] = []
    refused = fault(lambda: found.append(document.parse_yaml(text, "f.yaml")))
    if refused:
        assert re.search("control character|too long for (int|float)", refused), refused
    else:
        assert repr(found[0]) == repr(yaml.safe_load(text))
