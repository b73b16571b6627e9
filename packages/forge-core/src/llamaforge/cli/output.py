"""Standard output is for text alone: it is kept aside while anything runs that may print.

Engines written in C print to file descriptor 1 and plugins call ``print``. So a command holds a duplicate of the real
standard output, and descriptor 1 leads to standard error meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

_STDIN, _STDOUT, _STDERR = 0, 1, 2


class ClosedOutputError(Exception):
    """Whoever read standard output is gone, as ``head`` is after its last line."""


class UnwritableOutputError(Exception):
    """Standard output can't be written: it is closed, or its disk is full."""

    def __init__(self, error: OSError) -> None:
        self.error = error
        reason = "it is closed" if error.errno == errno.EBADF else error.strerror or str(error)
        super().__init__(f"Standard output can't be written: {reason}.")


class Output:
    """Where a command's text goes.

    Every method that writes raises ClosedOutputError where nobody reads it any more, and UnwritableOutputError.
    """

    def __init__(self, stream: TextIO, *, descriptor: int | None = None) -> None:
        self._stream = stream
        self._descriptor = descriptor
        self.is_terminal = _is_terminal(stream)

    def write(self, text: str) -> None:
        """Write *text* at once."""
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            raise _written(error) from error

    def line(self, text: str = "") -> None:
        """Write *text* and a line break."""
        self.write(f"{text}\n")

    def json(self, value: Any) -> None:
        """Write *value* as one JSON document: a line, or indented for a terminal."""
        import json

        self.line(json.dumps(_finite(value), ensure_ascii=False, indent=2 if self.is_terminal else None, default=str))

    def styled(self, text: str, **style: Any) -> str:
        """*text* in colour on a terminal, else as it is."""
        if not self.is_terminal or os.environ.get("NO_COLOR"):
            return text
        import click

        return click.style(text, **style)

    @contextlib.contextmanager
    def as_stdout(self) -> Iterator[None]:
        """Make the terminal the process's standard output again for a while: line editing needs it there.

        Where the real standard output is no terminal, descriptor 1 stays with standard error, which then takes the
        prompt.
        """
        inner, outer = sys.stdout, sys.__stdout__
        if self._descriptor is None or outer is None:
            yield
            return
        outer.flush()
        if self.is_terminal:
            os.dup2(self._descriptor, _STDOUT)
        sys.stdout = outer
        try:
            yield
        finally:
            sys.stdout = inner
            if self.is_terminal:
                _point_stdout_at_stderr()


@contextlib.contextmanager
def text_output() -> Iterator[Output]:
    """Keep standard output for what is written to the :class:`Output`; all else goes to standard error.

    Where ``sys.stdout`` is no file, as under a test runner that captures it, only ``sys.stdout`` is replaced.

    Raises UnwritableOutputError where standard output is closed: before the work is done whose result nobody gets.
    """
    if _is_descriptor_1(sys.stdout):
        try:
            os.write(_STDOUT, b"")
        except OSError as error:
            raise _written(error) from error
    with quiet_output() as output:
        yield output


@contextlib.contextmanager
def quiet_output() -> Iterator[Output]:
    """:func:`text_output` for what needs no standard output, and so doesn't mind that it is closed."""
    stdout = sys.stdout
    diverted: TextIO = sys.stderr if sys.stderr is not None else io.StringIO()
    if not _is_descriptor_1(stdout):
        with contextlib.redirect_stdout(diverted):
            yield Output(stdout if stdout is not None else io.StringIO())
        return
    stdout.flush()
    kept = os.dup(_STDOUT)
    stream = open(kept, "w", encoding="utf-8", errors="replace")  # noqa: SIM115, PTH123 - a descriptor; closed below
    try:
        _point_stdout_at_stderr()
        with contextlib.redirect_stdout(diverted):
            yield Output(stream, descriptor=kept)
    finally:
        with contextlib.suppress(OSError):
            stdout.flush()  # what was printed meanwhile to the old object belongs on standard error
        os.dup2(kept, _STDOUT)
        with contextlib.suppress(OSError):
            stream.close()


def guard_descriptors() -> None:
    """Open what the caller closed (``>&-``), so that no model file takes its number, and make all text UTF-8 safe.

    In the place of a closed standard output stands a descriptor that can't be written, as nothing else could tell.
    """
    for number, name, mode in ((_STDIN, "stdin", "r"), (_STDOUT, "stdout", "w"), (_STDERR, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDONLY if number == _STDOUT else os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            stream = open(number, mode, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace" if stream is sys.stdout else "backslashreplace")


def seal() -> None:
    """Flush standard output and close it to the rest of the process: what engines print as they go is not its text.

    Raises ClosedOutputError where nobody reads it any more, and UnwritableOutputError.
    """
    if not _is_descriptor_1(sys.stdout):
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        _point_stdout_at_nothing()
        raise _written(error) from error
    _point_stdout_at_stderr()


def is_writable() -> bool:
    """Whether standard output takes what has been printed."""
    try:
        if _is_descriptor_1(sys.stdout):
            sys.stdout.flush()
            os.write(_STDOUT, b"")
    except OSError:
        return False
    return True


def is_closed_pipe(error: BaseException | None) -> bool:
    """Whether *error* says that nobody reads what was written; Windows says so with EINVAL."""
    return isinstance(error, BrokenPipeError) or (
        os.name == "nt" and isinstance(error, OSError) and error.errno == errno.EINVAL
    )


def _written(error: OSError) -> ClosedOutputError | UnwritableOutputError:
    """What a failure to write standard output means."""
    return ClosedOutputError() if is_closed_pipe(error) else UnwritableOutputError(error)


def _point_stdout_at_stderr() -> None:
    try:
        os.dup2(_STDERR, _STDOUT)
    except OSError:
        _point_stdout_at_nothing()


def _point_stdout_at_nothing() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, _STDOUT)
    os.close(nowhere)


def _is_descriptor_1(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() == _STDOUT
    except (AttributeError, OSError, ValueError):
        return False


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (AttributeError, OSError, ValueError):
        return False


def _finite(value: Any) -> Any:
    """*value* with null for what JSON has no number for."""
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
