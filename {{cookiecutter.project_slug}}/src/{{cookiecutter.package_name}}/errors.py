"""Errors for the person who sees them: what is wrong, where, and what to do next."""


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
