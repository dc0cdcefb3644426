"""`model package`: put the candidate into the store, with the commit that it was built from."""

from ..config import Params
from ..errors import RefusedError
from ..files import read_json
from ..pipeline.artifact import check_digest
from ..pipeline.train import Candidate, input_key, write_rows
from .attestation import trust
from .image import build, published, push, smoke_test, tag
from .record import DataDigests, Provenance, Source
from .registry import Registry
from .workspace import Workspace


def package(workspace: Workspace, run: str | None = None, image: str | None = None) -> Provenance:
    """Keep the candidate and its holdout by digest; again is no fault.

    With the name of a repository, `image`, also build, try and push its container image.

    Raises:
        RefusedError: It was not built from what HEAD holds, so no commit could account for it.
    """
    git, store, level = workspace.git, workspace.store, trust()
    candidate = Candidate.read(workspace.candidate)
    _refuse_uncommitted(workspace, workspace.params)
    if candidate.key != input_key(workspace.params, workspace.root):
        raise RefusedError("the candidate was trained from other inputs: run `model train`")
    if not (workspace.candidate / "holdout").exists():
        write_rows(workspace.params, workspace.root, workspace.candidate)
    check_digest(workspace.candidate / "model", candidate.model)
    check_digest(workspace.candidate / "holdout", candidate.holdout)
    store.put_rows(workspace.candidate / "holdout", workspace.params.data.public)
    store.put(workspace.candidate / "model")
    head = git.run("rev-parse", "HEAD")
    known = store.find(candidate.key)
    if known and known.model == candidate.model and known.source.commit in git.line(head):
        provenance = known
    else:
        day = git.run("show", "-s", "--format=%cd", "--date=format:%Y.%m.%d", head)
        provenance = Provenance(
            model=candidate.model,
            version=f"{day}+{head[:7]}",
            source=Source(commit=head, run=run),
            data=DataDigests(train=candidate.train, holdout=candidate.holdout),
            key=candidate.key,
        )
    if image:
        facts = {"image": _image(workspace, provenance, Registry(image)), "trust": level}
        provenance = provenance.model_copy(update=facts)
    if provenance != known:
        store.save(provenance)
    return provenance


def _image(workspace: Workspace, provenance: Provenance, repository: Registry) -> str:
    """The candidate's image: the one that was recorded or pushed before, else a new one."""
    name, _, digest = (provenance.image or "").partition("@")
    if name == str(repository) and repository.digest(digest, write=True):
        return f"{name}@{digest}"
    found = published(provenance, repository)
    model = workspace.candidate / "model"
    tried = found or build(workspace.root, model, provenance)
    smoke_test(tried, read_json(model / "golden.json"), provenance.model)
    return found or push(tried, repository, tag(provenance))


def _refuse_uncommitted(workspace: Workspace, params: Params) -> None:
    inputs = ["params.yaml", "src"]
    if not params.data.source.startswith("sklearn:"):
        inputs.append(params.data.source)
    dirty = workspace.git.run("status", "--porcelain", "--", *inputs).splitlines()
    if dirty:
        names = ", ".join(line[3:] for line in dirty[:3])
        raise RefusedError(
            f"{names}: not committed; commit first, so that git can say what made the model"
        )
