"""What a terminal or a log shows of text that anybody wrote: the text, and nothing that it does."""

import json
import re
import sys
from pathlib import Path

import pytest

from mlrelease import errors, plain, workspace
from mlrelease.cli import app as cli_app

ATTACKS = (
    "\x1b[2J\x1b]0;title\x07",
    "a\rb",
    "\u202edrow",
    "a\x9b31mb",
    "a\x08b",
    "\u2066x\u2069",
    "\ufeff",
)


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_moves_the_cursor_or_turns_the_text(attack: str) -> None:
    shown = plain.lines(f"one {attack}\n\ttwo")
    assert shown.replace("\n", "").replace("\t", "").isprintable()
    assert (shown.count("\n"), shown.count("\t")) == (1, 1)


def test_a_header_of_ours_stays_bold_and_a_persian_word_whole() -> None:
    text = "\x1b[1mheader\x1b[0m\n\N{ARABIC LETTER FARSI YEH}\u200c\N{ARABIC LETTER HEH}"
    assert plain.lines(text) == text


def test_no_line_is_a_command_to_github(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a\n::error::x\n  ::set-output name=a::b\n##[command]x\nC::d"
    assert plain.lines(text) == text  # elsewhere it is text
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    shown = plain.lines(text)
    assert not re.search(r"(?m)^\s*::|##\[", shown)
    assert shown.replace(plain.BREAK, "") == text


@pytest.mark.parametrize(
    "text",
    [
        "_www.evil.example", "site_www.evil.example", "WWW.evil.example", "xwww.evil.example",
        "https://evil.example", "_@owner", "a@-b.example", "a@.b.example", "#1", "_GH-1",
        ":tada:", "sha256:tada:", f"sha256:{'a' * 64}:", "sha256:100:", "[skip ci]",
    ],
)  # fmt: skip
def test_no_text_links_mentions_or_decorates(text: str) -> None:
    """What GitHub looks for, with whatever stands before it."""
    for shown in (plain.message(f"release {text}"), plain.message(text)):
        assert plain.BREAK in shown
        assert shown.replace(plain.BREAK, "").endswith(text)


@pytest.mark.parametrize("text", ["C# and F#", f"sha256:{'a' * 64}", "a: b", "HIGH-risk", "www"])
def test_text_that_links_nothing_stays_as_it_is(text: str) -> None:
    assert plain.message(text) == text


@pytest.mark.parametrize("attack", [*ATTACKS, "plain", "\U000e0041"])
def test_json_says_the_same_and_hides_nothing(attack: str) -> None:
    facts = {"reason": attack, "more": ["ä", 1]}
    shown = plain.json(json.dumps(facts, indent=1, ensure_ascii=False))
    assert json.loads(shown) == facts
    assert shown.replace("\n", "").isprintable()


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_error_that_quotes_it_does_nothing_to_the_terminal(
    attack: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fault(*_: object) -> None:
        raise errors.InputError(f"params.yaml: {attack} is no column")

    monkeypatch.setattr(workspace.Workspace, "find", fault)
    monkeypatch.setattr(sys, "argv", ["model", "status"])
    with pytest.raises(SystemExit):
        cli_app.main()
    said = capsys.readouterr()
    assert (said.out + said.err).replace("\n", "").isprintable()


def test_every_verb_prints_by_the_one_function_that_cleans() -> None:
    folder = Path(cli_app.__file__).parent
    prints = re.compile(r"typer\.echo\(|\bprint\(|sys\.std(out|err)\.write")
    found = {p.name: prints.findall(p.read_text()) for p in folder.glob("*.py")}
    assert {name: len(calls) for name, calls in found.items() if calls} == {
        "app.py": 2, "progress.py": 2,
    }  # fmt: skip
