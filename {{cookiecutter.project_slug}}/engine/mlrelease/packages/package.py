"""`model package`: put the candidate into the store, with the commit that it was built from."""

from mlrelease.errors import RefusedError
from mlrelease.packages.committed import refuse_uncommitted
from mlrelease.packages.image import build, published, push, smoke_test, tag
from mlrelease.records.record import DataDigests, Provenance, Source
from mlrelease.scoring.artifact import whole
from mlrelease.scoring.contents import Contents, read
from mlrelease.storage.registry import Registry
from mlrelease.training.train import Candidate, add_rows, input_key
from mlrelease.verification.attestation import trust
from mlrelease.workspace import Workspace


def package(workspace: Workspace, run: str | None = None, image: str | None = None) -> Provenance:
    """Keep the candidate and its holdout by digest; again is no fault.

    With the name of a repository, `image`, also build, try and push its container image.

    Raises:
        RefusedError: It was not built from what HEAD holds, so no commit could account for it.
    """
    git, store, level = workspace.git, workspace.store, trust()
    candidate = Candidate.read(workspace.candidate)
    refuse_uncommitted(git, workspace.root, workspace.params)
    if candidate.key != input_key(workspace.params, workspace.root):
        raise RefusedError("the candidate was trained from other inputs: run `model train`")
    if not (workspace.candidate / "holdout").exists():
        add_rows(workspace.params, workspace.root, workspace.candidate)
    model = whole(read(workspace.candidate / "model", candidate.model))
    for name, digest in (("holdout", candidate.holdout), ("fitted", candidate.fitted)):
        if digest:
            rows = read(workspace.candidate / name, digest)
            store.keep_rows(rows, workspace.params.data.public)
    store.keep(model)
    head = git.run("rev-parse", "HEAD")
    known = store.find(candidate.key)
    if known and known.model == candidate.model and known.source.commit in git.line(head):
        provenance = known
    else:
        provenance = Provenance(
            model=candidate.model,
            version=git.version(head),
            source=Source(commit=head, run=run),
            data=DataDigests(
                train=candidate.train, holdout=candidate.holdout, fitted=candidate.fitted
            ),
            key=candidate.key,
        )
    if image:
        facts = {"image": _image(workspace, model, provenance, Registry(image)), "trust": level}
        provenance = provenance.model_copy(update=facts)
    if provenance != known:
        store.save(provenance)
    return provenance


def _image(
    workspace: Workspace, model: Contents, provenance: Provenance, repository: Registry
) -> str:
    """The candidate's image: the one that was recorded or pushed before, else a new one."""
    name, _, digest = (provenance.image or "").partition("@")
    if name == str(repository) and repository.digest(digest, write=True):
        return f"{name}@{digest}"
    found = published(provenance, repository)
    tried = found or build(workspace.root, model, provenance)
    smoke_test(tried, model.json("golden.json"), provenance.model)
    return found or push(tried, repository, tag(provenance))
