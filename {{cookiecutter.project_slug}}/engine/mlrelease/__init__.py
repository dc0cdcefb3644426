"""What a project gives to the engine: `Project`, and what its own code needs to say it."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlrelease.errors import InputError as InputError
    from mlrelease.params import Params as Params
    from mlrelease.project import Project as Project
    from mlrelease.scoring.features import Column as Column
    from mlrelease.sources import read_table as read_table

__version__ = "1.0.0"
__all__ = ["Column", "InputError", "Params", "Project", "read_table"]

_PLACES = {
    "Column": "scoring.features",
    "InputError": "errors",
    "Params": "params",
    "Project": "project",
    "read_table": "sources",
}


def __getattr__(name: str) -> Any:
    """Imported when it is asked for: what serves needs none of it."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
