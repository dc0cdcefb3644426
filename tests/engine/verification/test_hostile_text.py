"""No text from data, files or other people becomes anything but text where people read it.

Every string of whatever a page is made of is replaced, one at a time and all at once, by an attack
and by a harmless word. Both pages must have the same shape, and nothing that GitHub links.
"""

import copy
import dataclasses
import datetime as dt
import re
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import msgspec
import pytest
from markdown_it import MarkdownIt
from pydantic import BaseModel

from mlrelease import plain
from mlrelease.automation import follow_up, template
from mlrelease.evaluation import evaluation, gate, markdown, report
from mlrelease.monitoring import drift, monitor
from mlrelease.promotion import rollback
from mlrelease.records import ledger, main_line
from mlrelease.rehearsal import rehearse, sandbox
from mlrelease.training import profiles as profile
from tests.engine.conftest import BETTER
from tests.engine.evaluation.test_gate import compared, estimate, good, policy, with_slice
from tests.engine.evaluation.test_report import PROMOTION

ATTACKS = (
    "x\n\n# Approved\n", "x\r\r# Approved", "x\u2028# x", "x\n---\n", "x\n===\n", "x\n\n\n    code",
    "![p](https://e.example/p.png)", "[a](https://e.example)", "<https://e.example>", "[^1]",
    "<img src=x>", "<!-- x", "--> x", "</details>", "</code></summary>", "&#64;acme &lt;b&gt;",
    "@acme/team", "`@acme`", "me@example.org", "closes #1", "Fixes GH-1", "acme/churn#1",
    "closes https://github.com/a/b/issues/1", "www.example.org", "_www.example.org",
    "me@-example.org", ":tada:", "sha256:tada:", "$\\color{red}x$",
    "a | b | c |", "x\t|\ty", "\\`x\\|\\", "`", "``` x\n# x", "**b** _i_ ~~s~~", "x\n- [x] y",
    "x\n> [!NOTE]\n> y", "\u202edrow", "\x1b[2Jx", "x\n::error::y", "x\x00y", "[skip ci]",
)  # fmt: skip
HARMLESS = "word"
LINKS = (
    r"@[\w.-]", r"#\w", r"(?i)\bGH-\d", r":[\w+-]+:", r"://", r"(?i)www\.\w",
    r"[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f]",
)  # fmt: skip
PARSER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
DAY = dt.datetime(2026, 11, 21, tzinfo=dt.UTC)
Page = Callable[[Any], str]


def strings(value: Any) -> Iterator[str]:
    """The strings in an object, in the order in which `replaced` counts them."""
    seen: list[str] = []

    def see(_: int, text: str) -> str:
        seen.append(text)
        return text

    replaced(value, see)
    yield from seen


def replaced(value: Any, change: Callable[[int, str], str], at: Iterator[int] | None = None) -> Any:
    """A copy in which each string is changed, whatever its type promises."""
    at = at or count()
    if isinstance(value, str):
        return change(next(at), value)
    if isinstance(value, BaseModel):
        fields = {
            name: replaced(getattr(value, name), change, at) for name in type(value).model_fields
        }
        return type(value).model_construct(**fields)
    if isinstance(value, msgspec.Struct):
        made = copy.copy(value)
        for name in value.__struct_fields__:  # without the checks of a reader
            msgspec.structs.force_setattr(made, name, replaced(getattr(value, name), change, at))
        return made
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in dataclasses.fields(value)]
        return dataclasses.replace(
            value, **{n: replaced(getattr(value, n), change, at) for n in names}
        )
    if isinstance(value, dict):
        return {replaced(k, change, at): replaced(v, change, at) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(replaced(item, change, at) for item in value)
    return value


def shape(text: str) -> tuple[list[str], list[int]]:
    """What a page is made of besides text, and how often its text holds what GitHub links."""
    parts, said = [], []
    for token in PARSER.parse(text):
        if token.type == "html_block":
            shown = re.sub(r"(?s)<!-- .*? -->", "<comment", token.content)
            parts += re.findall(r"</?\w+|<!--|-->", shown)
        elif token.type != "inline":
            parts.append(f"{token.type} {token.tag}")
        inside = False
        for child in token.children or ():
            if child.type == "html_inline" and child.content in ("<code>", "</code>"):
                parts += ["code_inline"] * (inside := child.content == "<code>")
            elif child.type in ("text", "text_special"):
                said += [child.content] * (not inside)
            else:
                parts.append(f"{child.type} {child.content if child.type == 'html_inline' else ''}")
        parts = [part.strip() for part in parts]
        said.append("\n")
    words = "".join(said)
    return parts, [len(re.findall(pattern, words)) for pattern in LINKS]


def column() -> drift.ColumnDrift:
    old = profile.Distribution(
        type="category", rows=9, missing=0.0, values=("a", "b"), shares=(0.5, 0.5)
    )
    new = profile.Distribution(
        type="category", rows=9, missing=0.5, values=("a", "c"), shares=(0.5, 0.5)
    )
    return drift.ColumnDrift(
        column="plan", kind="category", rows=9, missing=0.5, jensen_shannon=0.5,
        limits={"jensen_shannon": 0.1, "missing": 0.1}, exceeded=("jensen_shannon", "missing"),
        excess=5.0, reference=old, current=new,
    )  # fmt: skip


def entry() -> ledger.Entry:
    sha, digest = "a" * 40, "sha256:" + "b" * 64
    released = ledger.Released(
        environment="production", change="promote", main=sha, model=digest, version="2026.11.21",
        image=None, replaces=None, restores=None, time=DAY, requested_by="ann", head=sha, run="r",
        approved_by=("bob",), pull_request=1, reason="why", checks=(ledger.Check("a", "b"),),
        answers={},
    )  # fmt: skip
    return ledger.Entry(sha, None, released, sha, DAY)


def first() -> evaluation.Evaluation:
    return good(
        incomparable="another target", parity=good().parity.model_dump() | {"not_onnx": "why"},
        **with_slice(difference=estimate(0.05, 0.04, 0.06)),
    )  # fmt: skip


RED = (gate.Finding("slices[sex = f].max", False, "brier where sex = f"),)
OTHER = tuple(gate.Finding(n, False, "says") for n in ("hold", "source", "soak", "metrics.roc_auc"))
ABOUT = dataclasses.replace(
    PROMOTION, reason="why", hotfix=True, checks=(*PROMOTION.checks, *OTHER)
)
COMMITTED = dataclasses.replace(ABOUT, checks=())
WORSE = {
    "brier": compared(0.04, estimate(0.02, 0.01, 0.03)),
    "roc_auc": compared(0.9, estimate(0.0)),
}
PAGES: dict[str, tuple[Any, Page]] = {
    "a promotion": (
        (good(metrics=WORSE), (*gate.judge(good(), policy()), *RED, *OTHER), ABOUT),
        lambda given: report.render(*given),
    ),
    "a report with plots": (
        (first(), (*gate.judge(first(), policy()), *RED), COMMITTED, True),
        lambda given: report.render(*given),
    ),
    "a candidate's report": (
        (first(), gate.judge(first(), policy())), lambda given: report.render(*given)
    ),
    "a rollback": (
        ("production", entry(), entry(), "why", "git merge x"), lambda given: rollback.body(*given)
    ),
    "an undoing": (
        ("production", entry(), entry(), "why", "git merge x", main_line.Named("c" * 40, None)),
        lambda given: rollback.body(*given),
    ),
    "a failed deployment": (
        ("production", "failed", "sha256:" + "a" * 64, "b" * 40, "row 3 differs", "Nothing."),
        lambda given: follow_up.told(*given)[1],
    ),
    "a drift report": (
        drift.DriftReport("sha256:" + "a" * 64, 9, 5, True, (column(),), ("plan",)),
        monitor.markdown,
    ),
    "a rehearsal": (
        (rehearse.Step("train", 1.0, "done"),), lambda given: rehearse.document(given, [])
    ),
    "an update of the template": (
        ("1", "2", ["a.rej"]), lambda given: template.told(*given)
    ),
}  # fmt: skip
NAMED = {  # strings that a page looks up, and the plan, which is Markdown already
    "a failed deployment": {"Nothing."},
    "a drift report": {"plan", "jensen_shannon", "missing", "category"},
}


@pytest.mark.parametrize("name", PAGES)
def test_an_attack_in_any_field_is_only_text(name: str) -> None:
    given, page = PAGES[name]
    found, looked_up = [*strings(given)], set[str]()
    assert len(found) > 1
    for place in (*range(len(found)), None):
        if place is not None and found[place] == "Nothing.":
            looked_up.add("Nothing.")
            continue

        def put(text: str, at: int | None = place) -> str:
            every = at is None  # but for what the page looks up
            keep = {*looked_up, *report.LABELS} if every else set()
            return page(
                replaced(
                    given, lambda n, old: text if (every or at == n) and old not in keep else old
                )
            )

        try:
            harmless = shape(put(HARMLESS))
        except (KeyError, AttributeError):
            assert place is not None
            looked_up.add(found[place])
            continue
        for attack in ATTACKS:
            assert shape(put(attack)) == harmless, (
                place if place is None else found[place],
                attack,
            )
    allowed = {*NAMED.get(name, ()), *report.LABELS}
    assert looked_up <= allowed, looked_up - allowed


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_in_a_cell_stays_in_its_cell(attack: str) -> None:
    for shown in (markdown.escape(attack), markdown.code(attack)):
        table = PARSER.parse(f"| a | b |\n|--|--|\n| {shown} | x |\n")
        assert [t.type for t in table].count("td_open") == 2
        assert shape(f"a {shown} b")[1] == shape("a word b")[1]


def test_what_stands_between_dollars_is_no_mathematics() -> None:
    assert "$" not in markdown.escape("$x$")


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_block_ends_where_we_end_it(attack: str) -> None:
    tokens = PARSER.parse(f"{markdown.block(attack)}\n\nafter\n")
    assert [t.type for t in tokens] == ["fence", "paragraph_open", "inline", "paragraph_close"]


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_commit_message_and_a_title_link_to_nothing(attack: str) -> None:
    said = plain.message(attack)
    assert "\n" not in said
    assert said.replace(plain.BREAK, "").isprintable()
    assert not any(re.search(pattern, said) for pattern in LINKS)
    assert "[skip ci]" not in said


@pytest.mark.parametrize(
    "reason", ["closes #1\n\nCo-authored-by: Eve <eve@example.org>", "@acme [skip ci]"]
)
def test_a_reason_goes_through_git_as_text(world: sandbox.Sandbox, reason: str) -> None:
    world.candidate(BETTER)
    world.merge(world.promote("staging").pull_request.branch)
    world.release("staging")
    world.clock += dt.timedelta(hours=25)
    world.merge(world.promote("production").pull_request.branch)
    world.release("production")
    opened = rollback.rollback(world.here, "production", reason=reason)
    said = world.here.git.run("log", "-1", "--format=%B", opened.pull_request.head)
    assert world.here.git.run("log", "-1", "--format=%(trailers)", opened.pull_request.head) == ""
    assert not any(re.search(p, said) for p in LINKS)
    assert "[skip ci]" not in said
    assert shape(opened.pull_request.body)[1][:6] == [0] * 6
