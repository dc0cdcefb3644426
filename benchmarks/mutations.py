"""Which faults would the tests of the release code see? Mutation testing of what verifies, reads
history and the ledger, and deploys.

    pip install mutmut==3.8.1
    .venv/bin/python benchmarks/mutations.py --sample 150 --seed 1     # 2 hours

It copies the template, changes one thing in one module at a time (mutmut's operators for numbers,
comparisons, and/or, in/is, break/continue and conditional expressions; and here: a condition turned
round, one side of an and/or left out, any for all, a raise, return or continue left out) and runs
the tests of that module until one fails. Texts are not changed: what a message says is no law.
Exits with 1 when fewer than 90 % of the changes are seen, equivalents that are listed left out.
"""

import argparse
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import libcst as cst
import pytest
from _pytest.runner import runtestprotocol
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation import mutators

BAR = 0.9
SECONDS = 900  # for one change; one that takes longer counts as not seen
ROOT = Path(__file__).resolve().parents[1]
ENGINE = "{{cookiecutter.project_slug}}/engine/mlrelease"
TESTS = "tests/engine"
HISTORIES = f"{TESTS}/law/test_law.py::test_what_runs_was_released_in_a_history"
LEDGER, FOUND = f"{TESTS}/records/test_ledger.py", f"{TESTS}/law/test_law_found.py"
APPROVAL, VERIFY = (f"{TESTS}/verification/test_{name}.py" for name in ("approval", "verify"))
FOLLOW, DEPLOY = (f"{TESTS}/deployment/test_{name}.py" for name in ("follow", "deploy"))
JOBS, REPAIR = (f"{TESTS}/promotion/test_{name}.py" for name in ("release_jobs", "repair"))
RENDERED = f"{TESTS}/verification/test_rendered.py"
ROLLBACK, HOTFIX = (f"{TESTS}/promotion/test_{name}.py" for name in ("rollback", "hotfix"))
SCALE = f"{TESTS}/records/test_scale.py"
SLICES = f"{TESTS}/verification/test_mandatory_slices.py"

# Each module, and the tests that are about it, the quickest first.
MODULES = {
    "verification/approval": (HISTORIES, APPROVAL),
    "records/change": (HISTORIES, VERIFY, LEDGER),
    "verification/confirm": (HISTORIES, FOUND, LEDGER, APPROVAL),
    "deployment/deploy": (HISTORIES, DEPLOY, FOLLOW),
    "promotion/draft": (JOBS, APPROVAL),
    "verification/figures": (VERIFY, RENDERED, SLICES, LEDGER),
    "deployment/follow": (HISTORIES, FOLLOW, DEPLOY),
    "records/git_objects": (HISTORIES, LEDGER),
    "verification/in_force": (HISTORIES, APPROVAL),
    "records/ledger": (HISTORIES, FOUND, LEDGER, ROLLBACK),
    "records/ledger_branch": (HISTORIES, LEDGER, REPAIR, SCALE),
    "records/ledger_reader": (HISTORIES, FOUND, LEDGER),
    "records/main_line": (HISTORIES, LEDGER, APPROVAL),
    "verification/order": (HISTORIES, FOUND, HOTFIX, VERIFY, REPAIR, LEDGER),
    "promotion/release": (HISTORIES, JOBS, LEDGER, APPROVAL),
    "verification/rendered": (RENDERED, JOBS),
    "promotion/repair": (HISTORIES, REPAIR),
    "promotion/rollback": (HISTORIES, ROLLBACK, LEDGER),
    "verification/verify": (HISTORIES, VERIFY, RENDERED, REPAIR, LEDGER),
}

# Changes that change nothing, with the reason: module, line as it was, line as it became.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "records/main_line",
        "return tuple(Named(c, b.oid) for c, b in zip(commits, blobs, strict=True))",
        "return tuple(Named(c, b.oid) for c, b in zip(commits, blobs, strict=False))",
    ): "git answers once for each name that it is asked for",
}


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    module: str
    line: int
    before: str
    after: str
    code: str

    @property
    def key(self) -> tuple[str, str, str]:
        """How EQUIVALENT names it."""
        return self.module, self.before, self.after


def negated(test: cst.BaseExpression) -> cst.BaseExpression:
    """The opposite of a condition."""
    inner = test.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    return cst.UnaryOperation(cst.Not(), inner)


def turned(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """What mutmut does not change."""
    if isinstance(node, cst.If | cst.While | cst.CompIf):
        yield node.with_changes(test=negated(node.test))
    elif isinstance(node, cst.BooleanOperation):
        for side in (node.left, node.right):
            yield side.with_changes(lpar=[cst.LeftParen()], rpar=[cst.RightParen()])
    elif isinstance(node, cst.Call) and isinstance(node.func, cst.Name):
        other = {"any": "all", "all": "any", "min": "max", "max": "min", "reversed": "tuple"}
        if node.func.value in other:
            yield node.with_changes(func=cst.Name(other[node.func.value]))
    elif isinstance(node, cst.Raise | cst.Return | cst.Continue):
        yield cst.Pass()


OPERATORS: tuple[tuple[type[cst.CSTNode], Any], ...] = (
    (cst.BaseNumber, mutators.operator_number),
    (cst.Name, mutators.operator_name),
    (cst.UnaryOperation, mutators.operator_remove_unary_ops),
    (cst.CSTNode, mutators.operator_keywords),
    (cst.CSTNode, mutators.operator_swap_op),
    (cst.IfExp, mutators.operator_if_exp),
    (cst.CSTNode, turned),
)


class Finder(cst.CSTVisitor):
    """Every node of the bodies of functions that can be changed."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, int]] = []
        self.depth = 0

    def on_visit(self, node: cst.CSTNode) -> bool:  # noqa: D102 - libcst's
        if isinstance(node, cst.Annotation | cst.Decorator | cst.Param | cst.FormattedString):
            return False
        if isinstance(node, cst.FunctionDef):
            self.depth += 1
        elif self.depth:
            place = self.get_metadata(PositionProvider, node, None)
            for kind, operator in OPERATORS:
                if isinstance(node, kind) and place:
                    for new in operator(node):
                        self.found.append((node, new, place.start.line))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:  # noqa: D102 - libcst's
        self.depth -= isinstance(original_node, cst.FunctionDef)


def mutants(module: str, folder: Path) -> list[Mutant]:
    """Every change of a module."""
    path = folder / f"{module}.py"
    wrapper = MetadataWrapper(cst.parse_module(path.read_text()))
    finder = Finder()
    wrapper.visit(finder)
    old = path.read_text().splitlines()
    made = {}
    for node, new, _ in finder.found:
        code = wrapper.module.deep_replace(node, new).code  # type: ignore[arg-type]
        try:
            compile(code, path.name, "exec")
        except SyntaxError:
            continue
        lines = code.splitlines()
        at = next((n for n, (a, b) in enumerate(zip(old, lines, strict=False)) if a != b), None)
        if at is not None:
            made[code] = Mutant(module, at + 1, old[at].strip(), lines[at].strip(), code)
    return list(made.values())


class Bench:
    """A template, whose tests stand ready: a change costs a fork and the tests that see it.

    It is the plugin of a pytest that collected every test. Session fixtures are made once."""

    def __init__(self, root: Path, options: argparse.Namespace) -> None:
        self.root, self.options = root, options
        self.folder = root / ENGINE
        self.killers: dict[str, list[str]] = {}
        self.fates: list[dict[str, object]] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Instead of running the tests once."""
        self.run(session.items[:1])  # and every session fixture with it
        about = {
            module: [item for test in MODULES[module] for item in session.items
                     if item.nodeid.startswith(test)]
            for module in self.options.modules
        }  # fmt: skip
        if failed := self.forked(None, session.items):
            sys.exit(f"{failed} fails before anything is changed")
        for mutant in self.drawn():
            begun = time.monotonic()
            killer = self.forked(mutant, about[mutant.module])
            took = round(time.monotonic() - begun, 1)
            self.fates.append(asdict(mutant) | {"killer": killer, "seconds": took})
            if killer is None:
                place = f"{mutant.module}:{mutant.line}"
                print(f"survived {place}\n- {mutant.before}\n+ {mutant.after}", flush=True)
            if self.options.json:
                self.options.json.write_text(json.dumps(self.fates, indent=1))
        return True

    def run(self, items: Sequence[pytest.Item]) -> str | None:
        """The first test that fails."""
        for item, following in zip(items, [*items[1:], None], strict=True):
            item.session._setupstate.teardown_exact(item)
            reports = runtestprotocol(item, log=False, nextitem=following or item)
            if any(report.failed for report in reports):
                return item.nodeid
        return None

    def forked(self, mutant: Mutant | None, items: Sequence[pytest.Item]) -> str | None:
        """The test that sees a change, in a process of its own; what failed last is asked first."""
        module = mutant.module if mutant else ""
        first = self.killers.setdefault(module, [])
        order = {name: at for at, name in enumerate(first)}
        items = sorted(items, key=lambda item: order.get(item.nodeid, len(order)))
        path = self.folder / f"{module}.py"
        text = path.read_text() if mutant else ""
        reading, writing = os.pipe()
        try:
            if mutant:
                path.write_text(mutant.code)  # for the processes that tests start
            child = os.fork()
            if not child:
                self.child(mutant, items, writing)
            os.close(writing)
            ready, _, _ = select.select([reading], [], [], SECONDS if mutant else None)
            killer = os.read(reading, 65_536).decode() if ready else "none"
            with suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)  # and what its tests started
            os.waitpid(child, 0)
        finally:
            os.close(reading)
            if mutant:
                path.write_text(text)
        if killer == "none":
            return None
        first[:] = [killer, *(known for known in first if known != killer)][:6]
        return killer or "dies"

    def child(self, mutant: Mutant | None, items: Sequence[pytest.Item], writing: int) -> None:
        """Change the code, run, tell, and end at once."""
        os.setsid()
        try:
            if mutant:
                name = mutant.module.replace("/", ".")
                swap(sys.modules[f"mlrelease.{name}"], compile(mutant.code, "mutant", "exec"))
            found = self.run(items) or "none"
        except BaseException as error:
            found = repr(error)[:200]
        os.write(writing, found.encode())
        os._exit(0)

    def drawn(self) -> list[Mutant]:
        """Changes drawn by chance, so that a part of them is a fair one; all for 0."""
        options = self.options
        every = [one for name in options.modules for one in mutants(name, self.folder)]
        every = [mutant for mutant in every if mutant.key not in EQUIVALENT]
        chance = random.Random(options.seed)  # noqa: S311 - a sample, no secret
        found = chance.sample(every, min(options.sample or len(every), len(every)))
        print(f"{len(found)} of {len(every)} changes", flush=True)
        return found


def swap(module: ModuleType, code: CodeType) -> None:
    """Give the functions of a module other code, wherever they were imported to."""
    for part in filter(lambda const: isinstance(const, CodeType), code.co_consts):
        found = vars(module).get(part.co_name)
        if isinstance(found, type):
            for inner in filter(lambda const: isinstance(const, CodeType), part.co_consts):
                replace_code(vars(found).get(inner.co_name), inner)
        else:
            replace_code(found, part)


def replace_code(found: Any, code: CodeType) -> None:
    """The function below its decorators."""
    for name in ("fget", "func", "__func__", "__wrapped__"):
        found = getattr(found, name, found)
    if isinstance(found, FunctionType):
        found.__code__ = code


def copied(place: Path) -> Path:
    """The template, where it may be changed."""
    away = shutil.ignore_patterns(".git", ".venv", "build", "__pycache__", ".*_cache")
    return Path(shutil.copytree(ROOT, place / "template", ignore=away))


def main() -> int:
    """Change, test, count."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("modules", nargs="*", default=list(MODULES), metavar="MODULE")
    parser.add_argument("--sample", type=int, default=150, help="so many changes; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write every change and its fate there")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp())
    try:
        bench = Bench(copied(place), options)
        os.chdir(bench.root)
        sys.path[:0] = [str(bench.root)]
        sys.dont_write_bytecode = True
        tests = sorted({test for name in options.modules for test in MODULES[name]})
        flags = ["-q", "-s", "-p", "no:cacheprovider", "--basetemp", str(place / "tests")]
        pytest.main([*flags, *tests], plugins=[bench])
    finally:
        shutil.rmtree(place, ignore_errors=True)
    for module in options.modules:
        mine = [fate for fate in bench.fates if fate["module"] == module]
        print(f"{module:15} {sum(f['killer'] is not None for f in mine):4} of {len(mine)}")
    seen = sum(fate["killer"] is not None for fate in bench.fates)
    print(f"{seen} of {len(bench.fates)} changes seen: {seen / max(len(bench.fates), 1):.1%}")
    return 0 if bench.fates and seen >= BAR * len(bench.fates) else 1


if __name__ == "__main__":
    # One thread: a fork keeps none but the one that forks.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    sys.exit(main())
