"""What GitHub says of a repository's settings, each asked for once, and what to say of them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from mlrelease.files import read_json
from mlrelease.github.api import GitHubError, Json
from mlrelease.github.repository import GitHub
from mlrelease.records.git import BRANCH

RULESET = ".github/rulesets/main.json"
LEDGER_RULESET = ".github/rulesets/env.json"
KEY_RULESET = ".github/rulesets/env-key.json"
RELEASE = "release"  # the environment whose secret is the key
NOT_VISIBLE = "not visible with this token"


@dataclass(frozen=True)
class Check:
    """A finding about a repository; `remedy` says what to do, line by line."""

    name: str
    state: Literal["ok", "FAILED", "note"]
    message: str
    remedy: tuple[str, ...] = ()


class Settings:
    """The settings of one repository. Each raises GitHubError where the token may not see it."""

    def __init__(self, github: GitHub, root: Path) -> None:
        self.github, self.root = github, root
        self.name, self.server = github.repository.name, github.repository.server
        self._rulesets: dict[str, Json | None] = {}
        self.owner, self.api = self.name.split("/")[0], github.repository.api

    def page(self, path: str) -> str:
        """The address where people see or change something of this repository."""
        return f"{self.server}/{self.name}/{path}"

    @property
    def is_cloud(self) -> bool:
        """github.com, or a company's own part of it; not GitHub Enterprise Server."""
        return self.server == "https://github.com" or self.server.endswith(".ghe.com")

    @cached_property
    def about(self) -> Json:
        """The repository itself."""
        found: Json = self.github.get(f"{self.api}/repos/{self.name}")
        return found

    @property
    def is_organisation(self) -> bool:
        return bool(self.about["owner"]["type"] == "Organization")

    @cached_property
    def pushed(self) -> bool:
        """Whether main is there."""
        return self.github.find(f"/branches/{BRANCH}") is not None

    @cached_property
    def variables(self) -> dict[str, str]:
        """What workflows see: the organisation's variables, and over them the repository's."""
        paths = ["/actions/organization-variables"] * self.is_organisation + ["/actions/variables"]
        return {v["name"]: v["value"] for path in paths for v in self.github.pages(path)}

    @cached_property
    def rulesets(self) -> list[Json] | None:
        """The repository's own rulesets; None where the plan has none."""
        try:
            found = [*self.github.pages("/rulesets")]
        except GitHubError as error:
            if error.status == 403 and "upgrade" in str(error).lower():
                return None
            raise
        return [r for r in found if r["source_type"] == "Repository"]  # not the organisation's

    @property
    def is_limited(self) -> bool:
        """Private, on a plan without rulesets; it has no code owners and environments either."""
        return self.rulesets is None

    def wanted_ruleset(self, path: str) -> Json:
        """A file of .github/rulesets."""
        found: Json = read_json(self.root / path)
        return found

    def ruleset(self, path: str) -> Json | None:
        """The repository's ruleset of the name that the file gives, if there is one."""
        if path not in self._rulesets:
            name = self.wanted_ruleset(path)["name"]
            same = next((r for r in self.rulesets or [] if r["name"] == name), None)
            self._rulesets[path] = self.github.get(f"/rulesets/{same['id']}") if same else None
        return self._rulesets[path]

    @cached_property
    def release(self) -> Json | None:
        """The environment of the job that appends to the ledger, if there is one."""
        found: Json | None = self.github.find(f"/environments/{RELEASE}")
        return found

    @cached_property
    def write_keys(self) -> list[str]:
        """The titles of the deploy keys that may push; shown to administrators."""
        return [key["title"] for key in self.github.pages("/keys") if not key["read_only"]]
