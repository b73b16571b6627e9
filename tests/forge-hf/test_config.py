"""Load parameters, read without an engine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from forge_hf import HuggingFaceConfig
from llamaforge.backends.config import describe_config
from llamaforge.errors import ConflictingParametersError, InvalidParameterError, UnknownParameterError

CANARY = "hf_canarycanarycanary"


def test_the_seeds_parameters() -> None:
    read = HuggingFaceConfig.read(
        {"device": "cuda", "torch_dtype": "bfloat16", "trust_remote_code": True, "cache_dir": "somewhere"}
    )
    assert (read.device, read.chosen_dtype, read.trust_remote_code, read.cache_dir) == (
        "cuda",
        "bfloat16",
        True,
        "somewhere",
    )


def test_what_holds_where_nothing_is_said() -> None:
    read = HuggingFaceConfig.read(None)
    assert (read.device, read.chosen_dtype, read.trust_remote_code) == ("auto", None, False)
    assert read.n_ctx is read.n_batch is read.token is read.quantization is read.device_map is None
    assert (read.n_parallel, read.prefix_cache, read.prompt_lookup) == (8, 8, 0)


def test_the_two_names_of_dtype() -> None:
    assert HuggingFaceConfig.read({"dtype": "float16"}).chosen_dtype == "float16"
    assert HuggingFaceConfig.read({"dtype": "float16", "torch_dtype": "float16"}).chosen_dtype == "float16"
    with pytest.raises(ConflictingParametersError) as caught:
        HuggingFaceConfig.read({"dtype": "float16", "torch_dtype": "bfloat16"})
    assert caught.value.names == ["dtype", "torch_dtype"]


@pytest.mark.engine
def test_torchs_own_dtypes_are_taken() -> None:
    import torch

    assert HuggingFaceConfig.read({"torch_dtype": torch.bfloat16}).chosen_dtype == "bfloat16"
    assert HuggingFaceConfig.read({"dtype": "torch.float32"}).chosen_dtype == "float32"
    with pytest.raises(InvalidParameterError):
        HuggingFaceConfig.read({"dtype": torch.int8})


@pytest.mark.parametrize(
    "parameters",
    [
        {"device": ""},
        {"device": 0},
        {"dtype": "int8"},
        {"dtype": SimpleNamespace()},
        {"n_ctx": -1},
        {"n_ctx": "many"},
        {"n_batch": 0},
        {"n_parallel": 0},
        {"prompt_lookup": -1},
        {"seed": -1},
        {"trust_remote_code": "yes"},
        {"quantization": "4bit"},
        {"device_map": 3},
        {"cache_dir": ""},
        {"local_files_only": 1},
        {"token": 5},
    ],
)
def test_wrong_types_and_ranges(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameterError) as caught:
        HuggingFaceConfig.read(parameters)
    assert caught.value.name in parameters


def test_unknown_names_come_with_the_closest() -> None:
    with pytest.raises(UnknownParameterError) as caught:
        HuggingFaceConfig.read({"torch_dtyp": "auto"})
    assert caught.value.suggestions[0] == "torch_dtype"


@pytest.mark.parametrize(
    "parameters",
    [
        {"device": "cuda", "device_map": "auto"},
        {"gguf_file": "model.gguf", "quantization": {"quant_method": "torchao"}},
    ],
)
def test_contradictions(parameters: dict[str, Any]) -> None:
    with pytest.raises(ConflictingParametersError):
        HuggingFaceConfig.read(parameters)


def test_every_parameter_is_described() -> None:
    for field in describe_config(HuggingFaceConfig):
        assert field.description, field.name
        assert field.type, field.name


def test_the_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_TOKEN", CANARY)
    for given in (CANARY, "env:MY_TOKEN"):
        read = HuggingFaceConfig.read({"token": given})
        assert read.token is not None
        assert read.token.reveal() == CANARY
        assert CANARY not in f"{read}{read!r}{read.public()}"
