"""Pieces of GitHub-flavoured Markdown that text from data cannot break out of."""

import re
from collections.abc import Iterable

from .gate import NOT_REBUILT, Finding

MAX_TEXT = 160  # characters of a name or a message


def escape(text: str) -> str:
    """Text from data, so that it stays on its line and in its cell."""
    flat = _flat(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]|#@~!])", r"\\\1", flat)


def code(text: str) -> str:
    """Text from a record, as code: only a backtick could end it."""
    return f"`{_flat(text.replace('`', ' '))}`"


def line(finding: Finding) -> str:
    """A rule or check as an item of a list."""
    return f"- {sign(finding)} **{escape(finding.name)}** {escape(finding.message)}"


def sign(finding: Finding) -> str:
    """What passes only because nobody could look is no tick."""
    doubtful = "⚠️" if finding.message.startswith(NOT_REBUILT) else "✅"
    return doubtful if finding.passed else "❌"


def folded(title: str, lines: Iterable[str]) -> list[str]:
    """Lines that a reader opens when they want to."""
    return [f"<details><summary>{title}</summary>", "", *lines, "", "</details>"]


def _flat(text: str) -> str:
    flat = " ".join(text.split()) or "(empty)"
    return flat if len(flat) <= MAX_TEXT else f"{flat[: MAX_TEXT - 1]}…"
