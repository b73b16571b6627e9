"""What the exit code of ``llamaforge`` says, and which error has which."""

from __future__ import annotations

from typing import Final

FINE: Final = 0
UNEXPECTED: Final = 1
USAGE: Final = 2
BACKEND: Final = 3
MODEL: Final = 4
ENGINE: Final = 5
UNWRITABLE: Final = 6
INTERRUPTED: Final = 130
CLOSED_OUTPUT: Final = 141

MEANINGS: Final = {
    FINE: "success",
    UNEXPECTED: "an unexpected failure: a bug in LlamaForge or in a plugin",
    USAGE: "a wrong option, an unknown parameter or model, an empty prompt",
    BACKEND: "a backend is unknown, not installed or broken",
    MODEL: "the model can't be fetched or loaded",
    ENGINE: "the engine or its server failed, or rows of a batch",
    UNWRITABLE: "standard output can't be written: it is closed, or the disk is full",
    INTERRUPTED: "stopped with Ctrl-C",
    CLOSED_OUTPUT: "the program that read standard output, such as `head`, has ended",
}
"""Every exit code with its meaning. The last two are 128 plus a signal's number, as shells report it."""


def exit_code(error: BaseException) -> int:
    """The exit code of *error*, by its type."""
    from .. import errors
    from .output import UnwritableOutputError

    if isinstance(error, UnwritableOutputError):
        return UNWRITABLE
    if isinstance(
        error,
        errors.RequestError
        | errors.UnknownModelError
        | errors.ModelExistsError
        | errors.ModelFileError
        | errors.BatchFileError
        | errors.LogFileError
        | errors.InvalidReferenceError,
    ):
        return USAGE
    if isinstance(error, errors.BackendError):
        return BACKEND
    if isinstance(error, errors.ModelError | errors.SourceError):
        return MODEL
    if isinstance(error, errors.EngineError):
        return ENGINE
    return UNEXPECTED
