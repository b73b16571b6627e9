"""How much memory a loaded model takes."""

from __future__ import annotations

from pathlib import Path

from forge_llamacpp import LlamaCppBackend
from forge_llamacpp.memory import usage
from llamaforge.backends.memory import MemoryUsage

MIB = 2**20


def test_buffers_count_where_they_are() -> None:
    lines = [
        "load_tensors: offloaded 33/33 layers to GPU",
        "load_tensors:   CPU_Mapped model buffer size =   281.81 MiB",
        "load_tensors:        CUDA0 model buffer size =  4403.50 MiB",
        "load_tensors:        CUDA1 model buffer size =     1.00 MiB",
        "llama_context:  CUDA_Host  output buffer size =     0.50 MiB",
        "llama_kv_cache:      CUDA0 KV buffer size =  1024.00 MiB",
        "llama_memory_recurrent:  CUDA1 RS buffer size =     2.00 MiB",
        "sched_reserve:      CUDA0 compute buffer size =   560.00 MiB",
        "sched_reserve:  CUDA_Host compute buffer size =    24.00 MiB",
    ]
    found = usage(lines, model_size=1, swapped=100)
    assert found == MemoryUsage(
        host=round(281.81 * MIB) + round(24.5 * MIB) + 100,
        devices={"CUDA0": round(4403.5 * MIB) + 1584 * MIB, "CUDA1": 3 * MIB},
        measured=True,
    )


def test_weights_in_main_memory_are_known_to_the_byte() -> None:
    lines = [
        "load_tensors:   CPU_Mapped model buffer size =     0.10 MiB",
        "llama_kv_cache: CPU KV buffer size = 1.00 MiB",
    ]
    assert usage(lines, model_size=98_765, swapped=0).host == 98_765 + MIB
    assert usage([], model_size=98_765, swapped=7).host == 98_772


def test_a_loaded_model_says_what_it_takes(tiny_gguf: Path) -> None:
    taken: dict[int, int] = {}
    with LlamaCppBackend() as backend:
        assert backend.memory() is None
        for n_ctx in (256, 512):
            backend.load_model(tiny_gguf, {"n_threads": 1, "n_ctx": n_ctx, "f16_kv": True})
            found = backend.memory()
            assert found is not None
            assert found.measured
            taken[n_ctx] = found.host
        backend.generate("Some text to keep", {"max_tokens": 5})
        kept = backend.memory()
        assert kept is not None
        assert kept.host >= taken[512]
    assert backend.memory() is None
    # Two layers, one head of 16 dimensions, keys and values of 2 bytes each.
    cells = (512 - 256) * 2 * 16 * 2 * 2
    assert taken[512] - taken[256] >= cells - MIB // 100  # llama.cpp tells two decimals
    assert taken[256] > 100_000
