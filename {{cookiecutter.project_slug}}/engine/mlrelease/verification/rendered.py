"""What stands next to a record for its readers: `report.md` and the plots.

They are a pure function of what is committed, and of scores that can be computed again. So they are
made again and compared, and nothing else may stand in the folder.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import matplotlib as mpl
import PIL
import sklearn
from matplotlib import ft2font

from mlrelease import documents, plain, policy as policy_file
from mlrelease.environments import Environment
from mlrelease.evaluation import gate, judged_rows, markdown, plots, report
from mlrelease.evaluation.evaluation import Evaluation
from mlrelease.evaluation.gate import Finding
from mlrelease.evaluation.metrics import Scored
from mlrelease.policy import Policy
from mlrelease.records.git import Git, GitError
from mlrelease.records.record import Record, folder
from mlrelease.verification import picture

KINDS = {"120000": "a symbolic link", "160000": "a submodule", "100755": "executable"}
PLOTS = {f"plots/{name}.png" for name in (*report.PICTURES, "confusion", "slices")}
MAX_BYTES = {"model.yaml": 64_000, "evaluation.json": 20_000_000, "report.md": 1_000_000}
MAX_BYTES |= dict.fromkeys(PLOTS, 2_000_000)


class Entry(NamedTuple):
    """One entry of the folder's tree, as git lists it; `size` in bytes, of files only."""

    mode: str
    object_id: str
    size: int
    name: str


def files(
    record: Record, evaluation: Evaluation, scored: Scored, policy: Policy
) -> dict[str, bytes]:
    """The files besides model.yaml and evaluation.json: equal arguments give equal bytes.

    `policy` is the one of the parent commit, `scored` is computed from the artefacts.
    """
    drawn = {f"plots/{name}.png": png for name, png in plots.draw(scored, evaluation).items()}
    about = report.Promotion(
        environment=record.environment,
        version=record.version,
        trust=record.trust,
        reason=record.reason,
        hotfix=record.intent == "hotfix",
    )
    rules = gate.judge(evaluation, policy)
    text = report.render(evaluation, rules, about, plots=bool(drawn))
    return {"report.md": text.encode(), **drawn}


@cache
def rendering() -> str:
    """What renders here: a digest of the source that does, and the libraries that draw."""
    digest = hashlib.sha256()
    for module in (documents, policy_file, gate, judged_rows, markdown, plain, plots, report):
        digest.update(hashlib.sha256(Path(str(module.__file__)).read_bytes()).digest())
    digest.update(Path(__file__).read_bytes())
    return (
        f"source {digest.hexdigest()[:12]}, matplotlib {mpl.__version__},"
        f" freetype {ft2font.__freetype_version__}, pillow {PIL.__version__},"
        f" scikit-learn {sklearn.__version__}"
    )


def check_folder(git: Git, commit: str, environment: Environment) -> Finding:
    """Whether a folder holds files of known names and sizes only; reads no content."""
    faults = not_allowed(git, commit, environment)
    more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
    message = f"{folder(environment)}/ may not hold {', '.join(faults[:3])}{more}; remove it"
    good = f"{folder(environment)}/ holds only what a promotion writes"
    return Finding("files", not faults, message if faults else good)


def check_rendered(
    git: Git, commit: str, environment: Environment, record: Record, evaluation: Evaluation,
    scored: Scored, policy: Policy, *, released: bool = False,
) -> Finding:  # fmt: skip
    """Whether report.md and the plots are what is made here from the same figures.

    What another version made cannot be compared. A new promotion is refused for it; of one that was
    `released`, and so was compared then, it is said.
    """
    made, advice = record.rendering, f"run `model promote {environment}` again"
    if made != rendering():
        message = f"report and plots were made by {made or 'an unknown version'}, not compared with"
        message += f" {rendering()}" if released else f" {rendering()}; {advice}"
        return Finding("rendered", released, message)
    committed = {
        entry.name: git.output("cat-file", "blob", entry.object_id)
        for entry in _entries(git, commit, environment)
        if entry.name in PLOTS | {"report.md"} and not _fault(entry)
    }
    faults = differences(committed, files(record, evaluation, scored, policy))
    good = f"report and {len(committed) - 1} plots were made again: equal"
    message = f"{'; '.join(faults[:3])}; {advice}, and edit no file of it"
    return Finding("rendered", not faults, message if faults else good)


def not_allowed(git: Git, commit: str, environment: Environment) -> list[str]:
    """What may not stand in the folder of an environment, a line each: another name than a
    promotion writes, anything but a plain file, a file too large to read."""
    try:
        entries = _entries(git, commit, environment)
    except GitError:
        return [f"{folder(environment)} itself, which is no folder"]
    faults = [f"{entry.name[:80]!a} ({why})" for entry in entries if (why := _fault(entry))]
    names = Counter(entry.name for entry in entries)
    twice = [name for name in MAX_BYTES if names[name] > 1]  # git shows one, a checkout the other
    return faults + [f"{name!r} (twice)" for name in twice]


def differences(committed: Mapping[str, bytes], expected: Mapping[str, bytes]) -> list[str]:
    """How committed files differ from those that were made again, a line each; none: equal."""
    faults = [f"{name} is missing" for name in sorted(expected.keys() - committed.keys())]
    extra = sorted(committed.keys() - expected.keys())
    faults += [f"{name[:80]!a} does not belong to this evaluation" for name in extra]
    for name in sorted(expected.keys() & committed.keys()):
        there, here = committed[name], expected[name]
        if name.endswith(".png"):
            why = picture.difference(there, here)
            faults += [f"{name} {why}"] if why else []
        elif there != here:
            pairs = zip_longest(there.split(b"\n"), here.split(b"\n"))
            at = next(number for number, (a, b) in enumerate(pairs, 1) if a != b)
            faults.append(f"{name} differs in line {at} from what the figures say")
    return faults


def _entries(git: Git, commit: str, environment: Environment) -> list[Entry]:
    tree = f"{commit}:{folder(environment)}"
    listed = git.output("ls-tree", "-r", "-t", "-z", "-l", "--full-tree", tree)
    return list(_parse(listed))


def _parse(listed: bytes) -> Iterator[Entry]:
    for line in listed.split(b"\0")[:-1]:
        about, _, name = line.partition(b"\t")
        mode, _, object_id, size = about.decode().split()
        text = name.decode(errors="surrogateescape")
        yield Entry(mode, object_id, 0 if size == "-" else int(size), text)


def _fault(entry: Entry) -> str:
    """Why an entry may not be there; empty if it may."""
    if entry.mode == "040000":
        return "" if entry.name == "plots" else "a folder"
    if entry.mode != "100644":
        return KINDS.get(entry.mode, f"mode {entry.mode}")
    limit = MAX_BYTES.get(entry.name)
    if limit is None:
        return "unknown"
    return f"larger than {limit / 1000:g} kB" if entry.size > limit else ""
