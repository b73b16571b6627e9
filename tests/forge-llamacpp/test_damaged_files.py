"""Files that are no sound model: refused with a reason, and the process lives on."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llama_cpp._ggml import libggml

from forge_llamacpp import LlamaCppBackend
from forge_llamacpp.model_check import check_model_file
from forge_llamacpp.plugin import match
from llamaforge.errors import (
    InvalidModelError,
    InvalidParameterError,
    LlamaForgeError,
    ModelLoadError,
    ModelNotFoundError,
)
from llamaforge.formats.gguf import BLOCKS, DamagedFileError, Header, read_header
from support.gguf_files import SPECIAL, byte_texts, make_lora, make_tiny_gguf

SMALL = {"n_ctx": 64, "n_threads": 1}


def refused(backend: LlamaCppBackend, path: Path | str, parameters: dict[str, Any] | None = None) -> InvalidModelError:
    with pytest.raises(InvalidModelError) as caught:
        backend.load_model(path, parameters or SMALL)
    assert caught.value.model == str(path)
    assert str(path) in str(caught.value)
    assert not backend.is_model_loaded()
    return caught.value


def test_a_missing_file(empty: LlamaCppBackend, tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path / "no" / "folder.gguf", "nul\0.gguf", ""):
        with pytest.raises((ModelNotFoundError, InvalidModelError)) as caught:
            empty.load_model(path, SMALL)
        if str(path):
            assert isinstance(caught.value, FileNotFoundError)


def test_a_folder_tells_of_the_models_in_it(empty: LlamaCppBackend, tmp_path: Path) -> None:
    assert "folder" in refused(empty, tmp_path).reason
    (tmp_path / "inside.gguf").touch()
    assert "inside.gguf" in refused(empty, tmp_path).reason


def test_a_pipe_is_not_waited_for(empty: LlamaCppBackend, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    assert "named pipe" in refused(empty, tmp_path / "pipe.gguf").reason


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"GG", "not a GGUF file"),
        (b"\0" * 4096, "unfinished download"),
        (b"PK\x03\x04" + b"x" * 100, "zip"),
        (b"tjgg" + b"x" * 100, "2023"),
        (b"<!DOCTYPE html><title>Sign in</title>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"GGUF", "cut short"),
        (b"GGUF" + struct.pack("<I", 1) + b"\0" * 100, "version 1"),
        (b"GGUF" + struct.pack(">I", 3) + b"\0" * 100, "big-endian"),
        (b"GGUF" + struct.pack("<I", 99) + b"\0" * 100, "version 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60), "more entries"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "architecture"),
    ],
)
def test_files_of_other_kinds(empty: LlamaCppBackend, tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    assert reason in refused(empty, path).reason


def test_a_file_cut_anywhere_is_refused_and_the_next_one_loads(
    empty: LlamaCppBackend, tiny_gguf: Path, tmp_path: Path
) -> None:
    whole = tiny_gguf.read_bytes()
    path = tmp_path / "cut.gguf"
    lengths = {*range(64), *range(64, len(whole), 1009), *range(len(whole) - 40, len(whole))}
    for length in sorted(lengths):
        path.write_bytes(whole[:length])
        assert refused(empty, path).reason
    # The bytes that are missing are named where the header is whole.
    path.write_bytes(whole[:-1])
    assert f"{len(whole) - 1:,} of {len(whole):,} bytes" in refused(empty, path).reason
    empty.load_model(tiny_gguf, SMALL)


def test_the_real_model_cut_short(backend: LlamaCppBackend, gguf_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    size = gguf_model.stat().st_size
    shutil.copyfile(gguf_model, path)
    for length in (size - 1, size // 2, 2_000_000, 1_780_000, 900_000, 5_000):
        os.truncate(path, length)
        with pytest.raises(InvalidModelError, match="cut short"):
            backend.load_model(path)
    # Nothing was given up for a file that is none.
    assert backend.is_model_loaded()
    assert backend.generate("Hi", max_tokens=2)


DAMAGED_SHAPES: dict[str, dict[str, Any]] = {
    "no layers": {"llama__block_count": np.uint32(0)},
    "a thousand layers": {"llama__block_count": np.uint32(1000)},
    "a billion layers": {"llama__block_count": np.uint32(2**30)},
    "more keys than heads": {"llama__attention__head_count_kv": np.uint32(2**31 + 1)},
    "negative epsilon": {"llama__attention__layer_norm_rms_epsilon": np.float32(-1e-5)},
    "epsilon that is no number": {"llama__attention__layer_norm_rms_epsilon": np.float32("nan")},
    "experts without end": {"llama__expert_count": np.uint32(5000), "llama__expert_used_count": np.uint32(1)},
    "more experts used than there are": {"llama__expert_used_count": np.uint32(3)},
    "unknown rope scaling": {"llama__rope__scaling__type": "sideways"},
    "a token twice": {"tokenizer__ggml__tokens": [*byte_texts(), SPECIAL[0], SPECIAL[0], SPECIAL[1]]},
    "an adapter": {"general__type": "adapter"},
    "a projector": {"general__architecture": "clip"},
}


@pytest.mark.parametrize("extra", DAMAGED_SHAPES.values(), ids=DAMAGED_SHAPES)
def test_what_the_engine_would_die_of_is_refused_before(
    empty: LlamaCppBackend, tmp_path: Path, extra: dict[str, Any]
) -> None:
    assert refused(empty, make_tiny_gguf(tmp_path / "model.gguf", **extra)).reason


DAMAGED_OTHERWISE: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown architecture": ({"general__architecture": "perceptron"}, "perceptron"),
    "an unknown tokenizer": ({"tokenizer__ggml__model": "words"}, "words"),
    "no tokenizer": ({"tokenizer__ggml__model": "no_vocab", "tokenizer__ggml__tokens": None}, ""),
    "wrong width": ({"llama__embedding_length": np.uint32(48)}, ""),
    "no length": ({"llama__context_length": None}, "context_length"),
    "a layer too many": ({"llama__block_count": np.uint32(3)}, "blk.2"),
    "an encoder": ({"general__architecture": "bert", "bert__pooling_type": np.uint32(1)}, ""),
}


@pytest.mark.parametrize(("extra", "said"), DAMAGED_OTHERWISE.values(), ids=DAMAGED_OTHERWISE)
def test_what_the_engine_refuses_has_its_reason(
    empty: LlamaCppBackend, tmp_path: Path, tiny_gguf: Path, extra: dict[str, Any], said: str
) -> None:
    path = make_tiny_gguf(tmp_path / "model.gguf", **extra)
    with pytest.raises(ModelLoadError) as caught:
        empty.load_model(path, SMALL)
    assert said in caught.value.reason
    assert "llama.cpp said" in caught.value.reason or said == ""
    assert not empty.is_model_loaded()
    empty.load_model(tiny_gguf, SMALL)
    assert empty.generate("x", max_tokens=1, seed=1) is not None


def test_bits_that_flip_in_the_header_never_end_the_process(tiny_gguf: Path, tmp_path: Path) -> None:
    """In a child, so that a crash is a failure here and not the end of the test run."""
    script = textwrap.dedent(
        """
        import random, sys
        from pathlib import Path
        from forge_llamacpp import LlamaCppBackend
        from llamaforge.errors import LlamaForgeError

        whole, path = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2])
        header = whole.index(b"blk.1.ffn_up.weight") + 64
        random, backend, outcomes = random.Random(7), LlamaCppBackend(), {"loaded": 0, "refused": 0}
        for _ in range(600):
            damaged = bytearray(whole)
            at = random.randrange(header)
            damaged[at] ^= 1 << random.randrange(8)
            path.write_bytes(damaged)
            print(at, damaged[at], file=sys.stderr, flush=True)
            try:
                backend.load_model(path, {"n_ctx": 64, "n_threads": 1})
                backend.generate("Hi", raw=True, max_tokens=2, seed=1, top_p=0.9)
                outcomes["loaded"] += 1
            except LlamaForgeError:
                outcomes["refused"] += 1
        print(outcomes["loaded"] > 50, outcomes["refused"] > 50)
        """
    )
    run = subprocess.run(
        [sys.executable, "-c", script, tiny_gguf, tmp_path / "damaged.gguf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-600:]
    assert run.stdout == "True True\n"


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_reading_a_header_gives_a_header_or_a_reason(tiny_gguf: Path, tmp_path: Path, data: st.DataObject) -> None:
    damaged = bytearray(tiny_gguf.read_bytes()[: data.draw(st.integers(0, 8000))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "model.gguf"
    path.write_bytes(damaged)
    try:
        outcome: object = read_header(path)
    except DamagedFileError as error:
        outcome = str(error)
    assert isinstance(outcome, Header | str)
    assert outcome


def test_weights_that_are_no_numbers_are_told(empty: LlamaCppBackend, tiny_gguf: Path, tmp_path: Path) -> None:
    damaged = bytearray(tiny_gguf.read_bytes())
    damaged[-64 * 32 * 4 :] = np.full(64 * 32, np.nan, dtype=np.float32).tobytes()
    path = tmp_path / "nan.gguf"
    path.write_bytes(damaged)
    empty.load_model(path, SMALL)
    for parameters in ({"temperature": 0}, {"seed": 1}, {"seed": 1, "top_p": 0.9, "top_k": 200}):
        with pytest.raises(Exception, match="NaN"):
            empty.generate("x", parameters, max_tokens=3)
    with pytest.raises(ModelLoadError):
        empty.load_model(path, {**SMALL, "check_tensors": True})


def test_sizes_of_the_types_are_the_engines_own() -> None:
    import ctypes

    size = ctypes.CFUNCTYPE(ctypes.c_size_t, ctypes.c_int)(("ggml_type_size", libggml))
    block = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int)(("ggml_blck_size", libggml))
    known = {kind: (block(kind), size(kind)) for kind in range(43) if size(kind)}
    assert known == BLOCKS


def split(source: Path, folder: Path, count: int = 2) -> list[Path]:
    """A model in parts: all metadata in the first, a share of the tensors in each."""
    from gguf import GGUFReader, GGUFWriter

    tensors = GGUFReader(source).tensors
    parts = []
    for number in range(count):
        path = folder / f"model-{number + 1:05}-of-{count:05}.gguf"
        if number == 0:
            make_tiny_gguf(path)  # written anew below, with the right tensors
        writer = GGUFWriter(path, "llama")
        if number == 0:
            for key, field in GGUFReader(source).fields.items():
                if not key.startswith("GGUF.") and key != "general.architecture":
                    writer.add_key_value(key, field.contents(), field.types[0], field.types[-1])
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", count)
        writer.add_int32("split.tensors.count", len(tensors))
        for tensor in tensors[number::count]:
            writer.add_tensor(tensor.name, np.array(tensor.data))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        parts.append(path)
    return parts


def test_a_model_in_parts(empty: LlamaCppBackend, tiny_gguf: Path, tmp_path: Path) -> None:
    first, second = split(tiny_gguf, tmp_path)
    empty.load_model(tiny_gguf, SMALL)
    expected = empty.generate("x", temperature=0, max_tokens=10)
    empty.load_model(first, SMALL)
    assert empty.generate("x", temperature=0, max_tokens=10) == expected
    empty.unload_model()

    assert first.name in refused(empty, second).reason
    renamed = tmp_path / "renamed.gguf"
    shutil.copy(first, renamed)
    assert "only if all are named" in refused(empty, renamed).reason
    os.truncate(second, second.stat().st_size - 10)
    with pytest.raises(InvalidModelError, match="cut short") as caught:
        empty.load_model(first, SMALL)
    assert caught.value.model == str(second)
    second.unlink()
    with pytest.raises(ModelNotFoundError, match=second.name):
        empty.load_model(first, SMALL)


def test_a_later_part_as_gguf_split_writes_it_names_the_first(empty: LlamaCppBackend, tmp_path: Path) -> None:
    """Its header says which part it is, and nothing of the model."""
    from gguf import GGUFWriter

    path = tmp_path / "model-00002-of-00003.gguf"
    writer = GGUFWriter(path, "llama")
    writer.kv_data[0].clear()
    writer.add_uint16("split.no", 1)
    writer.add_uint16("split.count", 3)
    writer.add_int32("split.tensors.count", 2)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    assert "model-00001-of-00003.gguf" in refused(empty, path).reason


def test_a_file_that_begins_as_gguf_needs_no_suffix(empty: LlamaCppBackend, tiny_gguf: Path, tmp_path: Path) -> None:
    """Ollama's files are called after their checksum."""
    blob = tmp_path / "sha256-1234"
    shutil.copy(tiny_gguf, blob)
    assert match(str(blob)) == match("any.gguf") > match(str(tmp_path)) > match(str(tmp_path / "none")) == 0
    empty.load_model(blob, SMALL)
    assert empty.generate("x", max_tokens=1, seed=1) is not None
    empty.unload_model()
    assert "sha256-1234" in refused(empty, tmp_path).reason


def test_models_of_transformers_and_peft_are_told_apart(empty: LlamaCppBackend, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"x")
    assert "convert_hf_to_gguf" in refused(empty, tmp_path).reason
    assert "backend huggingface" in refused(empty, tmp_path / "model.safetensors").reason
    (tmp_path / "config.json").unlink()
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    assert "org/base" in refused(empty, tmp_path).reason


def test_a_tilde_is_the_home_folder(
    empty: LlamaCppBackend, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(tiny_gguf, tmp_path / "model.gguf")
    make_lora(tmp_path / "lora.gguf", width=32, out=32)
    (tmp_path / "chat.jinja").write_text("{% for m in messages %}<{{ m.content }}>{% endfor %}")
    empty.load_model("~/model.gguf", {**SMALL, "lora": ["~/lora.gguf"], "chat_template": "~/chat.jinja"})
    assert empty.render("Hi") == "<Hi>"
    with pytest.raises(ModelNotFoundError, match="~/none"):
        empty.load_model("~/none.gguf", SMALL)


def test_bad_parameters_and_models_cost_no_loaded_model(
    empty: LlamaCppBackend, tiny_gguf: Path, tmp_path: Path
) -> None:
    """What llama.cpp itself refuses is found out without the weights."""
    broken = make_tiny_gguf(tmp_path / "broken.gguf", template="{% for %}")
    misfit = str(make_lora(tmp_path / "misfit.gguf", width=48, out=48))
    longer = make_tiny_gguf(tmp_path / "longer.gguf", llama__block_count=np.uint32(3))
    unknown = make_tiny_gguf(tmp_path / "unknown.gguf", general__architecture="perceptron")
    encoder = make_tiny_gguf(tmp_path / "encoder.gguf", general__architecture="bert")
    empty.load_model(tiny_gguf, SMALL)
    expected = empty.generate("x", temperature=0, max_tokens=4)
    for path, parameters, says in [
        (tiny_gguf, {"n_ctx": 513}, "at most 512, the context that this model was trained for"),
        (tiny_gguf, {"n_ctx": "many"}, "n_ctx"),
        (tiny_gguf, {"n_cxt": 64}, "n_ctx"),
        (tiny_gguf, {"tensor_split": [1.0] * 1000}, "tensor_split"),
        (tiny_gguf, {"type_v": "q8_0", "flash_attn": True}, "q8_0"),
        (tiny_gguf, {"lora": [misfit]}, "misfit"),
        (tiny_gguf, {"lora": [str(tmp_path / "none.gguf")]}, "LoRA"),
        (tiny_gguf, {"chat_template": "{% for %}"}, "chat_template"),
        (tiny_gguf, {"chat_template": "none.jinja"}, "chat_template"),
        (tiny_gguf, {"kv_overrides": {"llama.block_count": 7}}, "blk.2"),
        (broken, {}, "chat template"),
        (longer, {}, "blk.2"),
        (unknown, {}, "perceptron"),
        (encoder, {}, ""),
    ]:
        with pytest.raises(LlamaForgeError) as caught:
            empty.load_model(path, {**SMALL, **parameters})
        assert says in str(caught.value)
        assert empty.generate("x", temperature=0, max_tokens=4) == expected


def test_a_context_beyond_training_is_the_callers_with_a_stretched_embedding(
    empty: LlamaCppBackend, tiny_gguf: Path, tmp_path: Path
) -> None:
    with pytest.raises(InvalidParameterError, match="at most 512"):
        empty.load_model(tiny_gguf, {"n_ctx": 513})
    for parameters in ({"rope_freq_scale": 0.5}, {"kv_overrides": {"llama.context_length": 1024}}):
        empty.load_model(tiny_gguf, {"n_ctx": 1024, "n_threads": 1, **parameters})
        assert empty.generate("x", max_tokens=1, seed=1) is not None
    yarn = {
        "llama__rope__scaling__type": "yarn",
        "llama__rope__scaling__factor": np.float32(2),
        "llama__rope__scaling__original_context_length": np.uint32(512),
    }
    stretched = make_tiny_gguf(tmp_path / "yarn.gguf", **yarn)
    empty.load_model(stretched, {"n_ctx": 1024, "n_threads": 1})
    with pytest.raises(InvalidParameterError, match="at most 1024"):
        empty.load_model(stretched, {"n_ctx": 1025})


def test_adapters_are_looked_at_too(empty: LlamaCppBackend, tiny_gguf: Path, tmp_path: Path) -> None:
    adapter = make_lora(tmp_path / "lora.gguf", width=32, out=32)
    with pytest.raises(ModelNotFoundError, match="LoRA"):
        empty.load_model(tiny_gguf, {**SMALL, "lora": [str(tmp_path / "none.gguf")]})
    with pytest.raises(InvalidModelError, match="not a LoRA"):
        empty.load_model(tiny_gguf, {**SMALL, "lora": [str(tiny_gguf)]})
    assert "lora=" in refused(empty, adapter).reason
    os.truncate(adapter, adapter.stat().st_size - 1)
    with pytest.raises(InvalidModelError, match="cut short"):
        empty.load_model(tiny_gguf, {**SMALL, "lora": [str(adapter)]})
    misfit = make_lora(tmp_path / "misfit.gguf", width=48, out=48)
    with pytest.raises(ModelLoadError, match="misfit"):
        empty.load_model(tiny_gguf, {**SMALL, "lora": [str(misfit)]})
    empty.load_model(tiny_gguf, SMALL)


def test_a_file_that_may_not_be_read(empty: LlamaCppBackend, tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbidden)  # these tests may run as root, whom no mode stops
    assert "Permission denied" in refused(empty, tiny_gguf).reason


def test_checking_needs_no_engine(gguf_model: Path) -> None:
    code = (
        "import sys, time; from forge_llamacpp.model_check import check_model_file\n"
        "check_model_file(sys.argv[1]); print('llama_cpp' in sys.modules, 'numpy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code, gguf_model], capture_output=True, text=True, check=True)
    assert run.stdout == "False False\n"
    check_model_file(str(gguf_model))
