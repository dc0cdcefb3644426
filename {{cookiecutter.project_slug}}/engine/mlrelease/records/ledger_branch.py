"""Reading and appending to `env/<environment>`, the branch of a ledger."""

import datetime as dt
from collections.abc import Callable

import msgspec

from mlrelease.environments import Environment
from mlrelease.errors import RefusedError
from mlrelease.records.git import Git, GitError, Object
from mlrelease.records.ledger import FILE, SKEW, Ledger, Outcome, Released, branch
from mlrelease.records.ledger_reader import Objects, Reader, decode


class TruncatedError(RefusedError):
    """The ledger is missing, or shorter than somebody saw it."""


class RacedError(RefusedError):
    """Somebody else appended first."""


def read(
    git: Git,
    environment: Environment,
    main: str,
    now: dt.datetime,
    proven: Callable[[str, str], bool],
    known: Ledger | None = None,
    objects: Objects | None = None,
) -> Ledger:
    """The ledger as it is now, against main as it is at `main`. `proven` tells of an entry and its
    commit of main, which is not there any more, whether it was. `known` was read before: it is
    still that, unless the clock decides: where commits did not count (yet), or are to come now.
    `objects` reads what commits hold; by default git does.

    Raises:
        TruncatedError: It is shorter than this clone has seen it.
    """
    tip = git.resolve_exactly(branch(environment))
    _refuse_shorter(git, environment, tip)
    if tip is None:
        return Ledger(environment, main)
    if known and (known.tip, known.main) == (tip, main) and _holds(known, now):
        return known
    return Reader(git, objects or git.objects, environment, main, now, tip, proven).read()


def _holds(known: Ledger, now: dt.datetime) -> bool:
    """Whether no clock changes what was read."""
    whole = not known.skipped and known.adrift is None
    return whole and all(time <= now + SKEW for time in known.moments())


def append(git: Git, ledger: Ledger, note: Released | Outcome, folder: str, message: str) -> str:
    """Append one commit: the files of `folder`, a `COMMIT:path` or a commit of the ledger, and the
    note. The commit; the branch moves forward or not at all.

    Raises:
        RacedError: The branch is not where `ledger` was read.
    """
    content = encode(note)
    fault = decode(Object("", len(content), content))
    if isinstance(fault, str):  # nobody could read it
        raise RefusedError(f"{branch(ledger.environment)}: the entry {fault}")
    blob = git.run("hash-object", "-w", "--stdin", stdin=content)
    kept = [
        line
        for line in git.run("ls-tree", "-z", folder).split("\0")
        if line and not line.endswith(f"\t{FILE}")
    ]
    listed = "\0".join([*kept, f"100644 blob {blob}\t{FILE}", ""])
    tree = git.run("mktree", "-z", stdin=listed.encode())
    commit = git.commit_tree(tree, ledger.tip, message)
    name = branch(ledger.environment)
    try:
        git.advance(name, commit, ledger.tip)
    except GitError as error:
        if git.resolve_exactly("env"):
            text = f"a branch called `env` is in the way of `{name}`: rename it"
            raise RefusedError(text) from None
        git.base()
        if git.resolve_exactly(name) == ledger.tip:
            if "File exists" in str(error):  # git's lock; of one that crashed too
                raise RacedError(f"{name}: another push is under way: {error}") from None
            raise RefusedError(f"{name} cannot be pushed to: {error}") from None
        raise RacedError(f"{name} moved meanwhile: {error}") from None
    git.run("update-ref", seen(ledger.environment), commit)
    return commit


def encode(note: Released | Outcome) -> bytes:
    """The content of ledger.json: sorted keys, one a line."""
    return msgspec.json.format(msgspec.json.encode(note, order="sorted"), indent=1) + b"\n"


def seen(environment: str) -> str:
    """What this clone remembers of a ledger. It also keeps git from forgetting the objects."""
    return f"refs/model/seen/{environment}"


def _refuse_shorter(git: Git, environment: str, tip: str | None) -> None:
    name = branch(environment)
    known = git.run("for-each-ref", "--format=%(objectname)", seen(environment))
    if known == tip:
        return
    if known and (tip is None or not git.is_ancestor(known, tip)):
        raise TruncatedError(
            f"{name} is {'missing' if tip is None else 'not what it was'}: this clone has seen"
            f" {known[:7]} there; run `model ledger restore {environment}`"
        )
    if tip:
        git.run("update-ref", seen(environment), tip)
