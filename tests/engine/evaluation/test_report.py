"""The sixty-second report: decision first, short, and nothing in it can be forged by data."""

import json
import re
from dataclasses import replace

import pytest

from mlrelease.evaluation import gate, pages as html, plots, report
from tests.engine.evaluation.test_gate import (
    compared,
    estimate,
    good,
    policy,
    with_metric,
    with_slice,
)
from tests.engine.evaluation.test_plots import figures, scores

CHECKS = (
    gate.Finding("source", True, "built from abc1234, which is on main"),
    gate.Finding("staging first", True, "the same bytes as staging"),
    gate.Finding("numbers", True, "recomputed on 200 holdout rows: equal"),
    gate.Finding("comparison", True, "compared with what production runs"),
)
PROMOTION = report.Promotion(
    environment="production",
    version="2026.11.21+abc1234",
    trust="digest",
    replaces="2026.11.01+0000000",
    checks=CHECKS,
    merge="git merge --no-ff promote/production/aaaaaaaaaaaa",
)


def body(**changes: object) -> str:
    found = good(**changes)
    return report.render(found, gate.judge(found, policy()), PROMOTION)


COMMITTED = report.Promotion(environment="staging", version="2026.11.21+abc1234", trust="digest")


def committed(about: report.Promotion = COMMITTED, **changes: object) -> str:
    """The report in the folder: only what is committed decides its text."""
    found = good(**changes)
    return report.render(found, gate.judge(found, policy()), about, plots=True)


def above_the_folds(text: str) -> list[str]:
    return [line for line in text.split("<details>")[0].splitlines() if line]


def test_the_first_line_is_the_decision() -> None:
    assert body().startswith("## ✅ Approve to run `2026.11.21+abc1234` in **production**")


def test_a_red_gate_changes_the_first_line_and_lists_why() -> None:
    text = body(**with_metric("roc_auc", compared(0.94, estimate(0.0))))
    assert text.startswith("## 🛑 Do not run")
    assert "1 rule failed" in text.splitlines()[0]
    assert "needs at least 0.95" in " ".join(above_the_folds(text))


def test_a_failed_check_is_red_even_when_every_rule_holds() -> None:
    checks = (*CHECKS[:3], gate.Finding("comparison", False, "stale"))
    promotion = report.Promotion(**{**PROMOTION.__dict__, "checks": checks})
    found = good()
    assert report.render(found, gate.judge(found, policy()), promotion).startswith("## 🛑")


@pytest.mark.parametrize("red", [False, True])
def test_at_most_25_lines_stand_above_the_folds(red: bool) -> None:
    change = with_metric("roc_auc", compared(0.94, estimate(-0.05))) if red else {}
    some = {"compared_rows": 39, "refused": 2, "refused_column": "sex"}
    assert len(above_the_folds(body(**change, **some))) <= 25


def test_the_worst_case_fits_github() -> None:
    part = good().slices[0].model_dump() | {"column": "c" * 300}
    slices = [part | {"value": f"{'v' * 500}{i}"} for i in range(1000)]
    assert len(body(slices=slices)) <= report.MAX_BODY


def test_a_hostile_category_stays_in_its_cell() -> None:
    hostile = "x | ✅ |\n# Approved <!-- --> <details> @owner [a](b) `c`"
    text = body(**with_slice(value=hostile))
    assert text.count("<details>") == 2
    assert text.count("<!--") == 1
    assert not re.search(r"^# Approved", text, re.MULTILINE)
    assert "\\@&#8203;owner" in text


def test_rows_that_are_not_judged_are_counted_above_the_folds() -> None:
    text = " ".join(above_the_folds(body(compared_rows=39, refused=2, refused_column="sex")))
    assert "(+0.005 [-0.005, +0.015]) on 39 of 198 rows." in text
    assert "**Compared on 39 of 198 rows**: the champion was trained on the others." in text
    assert "would refuse 2 of 200   holdout rows, most of them for `sex`" in text
    every = body(compared_rows=198, refused=2, refused_column="a`\n# Approved <!--")
    assert "ompared on" not in every
    assert not re.search(r"^# Approved", every, re.MULTILINE)


def test_tools_find_one_json_block() -> None:
    blocks = re.findall(r"<!-- model-report (.*) -->", body())
    assert len(blocks) == 1
    facts = json.loads(blocks[0])
    assert facts["passed"] is True
    assert facts["environment"] == "production"


def test_what_got_worse_is_said() -> None:
    worse = with_metric("brier", compared(0.04, estimate(0.01, 0.005, 0.015)))
    assert "**What got worse:** Brier score +0.010" in body(**worse)
    assert "nothing that the intervals can tell from noise" in body()


def test_a_first_model_says_so() -> None:
    metrics = {
        name: {"candidate": m["candidate"]} for name, m in good().model_dump()["metrics"].items()
    }
    text = body(champion=None, metrics=metrics, **with_slice(champion=None, difference=None))
    assert "first model" in text


def test_why_nothing_is_compared_stands_above_the_folds() -> None:
    """A new target, for example: whoever asks the model will get something else."""
    why = "The champion cannot be compared: it was made for target 'a', the candidate for 'b'."
    metrics = {
        name: {"candidate": m["candidate"]} for name, m in good().model_dump()["metrics"].items()
    }
    content = good().model_dump() | {"incomparable": why, "metrics": metrics, "slices": []}
    found = type(good()).model_validate(content)
    rules = tuple(rule for rule in gate.judge(found, policy()) if rule.passed)  # champion: {}
    assert why in report.summary(report.render(found, rules))


def test_missing_signatures_are_said_where_people_look() -> None:
    assert "UNATTESTED" in " ".join(above_the_folds(body()))


def test_undo_and_no_are_explained() -> None:
    text = " ".join(above_the_folds(body()))
    assert "model rollback production" in text
    assert "To say no" in text


def test_the_page_needs_no_network() -> None:
    page = html.page(body(), "Candidate")
    assert "<table>" in page
    assert not re.search(r"(src|href)=\"?https?:", page)


def test_the_committed_report_says_what_a_reader_needs() -> None:
    text = committed()
    assert text.startswith("## ✅ Approve to run `2026.11.21+abc1234` in **staging**")
    assert "All 11 rules pass" in text
    assert "**What got worse:**" in text
    assert text.count("<details>") == 3
    assert 'src="plots/roc.png"' in text
    assert 'src="plots/slices.png"' in text


def test_the_committed_report_says_nothing_of_the_moment() -> None:
    text = committed()
    for words in (*(check.message for check in CHECKS), "git merge", "To undo", "To say no"):
        assert words not in text
        assert words in body()


def test_a_committed_hotfix_says_why() -> None:
    hotfix = replace(COMMITTED, trust="attested", reason="a\n# Approved", hotfix=True)
    assert "⚠️ HOTFIX, not soaked: a \\# Approved" in committed(hotfix)
    overruled = replace(hotfix, hotfix=False)
    assert "⚠️ a person overruled an earlier decision: a \\# Approved" in committed(overruled)
    assert "Can I trust it?" not in committed(replace(COMMITTED, trust="attested"))


def test_a_version_cannot_break_out_of_its_code() -> None:
    forged = replace(COMMITTED, version="1` in **production**\n\n# Approved `<!--")
    first = committed(forged).splitlines()[0]
    assert "`" not in first
    assert "<!--" not in first
    assert first.endswith("</code> in **staging**")


def test_the_order_of_keys_decides_nothing() -> None:
    found = good()
    turned = found.model_copy(update={"metrics": dict(reversed(found.metrics.items()))})
    rules = gate.judge(found, policy())
    assert report.render(turned, gate.judge(turned, policy()), COMMITTED) == report.render(
        found, rules, COMMITTED
    )


def test_the_plots_that_are_linked_are_those_that_are_drawn() -> None:
    scored = scores("regression", 60)
    found = figures(scored)
    text = report.render(found, gate.judge(found, policy()), COMMITTED, plots=True)
    linked = re.findall(r'src="plots/([a-z]+)\.png"', text)
    assert linked == list(plots.draw(scored, found)) == ["predicted", "residuals"]
