"""OpenAPI 3.1, written from the signature: it describes exactly what `requests.decode` takes."""

import math
from typing import Any

from ..features import FLOAT32_MAX, Column, Signature, category_text
from .requests import MAX_BYTES, MAX_ROWS

REFUSALS = {
    "400": "The body is not JSON.",
    "413": f"More than {MAX_BYTES} bytes, or more than {MAX_ROWS} rows.",
    "415": "The body is not application/json.",
    "422": "A column is missing, unknown, given twice, or holds a value that does not fit it.",
}


def document(signature: Signature, version: str) -> dict[str, Any]:
    """The description of the service, ready to be written as JSON."""
    row, answer = ({"$ref": f"#/components/schemas/{name}"} for name in ("Row", "Answer"))
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": MAX_ROWS}
    answers = {"type": "array", "items": answer}
    error = _object({"message": {"type": "string"}, "field": {"type": ["string", "null"]}})
    refused = _json(_object({"error": error}))
    answered = _json({"oneOf": [answer, answers]})
    answered["headers"] = {"model-digest": {"schema": {"type": "string"}}}
    predict = {
        "summary": f"Predict `{signature.target}` for one row, or for many in the same order.",
        "requestBody": {"required": True, **_json({"oneOf": [row, rows]})},
        "responses": {"200": {"description": "One answer, or an array of them.", **answered}}
        | {status: {"description": text, **refused} for status, text in REFUSALS.items()},
    }
    found = {"200": {"description": "It does.", **_json({"type": "object"})}}
    about = {"/healthz": "Whether the service answers.", "/model": "Which model it runs."}
    gets = {path: {"get": {"summary": text, "responses": found}} for path, text in about.items()}
    given = {column.name: _value(column) for column in signature.columns}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Model of {signature.target}", "version": version},
        "paths": {"/predict": {"post": predict}, **gets},
        "components": {"schemas": {"Row": _object(given), "Answer": _object(_answer(signature))}},
    }


def _value(column: Column) -> dict[str, Any]:
    if column.type == "number":
        kind = ["number", "null"] if column.nullable else "number"
        return {"type": kind, "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX}
    values = [value for text in column.categories for value in _spellings(text)]
    return {"enum": [*values, "", None] if column.nullable else values}


def _spellings(text: str) -> list[Any]:
    """The JSON values that are this category: its text, a boolean or number with that text."""
    if text in ("True", "False"):
        return [text, text == "True"]
    try:
        number = float(text)
    except ValueError:
        return [text]
    if not math.isfinite(number) or category_text(number) != text:
        return [text]
    return [text, int(number) if number.is_integer() else number]


def _answer(signature: Signature) -> dict[str, Any]:
    if signature.task == "regression":
        return {"value": {"type": "number"}}
    probability = {"type": "number", "minimum": 0, "maximum": 1}
    return {"label": {"enum": list(signature.classes)}, "probability": probability}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    closed = {"required": list(properties), "additionalProperties": False}
    return {"type": "object", "properties": properties, **closed}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}
