"""Pieces of GitHub-flavoured Markdown that text from data cannot break out of.

Whatever is not a word of ours goes through `escape`, `code` or `block`. The test of hostile text
puts an attack into every field of every page: one that was forgotten is found there.
"""

import re
from collections.abc import Iterable

from mlrelease.evaluation.gate import NOT_REBUILT, Finding
from mlrelease.plain import unlinked, visible

MAX_TEXT = 160  # characters of a name or a message
BREAK = "&#8203;"  # a zero width space that can be seen in the source


def escape(text: str, most: int = MAX_TEXT) -> str:
    """Text from data, so that it stays on its line and in its cell, and links to nothing."""
    flat = unlinked(_flat(text, most), "\0").replace("&", "&amp;")
    flat = re.sub(r"([\\`*_{}\[\]|#@~!])", r"\\\1", flat.replace("<", "&lt;").replace(">", "&gt;"))
    return flat.replace("$", "&#36;").replace("\0", BREAK)  # between dollars is mathematics


def code(text: str, most: int = MAX_TEXT) -> str:
    """Text as code, also in a cell of a table. GitHub links nothing in it; where a character could
    end the code or the cell, each one is written by its number."""
    flat = visible(text)
    flat = flat if len(flat) <= most else f"{flat[: most - 1]}…"
    if flat.strip() == flat != "" and not {*flat} & {*"|`\\"}:
        return f"`{flat}`"
    return f"<code>{''.join(c if c.isalnum() else f'&#{ord(c)};' for c in flat)}</code>"


def block(text: str) -> str:
    """Lines as they are, such as an error with what it quotes."""
    shown = visible(text, keep="\n\t")
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", shown)), default=0))
    return f"{fence}text\n{shown}\n{fence}"


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


def _flat(text: str, most: int) -> str:
    flat = visible(" ".join(text.split())) or "(empty)"
    return flat if len(flat) <= most else f"{flat[: most - 1]}…"
