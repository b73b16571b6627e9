"""What ``CMAKE_ARGS`` asks of a build of llama.cpp, beside what the installed one has.

pip keeps the wheels that it has built, and takes one from its cache whatever ``CMAKE_ARGS`` says now.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_DEFINITION: Final = re.compile(r"-D\s*(\w+)(?::\w+)?=(.*)", re.S)
_OFF: Final = frozenset({"", "0", "off", "no", "n", "false", "ignore", "notfound"})
"""What CMake takes for false."""

_LIBRARIES: Final = {
    "GGML_BLAS": "blas",
    "GGML_CANN": "cann",
    "GGML_CUDA": "cuda",
    "GGML_HIP": "hip",
    "GGML_METAL": "metal",
    "GGML_MUSA": "musa",
    "GGML_OPENCL": "opencl",
    "GGML_RPC": "rpc",
    "GGML_SYCL": "sycl",
    "GGML_VULKAN": "vulkan",
}
"""CMake options of ggml that make a library of their own, libggml-NAME."""

_EXTENSIONS: Final = {
    "GGML_AMX_TILE": "AMX",
    "GGML_AVX": "AVX",
    "GGML_AVX2": "AVX2",
    "GGML_AVX512": "AVX512",
    "GGML_AVX512_BF16": "AVX512_BF16",
    "GGML_AVX512_VBMI": "AVX512_VBMI",
    "GGML_AVX512_VNNI": "AVX512_VNNI",
    "GGML_FMA": "FMA",
}
"""CMake options of ggml for instructions of the processor, and what llama.cpp's system information calls these."""


_KNOWN: Final = frozenset({"GGML_NATIVE", *_LIBRARIES, *_EXTENSIONS})


def ignored_options(features: Sequence[str], arguments: str | None = None) -> list[str]:
    """The definitions of ``CMAKE_ARGS`` that the installed build was made without, as they are written there.

    Args:
        features: what llama.cpp's system information names, such as ``AVX2``.
        arguments: what the variable says; None: the environment's.
    """
    found = os.environ.get("CMAKE_ARGS", "") if arguments is None else arguments
    asked = _definitions(found)
    libraries = _libraries()
    names = {feature.rpartition(":")[2].strip() for feature in features}

    def has(option: str) -> bool:
        """Whether the build has what *option* switches; it counts as wanted where that can't be told."""
        is_on = asked[option][0]
        if option in _LIBRARIES:
            return _LIBRARIES[option] in libraries if libraries else is_on
        if option in _EXTENSIONS:
            return any(name.startswith(_EXTENSIONS[option]) for name in names) if names else is_on
        return option == "GGML_NATIVE" and (is_on or _is_native(names, asked))

    return [text for option, (is_on, text) in asked.items() if option in _KNOWN and has(option) != is_on]


def _is_native(names: set[str], asked: dict[str, tuple[bool, str]]) -> bool:
    """Whether the build uses instructions that one without ``GGML_NATIVE`` has only where they are asked for."""
    wanted = [_EXTENSIONS[option].partition("_")[0] for option in asked if option in _EXTENSIONS and asked[option][0]]
    return any(name.startswith(each) for name in names for each in ("AVX512", "AMX") if each not in wanted)


def _definitions(arguments: str) -> dict[str, tuple[bool, str]]:
    """CMake's definitions by name: whether they say "on", and their text."""
    try:
        words = shlex.split(arguments)
    except ValueError:
        words = arguments.split()
    found = {}
    for word in words:
        if definition := _DEFINITION.fullmatch(word):
            value = definition[2].strip().lower()
            found[definition[1]] = (value not in _OFF and not value.endswith("-notfound"), word)
    return found


def _libraries() -> set[str]:
    """Which of ggml's libraries stand in the installed package; empty where that can't be told."""
    spec = importlib.util.find_spec("llama_cpp")
    folders = spec.submodule_search_locations if spec is not None else None
    found = set()
    for folder in folders or ():
        for file in (Path(folder) / "lib").glob("*ggml-*"):
            found.add(file.name.partition("ggml-")[2].partition(".")[0])
    return found
