"""Weights in the layout of the processor's products: the same numbers, or the model as it was."""

from __future__ import annotations

import platform
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor, nn

from forge_hf import HuggingFaceBackend
from forge_hf.forward import Forward
from forge_hf.self_test import alone
from forge_hf.weight_prepacking import pack
from support.small_models import SETTINGS, small_model

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(platform.machine().lower() not in ("x86_64", "amd64"), reason="weights are packed on x86 only"),
]

KINDS = sorted(SETTINGS)
LOOK = ("falcon_mamba", "jamba", "mamba")
"""Models that multiply with the weights of a layer themselves."""
TEXT = ((3, 1, 4, 1, 5, 9, 2), (6,), (5, 3, 5))


def linear(model: nn.Module) -> list[nn.Linear]:
    return [module for module in model.modules() if type(module) is nn.Linear]


def logits(model: nn.Module) -> Tensor:
    found, _ = alone(Forward(model), TEXT)
    return found.float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_the_same_but_for_rounding(kind: str, dtype: torch.dtype) -> None:
    if dtype is torch.bfloat16 and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this processor doesn't compute in bfloat16")
    model = small_model(kind).to(dtype)
    before = logits(model)
    assert pack(Forward(model)) == (kind not in LOOK)
    layout = torch.strided if kind in LOOK else torch._mkldnn
    assert all(layer.weight.layout is layout for layer in linear(model))
    close = {torch.float32: 1e-5, torch.bfloat16: 0.05}[dtype]
    torch.testing.assert_close(logits(model), before, rtol=0, atol=close * float(before.abs().max()))


@pytest.mark.parametrize("shape", [(24,), (1, 24), (3, 5, 24), (0, 24), (2, 0, 24)], ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_a_layer_takes_what_it_took(shape: tuple[int, ...], bias: bool) -> None:
    model = small_model("llama")
    torch.manual_seed(2)
    model.model.extra = nn.Linear(24, 7, bias=bias)
    states = torch.randn(shape)
    with torch.inference_mode():
        before = model.model.extra(states)
        assert pack(Forward(model))
        torch.testing.assert_close(model.model.extra(states), before)
        if states.dim() == 3:
            turned = torch.randn(24, 5, 3).transpose(0, 2)
            expected = nn.functional.linear(turned, model.model.extra.weight.to_dense(), model.model.extra.bias)
            torch.testing.assert_close(model.model.extra(turned), expected)


def adds(noise: Callable[[nn.Module], Any]) -> nn.Module:
    """A model that does something with the weights of its output layer, beside computing with them."""
    model = small_model("llama")
    model.model.norm.register_forward_hook(lambda _, __, states: states + noise(model.lm_head))
    return model


@pytest.mark.parametrize(
    ("noise", "why"),
    [
        (lambda layer: 0 * layer.weight[0].sum(), "Error"),
        (lambda layer: torch.arange(32.0) * 9 * layer.weight.is_mkldnn, "it computed something else"),
    ],
    ids=["fails", "other numbers"],
)
def test_a_model_that_looks_at_its_weights_is_put_back(
    noise: Callable[[nn.Module], Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = adds(noise)
    model.lm_head.weight = model.model.embed_tokens.weight
    before, weights = logits(model), {name: each.clone() for name, each in model.state_dict().items()}
    with caplog.at_level("INFO", logger="forge_hf"):
        assert not pack(Forward(model))
    assert "LlamaForCausalLM: its weights stay as they are" in caplog.text
    assert why in caplog.text
    torch.testing.assert_close(logits(model), before)
    assert all(torch.equal(each, weights[name]) for name, each in model.state_dict().items())
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_embeddings_that_are_the_output_layers_weights_stay_usable() -> None:
    model = small_model("llama")
    model.lm_head.weight = model.model.embed_tokens.weight
    before = logits(model)
    assert pack(Forward(model))
    assert model.model.embed_tokens.weight.layout is torch.strided
    torch.testing.assert_close(logits(model), before)


def test_layers_that_somebody_changed_are_left_alone() -> None:
    class Own(nn.Linear):
        """As quantized layers are."""

    model = small_model("llama")
    layers = model.model.layers[0].self_attn
    width = layers.q_proj.in_features
    layers.q_proj = Own(width, layers.q_proj.out_features, bias=False)
    layers.k_proj.forward = layers.k_proj.forward  # as accelerate does
    layers.v_proj.register_forward_hook(lambda *_: None)
    layers.o_proj.to(torch.float64)
    layers.o_proj.register_forward_pre_hook(lambda _, states: states[0].double())
    model.model.layers[0].register_forward_hook(lambda _, __, states: states.float())
    model.model.layers[0].post_attention_layernorm.register_forward_pre_hook(lambda _, states: states[0].float())
    assert pack(Forward(model))
    for layer in (layers.q_proj, layers.k_proj, layers.v_proj, layers.o_proj):
        assert layer.weight.layout is torch.strided
    assert model.model.layers[1].self_attn.q_proj.weight.layout is torch._mkldnn


def test_a_layer_that_onednn_has_no_layout_for_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = small_model("llama")
    before = logits(model)
    real = torch.ops.mkldnn._reorder_linear_weight

    def picky(weight: Tensor) -> Tensor:
        if weight.shape == model.lm_head.weight.shape:
            raise RuntimeError("could not create a primitive descriptor")
        laid_out: Tensor = real(weight)
        return laid_out

    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", picky)
    assert pack(Forward(model))
    assert model.lm_head.weight.layout is torch.strided
    assert model.model.layers[0].mlp.up_proj.weight.layout is torch._mkldnn
    torch.testing.assert_close(logits(model), before)
    monkeypatch.setattr(torch.ops.mkldnn, "_reorder_linear_weight", lambda weight: real(weight[:0]))
    other = small_model("llama")
    assert not pack(Forward(other))
    torch.testing.assert_close(logits(other), before)


def test_a_product_that_onednn_has_no_kernel_for_is_computed_by_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial of a layer that no token comes to can't find that out."""
    model = small_model("llama")
    before = logits(model)
    assert pack(Forward(model))

    def refuse(*_: Any) -> Tensor:
        raise RuntimeError("could not create a primitive descriptor")

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", SimpleNamespace(default=refuse))
    torch.testing.assert_close(logits(model), before)
    assert all(layer.weight.layout is torch.strided for layer in linear(model))


def test_a_processor_without_bfloat16_keeps_such_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    model = small_model("llama").to(torch.bfloat16)
    assert not pack(Forward(model))
    assert pack(Forward(model.float()))


def test_who_turned_onednn_off_keeps_it_off() -> None:
    model = small_model("llama")
    with torch.backends.mkldnn.flags(enabled=False):
        assert not pack(Forward(model))
    assert all(layer.weight.layout is torch.strided for layer in linear(model))


def test_weights_stay_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    model = small_model("llama")
    size = sum(layer.weight.nbytes for layer in linear(model))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=size - 1))
    with caplog.at_level("INFO", logger="forge_hf"):
        assert not pack(Forward(model))
    assert "Weights stay as they are" in caplog.text
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=size))
    assert pack(Forward(model))


@pytest.mark.parametrize("much", [False, True])
def test_the_file_is_left_where_little_of_it_is_needed(much: bool) -> None:
    model = small_model("llama")
    model.model.register_buffer("extra", torch.zeros(10_000_000 if much else 10))
    buffer = model.model.extra.data_ptr()
    assert pack(Forward(model))
    assert (model.model.extra.data_ptr() == buffer) == much


def test_a_loaded_model_is_packed(tiny: HuggingFaceBackend) -> None:
    assert tiny._engine is not None
    assert all(layer.weight.layout is torch._mkldnn for layer in linear(tiny._engine._model))
