"""Text from data, files and other people, for a terminal, a log or a commit message."""

import os
import re

HIDDEN = "\N{REPLACEMENT CHARACTER}"  # shows that something was there
BREAK = "\N{ZERO WIDTH SPACE}"  # ends a word for whoever looks for mentions and links
JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"  # part of Persian words and of emoji
STYLES = re.compile("(\x1b\\[[01]m)")  # bold, and its end: our tables' headers
# What GitHub makes links, pictures and closed issues of, wherever text is shown: @team, #1, GH-1,
# :tada:, an address; and [skip ci]. It looks after Markdown's escapes are gone.
LINKED = re.compile(
    r"@(?=[\w.+-])|(#|(?<![^\W_])GH-)(?=\w)|:(?!(?<=sha256:)[0-9a-f]{64}$)(?=[\w+-]+(:|$))"
    r"|\w:(?=//)|www(?=\.)|\[(?=skip |no |ci )",
    re.IGNORECASE,
)


def visible(text: str, keep: str = "") -> str:
    """Without characters that move a cursor, turn the direction of writing or are not seen."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep or c in JOINERS else HIDDEN for c in text)


def unlinked(text: str, mark: str = BREAK) -> str:
    """So that nobody is mentioned, nothing is linked or closed, and no workflow is skipped."""
    return LINKED.sub(lambda found: found.group() + mark, text)


def message(text: str) -> str:
    """Text for a commit message or a title: one line, which is nothing but text."""
    flat = unlinked(visible(" ".join(text.split())))
    return re.sub(r"\A(\w+-[\w-]+):", rf"\1{BREAK}:", flat)  # no trailer, such as skip-checks


def lines(text: str) -> str:
    """Text for a terminal or a log, with its lines; on GitHub none of them is a command."""
    parts = STYLES.split(text)
    shown = "".join(p if STYLES.fullmatch(p) else visible(p, keep="\n\t") for p in parts)
    if os.environ.get("GITHUB_ACTIONS"):
        shown = re.sub(r"(?m)^(\s*)::", rf"\1{BREAK}::", shown).replace("##[", f"#{BREAK}#[")
    return shown


def json(document: str) -> str:
    """JSON that says the same, and shows what is not seen."""
    if document.isascii():
        return document
    shown = (c if c.isprintable() or c == "\n" else _escaped(c) for c in document)
    return "".join(shown)


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
