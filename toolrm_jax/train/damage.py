"""What an error says of the files that were read: that they are damaged, or only that they could not be read now."""

from __future__ import annotations

import re

_STATUS = re.compile(r"([A-Z]+(?:_[A-Z]+)*): ")
"""TensorStore raises ValueErrors that begin with the status of the operation."""
_OF_DAMAGE = ("DATA_LOSS", "FAILED_PRECONDITION", "INVALID_ARGUMENT", "NOT_FOUND", "OUT_OF_RANGE")


def cause(error: Exception) -> Exception:
    """The error itself, or the one that Orbax has wrapped in a bare Exception."""
    while type(error) is Exception and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def is_damage(error: Exception) -> bool:
    """Whether files are missing, cut off, or not of their format: no later attempt would find them otherwise."""
    if isinstance(error, ValueError):
        status = _STATUS.match(str(error))
        return status is None or status[1] in _OF_DAMAGE
    return isinstance(error, FileNotFoundError | KeyError)


def is_unreadable(error: Exception) -> bool:
    """Whether the system refused to read, of which a later attempt may say nothing: a permission, a failing disk."""
    return isinstance(error, OSError | ValueError) and not is_damage(error)


def first_line(error: Exception, length: int = 160) -> str:
    """The error in one line."""
    return next(iter(str(error).splitlines()), "")[:length] or type(error).__name__
