"""The hooks and the extension, as source: small, offline, and in step with what they speak of."""

import ast
import doctest
import json
import re
import sys
import tomllib

import pytest

import local_extensions

from .conftest import ROOT, BakedProject

CONTEXT = json.loads((ROOT / "cookiecutter.json").read_text(encoding="utf-8"))
HOOKS = ("pre_gen_project.py", "post_gen_project.py")
NETWORK = {"ftplib", "http", "imaplib", "poplib", "smtplib", "socket", "ssl", "urllib", "xmlrpc"}


@pytest.mark.parametrize("name", HOOKS)
def test_a_hook_is_short_offline_and_valid_before_it_is_rendered(name: str) -> None:
    source = (ROOT / "hooks" / name).read_text(encoding="utf-8")
    imported = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])

    assert len(source.splitlines()) < 60
    assert imported <= sys.stdlib_module_names - NETWORK
    assert re.findall(r"\{\{.*?\}\}", source) == ["{{ cookiecutter | tojson }}"]


def test_the_hook_that_checks_answers_writes_nothing() -> None:
    source = (ROOT / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
    }

    writing = {"open", "write", "write_text", "write_bytes", "mkdir", "touch", "unlink", "rename"}
    assert called & writing == set()


def test_no_project_can_have_the_name_of_something_it_needs(project: BakedProject) -> None:
    """Else it would depend on itself, or hide the library from its own code."""
    source = (ROOT / "hooks" / "pre_gen_project.py").read_text(encoding="utf-8")
    settings = tomllib.loads(project.read("pyproject.toml"))
    needed = {
        re.split(r"[\[=;]", pin)[0].replace("-", "_")
        for pin in [*settings["project"]["dependencies"], *settings["dependency-groups"]["dev"]]
    }
    imported = {"markdown_it", "sklearn", "yaml", "tests"}  # names other than the distribution's

    assert [name for name in sorted(needed | imported) if f" {name} " not in squeeze(source)] == []


def test_there_are_at_most_twelve_questions_and_each_is_asked_in_words() -> None:
    questions = [key for key in CONTEXT if not key.startswith("_")]
    prompts = CONTEXT["__prompts__"]

    assert len(questions) <= 12
    assert list(prompts) == questions
    for question in questions:
        choices = CONTEXT[question]
        if isinstance(choices, list):
            assert set(prompts[question]) == {"__prompt__", *choices}
        else:
            assert " " in prompts[question]


def test_the_extensions_examples_hold() -> None:
    assert doctest.testmod(local_extensions) == doctest.TestResults(failed=0, attempted=2)


def squeeze(source: str) -> str:
    """Join string literals that stand on lines of their own."""
    return re.sub(r'"\n\s+"', "", source)
