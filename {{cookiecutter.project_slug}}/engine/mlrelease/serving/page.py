"""`/docs`: what the model takes and gives, on one page that loads nothing from anywhere."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from mlrelease.scoring.artifact import ModelCard
from mlrelease.scoring.features import Column, Signature
from mlrelease.scoring.request_rows import MAX_BYTES, MAX_ROWS
from mlrelease.serving.body import JSON, READ_SECONDS
from mlrelease.serving.tables import KINDS

MOST_CATEGORIES = 30  # shown of one column
STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: #0a6; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
h1 { font-size: 1.6rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
code, pre, textarea { font: .875rem/1.45 ui-monospace, monospace; }
code { background: var(--soft); border-radius: .25rem; overflow-wrap: anywhere;
  padding: .1rem .3rem; }
pre, textarea { background: var(--soft); border: 1px solid var(--line); border-radius: .5rem;
  margin: 0; overflow: auto; padding: .75rem; width: 100%; }
textarea { color: inherit; min-height: 14rem; resize: vertical; }
pre { max-height: 24rem; white-space: pre-wrap; overflow-wrap: anywhere; }
dl { display: grid; gap: .25rem 1rem; grid-template-columns: max-content 1fr; margin: 0; }
dd { margin: 0; min-width: 0; overflow-wrap: anywhere; }
dt { opacity: .7; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .4rem .5rem .4rem 0; text-align: left;
  vertical-align: top; overflow-wrap: anywhere; }
td code { display: inline-block; margin: 0 .2rem .2rem 0; }
button { background: var(--accent); border: 0; border-radius: .5rem; color: #fff; cursor: pointer;
  font: inherit; font-weight: 600; margin: .75rem 0; padding: .6rem 1.4rem; }
input { font: inherit; padding: .4rem; width: 100%; }
label { display: block; margin: .5rem 0; }
#status { margin-left: .75rem; }
@media (max-width: 34rem) {
  dl { grid-template-columns: 1fr; } dt { margin-top: .4rem; }
  thead { display: none; } tr { display: block; padding: .4rem 0; }
  tr { border-bottom: 1px solid var(--line); } td { border: 0; display: block; padding: .1rem 0; }
  td:empty { display: none; }
}
"""
SCRIPT = """
const find = (name) => document.getElementById(name);
find("try").addEventListener("submit", async (event) => {
  event.preventDefault();
  const headers = {"content-type": "application/json"};
  if (find("token") && find("token").value) {
    headers.authorization = "Bearer " + find("token").value;
  }
  find("status").textContent = "…";
  const begun = performance.now();
  try {
    const body = find("row").value;
    const response = await fetch("predict", {method: "POST", headers, body});
    const spent = (performance.now() - begun).toFixed(1);
    find("status").textContent = response.status + " in " + spent + " ms";
    find("answer").textContent = JSON.stringify(await response.json(), null, 1);
  } catch (error) {
    find("status").textContent = "no answer: " + error.message;
  }
});
"""


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


# Nothing but this style and this script, and questions to this service only.
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {_hash(STYLE)}; script-src {_hash(SCRIPT)};"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def page(
    card: ModelCard,
    digest: str,
    version: str,
    golden: Sequence[Mapping[str, Any]],
    token: bool,
) -> str:
    """The page as HTML; `golden` gives the example, `token` says that callers need one."""
    told = card.signature
    runtime = "ONNX Runtime" if card.runtime == "onnx" else str(card.runtime)
    if card.not_onnx:
        runtime += f" (not ONNX Runtime: {card.not_onnx})"
    facts = {"version": version, "model": digest, "estimator": card.estimator, "runtime": runtime}
    limits = {
        "rows": f"{MAX_ROWS:,} a request",
        "body": f"{MAX_BYTES:,} bytes, in {READ_SECONDS:g} seconds",
        "content types": f"{JSON}; for many rows also {', '.join(KINDS)}",
        "request id": "x-request-id is kept, or made, and returned",
    }
    known = golden[0]["row"] if golden else _made(told)
    row = {column.name: known[column.name] for column in told.columns}
    example = json.dumps(row, indent=1, ensure_ascii=False)
    answer = json.dumps(golden[0]["answer"], ensure_ascii=False) if golden else None
    asked = '<label>Token <input id="token" type="password" autocomplete="off"></label>'
    bearer = "-H 'authorization: Bearer TOKEN' " if token else ""
    title = f"Model of {told.target}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{_list(facts)}
<h2>Try it</h2>
<form id="try">
<textarea id="row" aria-label="One row, or an array of rows, as JSON" spellcheck="false">
{escape(example)}</textarea>
{asked if token else ""}
<button>Predict</button><span id="status" role="status"></span>
</form>
<pre id="answer">{escape(answer or "")}</pre>
<h2>Columns</h2>
<p>A row has all of them, in any order. What may be missing may be <code>null</code>.</p>
<table>
<thead><tr><th>column</th><th>type</th><th>values</th></tr></thead>
<tbody>
{chr(10).join(map(_column, told.columns))}
</tbody>
</table>
<h2>Answer</h2>
<p>{_answer(told)} Many rows are answered with an array, in the same order.</p>
<h2>From a program</h2>
<pre>curl {bearer}-H 'content-type: application/json' \\
  --data @row.json http://HOST:PORT/predict</pre>
<p>A refused request gets <code>{{"error": {{"message": …, "field": …}}}}</code>, and the field is
named as <code>rows[3].column</code>. For programs: <code>/openapi.json</code>,
<code>/model</code>, <code>/healthz</code>, <code>/readyz</code>, <code>/metrics</code>.</p>
<h2>Limits</h2>
{_list(limits)}
<script>{SCRIPT}</script>
</body>
</html>
"""


def _list(facts: Mapping[str, str]) -> str:
    lines = [f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items()]
    return "<dl>" + "\n".join(lines) + "</dl>"


def _column(column: Column) -> str:
    kind = column.type + (", may be missing" if column.nullable else "")
    values = "".join(f"<code>{escape(c)}</code>" for c in column.categories[:MOST_CATEGORIES])
    more = len(column.categories) - MOST_CATEGORIES
    values += f" and {more} more, in /openapi.json" if more > 0 else ""
    cells = (f"<code>{escape(column.name)}</code>", kind, values)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _answer(told: Signature) -> str:
    if told.task == "regression":
        return f"<code>value</code>: the predicted <code>{escape(told.target)}</code>."
    negative, positive = (f"<code>{escape(name)}</code>" for name in told.classes)
    return (
        f"<code>probability</code>: of {positive}. <code>label</code>: {positive} where that is at"
        f" least {told.threshold:g}, else {negative}."
    )


def _made(told: Signature) -> dict[str, Any]:
    """A row for a model that has recorded none."""
    return {
        c.name: None if c.nullable else 0 if c.type == "number" else next(iter(c.categories), "")
        for c in told.columns
    }
