"""Load parameters: read, refused, and passed on to the engine's own structures."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from llama_cpp import llama_cpp as lib

from forge_llamacpp import llama_params, threads
from forge_llamacpp.config import LlamaCppConfig, LoraAdapter
from llamaforge.errors import ConflictingParametersError, InvalidParameterError, UnknownParameterError


def read(**parameters: Any) -> LlamaCppConfig:
    return LlamaCppConfig.read(parameters)


def test_the_references_own_example_is_taken() -> None:
    config = read(n_gpu_layers=32, n_ctx=4096, f16_kv=True, n_batch=256)
    assert (config.n_gpu_layers, config.n_ctx, config.n_batch) == (32, 4096, 256)
    assert config.cache_types == ("f16", "f16")


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_ctx": -1},
        {"n_ctx": "4096"},
        {"n_ctx": 2**24 + 1},
        {"n_gpu_layers": -2},
        {"n_batch": 0},
        {"n_threads": 0},
        {"n_parallel": 0},
        {"n_parallel": 257},
        {"prompt_lookup": -1},
        {"seed": 2**32},
        {"type_k": "q3_k"},
        {"split_mode": "rows"},
        {"tensor_split": [0, 0]},
        {"tensor_split": [-1.0]},
        {"rope_freq_base": 0},
        {"rope_scaling_type": "dynamic"},
        {"chat_template": ""},
        {"lora": "adapter.gguf"},
        {"lora": [{"path": "a", "weight": 1}]},
        {"lora": [{"scale": 1}]},
        {"kv_overrides": {"": 1}},
        {"kv_overrides": {"x" * 128: 1}},
        {"kv_overrides": {"x": "y" * 128}},
        {"kv_overrides": {"x": 2**63}},
        {"kv_overrides": {"x": [1]}},
        {"verbose": "yes"},
    ],
)
def test_bad_values_are_refused_by_name(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        LlamaCppConfig.read(parameters)
    assert caught.value.name.startswith(next(iter(parameters)))


@pytest.mark.parametrize(
    "parameters",
    [
        {"f16_kv": True, "type_k": "q8_0"},
        {"f16_kv": True, "type_v": "f32"},
        {"f16_kv": False, "type_k": "f16"},
        {"flash_attn": False, "type_v": "q8_0"},
    ],
)
def test_contradictions_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ConflictingParametersError) as caught:
        LlamaCppConfig.read(parameters)
    assert set(caught.value.names) == set(parameters)


def test_what_agrees_is_no_contradiction() -> None:
    assert read(f16_kv=False, type_k="f32").cache_types == ("f32", "f32")
    assert read(f16_kv=True, type_v="f16").cache_types == ("f16", "f16")
    assert read(flash_attn=True, type_v="q8_0", type_k="q4_0").cache_types == ("q4_0", "q8_0")


def test_a_misspelt_name_gets_the_closest_ones() -> None:
    with pytest.raises(UnknownParameterError) as caught:
        read(n_gpu_layer=1)
    assert caught.value.suggestions[0] == "n_gpu_layers"


def test_adapters_may_be_paths_or_mappings() -> None:
    config = read(lora=["a.gguf", {"path": "b.gguf", "scale": 0.5}])
    assert config.adapters == (LoraAdapter("a.gguf", 1.0), LoraAdapter("b.gguf", 0.5))


def test_every_parameter_reaches_the_engine() -> None:
    given = {
        "n_batch": 64, "n_ubatch": 32, "n_threads": 3, "n_threads_batch": 5, "type_k": "q8_0", "type_v": "bf16",
        "flash_attn": True, "offload_kqv": False, "rope_freq_base": 5000.0, "rope_freq_scale": 0.5,
        "rope_scaling_type": "yarn", "yarn_ext_factor": 0.25, "yarn_attn_factor": 0.75, "yarn_beta_fast": 16.0,
        "yarn_beta_slow": 2.0, "yarn_orig_ctx": 2048, "swa_full": False,
    }  # fmt: skip
    parameters = llama_params.context_parameters(read(**given), 777)
    assert parameters.n_ctx == 777
    assert parameters.kv_unified
    assert (parameters.type_k, parameters.type_v) == (lib.GGML_TYPE_Q8_0, 30)
    assert parameters.flash_attn_type == lib.LLAMA_FLASH_ATTN_TYPE_ENABLED
    assert parameters.rope_scaling_type == lib.LLAMA_ROPE_SCALING_TYPE_YARN
    for name in set(given) - {"type_k", "type_v", "flash_attn", "rope_scaling_type"}:
        assert getattr(parameters, name) == given[name], name


def test_model_parameters_reach_the_engine() -> None:
    overrides = {"yes": True, "many": -(2**40), "half": 0.5, "name": "x" * 127}
    config = read(
        n_gpu_layers=7, split_mode="row", main_gpu=1, tensor_split=[3, 1], use_mmap=False, use_mlock=True,
        check_tensors=True, kv_overrides=overrides,
    )  # fmt: skip
    parameters = llama_params.model_parameters(config)
    assert (parameters.n_gpu_layers, parameters.main_gpu, parameters.check_tensors) == (7, 1, True)
    assert parameters.split_mode == lib.LLAMA_SPLIT_MODE_ROW
    assert parameters.load_mode == lib.LLAMA_LOAD_MODE_MLOCK
    assert list(parameters.tensor_split[:3]) == [3, 1, 0]
    entries = parameters.kv_overrides
    assert [entries[index].key for index in range(5)] == [b"yes", b"many", b"half", b"name", b""]
    assert entries[0].value.val_bool is True
    assert entries[1].value.val_i64 == -(2**40)
    assert entries[2].value.val_f64 == 0.5
    assert entries[3].value.val_str == b"x" * 127


def test_what_is_not_set_is_the_engines_choice() -> None:
    parameters, default = llama_params.context_parameters(read(), 1), lib.llama_context_default_params()
    for name in ("rope_freq_base", "rope_freq_scale", "rope_scaling_type", "yarn_ext_factor", "yarn_orig_ctx"):
        assert getattr(parameters, name) == getattr(default, name), name
    assert parameters.flash_attn_type == lib.LLAMA_FLASH_ATTN_TYPE_AUTO
    assert parameters.n_threads_batch == parameters.n_threads == threads.usable_cores()


@pytest.mark.parametrize(
    ("parameters", "sequences", "batch", "outputs"),
    [
        ({}, 16, 128, 16),
        ({"n_parallel": 1, "prefix_cache": 0}, 1, 128, 1),
        ({"n_parallel": 200}, 208, 200, 208),
        ({"n_parallel": 256}, 256, 256, 256),
        ({"n_parallel": 4, "prompt_lookup": 9}, 12, 128, 40),
        ({"n_parallel": 4, "prompt_lookup": 9, "n_batch": 20}, 12, 20, 20),
        ({"n_batch": 1}, 16, 1, 16),
    ],
)
def test_there_is_room_for_every_request_and_every_guess(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, Any], sequences: int, batch: int, outputs: int
) -> None:
    """llama.cpp ends the process where more logits are wanted than it reserved room for."""
    monkeypatch.setattr(lib, "llama_supports_gpu_offload", lambda: False)
    native_parameters = llama_params.context_parameters(read(**parameters), 1024)
    assert native_parameters.n_seq_max == sequences
    assert native_parameters.n_batch == batch
    assert native_parameters.n_outputs_max == outputs


def test_a_card_gets_longer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lib, "llama_supports_gpu_offload", lambda: True)
    assert llama_params.batch_size(read()) == 512


def test_more_shares_than_devices_are_refused() -> None:
    with pytest.raises(InvalidParameterError, match="tensor_split"):
        llama_params.model_parameters(read(tensor_split=[1.0] * 1000))


@pytest.mark.parametrize(
    ("asked", "trained", "length"),
    [(None, 131072, 8192), (None, 2048, 2048), (None, 0, 8192), (0, 131072, 131072), (0, 0, 8192), (99, 2048, 99)],
)
def test_the_context_is_as_long_as_asked_for(asked: int | None, trained: int, length: int) -> None:
    assert llama_params.context_length(LlamaCppConfig(n_ctx=asked), trained) == length


def test_layers_for_a_card_that_is_not_there_are_no_error_but_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(llama_params, "_warned_of_no_card", False)
    monkeypatch.setattr(lib, "llama_supports_gpu_offload", lambda: False)
    with caplog.at_level(logging.WARNING, "forge_llamacpp"):
        llama_params.model_parameters(read())
        assert not caplog.records
        llama_params.model_parameters(read(n_gpu_layers=32))
        llama_params.model_parameters(read(n_gpu_layers=32))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "n_gpu_layers=32" in caplog.text


def test_threads_are_the_cores_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for number, siblings in enumerate(["0,2", "1,3", "0,2", "1,3"]):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings)
    monkeypatch.setattr(threads, "_TOPOLOGY", tmp_path)
    monkeypatch.setattr(threads, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert threads.usable_cores() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2})
    assert threads.usable_cores() == 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 8, 9})
    assert threads.usable_cores() == 3
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert threads.usable_cores() == 2
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert threads.usable_cores() == 3
