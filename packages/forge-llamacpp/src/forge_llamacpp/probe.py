"""What ``llamaforge doctor`` asks: which accelerators this build of llama.cpp knows, which are there, and what to do.

Nothing is loaded, nothing is printed, and whatever goes wrong is told instead of raised.
"""

from __future__ import annotations

import ctypes
import platform
from typing import Any, Final

from llamaforge.backends.accelerators import nvidia_cards

from .build_options import ignored_options

_KINDS: Final = {0: "processor", 1: "graphics card", 2: "integrated graphics", 3: "accelerator", 4: "several devices"}
"""ggml_backend_dev_type of ggml-backend.h."""

REBUILD: Final = "pip install --force-reinstall --no-cache-dir --no-deps llama-cpp-python"
_BUILD: Final = f'CMAKE_ARGS="{{}}" {REBUILD}'
PORTABLE_BUILD: Final = _BUILD.format("-DGGML_NATIVE=OFF")
CUDA_BUILD: Final = _BUILD.format("-DGGML_CUDA=on")
METAL_BUILD: Final = _BUILD.format("-DGGML_METAL=on")


def probe() -> dict[str, list[str]]:
    """``compiled``: what the build can use; ``visible``: the devices it finds; ``advice``: what would help."""
    report: dict[str, list[str]] = {"compiled": [], "visible": [], "advice": []}
    try:
        from llama_cpp import llama_cpp as lib

        from . import log_control

        log_control.connect()  # the devices are looked for now, and the engine would tell of it on standard error
        _see_build(lib, report)
        _see_devices(report)
    except Exception as error:  # noqa: BLE001 - whatever is broken, the caller wants to hear of it
        report["advice"].append(
            f"llama-cpp-python does not work here ({type(error).__name__}: {error}). Build it again: {PORTABLE_BUILD}"
        )
    return report


def _see_build(lib: Any, report: dict[str, list[str]]) -> None:
    features = _features(lib.llama_print_system_info().decode("utf-8", "replace"))
    report["compiled"] += features
    if ignored := ignored_options(features):
        report["advice"].append(
            f"This build was made without {' '.join(ignored)}, which CMAKE_ARGS sets: pip reuses a cached build "
            "without "
            f"looking at CMAKE_ARGS. Build it again: {REBUILD}"
        )
    if any("AMX" in feature for feature in features):
        report["advice"].append(
            "This build uses AMX, and some such builds crash at the first token, in ggml_backend_amx_mul_mat. "
            f"If yours crashes, make a portable build: {PORTABLE_BUILD}"
        )
    if lib.llama_supports_gpu_offload():
        return
    cards = nvidia_cards()
    if cards:
        report["advice"].append(
            f"There is an NVIDIA card ({cards[0]}), but this build runs on the processor alone. "
            f"With CUDA installed: {CUDA_BUILD}"
        )
    elif platform.system() == "Darwin" and platform.machine() == "arm64":
        report["advice"].append(f"This build does not use the Mac's graphics: {METAL_BUILD}")


def _features(system_info: str) -> list[str]:
    """llama.cpp lists its backends with their features: "CPU : AVX2 = 1 | FMA = 1 | CUDA : ARCHS = 900 | "."""
    features = []
    for entry in system_info.split("|"):
        name, _, value = entry.partition("=")
        if name.strip():
            features.append(name.strip() if value.strip() in ("1", "") else f"{name.strip()} = {value.strip()}")
    return features


def _see_devices(report: dict[str, list[str]]) -> None:
    # The bindings' own door to ggml. The functions are described here and not on it, for others may use it, too.
    from llama_cpp._ggml import libggml

    count = ctypes.CFUNCTYPE(ctypes.c_size_t)(("ggml_backend_dev_count", libggml))
    get = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_size_t)(("ggml_backend_dev_get", libggml))
    name_of = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(("ggml_backend_dev_name", libggml))
    describe = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(("ggml_backend_dev_description", libggml))
    type_of = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(("ggml_backend_dev_type", libggml))
    for index in range(count()):
        device = get(index)
        name, description = (_text(read(device)) for read in (name_of, describe))
        kind = _KINDS.get(type_of(device), "device")
        report["visible"].append(f"{name}: {description} ({kind})" if description else f"{name} ({kind})")


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace").strip()
