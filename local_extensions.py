"""How cookiecutter reads the answers to this template: as text, and before it makes a folder."""

import json
import re

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

OWN_EXPRESSION = re.compile(r"\{\{-?\s*cookiecutter\b")
ONE_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Answers(Extension):
    """Keep an answer from acting as a template or as a path.

    Cookiecutter renders each answer given on the command line (and `cruft update` each answer it
    remembers) as a Jinja template, so that `${{ x }}` in a description would be an error. It also
    creates the project's folder before the pre_gen hook can look at its name.
    """

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        environment.filters["safe_folder"] = safe_folder
        environment.filters["in_quotes"] = in_quotes
        environment.filters["as_prose"] = as_prose

    def preprocess(
        self,
        source: str,
        name: str | None,
        filename: str | None = None,  # noqa: ARG002 - Jinja's signature
    ) -> str:
        """Turn a string that is not the template's own into a literal; files (named) stay."""
        if name is not None or OWN_EXPRESSION.search(source):
            return source
        return "{{ " + json.dumps(source, ensure_ascii=False) + " }}"


def safe_folder(slug: str) -> str:
    """Refuse a slug that could make folders anywhere but directly in the output folder."""
    if ONE_FOLDER.fullmatch(slug):
        return slug
    raise FailedHookException(
        f"\n  project_slug: {ascii(slug)[:60]} cannot be the name of one folder; "
        "use lower-case letters, digits and single hyphens, such as churn-model\n"
    )


def in_quotes(text: str) -> str:
    r"""Escape text for a double-quoted string, with the escapes that TOML and YAML share.

    >>> in_quotes('say "a\\b"')
    'say \\"a\\\\b\\"'
    """
    return text.replace("\\", "\\\\").replace('"', '\\"')


def as_prose(text: str) -> str:
    """Escape text for Markdown, where `<!--` would swallow the rest of the page.

    >>> as_prose("a <!-- b")
    'a &lt;!-- b'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;")
