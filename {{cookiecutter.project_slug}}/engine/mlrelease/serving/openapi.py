"""OpenAPI 3.1, written from the signature: it describes exactly what `requests.decode` takes."""

import math
from typing import Any

from mlrelease.scoring.features import FLOAT32_MAX, Column, Signature, category_text
from mlrelease.scoring.request_rows import MAX_BYTES, MAX_ROWS
from mlrelease.serving.tables import ARROW, CSV, PARQUET

REFUSALS = {
    "400": "The body is not what its content type says.",
    "401": "The bearer token is missing or wrong.",
    "408": "The body took too long to arrive.",
    "413": f"More than {MAX_BYTES} bytes, or more than {MAX_ROWS} rows.",
    "415": "The content type is none of those described, or the body is encoded.",
    "422": "A column is missing, unknown, given twice, or holds a value that does not fit it;"
    " or the model has no finite answer.",
    "500": "The service failed; its log says why.",
    "503": "Too many requests wait; try again soon.",
}
GETS = {
    "/healthz": ("Whether the service answers.", "application/json"),
    "/readyz": ("Whether it wants traffic: 503 while it drains.", "application/json"),
    "/model": ("Which model it runs.", "application/json"),
    "/metrics": ("Counters for Prometheus.", "text/plain"),
    "/openapi.json": ("This document.", "application/json"),
    "/docs": ("A page for people.", "text/html"),
}
SECURED = ("/model", "/openapi.json", "/docs")


def document(signature: Signature, version: str, token: bool = False) -> dict[str, Any]:
    """The description of the service, ready to be written as JSON; with a `token` where it asks
    for one."""
    row, answer, error = (
        {"$ref": f"#/components/schemas/{name}"} for name in ("Row", "Answer", "Error")
    )
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": MAX_ROWS}
    answers = {"type": "array", "items": answer}
    body = _json({"oneOf": [row, rows]})
    body["content"] |= {
        CSV: {"schema": {"type": "string"}},
        ARROW: {"schema": {"type": "string", "format": "binary"}},
        PARQUET: {"schema": {"type": "string", "format": "binary"}},
    }
    answered = _json({"oneOf": [answer, answers]})
    names = ("model-digest", "x-request-id")
    answered["headers"] = {name: {"schema": {"type": "string"}} for name in names}
    security: list[dict[str, list[str]]] = [{"token": []}] if token else []
    refusals = {k: text for k, text in REFUSALS.items() if k != "401" or token}
    refused = {status: {"description": text, **_json(error)} for status, text in refusals.items()}
    predict = {
        "summary": f"Predict `{signature.target}` for one row, or for many in the same order.",
        "operationId": "predict",
        "requestBody": {"required": True, **body},
        "responses": {"200": {"description": "One answer, or an array of them.", **answered}}
        | refused,
        "security": security,
    }
    gets = {path: {"get": _get(path, *told, token)} for path, told in GETS.items()}
    error_schema = _object({"message": {"type": "string"}, "field": {"type": ["string", "null"]}})
    schemas = {
        "Row": _object({column.name: _value(column) for column in signature.columns}),
        "Answer": _object(_answer(signature)),
        "Error": _object({"error": error_schema}),
    }
    schemes = {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}} if token else {}
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Model of {signature.target}", "version": version},
        "paths": {"/predict": {"post": predict}, **gets},
        "components": {"schemas": schemas, **schemes},
    }


def _get(path: str, text: str, kind: str, token: bool) -> dict[str, Any]:
    schema = {"type": "object" if kind.endswith("json") else "string"}
    found: dict[str, Any] = {"200": {"description": text, "content": {kind: {"schema": schema}}}}
    if path == "/readyz":
        found["503"] = {"description": "It drains.", **_json({"type": "object"})}
    secured = token and path in SECURED
    if secured:
        refusal = _json({"$ref": "#/components/schemas/Error"})
        found["401"] = {"description": REFUSALS["401"], **refusal}
    return {"summary": text, "responses": found, "security": [{"token": []}] if secured else []}


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
