"""`model evaluate`: candidate and champion on the same rows, which neither has seen."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mlrelease.errors import InputError
from mlrelease.evaluation.evaluation import Cost, Decisions, Evaluation, Parity, Slice
from mlrelease.evaluation.fair import check_alike, check_split, compared
from mlrelease.evaluation.metrics import Scored as Scored, compare
from mlrelease.evaluation.parity import parity, request
from mlrelease.evaluation.reproduce import moved, settled
from mlrelease.evaluation.slices import FEW, slices_of
from mlrelease.scoring.artifact import Model
from mlrelease.scoring.contents import Contents, read
from mlrelease.scoring.decoder import Decoder
from mlrelease.scoring.features import (
    InvalidRowsError,
    Signature,
    category_texts,
    refusals,
    refused,
    to_frame,
)
from mlrelease.scoring.runtime import load

LATENCY_ROWS, LATENCY_SECONDS, WARM_UP_ROWS = 200, 0.2, 3


def evaluate(
    candidate: Path, champion: Path | None, holdout: pd.DataFrame, *, candidate_digest: str,
    champion_digest: str | None, holdout_digest: str, fitted: pd.DataFrame | None = None,
    of_before: bool = False, erased: bool = False, slices: Sequence[str] = (),
    mandatory: Sequence[str] = (), slice_metric: str | None = None, min_rows: int = 30,
    seed: int = 0, resamples: int = 1000, towards: int = 0, few: int = FEW,
) -> tuple[Evaluation, Scored]:  # fmt: skip
    """Evaluate a model directory on raw holdout rows, and against a champion where there is one.
    Slices default to the candidate's categories; the `mandatory` columns of the policy are added.
    Categories of fewer than `few` rows are not named.
    Of a champion that cannot be compared fairly only the digest is kept, and `incomparable` says
    why. `fitted`: hashes of the rows that it was fitted on; of earlier versions there are none, and
    what was released then is compared as it was then (`of_before`); those that were `erased` leave
    nothing to compare by. `towards`: evaluate scores that were `moved`, to see what another
    processor might say.

    Raises:
        RefusedError: A model directory has another digest, or holds what is not trusted.
        InputError: The holdout has a bad column or one class only, or a slice does not exist.
    """
    files, rival_files = read(candidate, candidate_digest), None
    model, rival, incomparable = Model.of(files), None, None
    told, every = model.signature, holdout
    _truth(every, told)  # a bad row is named by its place in the file
    refused_rows, refused_column = _refused(model, every)
    holdout = every[~refused_rows].reset_index(drop=True)
    cost = _cost(files, model, holdout)
    if cost is None:
        raise InputError(
            f"holdout: the service would refuse every row, most for {refused_column!r}; declare"
            " what is valid in params.yaml, and train again"
        )
    scored = Scored(
        told.task, _truth(holdout, told), _scores(model, holdout), threshold=told.limit,
        classes=told.classes, target=told.target, places=np.flatnonzero(~refused_rows),
    )  # fmt: skip
    if champion is not None:
        rival_files = read(champion, champion_digest)
        try:
            rival = Model.of(rival_files)
            check_alike(model, rival)
            if fitted is None:
                check_split(model, rival, of_before, erased)
            theirs, limit = _scores(rival, holdout), rival.signature.limit
            unseen = None if fitted is None else compared(model, rival, holdout, scored.y, fitted)
            scored = replace(scored, champion=theirs, champion_threshold=limit, compared=unseen)
        except InputError as error:
            rival, incomparable = None, f"The champion cannot be compared: {error}."
    scored = moved(scored, towards) if towards else scored
    metrics = compare(scored, seed=seed, resamples=resamples)
    metric = slice_metric or ("brier" if told.task == "classification" else "mae")
    if metric not in metrics:
        raise InputError(f"policy.yaml: slices.metric: {metric} is none of {', '.join(metrics)}")
    parts = []
    chosen = slices or [c.name for c in told.columns if c.type == "category"]
    for column in dict.fromkeys((*chosen, *mandatory)):
        for value, mask in slices_of(holdout, column, told, few):
            part = scored.rows(mask)
            found = compare(part, [metric], seed=seed, resamples=resamples).get(metric)
            parts.append(Slice(
                column=column, value=value, rows=len(part.y), metric=metric,
                candidate=found.candidate.value if found else None,
                champion=found.champion.value if found and found.champion else None,
                difference=found.difference if found and len(part.both().y) >= min_rows else None,
            ))  # fmt: skip
    return Evaluation(
        task=told.task, candidate=candidate_digest, champion=champion_digest,
        holdout=holdout_digest, rows=len(every), metrics=metrics, slices=tuple(parts),
        decisions=_decisions(scored), parity=_parity(files, model, every),
        cost=cost,
        champion_cost=_cost(rival_files, rival, holdout) if rival_files and rival else None,
        incomparable=incomparable,
        compared_rows=None if scored.compared is None else int(scored.compared.sum()),
        refused=int(refused_rows.sum()), refused_column=refused_column,
        copies=model.card.rows.get("copies", 0),
    ), scored  # fmt: skip


def _truth(holdout: pd.DataFrame, told: Signature) -> np.ndarray:
    """The target of shape (n,): 1 for the positive class and 0 for the other one, or numbers."""
    if told.target not in holdout:
        raise InputError(f"holdout: the target {told.target!r} is missing; train again")
    values = holdout[told.target]
    if told.task == "classification":
        texts = category_texts(values)
        y = np.where(np.isin(texts, told.classes), texts == told.classes[1], np.nan)
    else:
        y = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    known = np.isfinite(y)
    if not known.all():
        row = int(np.argmin(known))
        wanted = " or ".join(map(repr, told.classes)) or "a number"
        raise InputError(f"holdout: row {row}: {told.target} is not {wanted}")
    if len(np.unique(y)) < 2:
        raise InputError(f"holdout: one {told.target} only in {len(y)} rows; hold out more rows")
    return y


def _refused(model: Model, holdout: pd.DataFrame) -> tuple[np.ndarray, str | None]:
    """Which rows the service would refuse, shape (n,), and the column that most of them are refused
    for."""
    typed, columns = _typed(model, holdout), model.signature.columns
    found = {
        column.name: np.any([np.zeros(len(typed), bool), *(m for _, m in reasons)], axis=0)
        for column in columns
        if (reasons := refusals(typed[column.name].to_numpy(), column))
    }
    most = max(found, key=lambda name: int(found[name].sum()), default=None)
    mask = np.any([np.zeros(len(typed), bool), *found.values()], axis=0)
    return mask, most if mask.any() else None


def _scores(model: Model, holdout: pd.DataFrame) -> np.ndarray:
    return settled(model.scores(_typed(model, holdout)))


def _typed(model: Model, holdout: pd.DataFrame) -> pd.DataFrame:
    try:
        return to_frame(holdout, model.signature.columns)
    except InvalidRowsError as error:
        fault = error.faults[0]
        row = " " if fault.row is None else f", row {fault.row}: "
        raise InputError(f"the holdout's column {fault.column!r}{row}{fault.message}") from None


def _decisions(scored: Scored) -> Decisions | None:
    scored = scored.both()
    if scored.champion is None or scored.task == "regression":
        return None
    now, then = scored.candidate >= scored.threshold, scored.champion >= scored.champion_threshold
    up, down = int((now & ~then).sum()), int((then & ~now).sum())
    return Decisions(rows=len(now), flipped=up + down, to_positive=up, to_negative=down)


def _parity(files: Contents, model: Model, holdout: pd.DataFrame) -> Parity:
    rows = to_frame(holdout, model.signature.columns)
    return parity(model, load(files, model.card), rows)


def _cost(files: Contents, model: Model, holdout: pd.DataFrame) -> Cost | None:
    """The size of a model directory, and the time from one row's request to its answer, in what
    serves it; None where it refuses all of them."""
    told, served = model.signature, load(files, model.card)
    decode = Decoder(told)
    end = time.perf_counter() + LATENCY_SECONDS
    rows = to_frame(holdout, told.columns)
    rows = rows.drop([fault.row for fault in refused(rows, told)]).head(LATENCY_ROWS)
    if rows.empty:
        return None
    bodies = [request(dict(row)) for row in rows.to_dict("records")]
    taken: list[float] = []
    for at in range(WARM_UP_ROWS + LATENCY_ROWS):
        if len(taken) > 2 * WARM_UP_ROWS and time.perf_counter() > end:
            break  # a slow model is known after a few rows
        start = time.perf_counter()
        told.answers(served.scores(decode(bodies[at % len(bodies)]).inputs))
        taken.append(1000 * (time.perf_counter() - start))
    p50, p99 = np.percentile(taken[WARM_UP_ROWS:], [50, 99]).tolist()
    size = sum(len(content) for content in files.files.values())
    return Cost(size_bytes=size, latency_p50_ms=p50, latency_p99_ms=p99)
