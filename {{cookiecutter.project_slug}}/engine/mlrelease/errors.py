"""Errors for the person who sees them: what is wrong, where, and what to do next. No message quotes
a value of a row, since messages end in logs and issues that others read."""

import errno
import os
import traceback
from pathlib import Path

HERE = Path(__file__).parent
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})  # a disk takes no more
ROOM, ALLOW, AWAY = "make room", "allow this user to use it", "move away what is there"
HINTS = {
    errno.ENOSPC: ROOM, errno.EDQUOT: ROOM, errno.EFBIG: "allow larger files (`ulimit -f`)",
    errno.EROFS: "make it writable, or set MODEL_STATE to another folder",
    errno.EACCES: ALLOW, errno.EPERM: ALLOW, errno.EEXIST: AWAY, errno.ENOTDIR: AWAY,
    errno.EISDIR: AWAY,
}  # fmt: skip


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
    """A fault that is not one of ours, on one line: a file or a disk that does not let us, or what
    nobody thought of. The words of the latter may quote a row, so it is named by its place."""
    if isinstance(error, OSError) and error.errno in HINTS:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{os.strerror(error.errno)}; {HINTS[error.errno]}, then run this again"
    if isinstance(error, OSError):
        return f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"
    ours = [
        f
        for f in traceback.extract_tb(error.__traceback__)
        if Path(f.filename).is_relative_to(HERE)
    ]
    place = f" in {Path(ours[-1].filename).name}, line {ours[-1].lineno}" if ours else ""
    return f"unexpected {type(error).__name__}{place}"
