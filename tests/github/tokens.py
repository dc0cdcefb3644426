"""Who calls, and what they may do."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

ROLES = ("none", "read", "triage", "write", "maintain", "admin")
WRITERS = ("write", "maintain", "admin")
GRANTABLE = {  # what `permissions:` of a workflow can name
    *("actions", "attestations", "checks", "contents", "deployments", "discussions", "id-token"),
    *("issues", "models", "packages", "pages", "pull-requests", "security-events", "statuses"),
}
# Only people and apps hold these, a job never; a collaborator needs the role to read or write.
RESERVED = {
    "administration": ("admin", "admin"),
    "environments": ("write", "admin"),
    "members": ("read", "admin"),
    "variables": ("write", "write"),
    "workflows": ("write", "write"),
}


@dataclass(frozen=True)
class Token:
    """A user's token, an app's, the GITHUB_TOKEN of one job, or a deploy key (for git only)."""

    value: str
    login: str
    kind: Literal["user", "app", "job", "key"]
    role: str = "none"
    repository: str = ""
    job: str = ""
    permissions: Mapping[str, str] = field(default_factory=dict)

    @property
    def who(self) -> str:
        """The name in the list of calls: the job, or the login."""
        return self.job or self.login

    def role_in(self, repository: str) -> str:
        """A user's role; everybody is the administrator of what they own."""
        return "admin" if repository.split("/")[0] == self.login else self.role

    def sees(self, repository: str, private: bool) -> bool:
        if not private:
            return True
        if self.kind == "user":
            return self.role_in(repository) != "none"
        return self.kind == "app" or self.repository == repository

    def may(self, repository: str, permission: str, level: str, least: str | None = None) -> bool:
        """Whether the token holds the permission; `least` is a lower role that is enough."""
        if permission == "metadata":
            return True
        if self.kind == "user":
            levels = RESERVED.get(permission, ("read", "write"))
            needed = least or levels[level == "write"]
            return ROLES.index(self.role_in(repository)) >= ROLES.index(needed)
        if self.kind in ("job", "key") and self.repository != repository:
            return False
        return self.permissions.get(permission, "none") in (level, "write")


def checked_permissions(permissions: Mapping[str, str]) -> dict[str, str]:
    """What a job may hold; anything else is an error in the workflow."""
    for name, level in permissions.items():
        if name not in GRANTABLE or level not in ("read", "write", "none"):
            raise ValueError(f"permissions: {name}: {level} is nothing that a job can be granted")
    return {**permissions, "metadata": "read"}
