"""Finding a server's program."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import sys
from pathlib import PurePath
from typing import Final

from ..errors import ServerProgramNotFoundError

_PYTHON: Final = re.compile(r"python(\d+(\.\d+)*)?(\.exe)?", re.ASCII)


def find_program(
    server: str, name: str, *, configured: str | None = None, module: str | None = None, advice: str = ""
) -> list[str]:
    """The first words of the command that runs the program *name*.

    Looks in this order: *configured* (the load parameter ``executable``), the environment variable given by
    :func:`variable`, PATH, and ``python -m`` *module* of this interpreter. The first two may also name the Python of
    another environment, which then runs *module*.

    Raises ServerProgramNotFoundError, also if the configured program doesn't exist; nothing else is tried then.
    """
    tried = []
    for chosen, source in (
        (configured, "the load parameter executable"),
        (os.environ.get(variable(server)), f"the environment variable {variable(server)}"),
    ):
        if not chosen:
            tried.append(f"{source} (not set)")
            continue
        found = shutil.which(os.path.expanduser(chosen))
        if found is None:
            raise ServerProgramNotFoundError(server, chosen, [f"{source} (no such program)"], advice)
        is_python = module is not None and _PYTHON.fullmatch(PurePath(found).name) is not None
        return [found, "-m", str(module)] if is_python else [found]
    found = shutil.which(name)
    if found is not None:
        return [found]
    tried.append("PATH")
    if module is not None:
        if _is_importable(module):
            return [sys.executable, "-m", module]
        tried.append(f"{sys.executable} -m {module} (no such module)")
    raise ServerProgramNotFoundError(server, name, tried, advice)


def variable(server: str) -> str:
    """The environment variable with the path of *server*'s program: ``LLAMAFORGE_LLAMA_SERVER_EXECUTABLE``."""
    return f"LLAMAFORGE_{re.sub('[^A-Z0-9]', '_', server.upper())}_EXECUTABLE"


def _is_importable(module: str) -> bool:
    """Whether the package that *module* is in can be found here. It is not imported."""
    return importlib.util.find_spec(module.partition(".")[0]) is not None
