"""Which holdout rows the figures of an evaluation are of, in words, where these are not all."""

from collections.abc import Iterator

from mlrelease.evaluation.evaluation import Evaluation
from mlrelease.evaluation.markdown import code


def shared(evaluation: Evaluation) -> str | None:
    """On how many rows the models were compared, where the champion was trained on some."""
    compared, rows = evaluation.compared_rows, evaluation.rows - evaluation.refused
    return None if compared in (None, rows) else f"{compared} of {rows} rows"


def notes(evaluation: Evaluation) -> Iterator[str]:
    """Items of a list, for the report."""
    if said := shared(evaluation):
        yield f"- **Compared on {said}**: the champion was trained on the others. *live* and"
        yield "  *change* are of these; a slice with too few of them is not compared."
    if evaluation.copies:
        yield f"- **Left out**: {evaluation.copies} more rows were held out, but are copies of rows"
        yield "  that the candidate was trained on."
    if evaluation.refused:
        column = code(evaluation.refused_column or "")
        yield f"- **Refused**: the service would refuse {evaluation.refused} of {evaluation.rows}"
        yield f"  holdout rows, most of them for {column}. All figures are of the others."
