"""Errors for the person who sees them: what is wrong, where, and what to do next. No message quotes
a value of a row, since messages end in logs and issues that others read."""

import traceback
from pathlib import Path

HERE = Path(__file__).parent


class ModelError(Exception):
    """Something a person can mend. The command line prints it as one line, without a traceback."""

    exit_code = 1


class RefusedError(ModelError):
    """A rule said no. Nothing was changed."""


class UnclearError(ModelError):
    """It can be told neither to be right nor to be wrong now: something is away."""


class InputError(ModelError):
    """A file, an argument or a setting is wrong."""

    exit_code = 2


def unexpected(error: BaseException) -> str:
    """A fault that nobody thought of, on one line. Its words may quote a row, unless they are those
    of the operating system; so it is named by its place."""
    if isinstance(error, OSError):
        return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
    ours = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if Path(f.filename).is_relative_to(HERE)
    ]
    place = f" in {Path(ours[-1].filename).name}, line {ours[-1].lineno}" if ours else ""
    return f"unexpected {type(error).__name__}{place}"
