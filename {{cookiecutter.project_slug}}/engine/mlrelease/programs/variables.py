"""Which variables of ours another process gets. What others wrote gets no token, and no address of
a service of ours."""

import os
from collections.abc import Iterable

# What may decide a figure, and what finds files.
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
KEPT_STARTS = ("OMP_", "OPENBLAS_", "MKL_", "NPY_", "PYTHON", "MLRELEASE_")
# Settings of a service that whoever deploys was given.
SERVICE = ("MODEL_HOST", "MODEL_TOKEN", "MODEL_LOG_SAMPLE", "MODEL_ACCESS_LOG")
WORKERS = "MODEL_WORKERS"  # of a process; a container has one
# What signs in where we push and ask. An index of libraries may want any other.
OURS = ("GITHUB_", "GH_", "ACTIONS_", "REGISTRY_", "LEDGER_", "PROMOTION_", "MODEL_")


def kept(more: Iterable[str] = ()) -> dict[str, str]:
    """What code of a commit may know of this machine, and these."""
    names = {*KEPT, *more}
    return {k: v for k, v in os.environ.items() if k in names or k.startswith(KEPT_STARTS)}


def not_ours() -> dict[str, str]:
    """What whoever installs libraries may know: all but what signs in where we do."""
    return {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
