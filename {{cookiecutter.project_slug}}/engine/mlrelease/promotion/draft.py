"""A release between two jobs: what the one verified that loads the model, and the other appends."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from mlrelease.environments import Environment
from mlrelease.errors import InputError
from mlrelease.evaluation.gate import Finding
from mlrelease.output import begins, write

MAX_BYTES = 5_000_000


@dataclass(frozen=True)
class Draft:
    """The commit of main that was verified, the ledger that it was verified against, and what only
    a job that loads models can tell. `left_out`: entries of the ledger that do not verify, each
    with the checks that it failed."""

    environment: Environment
    main: str
    tip: str | None
    findings: tuple[Finding, ...]
    answers: dict[str, float]
    again: dict[str, float]
    left_out: dict[str, tuple[Finding, ...]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write it as JSON, for `read` in another job.

        Raises:
            RefusedError: A file that is no draft is there.
        """
        write(
            path, msgspec.json.encode(self), begins(f'{{"environment":"{self.environment}","main":')
        )

    @classmethod
    def read(cls, path: Path) -> "Draft":
        """Read a file that `write` made, or that somebody forged.

        Raises:
            InputError: It is no draft.
        """
        try:
            if not path.is_file():
                raise InputError(f"{path}: is no file")
            if path.stat().st_size > MAX_BYTES:
                raise InputError(f"{path}: larger than {MAX_BYTES / 1e6:g} MB")
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InputError(f"{path}: is no draft of a release: {error}") from None
