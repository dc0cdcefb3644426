"""What a valid row is: declared in params.yaml, inferred where it is not, checked with pandera."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mlrelease import project
from mlrelease.errors import RefusedError
from mlrelease.evaluation.fitted import EXACT
from mlrelease.evaluation.slices import FEW
from mlrelease.params import Params
from mlrelease.scoring.features import FLOAT32_MAX, Column, Fault, category_text, category_texts
from mlrelease.training.split import moments

MAX_INFERRED_CATEGORIES = 100
DEFAULT_MISSING = 0.5
TIMES = ("date", "datetime", "datetime64", "timedelta", "timedelta64")  # by `infer_dtype`


def checked(params: Params, root: Path) -> pd.DataFrame:
    """Load the source, refuse it when a row is invalid, and type each column for good.

    Raises:
        RefusedError: The first ten faults by row and column, and how many there are.
    """
    with project.faults(root):
        frame = _times_as_text(project.find(root).load(params, root))
    faults = check(frame, params, values=params.data.public)
    if faults:
        raise RefusedError(f"{params.data.source}: {describe(faults)}")
    unchecked = {*params.data.drop, *params.data.key, params.split.column}
    typed = {}
    for name in frame.columns:
        number = column_type(frame, params, name) == "number"
        values = frame[name]
        if params.split.by == "time" and name == params.split.column:
            typed[name] = _times(values)
            continue
        if number and name in unchecked:  # one text among numbers is no fault there
            found = pd.to_numeric(values, errors="coerce")
            number = found.count() == values.count() and not (found.abs() >= EXACT).any()
        typed[name] = (
            pd.to_numeric(values).astype("float64")
            if number
            else pd.Series(category_texts(values), dtype=object)
        )
    return pd.DataFrame(typed)


def check(frame: pd.DataFrame, params: Params, values: bool = False) -> list[Fault]:
    """Every value that breaks the schema, by row, then column. Empty when all rows are valid. The
    `values` themselves are quoted only where nobody else reads it, or everybody may."""
    import pandera.pandas as pa

    frame, data = _times_as_text(frame), params.data
    target_rule = {} if params.task == "classification" else {data.target: None}
    named = {
        "data.target": [data.target],
        "data.key": data.key,
        "data.drop": data.drop,
        "data.columns": data.columns,
        "split.column": [params.split.column] if params.split.column else [],
        "slices": params.slices,
    }
    faults = [
        Fault(None, column, f"is not in the data; params.yaml names it under {place}")
        for place, columns_ in named.items()
        for column in columns_
        if column not in frame
    ]
    if data.target in frame:
        faults += _target_faults(frame[data.target], params, values)
    checked = [c for c in frame.columns if c not in (data.target, *data.drop) or c in target_rule]
    schema = pa.DataFrameSchema(
        {name: pa.Column(checks=_checks(frame, params, name), nullable=True) for name in checked}
    )
    try:
        schema.validate(frame, lazy=True)
    except pa.errors.SchemaErrors as error:
        for case in error.failure_cases.to_dict("records"):
            row = case["index"]
            quoted = values and not pd.isna(row)
            value = f"{category_text(case['failure_case'])!r} " if quoted else ""
            faults.append(
                Fault(
                    None if pd.isna(row) else int(row), str(case["column"]), value + case["check"]
                )
            )
    if data.key and all(name in frame for name in data.key):
        for row in np.flatnonzero(frame.duplicated(list(data.key))):
            faults.append(Fault(int(row), ", ".join(data.key), "repeats the key of an earlier row"))
    cells = {(f.row, f.column): f for f in reversed(faults)}  # one fault a cell is enough
    return sorted(cells.values(), key=lambda f: (-1 if f.row is None else f.row, f.column))


def columns(frame: pd.DataFrame, params: Params) -> tuple[Column, ...]:
    """The model's input columns, in the order of the rows, which are checked ones. What they do
    not have, no model of them knows: a category, or that a value may be missing."""
    data, split = params.data, params.split
    held_back = {data.target, *data.drop, *data.key, split.column}
    result = []
    for name in frame.columns:
        if name in held_back:
            continue
        rule = data.columns.get(name)
        empty = frame[name].isna() | (frame[name] == "")
        nullable = bool(empty.any()) or bool(rule and rule.missing)
        if pd.api.types.is_numeric_dtype(frame[name]):  # `checked` typed them by all rows
            result.append(Column(name, "number", nullable))
        else:
            known = set(category_texts(frame[name])) | set(rule.values or () if rule else ())
            result.append(Column(name, "category", nullable, tuple(sorted(known - {""}))))
    return tuple(result)


def column_type(frame: pd.DataFrame, params: Params, name: str) -> str:
    """As declared in params.yaml, or a number when most values are numbers."""
    rule = params.data.columns.get(name)
    if rule and rule.type:
        return rule.type
    if rule and rule.values is not None:
        return "category"
    series = frame[name]
    if pd.api.types.is_bool_dtype(series):
        return "category"
    if pd.api.types.is_numeric_dtype(series):
        return "number"
    present = series.dropna()
    return (
        "number"
        if 2 * pd.to_numeric(present, errors="coerce").count() > len(present)
        else "category"
    )


def describe(faults: list[Fault], most: int = 10) -> str:
    """The first faults, a line each, and how many more there are."""
    lines = [f"{len(faults)} fault{'s' if len(faults) > 1 else ''} against the schema"]
    for fault in faults[:most]:
        row = "all rows" if fault.row is None else f"row {fault.row}"
        lines.append(f"  {row}, column {fault.column!r}: {fault.message}")
    if len(faults) > most:
        lines.append(f"  ... and {len(faults) - most} more")
    return "\n".join(lines)


def _times_as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with times and durations as a CSV file has them: how a file stores one, in
    nanoseconds or microseconds, would be another number."""
    plain = frame.copy(deep=False)
    for name, values in frame.items():
        stored = values.cat.categories.dtype if values.dtype == "category" else values.dtype
        mixed = pd.api.types.is_object_dtype(stored) and pd.api.types.infer_dtype(values) in TIMES
        if stored.kind in "mM" or mixed:
            texts = pd.Series(category_texts(values), index=values.index, dtype=object)
            plain[name] = texts.where(values.notna(), None)
    return plain


def _times(values: pd.Series) -> pd.Series:
    """The column that rows are split by, its times spelled in one way."""
    found, texts = moments(values).dt.tz_localize(None), category_texts(values)
    plain = np.where(found.isna(), texts, category_texts(found))
    return pd.Series(plain, dtype=object)


def _target_faults(target: pd.Series, params: Params, values: bool) -> list[Fault]:
    name = params.data.target
    faults = [Fault(int(row), name, "is missing") for row in np.flatnonzero(target.isna())]
    classes = sorted(set(category_texts(target)) - {""})
    if params.task == "classification":
        if len(classes) != 2:
            shown = f" ({', '.join(classes[:5])})" if values else ""
            faults.append(
                Fault(None, name, f"has {len(classes)} classes{shown}, needs exactly two")
            )
        elif params.data.positive not in (None, *classes):
            many = all((category_texts(target) == one).sum() >= FEW for one in classes)
            only = f", only {', '.join(classes)}" if values or many else ""
            faults.append(Fault(None, name, f"has no class {params.data.positive!r}{only}"))
    return faults


def _checks(frame: pd.DataFrame, params: Params, name: str) -> list[Any]:
    import pandera.pandas as pa

    rule = params.data.columns.get(name)
    limit = DEFAULT_MISSING if rule is None or rule.missing is None else rule.missing
    share = float(frame[name].isna().mean())
    missing = (
        f"{share:.0%} missing, limit {limit:.0%}; drop it or raise data.columns.{name}.missing"
    )
    result = [pa.Check(lambda _: share <= limit, error=missing, ignore_na=False)]
    if name in (*params.data.key, params.split.column):
        return result
    if column_type(frame, params, name) == "number":
        known = pd.to_numeric(frame[name], errors="coerce")
        finite = known.isna() | (known.abs() <= FLOAT32_MAX)
        result.append(pa.Check(lambda s: known[s.index].notna(), error="is not a number"))
        result.append(pa.Check(lambda s: finite[s.index], error="is infinite or beyond float32"))
        if rule and rule.min is not None:
            low = ~(known < rule.min)
            result.append(pa.Check(lambda s: low[s.index], error=f"is below {rule.min:g}"))
        if rule and rule.max is not None:
            high = ~(known > rule.max)
            result.append(pa.Check(lambda s: high[s.index], error=f"is above {rule.max:g}"))
        return result
    texts = pd.Series(category_texts(frame[name]), dtype=object)
    if rule and rule.values is not None:
        valid = texts.isin(rule.values)
        error = f"is not one of {', '.join(rule.values[:10])}"
        result.append(pa.Check(lambda s: valid[s.index], error=error))
    distinct = texts.nunique()
    if not (rule and rule.type) and distinct > MAX_INFERRED_CATEGORIES:
        error = (
            f"has {distinct} different texts: a date or an identifier? add it to data.drop,"
            f" or declare data.columns.{name}.type"
        )
        result.append(pa.Check(lambda _: False, error=error))
    return result
