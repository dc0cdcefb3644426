"""The candidate of this work tree: evaluated against what runs, or brought back from the store."""

import tempfile
from collections.abc import Callable
from pathlib import Path

from mlrelease.environments import Environment
from mlrelease.errors import InputError, ModelError
from mlrelease.evaluation.evaluation import Evaluation
from mlrelease.evaluation.metrics import Scored
from mlrelease.programs import limits
from mlrelease.programs.limits import limited
from mlrelease.records.git import BRANCH
from mlrelease.records.record import short
from mlrelease.scoring.artifact import refuse_strangers, replace_directory, whole
from mlrelease.scoring.candidate_lock import temporary_beside, writing
from mlrelease.training.train import Candidate, input_key
from mlrelease.verification import measure
from mlrelease.verification.confirm import shown
from mlrelease.workspace import Workspace


def evaluate_candidate(
    workspace: Workspace, against: Environment, say: Callable[[str], object] = str
) -> tuple[Evaluation, Scored]:
    """The candidate of this work tree against what an environment runs, if anything. `say` is told
    where that cannot be verified here now.

    Raises:
        InputError: There is no candidate, or it was changed after it was trained.
        LimitError: It needs more memory or time than it may.
    """
    limits.start()
    candidate = Candidate.read(workspace.candidate)
    if candidate.key != input_key(workspace.params, workspace.root):
        raise InputError("the candidate was trained from other inputs: run `model train`")
    champion, known, fitted, erased = None, None, None, False
    if workspace.git.resolve(BRANCH):
        ledger, unsure = shown(workspace, workspace.ledger(against, workspace.git.base()))
        champion = ledger.effective
        if unsure:
            say(unsure)
    if champion:
        known = workspace.recorded(champion).data.fitted
        fitted, erased = workspace.fitted(known)
    candidate.check(workspace.candidate)
    slices, fetch = workspace.policy.slices, workspace.store.fetch
    arguments = {
        "model": str(workspace.candidate / "model"),
        "champion": str(fetch(champion.model)) if champion else None,
        "holdout": str(workspace.candidate / "holdout"),
        "fitted": [str(fitted), known] if fitted and known else None,
        "options": {
            "erased": erased,
            "candidate_digest": candidate.model,
            "champion_digest": champion.model if champion else None,
            "holdout_digest": candidate.holdout,
            "slices": workspace.params.slices,
            "mandatory": workspace.policy.slice_columns,
            "slice_metric": slices.metric if slices else None,
            "min_rows": slices.min_rows if slices else 1,
        },
    }
    with tempfile.TemporaryDirectory(prefix="evaluated-") as name:
        call = f"{measure.__name__}:judge"  # it may come from a store that others write to
        limited(f"model {short(candidate.model)}", call, arguments, folder := Path(name))
        evaluation, scored, _ = measure.read_evaluated(folder)
    return evaluation, scored


def restore_candidate(workspace: Workspace, key: str) -> str | None:
    """Bring back from the store the candidate that these inputs gave; its digest, if any."""
    known = workspace.store.find(key)
    if known is None:
        return None
    data = known.data
    try:
        model = whole(workspace.store.read(known.model))
    except ModelError:  # packaged when two trainings could still write one folder
        return None
    parts = {"model": model, "holdout": workspace.store.read(data.holdout)}
    if data.fitted:
        parts["fitted"] = workspace.store.read(data.fitted)
    refuse_strangers(workspace.candidate)
    with writing(workspace.candidate):
        for name, files in parts.items():
            temporary = temporary_beside(workspace.candidate / name)
            files.write(temporary)
            replace_directory(temporary, workspace.candidate / name)
        found = Candidate(key, known.model, data.train, data.holdout, data.fitted)
        found.write(workspace.candidate)
    return known.model
