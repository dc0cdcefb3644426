"""The table of benchmarks/serving.py, and the bars that our service has to reach."""

from typing import Any

from .servers import SERVERS

# How many times faster than each peer: one row over 16 connections, and batches of 100 rows. Its
# slowest hundredth answers in 1/20 of the time.
FASTER = {"mlflow": 100, "bentoml": 75, "fastapi-pandas": 50}
BATCHES, SLOWEST, FALLBACK, START_SECONDS, RESIDENT_MB = 12, 20, 5, 0.3, 100
BUSY = 0.1  # of a machine whose figures say more about something else
UNSEEN = 0.01  # the largest part of rows that log or metrics may miss

Figures = dict[str, dict[str, Any]]

HEAD = (
    "server", "one row, 16 connections, requests/s", "p99 ms", "one row, 1 connection, p50 ms",
    "100 rows, requests/s", "start to first answer s", "resident MB", "wrong answers",
)  # fmt: skip


def bars(found: Figures) -> list[dict[str, Any]]:
    """Each bar: what, the value, the limit, and whether it holds; None: not measured."""
    rows: list[tuple[str, float | None, str, float]] = []
    titles = {server.key: server.title for server in SERVERS}

    def ratio(figure: str, one: str, other: str) -> float | None:
        if one not in found or other not in found:
            return None
        return float(found[one][figure] / found[other][figure])

    for key, least in FASTER.items():
        what = f"one row, 16 connections: requests/s against {titles[key]}"
        rows.append((what, ratio("rate", "ours", key), ">=", least))
    for key in FASTER:
        what = f"one row, 16 connections: p99 of {titles[key]} against ours"
        rows.append((what, ratio("p99", key, "ours"), ">=", SLOWEST))
    for key in FASTER:
        what = f"batches of 100 rows: requests/s against {titles[key]}"
        rows.append((what, ratio("batches", "ours", key), ">=", BATCHES))
    what = f"without model.onnx: requests/s against {titles['fastapi-pandas']}"
    rows.append((what, ratio("rate", "fallback", "fastapi-pandas"), ">=", FALLBACK))
    ours = found.get("ours", {})
    rows.append(("start to first answer, s", ours.get("start"), "<=", START_SECONDS))
    rows.append(("resident, MB", ours.get("resident"), "<", RESIDENT_MB))
    for key in ("ours", "fallback"):
        its = found.get(key, {})
        wrong = its["wrong"] + its["wrong elsewhere"] + its["changed"] if its else None
        rows.append((f"{titles[key]}: wrong or changed answers", wrong, "<=", 0))
        rows.append((f"{titles[key]}: share not in the log", its.get("unlogged"), "<=", UNSEEN))
        rows.append((f"{titles[key]}: share not in /metrics", its.get("uncounted"), "<=", UNSEEN))
    holds = {">=": float.__ge__, "<=": float.__le__, "<": float.__lt__}
    return [
        {
            "bar": what,
            "value": value,
            "limit": f"{sign} {limit:g}",
            "holds": None if value is None else holds[sign](float(value), float(limit)),
        }
        for what, value, sign, limit in rows
    ]


def show(report: dict[str, Any]) -> None:
    """Print the table in Markdown, and the bars below it."""
    found: Figures = report["medians"]
    ours = found.get("ours")
    other = report["other work"]
    print(f"\n{report['machine']}; other work took {other:.0%} of the machine")
    if other > BUSY:
        print("It was not idle: seconds are too many, and ratios differ by what else ran.")
    print(f"Median of {report['rounds']} round(s); in brackets how many times better ours is.\n")
    print(f"| {' | '.join(HEAD)} |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|")
    for server in SERVERS:
        if server.key not in found:
            continue
        its = found[server.key]
        cells = []
        for name, form, more in (
            ("rate", ",.0f", True), ("p99", ".1f", False), ("p50", ".2f", False),
            ("batches", ",.0f", True), ("start", ".2f", False), ("resident", ".0f", False),
        ):  # fmt: skip
            cell = f"{its[name]:{form}}"
            if ours and not server.ours and server.key != "constant":
                times = ours[name] / its[name] if more else its[name] / ours[name]
                cell += f" ({times:,.0f}x)" if times >= 10 else f" ({times:.1f}x)"
            cells.append(cell)
        wrong = "-" if server.key == "constant" else f"{its['wrong']} of {report['nulls']}"
        print(f"| {server.title} | {' | '.join(cells)} | {wrong} |")
    print("\nWrong: single rows of which one category is null, answered otherwise than offline.")
    if ours and "constant" in found:
        share = ours["rate"] / found["constant"]["rate"]
        print(f"Ours reaches {share:.0%} of the generator's ceiling, the constant answer.")
    for key, reason in report["not measured"].items():
        print(f"Not measured: {key}: {reason}")
    print("\nThe bars:")
    for bar in report["bars"]:
        word = {True: "holds ", False: "MISSED", None: "  -   "}[bar["holds"]]
        value = "not measured" if bar["value"] is None else f"{bar['value']:,.3g}"
        print(f"  {word}  {bar['bar']}: {value} ({bar['limit']})")
