"""Exceptions as the sentence that the person reads. Pure."""

from __future__ import annotations

from nanobot.errors import NanobotError


def sentence_of(error: BaseException) -> str:
    """A sentence for an error, or for the first of a group."""
    if isinstance(error, BaseExceptionGroup):
        return sentence_of(error.exceptions[0])
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, NanobotError) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}"
