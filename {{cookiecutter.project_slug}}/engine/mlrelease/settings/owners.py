"""CODEOWNERS: who must approve what runs in production, and whether GitHub knows them."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

from mlrelease.github.api import GitHubError, Json
from mlrelease.github.settings import Check, Settings
from mlrelease.records.record import record_path

PLACES = (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")  # GitHub takes the first


def check(settings: Settings) -> Iterator[Check]:
    """GitHub's own complaints about the file on main; who owns production, and who that is."""
    if settings.rulesets is None:
        message = "private repositories have none on this plan: any approval counts"
        yield Check("code owners", "note", message)
        return
    place = next((name for name in PLACES if (settings.root / name).is_file()), PLACES[1])
    page = settings.page(f"blob/main/{place}")
    answer = settings.github.find("/codeowners/errors")
    if answer is None:
        how = f"git add {place} && git commit && git push"
        yield Check("code owners", "FAILED", f"{place} is not on main: nobody must approve", (how,))
        return
    errors: list[Json] = answer["errors"]
    if errors:
        more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
        message = f"{place} on main: {errors[0]['message'].splitlines()[0]}{more}"
        yield Check("code owners", "FAILED", message, (page,))
    else:
        yield Check("code owners", "ok", f"GitHub finds no fault with {place}")
    path = settings.root / place
    found = owners(path.read_text(encoding="utf-8") if path.is_file() else "")
    if not found:
        message = f"nobody owns {record_path('production')}: nobody must approve"
        yield Check("approvers", "FAILED", message, (f"name them in {place}, and push it",))
    for owner in found:
        blamed = any(owner in f"{e['message']} {e.get('source')}" for e in errors)
        yield _owner(settings, owner, blamed, place)


def owners(text: str, path: str = record_path("production")) -> tuple[str, ...]:
    """Who owns a path: the owners that the last matching line names."""
    found: tuple[str, ...] = ()
    for line in text.splitlines():
        pattern, *names = line.split("#")[0].split() or [""]
        if pattern and _matches(pattern, path):
            found = tuple(names)
    return found


def _matches(pattern: str, path: str) -> bool:
    """Whether a pattern names a path, or a folder that it lies in."""
    parts = path.split("/")
    anchored = "/" in pattern.rstrip("/")
    starts = range(1) if anchored else range(len(parts))
    names = ("/".join(parts[i:j]) for i in starts for j in range(i + 1, len(parts) + 1))
    return any(fnmatchcase(name, pattern.strip("/")) for name in names)


def _owner(settings: Settings, owner: str, blamed: bool, place: str) -> Check:
    """Whether a person or a team is there."""
    organisation, slash, team = owner.removeprefix("@").partition("/")
    edit = f"edit {place}, and push it"
    if not owner.startswith("@"):
        return Check("approvers", "note", f"{owner}: who has this address is not visible")
    if slash and not settings.is_organisation:
        message = f"{owner} is a team, and {settings.name} belongs to a person"
        return Check("approvers", "FAILED", message, (f"write @{organisation}: {edit}",))
    where = f"orgs/{organisation}/teams/{team}" if slash else f"users/{organisation}"
    try:
        found = settings.github.find(f"{settings.api}/{where}")
    except GitHubError as error:
        if error.status != 403:
            raise
        return Check("approvers", "note", f"{owner}: not visible with this token: {error}")
    if found is not None:
        return Check("approvers", "ok", f"{owner} is there")
    if slash and not blamed:  # a token without read:org sees no teams
        return Check("approvers", "note", f"{owner}: not visible with this token (read:org)")
    make = f"make it: {settings.server}/orgs/{organisation}/new-team"
    give = f"and let it write: {settings.page('settings/access')}"
    how = (make, give, f"or {edit}") if slash else (edit,)
    return Check("approvers", "FAILED", f"{owner} is not there", how)
