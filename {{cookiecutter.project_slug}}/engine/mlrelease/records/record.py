"""`deploy/<environment>/model.yaml`: which model an environment runs, by digest only."""

from typing import Annotated, Literal

import yaml
from pydantic import AwareDatetime, Field

from mlrelease.environments import Environment, folder as folder, record_path as record_path
from mlrelease.files import short as short
from mlrelease.objects import Digest, Strict, parse

Commit = Annotated[str, Field(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
Rendering = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z ,.+-]{0,199}$")]
Image = Annotated[str, Field(pattern=r"^[^\s@]+@sha256:[0-9a-f]{64}$")]

HEADER = "# Written by `model promote`; changed only by the pull request that it opens.\n"


class Source(Strict):
    """The commit on main that the model was built from, and the run that built it."""

    commit: Commit
    run: str | None = None


class DataDigests(Strict):
    """The rows it was fitted on, and the rows it was judged on. `fitted`: hashes of the former, so
    that no later model is compared on them; records of earlier versions name none."""

    train: Digest
    holdout: Digest
    fitted: Digest | None = None

    @property
    def kept(self) -> tuple[str, ...]:
        """The directories of rows in the store; of the training rows there is only a digest."""
        found = self.model_dump(exclude={"train"}).values()
        return tuple(digest for digest in found if digest)


class Replaces(Strict):
    """What the reviewer compared against: the model, and the entry of the ledger that made it run.
    `tip` is the ledger as it was then: one that does not hold it any more was cut. `fitted`: the
    rows that the model was fitted on, on which nothing was compared, as its own record names
    them."""

    model: Digest | None = None
    entry: Commit | None = None
    tip: Commit | None = None
    fitted: Digest | None = None
    commit: Commit | None = Field(None, description="of main, in records before there was a ledger")


class Provenance(Strict):
    """What `model package` knows of a candidate; the store keeps it beside the model."""

    model: Digest
    version: str
    source: Source
    data: DataDigests
    key: Digest = Field(description="the digest of everything that decided the model")
    image: Image | None = None
    trust: Literal["attested", "digest"] = "digest"

    @property
    def artefacts(self) -> tuple[str, ...]:
        """What the store must hold of it."""
        return (self.model, *self.data.kept)


class Erased(Strict):
    """Rows that were erased on purpose, and stay so; what was released with them stands."""

    rows: Digest
    time: AwareDatetime
    reason: Annotated[str, Field(min_length=1, max_length=2000)]
    by: str | None = None

    def __str__(self) -> str:
        return f"{short(self.rows)} was erased on {self.time:%Y-%m-%d}: {self.reason}"


class Record(Strict):
    """The record. One key per line, so that git itself conflicts when two candidates race."""

    schema_version: Literal[1, 2] = 2
    environment: Environment
    model: Digest
    image: Image | None = None
    version: str
    runtime: Literal["onnx", "scikit-learn"] = Field(description="what serves the model")
    source: Source
    data: DataDigests
    key: Digest | None = Field(None, description="the digest of everything that decided the model")
    evaluation: Digest
    policy: Digest
    rendering: Rendering | None = Field(
        None, description="what made report.md and the plots: a digest of its source, and versions"
    )
    trust: Literal["attested", "digest"]
    replaces: Replaces
    intent: Literal["promote", "hotfix", "anchor"] = Field(
        "promote",
        description="a hotfix skips the soak time, an anchor starts the ledger of a rewritten main"
        " or a lost branch; both need a reason",
    )
    reason: str | None = Field(None, description="why a person overruled a rule or a decision")
    requested_by: str | None = Field(None, description="who asked for it, and may not approve it")

    def write(self) -> str:
        """The file's text."""
        content = self.model_dump(mode="json", exclude={"replaces": {"commit"}})
        return HEADER + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)

    @classmethod
    def read(cls, content: bytes, name: str) -> "Record":
        """Parse the file.

        Raises:
            InputError: Not of this schema; a tag where a digest belongs, for example.
        """
        return parse(content, cls, name)
