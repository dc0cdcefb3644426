"""What a cell of CSV means: the same in a request as in a file, whatever stands around it."""

import re

from mlrelease.scoring.features import category_text

# What training takes for a missing value in a .csv file: the default of `pandas.read_csv`.
MISSING = frozenset(
    """#N/A;#N/A N/A;#NA;-1.#IND;-1.#QNAN;-NaN;-nan;1.#IND;1.#QNAN;<NA>;N/A;NA;NULL;NaN;None;n/a;nan
;null;""".replace("\n", "").split(";")
)
BOOLEANS = {"true": "True", "false": "False"}  # in letters of any case
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
SPACES = " \t\n\v\f\r"  # around a number


def number(cell: str) -> float | None:
    """The number of a cell that is not missing, None for what is none. A boolean is 1 or 0, as in
    training; what float64 cannot hold is infinite."""
    if cell.lower() in BOOLEANS:
        return float(cell.lower() == "true")
    plain = cell.strip(SPACES)
    return float(plain) if re.match(NUMBER, plain) else None


def category(cell: str, known: frozenset[str]) -> str:
    """The category that a cell names, "" where it is missing.

    Where a column holds only numbers, or only booleans, training reads "1.0" as 1 and "true" as
    True; where it holds a text as well, as they stand. So a cell is what the model knows: itself,
    or else the number or the boolean that it spells. Then its meaning hangs on no other row.
    """
    if cell in known:
        return cell
    if cell in MISSING:
        return ""
    plain = cell.strip()
    spelled = [BOOLEANS.get(cell.lower(), cell)]
    if len(plain) < 400 and re.match(NUMBER, plain):
        spelled += [str(int(plain))] if plain.lstrip("+-").isdecimal() else []
        spelled += [category_text(float(plain))]
    return next((text for text in spelled if text in known), cell)
