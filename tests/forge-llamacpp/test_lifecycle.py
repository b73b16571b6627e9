"""Loading, unloading, load parameters that change the answer, memory, logs."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from llama_cpp import llama_cpp as lib

from forge_llamacpp import LlamaCppBackend
from forge_llamacpp.probe import PORTABLE_BUILD, probe
from llamaforge.engine import BatchEntry
from llamaforge.errors import GenerationError, ModelLoadError
from support.gguf_files import make_lora, make_tiny_gguf
from support.llama_engine import engine_of
from support.processes import memory_held

SMALL = {"n_threads": 1}
GREEDY: dict[str, Any] = {"temperature": 0, "max_tokens": 30}


def test_load_unload_and_load_again(empty: LlamaCppBackend, tiny_gguf: Path) -> None:
    answers = set()
    for _ in range(3):
        empty.load_model(str(tiny_gguf), SMALL)
        assert empty.is_model_loaded()
        assert empty.model_path == str(tiny_gguf)
        answers.add(str(empty.generate("x", GREEDY)))
        empty.unload_model()
        assert not empty.is_model_loaded()
    assert len(answers) == 1


def test_two_models_at_once(tiny_gguf: Path, tmp_path: Path) -> None:
    other = make_tiny_gguf(tmp_path / "other.gguf", seed=5)
    with LlamaCppBackend() as first, LlamaCppBackend() as second:
        first.load_model(tiny_gguf, SMALL)
        second.load_model(other, SMALL)
        one, two = first.generate("x", GREEDY), second.generate("x", GREEDY)
        assert one != two
        assert first.generate("x", GREEDY) == one
        first.unload_model()
        assert second.generate("x", GREEDY) == two


def test_a_name_that_is_no_ascii(empty: LlamaCppBackend, tiny_gguf: Path, tmp_path: Path) -> None:
    path = tmp_path / "modèle 模型 🦙.gguf"
    path.write_bytes(tiny_gguf.read_bytes())
    empty.load_model(path, SMALL)
    assert empty.generate("x", GREEDY)


@pytest.mark.parametrize(
    "parameters",
    [
        {"f16_kv": True},
        {"f16_kv": False},
        {"type_k": "q8_0"},
        {"type_k": "bf16", "type_v": "bf16"},
        {"type_v": "q8_0", "flash_attn": True},
        {"flash_attn": False},
        {"use_mmap": False},
        {"use_mlock": True},
        {"check_tensors": True},
        {"offload_kqv": False, "n_gpu_layers": 0},
        {"n_batch": 16, "n_ubatch": 4},
        {"n_threads": 2, "n_threads_batch": 1},
        {"split_mode": "none", "main_gpu": 0},
    ],
    ids=repr,
)
def test_parameters_that_leave_the_meaning_as_it_is(gguf_model: Path, parameters: dict[str, Any]) -> None:
    with LlamaCppBackend() as other:
        other.load_model(gguf_model, {"n_ctx": 256, "n_threads": 1, **parameters})
        assert other.generate("one, two, three, four,", temperature=0, max_tokens=1, raw=True) == " five"


def test_the_cache_has_the_type_asked_for(empty: LlamaCppBackend, tiny_gguf: Path) -> None:
    sizes = {}
    for name, parameters in {"f16": {"f16_kv": True}, "f32": {"f16_kv": False}, "default": {}}.items():
        empty.load_model(tiny_gguf, {**SMALL, **parameters})
        empty.generate("x" * 300, raw=True, seed=1, max_tokens=1, logit_bias={256: -100})
        sizes[name] = lib.llama_state_seq_get_size(engine_of(empty)._context, 0)  # it is kept for others
    assert sizes["f16"] == sizes["default"]
    assert 1.8 < sizes["f32"] / sizes["f16"] < 2.2


def test_threads_and_context_are_as_asked(empty: LlamaCppBackend, tiny_gguf: Path) -> None:
    empty.load_model(tiny_gguf, {"n_ctx": 300, "n_batch": 50, "n_threads": 2, "n_threads_batch": 3})
    engine = engine_of(empty)
    assert engine.n_ctx == 300
    assert engine.n_batch == 50
    assert engine.n_slots == 16  # eight requests, and eight texts that are kept
    assert lib.llama_n_threads(engine._context) == 2
    assert lib.llama_n_threads_batch(engine._context) == 3
    empty.load_model(tiny_gguf)
    assert engine_of(empty).n_ctx == 512  # what it was trained for
    empty.load_model(tiny_gguf, {**SMALL, "n_parallel": 256, "prefix_cache": 9})
    assert engine_of(empty).n_slots == 256  # llama.cpp has no more
    assert engine_of(empty).n_batch == 256  # a token for each


@pytest.mark.parametrize(
    "parameters",
    [
        {"rope_freq_base": 500.0},
        {"rope_freq_scale": 0.25},
        {"rope_scaling_type": "yarn", "rope_freq_scale": 0.25, "yarn_orig_ctx": 64},
        {"kv_overrides": {"llama.attention.layer_norm_rms_epsilon": 0.5}},
    ],
    ids=repr,
)
def test_parameters_that_change_the_answer(empty: LlamaCppBackend, tiny_gguf: Path, parameters: dict[str, Any]) -> None:
    empty.load_model(tiny_gguf, SMALL)
    plain = empty.generate("Something long enough to have positions", GREEDY)
    empty.load_model(tiny_gguf, {**SMALL, **parameters})
    assert empty.generate("Something long enough to have positions", GREEDY) != plain


def test_a_lora_adapter_changes_the_answer_by_its_scale(
    backend: LlamaCppBackend, gguf_model: Path, tmp_path: Path, empty: LlamaCppBackend
) -> None:
    adapter = str(make_lora(tmp_path / "lora.gguf", tensor="blk.20.ffn_down.weight", width=1536, out=576))

    def surprise(asked: LlamaCppBackend) -> float:
        return asked.generate("one, two,", raw=True, temperature=0, max_tokens=1, logprobs=True).logprobs[0].logprob

    found = []
    for lora in ([adapter], [{"path": adapter, "scale": 0.0}], [{"path": adapter, "scale": 2.0}], [adapter, adapter]):
        empty.load_model(gguf_model, {"n_ctx": 256, "n_threads": 1, "lora": lora})
        found.append(surprise(empty))
    plain = surprise(backend)
    once, nothing, twofold, twice = found
    assert once != pytest.approx(plain, abs=0.01)
    assert nothing == pytest.approx(plain, abs=1e-4)
    assert twofold == pytest.approx(twice, abs=0.01)
    assert twofold != pytest.approx(once, abs=0.01)


def test_a_context_that_memory_cannot_hold(empty: LlamaCppBackend, gguf_model: Path, tiny_gguf: Path) -> None:
    with pytest.raises(ModelLoadError, match="context of 16777216 tokens") as caught:
        empty.load_model(gguf_model, {"n_ctx": 2**24, "rope_freq_scale": 0.01})
    assert "alloc" in caught.value.reason
    assert not empty.is_model_loaded()
    empty.load_model(tiny_gguf, SMALL)
    assert empty.generate("x", GREEDY)


def test_unloading_gives_the_memory_back(gguf_model: Path) -> None:
    """Without mapping, the model's 92 MB and the cache's 22 are this process's own."""
    parameters = {"n_ctx": 1024, "n_threads": 1, "use_mmap": False}
    backend = LlamaCppBackend()
    left: list[int] = []
    for _ in range(10):
        backend.load_model(gguf_model, parameters)
        backend.generate("Hi", max_tokens=2, seed=1, repetition_penalty=1.1, logprobs=True)
        held = backend.generate_stream("Hi", seed=1)
        next(held)
        loaded = memory_held()
        backend.unload_model()
        left.append(memory_held())
        assert loaded - left[-1] > 90e6
    assert left[-1] - left[1] <= 32 * 2**20


def test_many_small_loads_leak_nothing(tiny_gguf: Path) -> None:
    backend = LlamaCppBackend()

    def cycles(count: int) -> None:
        for _ in range(count):
            backend.load_model(tiny_gguf, SMALL)
            backend.generate("x", max_tokens=3, seed=1, top_p=0.9, presence_penalty=0.5)
            stream = backend.generate_stream("x", seed=1)
            next(stream)
            stream.close()
        backend.unload_model()

    cycles(10)
    grown: list[int] = []
    while not grown or grown[-1] >= 5e6:  # a leak grows each time; what the rest of the process keeps doesn't
        assert len(grown) < 3, grown
        before = memory_held()
        cycles(80)
        grown.append(memory_held() - before)


def test_nothing_of_an_unloaded_model_stays(tiny_gguf: Path) -> None:
    backend = LlamaCppBackend()
    backend.load_model(tiny_gguf, SMALL)
    backend.generate("x", max_tokens=9, response_format={"type": "choice", "choice": ["a", "b"]})
    backend.chat([{"role": "user", "content": "x"}], max_tokens=3)
    engine = weakref.ref(engine_of(backend))
    backend.unload_model()
    gc.collect()
    assert engine() is None


def test_a_failed_load_gives_everything_back(gguf_model: Path) -> None:
    backend = LlamaCppBackend()

    def fail() -> None:
        with pytest.raises(ModelLoadError):
            backend.load_model(gguf_model, {"n_ctx": 2**24, "rope_freq_scale": 0.01, "use_mmap": False})

    fail()
    before = memory_held()
    for _ in range(2):
        fail()
    assert memory_held() - before < 20e6


def test_a_failed_step_is_told_and_the_next_request_works(
    fresh: LlamaCppBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fresh.generate("Hi", temperature=0, max_tokens=4)
    decode, calls = lib.llama_decode, []

    def failing(context: Any, batch: Any) -> int:
        calls.append(batch.n_tokens)
        return int(decode(context, batch)) if len(calls) < 3 else -3

    monkeypatch.setattr(lib, "llama_decode", failing)
    with pytest.raises(GenerationError, match="llama_decode returned -3"):
        fresh.generate("Hi", temperature=0, max_tokens=4)
    monkeypatch.undo()
    assert len(calls) == 3
    assert fresh.generate("Hi", temperature=0, max_tokens=4) == expected


def test_a_batch_that_the_engine_refuses_is_told_in_its_words(tiny_gguf: Path, empty: LlamaCppBackend) -> None:
    """A position that leaves a gap: llama.cpp itself says no."""
    empty.load_model(tiny_gguf, SMALL)
    engine = engine_of(empty)
    engine.compute([BatchEntry(0, 0, [1, 2, 3])])
    with pytest.raises(GenerationError, match=r"returned -1.*llama\.cpp said"):
        engine.compute([BatchEntry(0, 10, [4])])
    engine.trim(0, 0)
    assert empty.generate("x", GREEDY)


def test_nothing_is_ever_written_to_standard_output(
    gguf_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with LlamaCppBackend() as loud:
        loud.load_model(gguf_model, {"n_ctx": 128, "n_threads": 1, "verbose": True})
        loud.generate("Hi", max_tokens=2, seed=1)
        with pytest.raises(ModelLoadError):
            loud.load_model(
                make_tiny_gguf(tmp_path / "odd.gguf", general__architecture="perceptron"), {"verbose": True}
            )
    out, err = capfd.readouterr()
    assert out == ""
    assert "llama_context" in err
    assert "perceptron" in err


def test_the_log_is_quiet_unless_asked(gguf_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for verbose in (True, False):
        with LlamaCppBackend() as backend:
            backend.load_model(gguf_model, {"n_ctx": 128, "n_threads": 1, "verbose": verbose})
            backend.generate("Hi", max_tokens=2, seed=1)
        out, err = capfd.readouterr()
        assert out == ""
        assert bool(err) is verbose


def test_the_log_goes_to_logging(tiny_gguf: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "forge_llamacpp"), LlamaCppBackend() as backend:
        backend.load_model(tiny_gguf, SMALL)
    assert any("llama_context" in record.getMessage() for record in caplog.records)
    assert all("\n" not in record.getMessage() for record in caplog.records)
    caplog.clear()
    with LlamaCppBackend() as backend, pytest.raises(ModelLoadError):
        backend.load_model(make_tiny_gguf(tmp_path / "odd.gguf", general__architecture="perceptron"))
    assert [record.levelno for record in caplog.records if "perceptron" in record.getMessage()] == [logging.ERROR]


def test_the_probe_tells_of_the_build() -> None:
    report = probe()
    assert set(report) == {"compiled", "visible", "advice"}
    assert any(feature.startswith("CPU") for feature in report["compiled"])
    assert any("(processor)" in device for device in report["visible"])
    assert all(isinstance(line, str) for lines in report.values() for line in lines)


def test_the_probe_neither_prints_nor_raises(tiny_gguf: Path) -> None:
    code = "from forge_llamacpp.probe import probe; probe()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")
    broken = f"import sys; sys.modules['llama_cpp'] = None\n{code.replace('probe()', 'print(probe())')}"
    run = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, check=True)
    assert PORTABLE_BUILD in run.stdout


@pytest.mark.parametrize(
    ("system", "listed", "advice"),
    [
        (b"CPU : AVX2 = 1 | AMX_INT8 = 1 | ", b"", "ggml_backend_amx_mul_mat"),
        (b"CPU : AVX2 = 1 | ", b"GPU 0: NVIDIA H100", "GGML_CUDA=on"),
    ],
)
def test_the_probe_knows_the_traps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, system: bytes, listed: bytes, advice: str
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{listed.decode()}'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(lib, "llama_print_system_info", lambda: system)
    monkeypatch.setattr(lib, "llama_supports_gpu_offload", lambda: False)
    assert advice in " ".join(probe()["advice"])
