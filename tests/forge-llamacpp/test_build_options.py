"""What CMAKE_ARGS asks for and the installed build of llama.cpp lacks."""

from __future__ import annotations

import pytest

from forge_llamacpp import build_options
from forge_llamacpp.build_options import ignored_options

PORTABLE = ("CPU : SSE3", "AVX", "AVX2", "F16C", "FMA", "OPENMP")
NATIVE = (*PORTABLE, "AVX512", "AVX512_VNNI", "AMX_INT8")


@pytest.fixture(autouse=True)
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_options, "_libraries", lambda: {"base", "cpu", "vulkan"})


@pytest.mark.parametrize(
    ("features", "arguments", "ignored"),
    [
        (PORTABLE, "", []),
        (PORTABLE, "-DGGML_NATIVE=OFF -DLLAVA_BUILD=OFF", []),
        (NATIVE, "-DGGML_NATIVE=OFF", ["-DGGML_NATIVE=OFF"]),
        (NATIVE, "-DGGML_NATIVE=ON", []),
        (NATIVE, "-DGGML_NATIVE=OFF -DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON -DGGML_AMX_TILE=ON", []),
        (NATIVE, "-DGGML_NATIVE=OFF -DGGML_AVX512=ON", ["-DGGML_NATIVE=OFF"]),
        (PORTABLE, "-DGGML_NATIVE=OFF -DGGML_AVX512=ON", ["-DGGML_AVX512=ON"]),
        (PORTABLE, "-DGGML_AVX2=off", ["-DGGML_AVX2=off"]),
        (PORTABLE, "-DGGML_CUDA:BOOL=on -DGGML_VULKAN=1", ["-DGGML_CUDA:BOOL=on"]),
        (PORTABLE, "-DGGML_VULKAN=OFF -DGGML_METAL=OFF", ["-DGGML_VULKAN=OFF"]),
        (PORTABLE, "-DSOMETHING=ON -G 'Unix Makefiles' -DCMAKE_BUILD_TYPE=Release", []),
        (PORTABLE, "-DGGML_CUDA=ON 'unclosed", ["-DGGML_CUDA=ON"]),
        ((), "-DGGML_AVX512=ON -DGGML_NATIVE=OFF", []),
    ],
)
def test_options(features: tuple[str, ...], arguments: str, ignored: list[str]) -> None:
    assert ignored_options(features, arguments) == ignored


def test_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_ARGS", "-DGGML_CUDA=ON")
    assert ignored_options(PORTABLE) == ["-DGGML_CUDA=ON"]
    monkeypatch.delenv("CMAKE_ARGS")
    assert ignored_options(PORTABLE) == []
