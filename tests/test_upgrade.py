"""A project of the version before, with its store, records and ledgers, goes on with today's."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from .conftest import PYTHON_VERSION, ROOT, BakedProject, Baker

pytestmark = pytest.mark.slow

BEFORE = "7970bd14f965b8cd1b08929f54fad3598ac31aee"  # the template that made records without a key
LIFE = Path(__file__).with_name("earlier_life.py")
# What an update leaves to its owner. The code among it is of the version before, and changed.
OWN = ("params.yaml", "policy.yaml", "data")
OWN_CODE = ("data.py", "model.py")
MOVED = {  # what an owner changes in them, as docs/updating.md says
    "from .config import": "from mlrelease import",
    "from .errors import": "from mlrelease import",
    "from .features import": "from mlrelease import",
    "from .files import": "from mlrelease.files import",
}
ANSWERS = {"python_version": PYTHON_VERSION, "github_owner": "acme"}


@dataclass(frozen=True)
class Machine:
    """A checkout with its state, and the hand of a person on it."""

    root: Path
    python: Path

    def _variables(self) -> dict[str, str]:
        away = ("GIT_", "GITHUB_", "GH_", "MODEL_", "LEDGER_", "REGISTRY", "TRUST")
        kept = {name: text for name, text in os.environ.items() if not name.startswith(away)}
        person = {f"GIT_{who}_{what}": "ann@example.org"
                  for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}  # fmt: skip
        quiet = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        code = os.pathsep.join(str(self.root / name) for name in ("engine", "src"))
        return kept | person | quiet | {"PYTHONPATH": code}

    @property
    def command(self) -> str:
        """The module that is the command `model`: the project's own, before the wall."""
        return "mlrelease" if (self.root / "engine").exists() else "my_model"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command here; what it says is looked at."""
        variables = self._variables()
        return subprocess.run(
            command, cwd=self.root, env=variables, capture_output=True, text=True, check=False
        )

    def said(self, *command: str) -> str:
        """What a command prints, which must succeed."""
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def git(self, *arguments: str) -> str:
        return self.said("git", *arguments)

    def model(self, *arguments: str) -> str:
        return self.said(str(self.python), "-m", self.command, *arguments)

    def refused(self, *arguments: str) -> str:
        """What a verb says that must refuse: no traceback, and no more lines than faults."""
        done = self.run(str(self.python), "-m", self.command, *arguments)
        assert done.returncode in (1, 2), f"{arguments}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stderr

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        self.git("push", "--quiet", "origin", "main")

    def merge(self, branch: str) -> None:
        """What a reviewer does to approve."""
        self.git("fetch", "--quiet", "origin")
        self.git("merge", "--quiet", "--no-ff", "--message", f"Merge {branch}", f"origin/{branch}")
        self.git("push", "--quiet", "origin", "main")

    def opened(self, *arguments: str) -> str:
        """The branch of what a verb proposed."""
        return str(json.loads(self.model(*arguments, "--json"))["branch"])

    def in_step(self) -> dict[str, str]:
        """What `model status` says was released, where all of it runs."""
        found = json.loads(self.model("status", "--json"))
        assert all(state["running"] == state["released"] for state in found), found
        return {state["environment"]: state["released"] for state in found}

    def stored(self) -> dict[str, str]:
        """Every file of the store, and a digest of what it holds."""
        files = sorted(path for path in (self.root / ".model/store").rglob("*") if path.is_file())
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> BakedProject:
    """A bake of the template as it was."""
    held = subprocess.run(
        ("git", "cat-file", "-e", f"{BEFORE}^{{commit}}"),
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if held.returncode:
        pytest.skip(f"this clone lacks the version before: git fetch origin {BEFORE}")
    folder = tmp_path_factory.mktemp("earlier")
    archive = subprocess.run(
        ("git", "archive", BEFORE), cwd=ROOT, capture_output=True, check=True
    ).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(folder / "template", filter="data")
    return Baker(folder / "template", folder).bake(**ANSWERS)


@pytest.fixture
def machine(
    earlier: BakedProject, installed: BakedProject, venv: Path, tmp_path: Path
) -> Iterator[Machine]:
    """A project of the version before, as its owner has it, with a bare origin."""
    assert installed.path.exists(), "whose dependencies `venv` holds"
    root, origin = tmp_path / "project", tmp_path / "origin.git"
    shutil.copytree(earlier.path, root)
    policy = yaml.safe_load((root / "policy.yaml").read_text())
    for rules in policy["environments"].values():
        del rules["port"]  # free ones
    (root / "policy.yaml").write_text(yaml.safe_dump(policy, sort_keys=False))
    for name in OWN_CODE:
        path = root / "src/my_model" / name
        path.write_text(path.read_text() + "\n# Changed by its owner.\n")
    machine = Machine(root, venv / "bin" / "python")
    machine.git("init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    machine.git("init", "--quiet", "--initial-branch=main")
    machine.git("remote", "add", "origin", str(origin))
    machine.commit("Start")
    try:
        yield machine
    finally:
        machine.run(str(machine.python), "-m", machine.command, "deploy", "--down")


def update(machine: Machine, earlier: BakedProject, today: BakedProject) -> None:
    """What `cruft update` does where an owner keeps what is theirs, and moves its imports."""
    for name in set(earlier.files()) - set(today.files()):
        (machine.root / name).unlink()
    for name in OWN_CODE:
        path = machine.root / "src/my_model" / name
        text = path.read_text()
        for old, new in MOVED.items():
            text = text.replace(old, new)
        path.write_text(text)
    for name in today.files():
        path = Path(name)
        own = path.parts[0] in OWN or (path.parent.name == "my_model" and path.name in OWN_CODE)
        if not own and "__pycache__" not in path.parts:
            (machine.root / path.parent).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(today.path / path, machine.root / path)
    machine.commit("Update the template")


def test_a_project_of_the_version_before_goes_on(
    machine: Machine, earlier: BakedProject, baker: Baker, tmp_path: Path
) -> None:
    """Its records have no key, its models say nothing of their rows, its store no fitted rows."""
    lived = machine.said(str(machine.python), str(LIFE), "my_model", str(machine.root))
    first, same = json.loads(lived.splitlines()[-1])
    assert first == same, "staging was rolled back to what production runs"
    before = machine.stored()
    update(machine, earlier, baker.bake(**ANSWERS))

    goes_on_where_it_ran(machine, first)
    starts_on_another_machine(clone(machine, tmp_path / "fresh"), first)
    says_what_it_does_not_take_over(machine)
    new = promotes_on_top(machine)
    assert machine.in_step() == {"staging": new, "production": first}
    machine.merge(machine.opened("rollback", "staging", "--reason", "It was better."))

    assert f"{short(first)} is live" in machine.model("deploy", "staging")
    assert before.items() <= machine.stored().items(), "what was in the store stays"


def goes_on_where_it_ran(machine: Machine, first: str) -> None:
    """What runs is known, and not started again."""
    assert machine.in_step() == {"staging": first, "production": first}
    assert machine.model("deploy").count(f"{short(first)} runs already") == 2
    history = json.loads(machine.model("history", "staging", "--json"))
    assert [entry["change"] for entry in history] == ["rollback", "promote", "promote"]
    assert "FAILED" not in machine.model("verify")


def clone(machine: Machine, root: Path) -> Machine:
    """Another machine: it has the store, and no memory of what was verified."""
    machine.git("clone", "--quiet", str(machine.root.parent / "origin.git"), str(root))
    shutil.copytree(machine.root / ".model/store", root / ".model/store")
    return Machine(root, machine.python)


def starts_on_another_machine(fresh: Machine, first: str) -> None:
    """Every entry is verified again, by today's code, before it runs."""
    try:
        assert fresh.model("deploy").count(f"{short(first)} is live") == 2
        assert set(fresh.in_step().values()) == {first}
        assert "FAILED" not in fresh.model("verify")
    finally:
        fresh.model("deploy", "--down")


def says_what_it_does_not_take_over(machine: Machine) -> None:
    """An old candidate and an old model: one line each, which says what to do."""
    old = json.loads((machine.root / "candidate/inputs.json").read_text())["model"]

    assert machine.refused("package").splitlines()[-1] == (
        "model: the candidate was trained from other inputs: run `model train`"
    )
    given = ("--model", old, "--reason", "Once more.")
    assert machine.refused("promote", "staging", *given).splitlines()[-1] == (
        "  bound: the model does not say which rows it was made from,"
        " as older versions: train again"
    )


def promotes_on_top(machine: Machine) -> str:
    """Today's training, compared with what runs, and released; the digest of the new model."""
    params = yaml.safe_load((machine.root / "params.yaml").read_text())
    params["model"]["parameters"]["n_estimators"] = 40
    (machine.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    machine.commit("Grow more trees")
    new = str(json.loads(machine.model("train", "--json"))["model"])
    machine.model("package")
    machine.merge(machine.opened("promote", "staging"))
    assert f"{short(new)} is live" in machine.model("deploy", "staging")
    return new


def short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
