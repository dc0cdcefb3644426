"""Concurrency groups, as GitHub keeps them: one run goes, the newest other one waits."""

import re
from typing import Any

from .workflows import EXPRESSION


def evaluate(text: str, contexts: dict[str, Any]) -> Any:
    """A template whose expressions are names, quoted texts, `||`, `==` and `!=`."""
    whole = re.fullmatch(r"\$\{\{(.*)\}\}", text.strip(), re.DOTALL)
    if whole and len(EXPRESSION.findall(text)) == 1:
        return _either(whole[1], contexts)
    return EXPRESSION.sub(lambda found: _shown(_either(found[0][3:-2], contexts)), text)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _either(expression: str, contexts: dict[str, Any]) -> Any:
    value: Any = None
    for term in expression.split("||"):
        value = _term(term.strip(), contexts)
        if value:
            break
    return value


def _term(term: str, contexts: dict[str, Any]) -> Any:
    if compared := re.fullmatch(r"(.+?)\s*([!=])=\s*(.+)", term):
        same = _term(compared[1], contexts) == _term(compared[3], contexts)
        return same == (compared[2] == "=")
    if quoted := re.fullmatch(r"'([^']*)'", term):
        return quoted[1]
    if term in ("true", "false"):
        return term == "true"
    if not re.fullmatch(r"[\w-]+(\.[\w-]+)*", term):
        raise ValueError(f"concurrency: {term}: too much for this stand-in; name a value")
    value: Any = contexts
    for name in term.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def group(workflow: dict[Any, Any], contexts: dict[str, Any]) -> tuple[str, bool]:
    """The group of a run (none: empty), and whether it cancels the one that goes."""
    written = workflow.get("concurrency")
    if written is None:
        return "", False
    if not isinstance(written, dict):
        return _shown(evaluate(str(written), contexts)).lower(), False
    cancels = written.get("cancel-in-progress", False)
    if isinstance(cancels, str):
        cancels = evaluate(cancels, contexts)
    return _shown(evaluate(str(written["group"]), contexts)).lower(), bool(cancels)
