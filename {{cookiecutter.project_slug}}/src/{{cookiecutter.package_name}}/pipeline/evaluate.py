"""`model evaluate`: candidate and champion on the same held-out rows."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import InputError
from ..features import FEW, InvalidRowsError, Signature, category_texts, refused, to_frame
from ..runtime import load
from ..serving.decoder import Decoder
from .artifact import Model
from .evaluation import Cost, Decisions, Evaluation, Parity, Slice
from .metrics import Scored as Scored, compare
from .parity import parity, request
from .slices import slices_of

LATENCY_ROWS, LATENCY_SECONDS, WARM_UP_ROWS = 200, 0.2, 3


def evaluate(
    candidate: Path, champion: Path | None, holdout: pd.DataFrame, *, candidate_digest: str,
    champion_digest: str | None, holdout_digest: str, slices: Sequence[str] = (),
    mandatory: Sequence[str] = (), slice_metric: str | None = None, min_rows: int = 30,
    seed: int = 0, resamples: int = 1000, few: int = FEW,
) -> tuple[Evaluation, Scored]:  # fmt: skip
    """Evaluate a model directory on raw holdout rows, and against a champion where there is one.
    Slices default to the candidate's categories; the `mandatory` columns of the policy are added.
    Categories of fewer than `few` rows are not named.
    Of a champion that cannot be compared fairly only the digest is kept, and `incomparable` says
    why.

    Raises:
        RefusedError: A model directory has another digest, or holds what is not trusted.
        InputError: The holdout has a bad column or one class only, or a slice does not exist.
    """
    model, rival, incomparable = Model.load(candidate, candidate_digest), None, None
    told = model.signature
    scored = Scored(
        told.task, _truth(holdout, told), _scores(model, holdout), threshold=told.limit,
        classes=told.classes, target=told.target,
    )  # fmt: skip
    if champion is not None:
        try:
            rival = _fair(model, Model.load(champion, champion_digest))
            theirs, limit = _scores(rival, holdout), rival.signature.limit
            scored = replace(scored, champion=theirs, champion_threshold=limit)
        except InputError as error:
            rival, incomparable = None, f"The champion cannot be compared: {error}."
    metrics = compare(scored, seed=seed, resamples=resamples)
    metric = slice_metric or ("brier" if told.task == "classification" else "mae")
    if metric not in metrics:
        raise InputError(f"policy.yaml: slices.metric: {metric} is none of {', '.join(metrics)}")
    parts = []
    chosen = slices or [c.name for c in told.columns if c.type == "category"]
    for column in dict.fromkeys((*chosen, *mandatory)):
        for value, mask in slices_of(holdout, column, told, few):
            found = compare(scored.rows(mask), [metric], seed=seed, resamples=resamples).get(metric)
            rows = int(mask.sum())
            parts.append(Slice(
                column=column, value=value, rows=rows, metric=metric,
                candidate=found.candidate.value if found else None,
                champion=found.champion.value if found and found.champion else None,
                difference=found.difference if found and rows >= min_rows else None,
            ))  # fmt: skip
    return Evaluation(
        task=told.task, candidate=candidate_digest, champion=champion_digest,
        holdout=holdout_digest, rows=len(holdout), metrics=metrics, slices=tuple(parts),
        decisions=_decisions(scored), parity=_parity(candidate, model, holdout),
        cost=_cost(candidate, model, holdout),
        champion_cost=_cost(champion, rival, holdout) if champion and rival else None,
        incomparable=incomparable,
    ), scored  # fmt: skip


def same_numbers(a: Evaluation, b: Evaluation) -> list[str]:
    """What differs by more than 1e-9 of it (or 1e-12), a line each, except for what hangs on the
    processor: latency, and the last digits of the runtimes."""
    here, there, lines = _figures(a), _figures(b), []
    for key in here | there:
        x, y = here.get(key), there.get(key)
        close = isinstance(x, float) and isinstance(y, float) and math.isclose(x, y, abs_tol=1e-12)
        if x != y and not close:
            lines.append(f"{key}: {x} here, {y} in evaluation.json")
    return lines


def _figures(evaluation: Evaluation) -> dict[str, object]:
    """Each figure by its path, such as `metrics.roc_auc.candidate.value`."""
    clock = {"latency_p50_ms", "latency_p99_ms"}
    machine = {"cost": clock, "champion_cost": clock, "parity": {"largest_difference"}}
    facts = evaluation.model_dump(exclude=machine)
    parts = enumerate(facts["slices"])
    facts["slices"] = {f"{at} {part['column']} {part['value']}": part for at, part in parts}
    return {str(k): v for k, v in pd.json_normalize(facts).to_dict("records")[0].items()}


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


def _scores(model: Model, holdout: pd.DataFrame) -> np.ndarray:
    try:
        return np.asarray(model.scores(to_frame(holdout, model.signature.columns)))
    except InvalidRowsError as error:
        fault = error.faults[0]
        row = " " if fault.row is None else f", row {fault.row}: "
        raise InputError(f"the holdout's column {fault.column!r}{row}{fault.message}") from None


def _fair(model: Model, rival: Model) -> Model:
    """Return the champion when its figures on the candidate's holdout mean something."""
    for what in ("task", "target", "classes"):
        ours, theirs = getattr(model.signature, what), getattr(rival.signature, what)
        if ours != theirs:
            raise InputError(f"it was made for {what} {theirs!r}, the candidate for {ours!r}")
    if model.card.split != rival.card.split:
        raise InputError("its rows were split in another way, it may have trained on this holdout")
    return rival


def _decisions(scored: Scored) -> Decisions | None:
    if scored.champion is None or scored.task == "regression":
        return None
    now, then = scored.candidate >= scored.threshold, scored.champion >= scored.champion_threshold
    up, down = int((now & ~then).sum()), int((then & ~now).sum())
    return Decisions(rows=len(now), flipped=up + down, to_positive=up, to_negative=down)


def _parity(directory: Path, model: Model, holdout: pd.DataFrame) -> Parity:
    rows = to_frame(holdout, model.signature.columns)
    return parity(model, load(directory, model.card), rows)


def _cost(directory: Path, model: Model, holdout: pd.DataFrame) -> Cost:
    """The size of a model directory, and the time from one row's request to its answer, in what
    serves it."""
    told, served = model.signature, load(directory, model.card)
    decode = Decoder(told)
    end = time.perf_counter() + LATENCY_SECONDS
    rows = to_frame(holdout, told.columns)
    rows = rows.drop([fault.row for fault in refused(rows, told)]).head(LATENCY_ROWS)
    if rows.empty:
        raise InputError("holdout: the service would refuse every row; train again")
    bodies = [request(dict(row)) for row in rows.to_dict("records")]
    taken: list[float] = []
    for at in range(WARM_UP_ROWS + LATENCY_ROWS):
        if len(taken) > 2 * WARM_UP_ROWS and time.perf_counter() > end:
            break  # a slow model is known after a few rows
        start = time.perf_counter()
        told.answers(served.scores(decode(bodies[at % len(bodies)]).inputs))
        taken.append(1000 * (time.perf_counter() - start))
    p50, p99 = np.percentile(taken[WARM_UP_ROWS:], [50, 99]).tolist()
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return Cost(size_bytes=size, latency_p50_ms=p50, latency_p99_ms=p99)
