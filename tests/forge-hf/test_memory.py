"""What is not needed any more goes back to the system, and what torch keeps has a limit."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from forge_hf import HuggingFaceBackend, memory
from forge_hf.forward import Forward
from forge_hf.memory import fewer_kernels, memory_of
from forge_hf.self_test import choose_rows
from llamaforge.engine import BatchEntry
from support.processes import memory_held
from support.small_models import small_model

pytestmark = pytest.mark.engine

NAMES = ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY")
MIB = 2**20


on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads the memory from Linux's /proc")


@on_linux
def test_what_was_freed_goes_back() -> None:
    blocks = [torch.ones(20_000) for _ in range(2000)]  # 80 kB each: from the C library's heap
    held = memory_held()
    del blocks[::2]  # what is left keeps the heap from shrinking by itself
    memory.trim_heap()
    assert memory_held() < held - 50 * MIB


@pytest.mark.parametrize("shape", [(2, 3), (64, 4096, 2)], ids=["small", "large"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_zeros_are_a_tensor_like_any_other(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    made = memory.zeros(shape, torch.ones(1, dtype=dtype))
    assert made.shape == shape
    assert made.dtype == dtype
    assert made.is_contiguous()
    assert not made.any()
    made[1] += 3
    part = made[1]
    del made  # what looks at a part keeps all of it
    assert bool((part == 3).all())


@on_linux
def test_zeros_take_memory_as_they_are_written_and_give_it_back() -> None:
    before = memory_held()
    made = memory.zeros((4, 64 * MIB), torch.zeros(1, dtype=torch.uint8))
    assert not made[1:].any(), "reading"
    assert memory_held() - before < 16 * MIB
    made[0] = 1
    assert memory_held() - before > 48 * MIB
    del made
    assert memory_held() - before < 16 * MIB


def test_zeros_that_there_is_no_room_for_are_a_memory_error() -> None:
    with pytest.raises(MemoryError):
        memory.zeros((2**55,), torch.zeros(1))


def test_the_limits_of_kernels_are_there_while_a_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    with fewer_kernels():
        with fewer_kernels():
            pass
        assert [os.environ[name] for name in NAMES] == ["256", "256"], "another load goes on"
    assert not set(NAMES) & set(os.environ)


def test_limits_that_the_user_has_set_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(NAMES[0], "7")
    monkeypatch.delenv(NAMES[1], raising=False)
    with fewer_kernels():
        assert [os.environ[name] for name in NAMES] == ["7", "256"]
    assert os.environ[NAMES[0]] == "7"
    assert NAMES[1] not in os.environ


LENGTHS = """
import sys
from pathlib import Path

from llamaforge.backends.huggingface import HuggingFaceBackend

sys.path.insert(0, sys.argv[2])
from support.processes import memory_held

backend = HuggingFaceBackend()
backend.load_model(sys.argv[1], {"device": "cpu", "dtype": "bfloat16", "prefix_cache": 0})


def ask(lengths):
    for length in lengths:
        backend.generate(" a" * length, max_tokens=1, raw=True)


ask(range(1, 170))
before = memory_held()
ask(range(170, 240))
print(memory_held() - before)
"""


@on_linux
def test_texts_of_many_lengths_do_not_gather_kernels(tiny_model: Path) -> None:
    """In a process of its own: torch reads its limits once."""
    ran = subprocess.run(
        [sys.executable, "-c", LENGTHS, str(tiny_model), str(Path(__file__).parents[1])],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    print(int(ran.stdout) / MIB, "MiB")
    assert int(ran.stdout) < 24 * MIB


def test_what_a_loaded_model_takes_is_counted(tiny_model: Path) -> None:
    backend = HuggingFaceBackend()
    assert backend.memory() is None
    with backend:
        backend.load_model(tiny_model, {"device": "cpu"})
        engine: Any = backend._engine
        weights = sum(each.nbytes for each in engine._model.parameters())
        before = backend.memory()
        assert before is not None
        assert before.measured
        assert not before.devices
        assert weights <= before.host < 1.5 * weights
        backend.generate("word " * 150, raw=True, seed=1, max_tokens=2)
        after = backend.memory()
        assert after is not None
        keys_and_values = 2 * 2 * 2 * 16 * 150 * 4  # layers, both, heads, width, tokens, bytes
        assert after.host >= before.host + keys_and_values
    assert backend.memory() is None


def test_the_caches_of_rows_that_share_no_passes_are_counted() -> None:
    model = small_model("bloom")
    rows, _, reason = choose_rows(Forward(model), "small", 100)
    assert reason is not None
    assert not rows.tensors()
    rows.compute([BatchEntry(0, 0, [1, 2, 3], sampling=True)])
    assert sum(each.nbytes for each in rows.tensors()) >= 2 * 2 * 32 * 3 * 4  # layers, both, width, tokens, bytes


def test_weights_that_are_shared_count_once() -> None:
    weight = torch.zeros(1000)
    assert memory_of([weight, weight, weight.view(10, 100)]).host == 4000
    assert memory_of([torch.zeros(10, device="meta")]).total == 0
