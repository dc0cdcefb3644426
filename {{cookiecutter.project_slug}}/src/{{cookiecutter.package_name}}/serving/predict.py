"""`model predict`: the model's answers for a file of rows, through the same typed columns."""

from pathlib import Path

import pandas as pd

from ..data import read_table
from ..errors import InputError, RefusedError
from ..features import Fault, InvalidRowsError, to_frame
from ..files import replacing
from ..pipeline.artifact import Model
from ..schema import describe


def predict(directory: Path, source: Path, target: Path) -> int:
    """Write the rows of `source` with the answers as further columns; return how many rows.

    Raises:
        RefusedError: A value does not fit the signature; nothing is written.
        InputError: A file cannot be read, or is neither .csv nor .parquet.
    """
    model = Model.load(directory)
    frame = read_table(source)
    try:
        inputs = to_frame(frame, model.signature.columns)
    except InvalidRowsError as error:
        raise RefusedError(f"{source}: {describe(list(error.faults))}") from None
    faults = _unknown(inputs, model)
    if faults:
        raise RefusedError(f"{source}: {describe(faults)}")
    answers = pd.DataFrame(model.answers(model.scores(inputs)))
    result = pd.concat([frame, answers], axis="columns")
    if target.suffix not in (".csv", ".parquet"):
        raise InputError(f"{target}: is neither .csv nor .parquet")
    with replacing(target) as temporary:
        if target.suffix == ".csv":
            result.to_csv(temporary, index=False)
        else:
            result.to_parquet(temporary, index=False)
    return len(result)


def _unknown(inputs: pd.DataFrame, model: Model) -> list[Fault]:
    """Categories that training never saw, and values that may not be missing: as in the service."""
    faults = []
    for column in model.signature.columns:
        values = inputs[column.name]
        missing = values.isna() | (values == "")
        if not column.nullable:
            faults += [Fault(int(r), column.name, "is missing") for r in missing[missing].index]
        if column.type == "category":
            strange = ~missing & ~values.isin(column.categories)
            faults += [
                Fault(int(r), column.name, f"{values[r]!r} is no known category")
                for r in strange[strange].index
            ]
    return sorted(faults, key=lambda fault: (fault.row or 0, fault.column))
