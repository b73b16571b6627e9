"""What is no model, or not a whole one, or can't run here: each its own error, and the next load works."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from huggingface_hub import errors as hub_errors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forge_hf import HuggingFaceBackend, attention, errors
from forge_hf.config import HuggingFaceConfig
from forge_hf.plugin import match
from llamaforge.errors import (
    ConflictingParametersError,
    DeviceNotAvailableError,
    EngineNotAvailableError,
    InvalidModelError,
    InvalidParameterError,
    LlamaForgeError,
    ModelLoadError,
    ModelNotFoundError,
    UnknownParameterError,
)
from llamaforge.formats.gguf import DamagedFileError, read_header
from support.gguf_files import SPECIAL, byte_texts, make_tiny_gguf

Change = Callable[..., Path]
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
SETTINGS = [
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("generation_config.json", "chat_template.json", "processor_config.json"),
]
"""Small files beside the weights."""


@pytest.fixture
def changed(tiny_model: Path, tmp_path: Path) -> Change:
    """A copy of the small model, its config changed and files dropped."""

    def change(*drop: str, **config: Any) -> Path:
        folder = shutil.copytree(tiny_model, tmp_path / "changed")
        for name in drop:
            (folder / name).unlink()
        if config:
            told = json.loads((folder / "config.json").read_text()) | config
            (folder / "config.json").write_text(
                json.dumps({name: value for name, value in told.items() if value is not None})
            )
        return folder

    return change


def load(path: Path | str, **parameters: Any) -> HuggingFaceBackend:
    backend = HuggingFaceBackend()
    backend.load_model(path, {"device": "cpu", **parameters})
    return backend


class TestPlaces:
    @pytest.mark.parametrize(
        "path", ["nowhere", "./nowhere/model.gguf", "nowhere.gguf", "a/b/c", "~nobody-here/x", "x\0y", "ü" * 5000]
    )
    def test_nothing_there(self, path: str) -> None:
        with pytest.raises(ModelNotFoundError) as caught:
            load(path)
        assert caught.value.model == path

    def test_the_closest_names(self, changed: Change) -> None:
        folder = changed()
        with pytest.raises(ModelNotFoundError, match="Did you mean") as caught:
            load(folder.with_name("chagned"))
        assert caught.value.known == ["changed"]

    def test_a_file_that_is_no_gguf(self, changed: Change) -> None:
        with pytest.raises(InvalidModelError, match=r"Load that folder"):
            load(changed() / "model.safetensors")

    def test_a_folder_without_a_config(self, changed: Change) -> None:
        with pytest.raises(InvalidModelError, match=r"no config\.json"):
            load(changed("config.json"))

    def test_a_folder_of_gguf_files_names_them(self, tmp_path: Path) -> None:
        (tmp_path / "one.gguf").write_bytes(b"GGUF")
        with pytest.raises(InvalidModelError, match=r"one\.gguf"):
            load(tmp_path)
        with pytest.raises(ModelNotFoundError) as caught:
            load(tmp_path, gguf_file="two.gguf")
        assert caught.value.known == ["one.gguf"]

    def test_a_gguf_file_twice(self, tmp_path: Path) -> None:
        (tmp_path / "one.gguf").write_bytes(b"GGUF")
        with pytest.raises(ConflictingParametersError):
            load(tmp_path / "one.gguf", gguf_file="one.gguf")
        (tmp_path / "one.txt").write_text("one")
        with pytest.raises(InvalidParameterError, match="gguf_file"):
            load(tmp_path, gguf_file="one.txt")


class TestWhatItIs:
    """The reason says what the path holds instead, and what to do."""

    def test_an_adapter(self, tmp_path: Path) -> None:
        (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
        (tmp_path / "adapter_model.safetensors").write_bytes(b"")
        with pytest.raises(InvalidModelError, match=r"PEFT adapter of the model org/base .*merge_and_unload"):
            load(tmp_path)

    def test_an_adapter_beside_a_config(self, changed: Change) -> None:
        folder = changed("model.safetensors")
        (folder / "adapter_config.json").write_text("damaged")
        with pytest.raises(InvalidModelError, match="PEFT adapter of another model"):
            load(folder)

    def test_a_diffusers_pipeline(self, tmp_path: Path) -> None:
        (tmp_path / "model_index.json").write_text("{}")
        with pytest.raises(InvalidModelError, match="diffusers"):
            load(tmp_path)

    def test_the_makers_own_format(self, tmp_path: Path) -> None:
        (tmp_path / "params.json").write_text("{}")
        with pytest.raises(InvalidModelError, match=r"params\.json.*transformers' format"):
            load(tmp_path)

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidModelError, match="empty"):
            load(tmp_path)

    @pytest.mark.parametrize("inner", ["model", "snapshots/0123abc"])
    def test_a_folder_around_the_model(self, tmp_path: Path, inner: str) -> None:
        (tmp_path / inner).mkdir(parents=True)
        (tmp_path / inner / "config.json").write_text("{}")
        with pytest.raises(InvalidModelError, match="a folder inside it has one") as caught:
            load(tmp_path)
        assert repr(str(tmp_path / inner)) in str(caught.value)

    def test_one_part_of_the_weights(self, changed: Change) -> None:
        folder = changed("model.safetensors")
        part = folder / "model-00002-of-00003.safetensors"
        part.write_bytes(b"x")
        with pytest.raises(InvalidModelError, match=r"one part of the weights.*Load that folder"):
            load(part)
        with pytest.raises(InvalidModelError, match=r"parts of the weights .*model\.safetensors\.index\.json"):
            load(folder)

    def test_weights_of_another_library(self, changed: Change) -> None:
        folder = changed("model.safetensors")
        (folder / "tf_model.h5").write_bytes(b"x")
        with pytest.raises(InvalidModelError, match=r"tf_model\.h5"):
            load(folder)

    @pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
    def test_a_pointer_of_git_lfs(self, changed: Change, file: str) -> None:
        folder = changed()
        (folder / file).write_text(POINTER)
        with pytest.raises(InvalidModelError, match=f"{file} is not the file itself .*git lfs pull"):
            load(folder)

    def test_a_gguf_file_that_git_lfs_left_out(self, tmp_path: Path) -> None:
        (tmp_path / "model.gguf").write_text(POINTER)
        with pytest.raises(InvalidModelError, match="git lfs pull"):
            load(tmp_path / "model.gguf")

    @pytest.mark.parametrize("part", [1, 2])
    def test_a_part_of_a_split_gguf(self, tmp_path: Path, part: int) -> None:
        name = f"model-0000{part}-of-00002.gguf"
        (tmp_path / name).write_bytes(b"GGUF")
        for call in (lambda: load(tmp_path / name), lambda: load(tmp_path, gguf_file=name)):
            with pytest.raises(
                InvalidModelError,
                match=rf"part {part} of a model in 2 files.*model-00001-of-00002\.gguf.*llama-gguf-split",
            ):
                call()

    def test_a_gguf_file_without_a_suffix(self, tmp_path: Path) -> None:
        blob = tmp_path / "sha256-00"
        blob.write_bytes(b"GGUF" + bytes(2))
        with pytest.raises(InvalidModelError, match="cut short"):
            load(blob)
        assert match(str(blob)) == 50

    def test_a_tokenizer_that_fits_nothing(self, changed: Change) -> None:
        folder = changed()
        (folder / "tokenizer.json").write_text('{"version": "1.0"}')
        with pytest.raises(LlamaForgeError, match=r"can't make a tokenizer of tokenizer\.json"):
            load(folder)


class TestFiles:
    @pytest.mark.parametrize("content", ["", "{", "[]", "\x00", '"text"'])
    def test_a_damaged_config(self, changed: Change, content: str) -> None:
        folder = changed()
        (folder / "config.json").write_text(content)
        with pytest.raises(InvalidModelError, match=r"config\.json"):
            load(folder)

    def test_a_config_that_fits_no_model(self, changed: Change) -> None:
        with pytest.raises(InvalidModelError):
            load(changed(hidden_size="many"))

    def test_a_config_without_a_type(self, changed: Change) -> None:
        with pytest.raises(InvalidModelError, match="model_type"):
            load(changed(model_type=None))

    @pytest.mark.parametrize("file", SETTINGS)
    def test_a_small_file_that_is_damaged_is_named(self, changed: Change, file: str) -> None:
        folder = changed()
        for content in (b"", b"{", b"[]", b"\xff\xfe", POINTER.encode()):
            (folder / file).write_bytes(content)
            with pytest.raises(InvalidModelError, match=file) as caught:
                load(folder)
            assert ("git lfs pull" in caught.value.reason) == (b"git-lfs" in content)

    @pytest.mark.parametrize("content", [b"\xff\xfe", POINTER.encode(), b"{% for %}"])
    def test_a_chat_template_that_is_damaged_is_named(self, changed: Change, content: bytes) -> None:
        folder = changed()
        (folder / "chat_template.jinja").write_bytes(content)
        with pytest.raises(InvalidModelError, match=r"chat_template\.jinja"):
            load(folder)

    @pytest.mark.parametrize("template", [7, [{"nam": "default"}]])
    def test_a_chat_template_that_is_no_text(self, changed: Change, template: Any) -> None:
        folder = changed("chat_template.jinja")
        told = json.loads((folder / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps({**told, "chat_template": template}))
        with pytest.raises(LlamaForgeError, match=r"tokenizer_config\.json"):
            load(folder)

    @pytest.mark.parametrize(
        ("settings", "says"),
        [
            ({"hidden_act": "swirl"}, "hidden_act is 'swirl'"),
            ({"rope_parameters": {"rope_type": "spiral"}}, "rope_parameters.rope_type is 'spiral'"),
            ({"num_key_value_heads": 0}, "the model that its config.json describes"),
            ({"num_hidden_layers": -1}, "num_hidden_layers is -1"),
            ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
            ({"architectures": "LlamaForCausalLM"}, "architectures is 'LlamaForCausalLM'"),
            ({"model_type": ["llama"]}, "model_type is ['llama']"),
            ({"dtype": "float99"}, "config.json"),
            ({"text_config": 7}, "config.json"),
            ({"quantization_config": {"quant_method": "nosuch"}}, "its weights are quantized (nosuch)"),
            ({"quantization_config": "4 bits"}, "config.json"),
        ],
    )
    def test_what_a_config_says_wrong_is_told(self, changed: Change, settings: dict[str, Any], says: str) -> None:
        """And not a library's bare exception."""
        with pytest.raises((InvalidModelError, ModelLoadError)) as caught:
            load(changed(**settings))
        assert says in caught.value.reason

    def test_what_a_config_asks_for_beside_logits_is_not_computed(self, changed: Change) -> None:
        with load(changed(return_dict=False, output_hidden_states=True)) as backend:
            assert backend.generate("Hello", seed=1, max_tokens=2)

    def test_an_architecture_that_transformers_lacks(self, changed: Change) -> None:
        with pytest.raises(ModelLoadError, match="Update"):
            load(changed(model_type="from-the-future"))

    def test_no_weights(self, changed: Change) -> None:
        with pytest.raises(InvalidModelError, match="no weights"):
            load(changed("model.safetensors"))

    def test_no_tokenizer(self, changed: Change) -> None:
        with pytest.raises(InvalidModelError, match="no tokenizer"):
            load(changed("tokenizer.json", "tokenizer_config.json"))

    @pytest.mark.parametrize("keep", [0, 4, 100, 10_000, -1])
    def test_weights_cut_short(self, changed: Change, keep: int) -> None:
        folder = changed()
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:keep])
        with pytest.raises(InvalidModelError, match="cut short"):
            load(folder)

    def test_old_weights_cut_short(self, changed: Change, tiny_model: Path) -> None:
        import torch
        from safetensors.torch import load_file

        folder = changed("model.safetensors")
        weights = folder / "pytorch_model.bin"
        torch.save(load_file(tiny_model / "model.safetensors"), weights)
        load(folder).close()
        weights.write_bytes(weights.read_bytes()[:-500])
        with pytest.raises(InvalidModelError, match="cut short"):
            load(folder)

    def test_old_weights_that_are_none(self, changed: Change) -> None:
        """torch's reader runs no code that a file brings, and what else is in it is no model's."""
        import os

        import torch

        class Command:
            def __reduce__(self) -> Any:
                return os.mkdir, (str(marker),)

        folder = changed("model.safetensors")
        marker, weights = folder / "made-by-a-pickle", folder / "pytorch_model.bin"
        for content in (b"junk" * 100, b"<!DOCTYPE html>", b"", pickle.dumps({"a": Command()})):
            weights.write_bytes(content)
            with pytest.raises(InvalidModelError, match=r"pytorch_model\.bin"):
                load(folder)
        torch.save([1, 2], weights)
        with pytest.raises(InvalidModelError, match=r"pytorch_model\.bin contains list"):
            load(folder)
        torch.save({"other": torch.zeros(2)}, weights)
        with pytest.raises(InvalidModelError, match="it lacks 20 of the weights"):
            load(folder)
        assert not marker.exists()

    def test_a_part_that_is_missing(self, changed: Change) -> None:
        folder = changed("model.safetensors")
        index = {"weight_map": {"lm_head.weight": "model-00001-of-00001.safetensors"}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(InvalidModelError, match="00001"):
            load(folder)
        (folder / "model.safetensors.index.json").write_text("{}")
        with pytest.raises(InvalidModelError, match="index"):
            load(folder)

    def test_weights_that_are_not_all_there(self, changed: Change) -> None:
        with pytest.raises(InvalidModelError, match=r"lacks 9 .*model\.layers\.2\."):
            load(changed(num_hidden_layers=3))

    def test_weights_of_another_size(self, changed: Change) -> None:
        with pytest.raises(InvalidModelError, match=r"down_proj\.weight has the shape \[64, 128\] .* \[64, 192\]"):
            load(changed(intermediate_size=192))

    @pytest.mark.parametrize(
        ("kind", "architecture"),
        [
            ("bert", "BertModel"),
            ("t5", "T5ForConditionalGeneration"),
            ("llama", "LlamaModel"),
            ("vit", "ViTForImageClassification"),
        ],
    )
    def test_what_does_not_continue_text(self, changed: Change, kind: str, architecture: str) -> None:
        with pytest.raises(InvalidModelError, match=f"{architecture} is not a model that continues text"):
            load(changed(model_type=kind, architectures=[architecture]))


class TestGguf:
    @pytest.mark.parametrize("keep", [0, 3, 4, 8, 30, 5_000, 1_000_000, 60_000_000, -1])
    def test_cut_short(self, gguf_model: Path, tmp_path: Path, keep: int) -> None:
        with gguf_model.open("rb") as file:
            (tmp_path / "cut.gguf").write_bytes(file.read()[:keep])
        with pytest.raises(InvalidModelError):
            load(tmp_path / "cut.gguf")

    def test_whole(self, gguf_model: Path) -> None:
        assert read_header(gguf_model).size == gguf_model.stat().st_size

    def test_no_gguf(self, tmp_path: Path) -> None:
        (tmp_path / "text.gguf").write_text("once upon a time")
        with pytest.raises(InvalidModelError, match="begins"):
            load(tmp_path / "text.gguf")

    @settings(
        max_examples=200,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(noise=st.binary(max_size=200), tensors=st.integers(0, 2**64 - 1), entries=st.integers(0, 2**64 - 1))
    def test_noise_is_refused_at_once(self, tmp_path: Path, noise: bytes, tensors: int, entries: int) -> None:
        path = tmp_path / "noise.gguf"
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, tensors, entries) + noise)
        if tensors or entries:
            with pytest.raises(DamagedFileError):
                read_header(path)

    def test_a_newer_kind_of_tensor(self, tmp_path: Path) -> None:
        name = struct.pack("<Q", 1) + b"t"
        tensor = name + struct.pack("<IQIQ", 1, 32, 999, 0)
        (tmp_path / "new.gguf").write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + tensor + bytes(64))
        with pytest.raises(InvalidModelError, match="type 999"):
            load(tmp_path / "new.gguf")


class TestParameters:
    @pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps", "xpu", "meta"])
    def test_a_device_that_is_not_there(self, tiny_model: Path, device: str) -> None:
        import torch

        if torch.accelerator.is_available() and device.startswith(str(torch.accelerator.current_accelerator())):
            device = "cuda:99"
        with pytest.raises(DeviceNotAvailableError, match="torch") as caught:
            load(tiny_model, device=device)
        assert "cpu" in caught.value.available

    @pytest.mark.parametrize("device", ["gpu0", "cpu:x", "9"])
    def test_what_is_no_device(self, tiny_model: Path, device: str) -> None:
        with pytest.raises((InvalidParameterError, DeviceNotAvailableError)):
            load(tiny_model, device=device)

    def test_more_context_than_the_model_was_made_for(self, tiny_model: Path) -> None:
        with pytest.raises(InvalidParameterError, match="at most 256, the context that this model was trained for"):
            load(tiny_model, n_ctx=257)

    def test_less_context(self, tiny_model: Path) -> None:
        with load(tiny_model, n_ctx=40) as backend:
            answer = backend.generate("word " * 30, raw=True, seed=1, logit_bias={2: -100})
        assert answer.usage is not None
        assert answer.usage.total_tokens == 40

    def test_no_context_is_the_models(self, tiny_model: Path) -> None:
        with load(tiny_model, n_ctx=0) as backend:
            engine: Any = backend._engine
            assert engine.n_ctx == 256

    def test_an_attention_that_is_not_there(self, tiny_model: Path) -> None:
        with pytest.raises(InvalidParameterError, match="sdpa"):
            load(tiny_model, attn_implementation="sdpaa")

    @pytest.mark.parametrize("wanted", ["eager", "sdpa"])
    def test_attentions_agree(self, tiny_model: Path, tiny: HuggingFaceBackend, wanted: str) -> None:
        with load(tiny_model, attn_implementation=wanted) as backend:
            engine: Any = backend._engine
            in_parts = {"sdpa": attention.NAME}  # on a processor
            assert engine._model.config._attn_implementation == in_parts.get(wanted, wanted)
            assert backend.generate("Hello", temperature=0, max_tokens=6) == tiny.generate(
                "Hello", temperature=0, max_tokens=6
            )

    def test_quantizations_that_can_not_be(self, tiny_model: Path) -> None:
        with pytest.raises(InvalidParameterError, match="quant_method"):
            load(tiny_model, quantization={"bits": 4})
        with pytest.raises(InvalidParameterError, match="nosuch"):
            load(tiny_model, quantization={"quant_method": "nosuch"})
        with pytest.raises(UnknownParameterError, match="load_in_4bit"):
            load(tiny_model, quantization={"load_in_4bit": True, "load_in_4bits": True})
        with pytest.raises(EngineNotAvailableError, match=r"lacks a package: .*kernels"):
            load(tiny_model, quantization={"quant_method": "eetq"})
        with pytest.raises(InvalidParameterError, match="GGUF files"):
            load(tiny_model, quantization={"quant_method": "gguf"})
        with pytest.raises(InvalidParameterError, match="pre-quantized"):
            load(tiny_model, quantization={"quant_method": "aqlm"})

    def test_a_device_map(self, tiny_model: Path, tiny: HuggingFaceBackend) -> None:
        for spread in ("cpu", {"": "cpu"}):
            with load(tiny_model, device="auto", device_map=spread) as backend:
                assert backend.generate("Hello", temperature=0, max_tokens=6) == tiny.generate(
                    "Hello", temperature=0, max_tokens=6
                )
        with pytest.raises(ConflictingParametersError):
            load(tiny_model, device="cpu", device_map="auto")
        with pytest.raises(InvalidParameterError, match="device_map must be"):
            load(tiny_model, device="auto", device_map="everywhere")
        for absent in (99, "cuda:99"):
            with pytest.raises(DeviceNotAvailableError):
                load(tiny_model, device="auto", device_map={"model": "cpu", "lm_head": absent})
        with pytest.raises(InvalidParameterError, match=r"device_map\['model'\]"):
            load(tiny_model, device="auto", device_map={"model": "nowhere", "lm_head": "cpu"})

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "auto"])
    @pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
    def test_dtypes(self, tiny_model: Path, name: str, dtype: str) -> None:
        with load(tiny_model, **{name: dtype}) as backend:
            engine: Any = backend._engine
            assert str(engine._model.dtype) == f"torch.{'float32' if dtype == 'auto' else dtype}"


def test_a_failed_load_keeps_what_was_loaded_where_nothing_was_begun(
    tiny_model: Path, tmp_path: Path, changed: Change
) -> None:
    no_tokenizer = changed().rename(tmp_path / "no-tokenizer")
    (no_tokenizer / "tokenizer.json").write_text("{}")
    more_layers = changed(num_hidden_layers=3).rename(tmp_path / "more-layers")
    wider = changed(intermediate_size=192).rename(tmp_path / "wider")
    strange = changed(hidden_size="many").rename(tmp_path / "strange")
    no_weights = changed().rename(tmp_path / "no-weights")
    (no_weights / "model.safetensors").unlink()
    (no_weights / "pytorch_model.bin").write_bytes(b"<!DOCTYPE html>")
    no_layers = changed(num_hidden_layers=-1).rename(tmp_path / "no-layers")
    odd_template = changed().rename(tmp_path / "odd-template")
    (odd_template / "chat_template.jinja").write_text("{% for %}")
    encoder = changed(architectures=["LlamaModel"]).rename(tmp_path / "encoder")
    unpackable = changed(quantization_config={"quant_method": "eetq"}).rename(tmp_path / "unpackable")
    with load(tiny_model) as backend:
        for path, parameters in [
            ("nowhere", {}),
            (tmp_path, {}),
            (no_tokenizer, {}),
            (more_layers, {}),
            (wider, {}),
            (strange, {}),
            (encoder, {}),
            (unpackable, {}),
            (no_weights, {}),
            (no_layers, {}),
            (odd_template, {}),
            (tiny_model, {"n_ctx": 257}),
            (tiny_model, {"n_cxt": 25}),
            (tiny_model, {"gguf_file": "none.gguf"}),
            (tiny_model, {"chat_template": "none.jinja"}),
            (tiny_model, {"quantization": {"quant_method": "gguf"}}),
            (tiny_model, {"chat_template": "{% for %}"}),
            (tiny_model, {"quantization": {"quant_method": "nosuch"}}),
            (tiny_model, {"quantization": {"load_in_4bit": True, "quant_method": "bitsandbytes"}}),
            (tiny_model, {"attn_implementation": "flash_attention_2"}),
            (tiny_model, {"device": "auto", "device_map": {"model.layers.0": "cpu"}}),
            (tiny_model, {"device": "auto", "device_map": {"": "cuda:99"}}),
            (tiny_model, {"device": "auto", "device_map": {"": 99}}),
            (tiny_model, {"device": "cuda:99"}),
            (tiny_model, {"dtype": "int3"}),
            (tiny_model, {"attn_implementation": "none"}),
        ]:
            with pytest.raises(LlamaForgeError):
                backend.load_model(path, parameters)
            assert backend.generate("Hello", seed=1, max_tokens=2)


def test_what_yarn_makes_of_a_context_counts(changed: Change) -> None:
    rope = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 256, "rope_theta": 10000.0}
    folder = changed(rope_parameters=rope)
    with load(folder, n_ctx=512) as backend:
        assert backend.is_model_loaded()
    with pytest.raises(InvalidParameterError, match="at most 512, the context that this model was trained for"):
        load(folder, n_ctx=513)


def test_a_home_folder_in_paths(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "chat.jinja").write_text("{% for m in messages %}<{{ m.content }}>{% endfor %}")
    with load("~/model", cache_dir="~/cache", chat_template="~/chat.jinja") as backend:
        assert backend.render("Hi") == "<Hi>"
    assert HuggingFaceConfig(cache_dir="~/cache").cache_folder == str(tmp_path / "cache")


def test_a_failed_load_gives_memory_back_and_the_next_one_works(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forge_hf import engine

    seen: list[Any] = []

    def fail(forward: Any, name: str, n_ctx: int) -> None:
        seen.append(weakref.ref(forward.model))
        raise ModelLoadError(name, "it must fail")

    backend = HuggingFaceBackend()
    with monkeypatch.context() as patch:
        patch.setattr(engine, "choose_rows", fail)
        with pytest.raises(ModelLoadError) as caught:
            backend.load_model(tiny_model, {"device": "cpu"})
    assert caught.value.__traceback__ is not None
    assert seen[0]() is None
    assert not backend.is_model_loaded()
    backend.load_model(tiny_model, {"device": "cpu"})
    assert backend.generate("Hello", seed=1, max_tokens=2)
    backend.close()


def test_every_error_of_the_hub_library_has_a_place() -> None:
    """One that a later version adds fails here until somebody says what it means to users."""
    elsewhere = {
        "BucketBatchError", "CLIError", "CLIExtensionInstallError", "CacheNotFound", "CachedRepoTreeNotFoundError",
        "ConfirmationError", "CorruptedCacheException", "DDUFCorruptedFileError", "DDUFError", "DDUFExportError",
        "DDUFInvalidEntryNameError", "DeviceCodeError", "DryRunError", "FileDuplicationError", "GenerationError",
        "HfUriError", "IncompleteGenerationError", "InferenceEndpointError", "InferenceEndpointTimeoutError",
        "LocalTokenNotFoundError", "NotASafetensorsRepoError", "OAuthErrorCode", "OIDCError", "OverloadedError",
        "RevisionResolutionError", "SafetensorsParsingError", "SandboxCommandError", "SandboxError",
        "TextGenerationError", "UnknownError", "ValidationError", "InferenceTimeoutError",
    }  # fmt: skip
    raised = {
        name: kind
        for name, kind in vars(hub_errors).items()
        if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == hub_errors.__name__
    }
    mapped = tuple(kind for kind, _ in errors.TABLE)
    unplaced = [name for name, kind in raised.items() if not issubclass(kind, mapped) and name not in elsewhere]
    assert not unplaced


@pytest.mark.parametrize("kind", [kind for kind, _ in errors.TABLE])
def test_every_mapped_error_becomes_one_of_ours(kind: type[Exception]) -> None:
    made = kind.__new__(kind)
    Exception.__init__(made, "the reason")
    wrapped = OSError("some advice")
    wrapped.__cause__ = made
    ours = errors.load_error(wrapped, "org/model")
    assert isinstance(ours, LlamaForgeError)
    general = type(ours) is ModelLoadError and "the device failed" not in str(ours)
    assert not general or errors.is_out_of_memory(made)


def test_any_other_error_is_a_failed_load() -> None:
    ours = errors.load_error(KeyError("it"), "org/model")
    assert isinstance(ours, ModelLoadError)
    assert "KeyError" in ours.reason


class TestTinyGguf:
    """What transformers makes of a GGUF file, whose weights are only unpacked at load."""

    @pytest.fixture
    def made(self, tmp_path: Path) -> Change:
        def make(name: str = "tiny.gguf", **extra: Any) -> Path:
            tokens = [*byte_texts(), *SPECIAL, "Āā"]
            kinds = [1] * 256 + [3] * len(SPECIAL) + [1]
            named = {"tokenizer__ggml__tokens": tokens, "tokenizer__ggml__token_type": kinds}
            return make_tiny_gguf(tmp_path / name, **{**named, **extra})

        return make

    def test_a_file_needs_no_suffix(self, made: Change) -> None:
        blob = made("sha256-1234")
        with load(blob) as one, load(blob.parent, gguf_file=blob.name) as other:
            ask = {"temperature": 0, "max_tokens": 4, "raw": True}
            assert one.generate("Hi", ask) == other.generate("Hi", ask)

    @pytest.mark.parametrize(
        ("extra", "says"),
        [
            ({"general__architecture": "perceptron"}, "can't use the metadata in its header (ValueError: .*perceptron"),
            ({"tokenizer__ggml__model": "words"}, "make a tokenizer of the metadata in its header .*words"),
            ({"template": "{% for %}"}, r"chat template \(tokenizer\.chat_template in its metadata\) is broken"),
            ({"llama__attention__head_count": np.uint32(0)}, "its header"),
        ],
    )
    def test_what_its_header_says_wrong_costs_nothing(
        self, tiny: HuggingFaceBackend, made: Change, extra: dict[str, Any], says: str
    ) -> None:
        path = made(**extra)
        with pytest.raises((InvalidModelError, ModelLoadError), match=says.replace("header (V", r"header \(V")):
            tiny.load_model(path, {"device": "cpu"})
        assert tiny.generate("Hello", seed=1, max_tokens=2)

    @pytest.mark.parametrize(
        ("extra", "says"),
        [
            ({"llama__block_count": np.uint32(3)}, "it lacks 9 of the weights"),
            ({"llama__embedding_length": np.uint32(48)}, "has the shape"),
        ],
    )
    def test_weights_that_do_not_fit_are_told(self, made: Change, extra: dict[str, Any], says: str) -> None:
        with pytest.raises(InvalidModelError, match=says):
            load(made(**extra))
