"""`model gate`: the evaluation against policy.yaml. Each rule is a finding; one failure refuses."""

from collections.abc import Iterator
from dataclasses import dataclass

from mlrelease.evaluation.evaluation import Estimate, Evaluation, Parity, Slice
from mlrelease.policy import HIGHER_IS_BETTER, ChampionLimit, MetricLimit, Policy, SliceLimits

NOT_REBUILT = "NOT REBUILT: "  # so starts what passes, and nobody could look at


@dataclass(frozen=True)
class Finding:
    """One rule or check: what it is called, whether it holds, and the figures in words."""

    name: str
    passed: bool
    message: str


def judge(evaluation: Evaluation, policy: Policy) -> tuple[Finding, ...]:
    """One finding for each rule of the policy that applies.

    Limits against the champion apply only where there is one. A rule whose figure is missing fails:
    what cannot be measured is not good.
    """
    return (
        *equal_answers(evaluation.parity),
        *_absolute(evaluation, policy),
        *_against_champion(evaluation, policy),
        *_slices(evaluation, policy.slices),
        *_budgets(evaluation, policy),
    )


def equal_answers(parity: Parity) -> Iterator[Finding]:
    """Not of the policy: without it the figures are those of another model than the one served."""
    rows, wrong = parity.rows, parity.different
    if parity.not_onnx is not None:
        message = f"served by the training runtime, which is slower: {parity.not_onnx}"
    else:
        message = f"ONNX Runtime answers {rows} rows as scikit-learn, at most"
        message += f" {parity.largest_difference:.1g} of an answer apart"
    if wrong:
        message = f"{wrong} of {rows} rows are answered in another way than in training"
    yield Finding("parity", not wrong and rows > 0, message)
    rows, wrong = parity.online_rows, parity.online_different
    message = f"the service answers {rows - wrong} of {rows} rows as a batch does, one by one"
    yield Finding("online", not wrong and rows > 0, message)


def passed(findings: tuple[Finding, ...]) -> bool:
    """Whether every rule holds; no rule at all is no approval."""
    return bool(findings) and all(finding.passed for finding in findings)


def _absolute(evaluation: Evaluation, policy: Policy) -> Iterator[Finding]:
    for name, limit in policy.metrics.items():
        metric = evaluation.metrics.get(name)
        if metric is None:
            yield Finding(f"metrics.{name}", False, f"{name} is not measured for {evaluation.task}")
        else:
            yield from _within(f"metrics.{name}", metric.candidate, limit)


def _within(name: str, estimate: Estimate, limit: MetricLimit) -> Iterator[Finding]:
    label, shown = name.split(".", 1)[1], interval(estimate)
    if limit.min is not None:
        ok = estimate.value >= limit.min
        yield Finding(f"{name}.min", ok, f"{label} {shown}, needs at least {limit.min:g}")
    if limit.max is not None:
        ok = estimate.value <= limit.max
        yield Finding(f"{name}.max", ok, f"{label} {shown}, may be at most {limit.max:g}")


def _against_champion(evaluation: Evaluation, policy: Policy) -> Iterator[Finding]:
    if evaluation.champion is None or not policy.champion:
        return
    if evaluation.incomparable:
        message = f"{evaluation.incomparable} To start over, write `champion: {{}}` into"
        message += " policy.yaml on main first, and the limits back once the new model runs"
        yield Finding("champion.comparable", False, message)
        return
    for name, limit in policy.champion.items():
        metric = evaluation.metrics.get(name)
        if metric is None or metric.difference is None:
            yield Finding(f"champion.{name}", False, f"{name} is not compared with the champion")
        else:
            yield _difference(name, metric.difference, limit)


def _difference(name: str, difference: Estimate, limit: ChampionLimit) -> Finding:
    """Judged at the bad end of the interval: not shown to be good enough is not good enough."""
    shown = interval(difference, signed=True)
    worst = difference.low if name in HIGHER_IS_BETTER else -difference.high
    if limit.margin is not None:
        message = f"{name} change {shown}, may be worse by at most {limit.margin:g}"
        return Finding(f"champion.{name}.margin", worst >= -limit.margin, message)
    message = f"{name} change {shown}, needs a gain of at least {limit.min_gain:g}"
    return Finding(f"champion.{name}.min_gain", worst >= (limit.min_gain or 0), message)


def _slices(evaluation: Evaluation, limits: SliceLimits | None) -> Iterator[Finding]:
    if limits is None:
        return
    judged = [
        part
        for part in evaluation.slices
        if part.rows >= limits.min_rows and part.metric == limits.metric
    ]
    if not judged:
        message = f"no slice has {limits.metric} on {limits.min_rows} rows or more, so none is"
        message += " judged; name columns under `slices` in params.yaml, or hold out more rows"
        yield Finding("slices", False, message)
    for column in limits.columns:
        if all(part.column != column for part in judged):
            yield Finding(f"slices[{column}]", False, _not_judged(column, evaluation, limits))
    for part in judged:
        yield from _slice(part, limits)


def _not_judged(column: str, evaluation: Evaluation, limits: SliceLimits) -> str:
    rows = [p.rows for p in evaluation.slices if (p.column, p.metric) == (column, limits.metric)]
    if not rows:
        return f"{limits.metric} is not evaluated by {column}; run `model evaluate` again"
    message = f"{max(rows)} rows in the largest slice of {column}, needs {limits.min_rows}"
    return f"{message}; hold out more rows, or lower `min_rows` in policy.yaml"


def _slice(part: Slice, limits: SliceLimits) -> Iterator[Finding]:
    """Slices are small, so the value decides and the interval is shown."""
    name, label = f"slices[{slice_name(part)}]", f"{part.metric} where {slice_name(part)}"
    if part.candidate is None:
        yield Finding(name, False, f"{label} cannot be computed on {part.rows} rows")
        return
    estimate = f"{label} ({part.rows} rows) {figure(part.candidate)}"
    if limits.min is not None:
        ok = part.candidate >= limits.min
        yield Finding(f"{name}.min", ok, f"{estimate}, needs at least {limits.min:g}")
    if limits.max is not None:
        ok = part.candidate <= limits.max
        yield Finding(f"{name}.max", ok, f"{estimate}, may be at most {limits.max:g}")
    if limits.margin is not None and part.difference is not None:
        gain = part.difference.value * (1 if part.metric in HIGHER_IS_BETTER else -1)
        shown = interval(part.difference, signed=True)
        message = f"{estimate}, change {shown}, may be worse by at most {limits.margin:g}"
        yield Finding(f"{name}.margin", gain >= -limits.margin, message)


def _budgets(evaluation: Evaluation, policy: Policy) -> Iterator[Finding]:
    size, limit = evaluation.cost.size_bytes / 1e6, policy.budgets.size_mb
    yield Finding("budgets.size_mb", size <= limit, f"size {size:.2f} MB, budget {limit:g} MB")
    latency, limit = evaluation.cost.latency_p50_ms, policy.budgets.latency_ms
    message = f"one row takes {figure(latency)} ms (median here), budget {limit:g} ms"
    yield Finding("budgets.latency_ms", latency <= limit, message)
    rows, limit = evaluation.refused, policy.budgets.refused
    column = f", most for {evaluation.refused_column!r}" if evaluation.refused_column else ""
    message = f"the service would refuse {rows} of {evaluation.rows} holdout rows{column}, budget"
    yield Finding(
        "budgets.refused", rows <= limit * evaluation.rows, f"{message} {100 * limit:g} %"
    )


def slice_name(part: Slice) -> str:
    """A slice in words, such as `sex = female` or `age > 60`."""
    return f"{part.column} {'' if part.value[:1] in '<>' else '= '}{part.value}"


def figure(value: float, signed: bool = False) -> str:
    """A figure with three or four telling digits."""
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 100 else 2 if abs(value) >= 10 else 3
    return f"{value:{'+' if signed else ''}.{digits}f}"


def interval(estimate: Estimate, signed: bool = False) -> str:
    """A figure with its interval, such as `0.981 [0.964, 0.993]`."""
    low, high = figure(estimate.low, signed), figure(estimate.high, signed)
    return f"{figure(estimate.value, signed)} [{low}, {high}]"


def got_worse(difference: Estimate, metric: str) -> bool:
    """Whether the whole interval of a change lies on the bad side of no change."""
    return difference.high < 0 if metric in HIGHER_IS_BETTER else difference.low > 0
