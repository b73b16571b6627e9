"""The ``llamaforge`` command.

What is imported here is imported by ``llamaforge --help``, so it is next to nothing: a command's module is imported
when that command is called, msgspec and rich where they are used.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line to its end, as the last thing that this process does; the exit code.

    *arguments*: without the program's name; None: those of the process.
    """
    from .app import run
    from .exit_codes import CLOSED_OUTPUT
    from .output import ClosedOutputError, UnwritableOutputError, guard_descriptors, seal

    guard_descriptors()
    code = run(arguments)
    try:
        seal()
    except ClosedOutputError:
        return CLOSED_OUTPUT
    except UnwritableOutputError as error:
        from .failures import report

        return code or report(error)
    return code
