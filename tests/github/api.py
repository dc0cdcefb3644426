"""Every endpoint of the REST API that the stand-in answers."""

from . import (
    api_accounts,
    api_checks,
    api_environments,
    api_git,
    api_issues,
    api_pulls,
    api_settings,
    api_workflows,
)

MODULES = (
    *(api_accounts, api_checks, api_environments, api_git, api_issues, api_pulls, api_settings),
    api_workflows,
)
