"""A workflow made ready for act: what it calls, what each job may do, and the jobs' tokens.

act has one token for everything, GitHub one for each job. So in the throw-away clone `github.token`
and `secrets.GITHUB_TOKEN` are replaced by the job's own token, written out; where an action's
input defaults to `github.token`, the input is passed. A called workflow gets a copy for each call.
A job's `environment:` is left out: act gives it no effect, and does not know its `deployment:`.
Nothing else of a workflow is changed.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from .tokens import GRANTABLE, ROLES

_NAME = r"(?<![\w.'-])(?:github\.token|github\['token'\]|secrets\.GITHUB_TOKEN)(?![\w-])"
TOKEN = re.compile(_NAME, re.IGNORECASE)
ONLY_TOKEN = re.compile(r"\$\{\{\s*" + _NAME + r"\s*\}\}", re.IGNORECASE)
EXPRESSION = re.compile(r"\$\{\{.*?\}\}", re.DOTALL)
PINNED = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(?P<path>(?:/[\w.-]+)*)@(?P<ref>[0-9a-f]{40})")
DEFAULT = {"contents": "read", "packages": "read"}  # "restricted", as new repositories have it

# What act knows of `github.`; anything else would be empty there, and not on GitHub.
KNOWN = """
    action action_path action_ref action_repository actor api_url base_ref event event_name
    event_path graphql_url head_ref job ref ref_name ref_type repository repository_owner
    retention_days run_attempt run_id run_number server_url sha token workflow workspace
"""
# What act leaves out without a word.
IGNORED = ("container", "services", "continue-on-error")


class WorkflowError(Exception):
    """A workflow that GitHub, or this stand-in for its runner, does not take."""


@dataclass
class Job:
    """A job as written; `called` is the workflow that it calls."""

    id: str
    written: dict[str, Any]
    called: "Plan | None" = None

    @property
    def name(self) -> str:
        """As written: expressions stand in it."""
        return str(self.written.get("name", self.id))

    @property
    def matrix(self) -> Any:
        return (self.written.get("strategy") or {}).get("matrix")


@dataclass
class Plan:
    """A workflow file, and the jobs in it."""

    name: str
    written: dict[Any, Any]
    jobs: dict[str, Job] = field(default_factory=dict)


def permissions(
    job: dict[str, Any], workflow: dict[Any, Any], most: dict[str, str] | None, where: str
) -> dict[str, str]:
    """What GitHub grants a job; `most` is what the calling job has."""
    declared = job.get("permissions", workflow.get("permissions"))
    if declared is None:
        return dict(DEFAULT if most is None else most)
    if isinstance(declared, str):
        level = {"read-all": "read", "write-all": "write"}[declared]
        return dict.fromkeys(GRANTABLE, level)
    if unknown := set(declared) - GRANTABLE:
        raise WorkflowError(f"{where}: GitHub knows no permission {', '.join(sorted(unknown))}")
    for name, level in declared.items():
        has = "write" if most is None else most.get(name, "none")
        if ROLES.index(level) > ROLES.index(has):
            raise WorkflowError(f"{where}: asks for {name}: {level}, its caller has only {has}")
    return {name: level for name, level in declared.items() if level != "none"}


def read_only(granted: dict[str, str]) -> dict[str, str]:
    """What is left of it for a pull request from a fork."""
    return {name: "read" for name in granted if name != "id-token"}


@dataclass
class Workflows:
    """The workflows in a throw-away clone, to be made ready in place."""

    clone: Path
    standins: Path
    token: Callable[[dict[str, str], str], str]
    actions: dict[str, Path] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)
    tokens: list[str] = field(default_factory=list)

    def prepare(self, path: str, target: str = "", most: dict[str, str] | None = None) -> Plan:
        """Write the workflow with its jobs' tokens to `target`, or in place."""
        text = (self.clone / path).read_text(encoding="utf-8")
        node: Any = yaml.compose(text)
        for context in re.findall(r"\bgithub\.([a-z_]+)", " ".join(_expressions(node))):
            if context not in KNOWN.split():
                raise WorkflowError(f"{path}: act does not know github.{context}")
        written = yaml.safe_load(text)
        if "name" not in written:
            raise WorkflowError(f"{path}: give the workflow a name")
        plan = Plan(written["name"], written)
        entries = []
        for key, value in node.value:
            if key.value == "jobs":
                ready = [
                    (job, self._job(plan, path, job.value, node, most)) for job, node in value.value
                ]
                value = yaml.MappingNode(value.tag, ready)
            elif TOKEN.search(" ".join(_expressions(value))):
                raise WorkflowError(f"{path}: {key.value}: give the token to the jobs that need it")
            entries.append((key, value))
        names = [job.name for job in plan.jobs.values()]
        if len(set(names)) < len(names):
            raise WorkflowError(f"{path}: two jobs have one name")
        whole = yaml.MappingNode("tag:yaml.org,2002:map", entries)
        (self.clone / (target or path)).write_text(yaml.serialize(whole), encoding="utf-8")
        return plan

    def _job(
        self, plan: Plan, path: str, name: str, node: Any, most: dict[str, str] | None
    ) -> yaml.Node:
        where = f"{path}: {name}"
        job = Job(name, plan.written["jobs"][name])
        plan.jobs[name] = job
        for key in IGNORED:
            if key in job.written:
                raise WorkflowError(f"{where}: act ignores {key}")
        granted = permissions(job.written, plan.written, most, where)
        if uses := job.written.get("uses"):
            if not uses.startswith("./.github/workflows/"):
                raise WorkflowError(
                    f"{where}: {uses}: only this repository's workflows have a stand-in"
                )
            if TOKEN.search(" ".join(_expressions(node))):
                raise WorkflowError(f"{where}: the called workflow has a token of its own")
            if "${{" in job.name or job.matrix:
                raise WorkflowError(f"{where}: a call has no matrix and a plain name, here")
            source = Path(uses)
            target = source.with_stem(f"{source.stem}--{Path(path).stem}-{name}").as_posix()
            job.called = self.prepare(source.as_posix(), target, granted)
            return _replace(node, uses, f"./{target}")
        self.labels |= _labels(job.written.get("runs-on"))
        token = self.token(granted, where)
        self.tokens.append(token)
        defaults = {
            step["uses"]: self._action(step, where)
            for step in job.written.get("steps", [])
            if "uses" in step
        }
        entries = [(key, value) for key, value in node.value if key.value != "environment"]
        known = yaml.MappingNode(node.tag, entries)
        return _with_defaults(_with_token(known, token), defaults, token)

    def _action(self, step: dict[str, Any], where: str) -> list[str]:
        """Find what a step uses; the inputs whose default is the token."""
        uses = step["uses"]
        if uses.startswith("./"):
            inputs = self._composite(uses, where)
        else:
            pinned = PINNED.fullmatch(uses)
            if not pinned:
                raise WorkflowError(f"{where}: {uses}: not pinned by a full commit SHA")
            name, path, ref = pinned.group("name", "path", "ref")
            action = self.standins / name / path.lstrip("/") / "action.yml"
            if not action.is_file():
                raise WorkflowError(f"{where}: {uses}: no stand-in; write {name}{path}/action.yml")
            self.actions[f"{name}@{ref}"] = self.standins / name
            inputs = yaml.safe_load(action.read_text(encoding="utf-8")).get("inputs")
        declared = {name: about or {} for name, about in (inputs or {}).items()}
        given = set(step.get("with") or {})
        if unknown := given - set(declared):
            raise WorkflowError(f"{where}: {uses}: knows no input {', '.join(sorted(unknown))}")
        required = {
            name
            for name, about in declared.items()
            if about.get("required") and "default" not in about
        }
        if missing := required - given:
            raise WorkflowError(f"{where}: {uses}: needs {', '.join(sorted(missing))}")
        return [
            name for name, about in declared.items() if TOKEN.search(str(about.get("default", "")))
        ]

    def _composite(self, uses: str, where: str) -> Any:
        """Look into an action of the repository itself; its inputs."""
        folder = self.clone / uses
        files = [folder / name for name in ("action.yml", "action.yaml")]
        found = next((file for file in files if file.is_file()), None)
        if found is None:
            raise WorkflowError(f"{where}: {uses}: there is no action.yml in the repository")
        text = found.read_text(encoding="utf-8")
        if TOKEN.search(text):
            raise WorkflowError(f"{where}: {uses}: a composite must take the token as an input")
        action = yaml.safe_load(text)
        for step in action["runs"].get("steps", []):
            for name in self._action(step, f"{where}: {uses}") if "uses" in step else ():
                if name not in (step.get("with") or {}):
                    raise WorkflowError(f"{where}: {uses}: pass {name} to {step['uses']}")
        return action.get("inputs")


def _labels(runs_on: Any) -> set[str]:
    """Every runner that may be meant: of an expression, each name that is quoted in it."""
    if isinstance(runs_on, dict):
        runs_on = runs_on.get("labels")
    written = runs_on if isinstance(runs_on, list) else [runs_on]
    found = set()
    for label in filter(None, written):
        quoted = [
            name for part in EXPRESSION.findall(label) for name in re.findall("'([^']+)'", part)
        ]
        found |= set(quoted) if "${{" in label else {label}
    return found


def _expressions(node: Any, key: str = "") -> Iterator[str]:
    """Everything that is evaluated; an `if:` needs no `${{ }}`."""
    if isinstance(node, yaml.ScalarNode):
        yield from [node.value] if key == "if" else EXPRESSION.findall(node.value)
    elif isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            yield from _expressions(value, name.value)
    else:
        for value in node.value:
            yield from _expressions(value)


def _text(value: str) -> yaml.ScalarNode:
    return yaml.ScalarNode("tag:yaml.org,2002:str", value, style='"')


def _replace(node: Any, old: str, new: str) -> yaml.Node:
    """The call of a workflow, of its copy instead."""
    entries = [(key, _text(new) if value.value == old else value) for key, value in node.value]
    return yaml.MappingNode(node.tag, entries)


def _with_token(node: Any, token: str, key: str = "") -> yaml.Node:
    """A copy in which the token is written out."""
    if isinstance(node, yaml.MappingNode):
        entries = [(name, _with_token(value, token, name.value)) for name, value in node.value]
        return yaml.MappingNode(node.tag, entries)
    if isinstance(node, yaml.SequenceNode):
        return yaml.SequenceNode(node.tag, [_with_token(value, token) for value in node.value])
    if not TOKEN.search(node.value):
        return yaml.ScalarNode(node.tag, node.value, style=node.style)
    if key == "if" and "${{" not in node.value:
        return _text(TOKEN.sub(f"'{token}'", node.value))
    plain = ONLY_TOKEN.sub(token, node.value)
    return _text(EXPRESSION.sub(lambda found: TOKEN.sub(f"'{token}'", found[0]), plain))


def _with_defaults(job: Any, defaults: dict[str, list[str]], token: str) -> yaml.Node:
    """Pass the token where an action would take it by itself."""
    for key, steps in job.value:
        for step in steps.value if key.value == "steps" else ():
            given = {name.value: value for name, value in step.value}
            wanted = defaults.get(given["uses"].value, []) if "uses" in given else []
            inputs = given.get("with") or yaml.MappingNode("tag:yaml.org,2002:map", [])
            present = {name.value for name, _ in inputs.value}
            for name in wanted:
                if name not in present:
                    inputs.value.append((_text(name), _text(token)))
            if wanted and "with" not in given:
                step.value.append((_text("with"), inputs))
    return job  # type: ignore[no-any-return]
