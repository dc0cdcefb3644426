"""`model report`: what a reviewer needs to decide in sixty seconds, as GitHub-flavoured Markdown.
Everything that comes from data or files is escaped: a category's name cannot forge a verdict."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mlrelease.evaluation.evaluation import Estimate, Evaluation, Metric, Slice
from mlrelease.evaluation.gate import Finding, figure, got_worse, interval, passed, slice_name
from mlrelease.evaluation.judged_rows import notes, shared
from mlrelease.evaluation.markdown import code, escape, folded, line, sign
from mlrelease.output import begins
from mlrelease.policy import HIGHER_IS_BETTER

MAX_BODY = 65_536  # characters, GitHub's limit
OURS = begins("## ✅ Ready to promote\n", "## 🛑 Do not promote: ")  # without a promotion
FIRST = " **This is the first model here**: absolute limits only."
MAX_FAILURES, MAX_LISTED = 5, 60  # with markdown.MAX_TEXT they keep a report below that
TRUSTED = "source", "rebuilt", "attestation", "staging first", "soak", "numbers", "comparison"
PICTURES = {"roc": "roc_auc", "pr": "pr_auc", "calibration": "calibration_error"}
PICTURES |= {"predicted": "r2", "residuals": "mae"}
LABELS = {
    "roc_auc": "ROC AUC", "pr_auc": "PR AUC", "log_loss": "log loss", "brier": "Brier score",
    "calibration_error": "calibration error", "accuracy": "accuracy", "f1": "F1",
    "r2": "R²", "mae": "MAE", "rmse": "RMSE", "mape": "MAPE",
}  # fmt: skip


@dataclass(frozen=True)
class Promotion:
    """What a report says about a promotion besides the figures. The last four belong to the moment
    at which it is proposed: the body of a pull request says them, the committed report does not."""

    environment: str
    version: str
    trust: str
    reason: str | None = None
    hotfix: bool = False
    replaces: str | None = None
    checks: tuple[Finding, ...] = ()
    merge: str | None = None
    issue: int | None = None


def render(
    evaluation: Evaluation,
    rules: tuple[Finding, ...],
    promotion: Promotion | None = None,
    plots: bool = False,
) -> str:
    """The report. With a `promotion` that has checks it is the body of its pull request; `plots`
    are linked where the file stands beside them. Equal arguments give equal text: no clock, no
    order of a set."""
    checks = promotion.checks if promotion else ()
    ok = passed((*checks, *rules))
    lines = [_decision(evaluation, (*checks, *rules), promotion, ok), ""]
    failures = [f for f in (*checks, *rules) if not f.passed]
    lines += [line(f) for f in failures[:MAX_FAILURES]]
    more = len(failures) - MAX_FAILURES
    lines += [f"- ... and {more} more, below"] if more > 0 else []
    lines += [""] if failures else []
    lines += [*_table(evaluation, rules), "", *notes(evaluation), *_worse(evaluation)]
    if reason := evaluation.parity.not_onnx:
        lines.append(f"- **Served by the training runtime**: {escape(reason)}")
    if promotion:
        for part in ([*_trust(promotion)], [*_consequences(evaluation, promotion)]):
            lines += ["", *part] if part else []
    if plots:
        shown = [f'<img src="plots/{n}.png" width="49%" alt="{n}">' for n in pictures(evaluation)]
        lines += ["", *folded("Plots", [" ".join(shown)])]
    if evaluation.slices:
        lines += ["", *folded("Every slice", _slice_table(evaluation.slices))]
    every = [line(f) for f in sorted(rules, key=lambda f: f.passed)[:MAX_LISTED]]
    lines += ["", *folded(f"Every rule of policy.yaml ({len(rules)})", every), ""]
    return "\n".join([*lines, _for_tools(evaluation, promotion, ok), ""])


def pictures(evaluation: Evaluation) -> list[str]:
    """The plots that an evaluation has, by name, in the order of the report."""
    names = [name for name, metric in PICTURES.items() if metric in evaluation.metrics]
    names += ["confusion"] if evaluation.task == "classification" else []
    return [*names, "slices"] if evaluation.slices else names


def summary(text: str) -> str:
    """What stands above the folds."""
    return text.split("<details>", 1)[0].strip()


def headline(evaluation: Evaluation, shown: Callable[[str], str] = escape) -> str:
    """The first metric in one sentence; text from data as it is to be `shown`."""
    name, metric = _metrics(evaluation)[0]
    if metric.champion is None or metric.difference is None:
        why = shown(evaluation.incomparable or "There is nothing to compare with.")
        return f"{LABELS[name]} {interval(metric.candidate)}. {why}"
    now, change = metric.champion.value + metric.difference.value, metric.difference
    where = f" on {said}" if (said := shared(evaluation)) else ""
    return (
        f"{LABELS[name]} {figure(metric.champion.value)} → {figure(now)}"
        f" ({interval(change, signed=True)}){where}."
    )


def _decision(
    evaluation: Evaluation, findings: tuple[Finding, ...], promotion: Promotion | None, ok: bool
) -> str:
    failures = sum(not f.passed for f in findings)
    what, noun = "promote", "checks" if promotion and promotion.checks else "rules"
    if promotion:
        what = f"run {code(promotion.version)} in **{escape(promotion.environment)}**"
    if not ok:
        count = f"{failures} rule{'s' if failures != 1 else ''} failed" if failures else "no rules"
        return f"## 🛑 Do not {what}: {count}\n\n{headline(evaluation)}"
    held = "".join(f" · ⚠️ {escape(f.message)}" for f in findings if f.name == "hold")
    verb = f"Approve to {what}" if promotion else "Ready to promote"
    said = f"{headline(evaluation)} All {len(findings)} {noun} pass."
    return f"## ✅ {verb}{held}\n\n{said}{'' if evaluation.champion else FIRST}"


def _table(evaluation: Evaluation, rules: tuple[Finding, ...]) -> Iterator[str]:
    yield "| metric | live | candidate | change [95 % interval] | limit | |"
    yield "|:--|--:|--:|:--|:--|:-:|"
    for place, (name, metric) in enumerate(_metrics(evaluation)):
        own = [f for f in rules if f.name.split(".")[1:2] == [name] and "slices" not in f.name]
        if not own and place >= 5:
            continue
        verdict = "" if not own else "✅" if all(f.passed for f in own) else "❌"
        limits = "; ".join(_limit(f) for f in own) or "–"
        arrow = "↑" if name in HIGHER_IS_BETTER else "↓"
        yield (
            f"| {LABELS[name]} {arrow} | {_value(metric.champion)} | **{_value(metric.candidate)}**"
            f" | {interval(metric.difference, True) if metric.difference else '–'}"
            f" | {limits} | {verdict} |"
        )
    for name, label, live, now in _costs(evaluation):
        own = [f for f in rules if f.name == f"budgets.{name}"]
        verdict = "" if not own else "✅" if own[0].passed else "❌"
        limit = _limit(own[0]) if own else "–"
        yield f"| {label} ↓ | {live} | **{now}** | – | {limit} | {verdict} |"


def _metrics(evaluation: Evaluation) -> list[tuple[str, Metric]]:
    """In the order in which people ask for them; the file has them by name."""
    return [(name, evaluation.metrics[name]) for name in LABELS if name in evaluation.metrics]


def _costs(evaluation: Evaluation) -> Iterator[tuple[str, str, str, str]]:
    costs = [c for c in (evaluation.champion_cost, evaluation.cost) if c]
    for name, label, said in (
        ("size_mb", "size", [f"{c.size_bytes / 1e6:.2f} MB" for c in costs]),
        ("latency_ms", "one row, median", [f"{figure(c.latency_p50_ms)} ms" for c in costs]),
    ):
        yield name, label, said[0] if len(said) > 1 else "–", said[-1]


def _limit(finding: Finding) -> str:
    """The limit in a finding's message, such as `≥ 0.9`."""
    for words, symbol in (
        ("needs at least ", "≥ "), ("may be at most ", "≤ "), ("budget ", "≤ "),
        ("may be worse by at most ", "worse ≤ "), ("needs a gain of at least ", "gain ≥ "),
    ):  # fmt: skip
        if words in finding.message:
            return symbol + escape(finding.message.rsplit(words, 1)[1])
    return escape(finding.message)


def _worse(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.champion is None or evaluation.incomparable:
        return
    metrics = [
        f"{LABELS[n]} {interval(m.difference, True)}"
        for n, m in _metrics(evaluation)
        if m.difference and got_worse(m.difference, n)
    ]
    slices = [
        f"{LABELS[s.metric]} where {escape(slice_name(s))}, {s.rows} rows,"
        f" {interval(s.difference, True)}"
        for s in evaluation.slices
        if s.difference and got_worse(s.difference, s.metric)
    ]
    worse = "; ".join((metrics + slices)[:4]) or "nothing that the intervals can tell from noise"
    yield f"- **What got worse:** {worse}."
    if d := evaluation.decisions:
        yield (
            f"- **Decisions:** {d.flipped} of {d.rows} holdout rows flip"
            f" ({d.to_positive} to positive, {d.to_negative} to negative)."
        )


def _trust(promotion: Promotion) -> Iterator[str]:
    said = [
        f"{sign(check)} {escape(check.message)}"
        for name in TRUSTED
        for check in promotion.checks
        if check.name == name
    ]
    if promotion.trust != "attested":
        said.append("⚠️ UNATTESTED: bytes are checked by digest, no signature says who built them")
    if promotion.reason:
        what = "a person overruled an earlier decision"
        what = "HOTFIX, not soaked" if promotion.hotfix else what
        said.append(f"⚠️ {what}: {escape(promotion.reason)}")
    if said:
        yield f"**Can I trust it?** {' · '.join(said)}"


def _consequences(evaluation: Evaluation, promotion: Promotion) -> Iterator[str]:
    if promotion.merge is None:
        return
    place = escape(promotion.environment)
    instead = f" instead of {code(promotion.replaces)}" if promotion.replaces else ""
    if promotion.issue:
        yield f"- **Why now:** #{promotion.issue}."
    yield (
        f"- **Merging** makes {place} run {code(evaluation.candidate[7:19])}{instead}, once the"
        f" golden requests pass: {code(promotion.merge, 500)}"
    )
    yield f"- **To undo**, revert the merge, or {code(f'model rollback {promotion.environment}')}."
    yield "- **To say no**, close it or delete its branch; only a reason reopens it. Plots: *Files*"


def _slice_table(slices: Iterable[Slice]) -> list[str]:
    rows = ["| slice | rows | metric | live | candidate | change |", "|:--|--:|:--|--:|--:|:--|"]
    for part in list(slices)[:MAX_LISTED]:
        change = interval(part.difference, True) if part.difference else "–"
        rows.append(
            f"| {escape(slice_name(part))} | {part.rows} | {LABELS[part.metric]}"
            f" | {_plain(part.champion)} | {_plain(part.candidate)} | {change} |"
        )
    return rows


def _for_tools(evaluation: Evaluation, promotion: Promotion | None, ok: bool) -> str:
    facts = {
        "candidate": evaluation.candidate,
        "champion": evaluation.champion,
        "environment": promotion.environment if promotion else None,
        "passed": ok,
        "metrics": {name: metric.candidate.value for name, metric in evaluation.metrics.items()},
    }
    text = json.dumps(facts, sort_keys=True).replace(">", "\\u003e")  # no name ends the comment
    return f"<!-- model-report {text} -->"


def _value(estimate: Estimate | None) -> str:
    return _plain(estimate.value if estimate else None)


def _plain(value: float | None) -> str:
    return "–" if value is None else figure(value)
