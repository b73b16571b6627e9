"""What reading a model may raise, and which of LlamaForge's errors each becomes: by type, in one table."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator

from llamaforge.errors import InvalidModelError, LlamaForgeError, ModelLoadError, ModelNotFoundError

from .arpa import ArpaError


def _missing(model: str, error: Exception) -> LlamaForgeError:
    return ModelNotFoundError(f"There is no file {model}.", model)


def _folder(model: str, error: Exception) -> LlamaForgeError:
    return InvalidModelError(model, "it is a folder; a model is one ARPA file.")


def _unreadable(model: str, error: Exception) -> LlamaForgeError:
    return ModelLoadError(model, f"it can't be read ({error})")


def _damaged(model: str, error: Exception) -> LlamaForgeError:
    return InvalidModelError(model, f"its compressed data is damaged or cut short ({error}). Download it again.")


def _no_text(model: str, error: Exception) -> LlamaForgeError:
    return InvalidModelError(model, f"it is no UTF-8 text ({error}).")


def _no_arpa(model: str, error: Exception) -> LlamaForgeError:
    return InvalidModelError(model, f"it is no sound ARPA file: {error}. `llamaforge train-ngram` makes one of a text.")


TABLE: dict[type[Exception], Callable[[str, Exception], LlamaForgeError]] = {
    FileNotFoundError: _missing,
    IsADirectoryError: _folder,
    OSError: _unreadable,
    gzip.BadGzipFile: _damaged,
    EOFError: _damaged,
    zlib.error: _damaged,
    UnicodeDecodeError: _no_text,
    ArpaError: _no_arpa,
}
"""Exception to error; the most special type decides. A test holds it against what the package and gzip define."""


@contextlib.contextmanager
def translated(model: str) -> Iterator[None]:
    """Run what may fail while *model* is read. What is not in the table passes: LlamaForge reports it as unexpected."""
    try:
        yield
    except LlamaForgeError:
        raise
    except Exception as error:
        make = next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), None)
        if make is None:
            raise
        raise make(model, error) from error
