"""A model's weights on a processor, laid out once as oneDNN's matrix products want them.

A checkpoint's layout suits no processor: oneDNN reads it at half the speed, or lays it out anew for each product. So
torch's compiler lays frozen weights out once, and so does this, with the same two operators, for every linear layer.
The numbers are the same but for rounding, which a trial run makes sure of.
"""

from __future__ import annotations

import functools
import itertools
import logging
import platform
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil  # type: ignore[import-untyped] # it has no types
import torch
from torch import Tensor, nn

from .forward import Forward
from .memory import trim_heap
from .self_test import alone, same

_logger = logging.getLogger("forge_hf")

_TRIAL = ((1, 5, 2), (7,), (3, 6, 4))
"""Pieces of a text: a prompt, an answer's token, and guesses."""
_MACHINES = ("x86_64", "amd64")
"""Elsewhere torch has other kernels for the layout that checkpoints have; nobody has measured there."""


def pack(forward: Forward) -> bool:
    """Lay out the weights of all plain linear layers that are on a processor; whether that was done.

    They replace the checkpoint's, which are pages of a mapped file, with memory of the process. Weights that something
    else needs as they are stay as well, such as those that an output layer shares with the embeddings. A model that
    then computes something else, or fails, is put back as it was.
    """
    unused = _unused(forward.model)
    layers = [layer for layer in _layers(forward.model) if layer not in unused]
    size = sum(layer.weight.nbytes for layer in layers)
    if not layers or not _has_room(size):
        return False
    counts = Counter(id(each) for module in forward.model.modules() for each in module._parameters.values())
    shared = {id(layer): layer.weight for layer in layers if counts[id(layer.weight)] > 1}
    try:
        before, _ = alone(forward, _TRIAL)
    except Exception:  # noqa: BLE001 - whatever it is, the trial of its rows meets it again, and says so
        return False
    try:
        done = [_pack(layer) for layer in layers]
        if not any(done):
            return False
        after, _ = alone(forward, _TRIAL)
        if same(after, before):
            if not unused:  # what isn't used need not be in memory, so it stays in the file
                _leave_the_file(forward.model, size)
            trim_heap()
            return True
        reason = "it computed something else"
    except Exception as error:  # noqa: BLE001 - a model may do with its weights whatever it likes
        reason = f"{type(error).__name__}: {error}"
    _logger.info("%s: its weights stay as they are: %s.", type(forward.model).__name__, reason)
    for layer in layers:
        _unpack(layer, shared.get(id(layer)))
    return False


def _unused(model: Any) -> set[nn.Module]:
    """The modules that read pictures and sound: text doesn't run through them."""
    find = getattr(model, "get_encoder", None)
    found: set[nn.Module] = set()
    for kind in ("image", "video", "audio"):
        try:
            tower = find(modality=kind) if find is not None else None
        except Exception:  # noqa: BLE001, S112 - older versions know no kinds, and models may have a method of their own
            continue
        if isinstance(tower, nn.Module) and tower is not model and model.get_input_embeddings() not in tower.modules():
            found.update(tower.modules())
    return found


def _layers(model: nn.Module) -> Iterator[nn.Linear]:
    """Linear layers that nobody has changed: no quantization, no hooks, no other forward()."""
    kernels = torch.ops.mkldnn
    if (
        platform.machine().lower() not in _MACHINES
        or not torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call] # torch has no types here
        or not torch.backends.mkldnn.enabled
        or not hasattr(kernels, "_linear_pointwise")
        or not hasattr(kernels, "_reorder_linear_weight")
    ):
        return
    dtypes = {torch.float32}
    if hasattr(kernels, "_is_mkldnn_bf16_supported") and kernels._is_mkldnn_bf16_supported():
        dtypes.add(torch.bfloat16)
    for module in model.modules():
        if (
            type(module) is nn.Linear
            and type(module.weight) is nn.Parameter
            and module.weight.device.type == "cpu"
            and module.weight.layout is torch.strided
            and module.weight.dtype in dtypes
            and module.weight.numel()
            and "forward" not in vars(module)
            and not module._forward_hooks
            and not module._forward_pre_hooks
        ):
            yield module


@torch.no_grad()
def _pack(layer: nn.Linear) -> bool:
    """Whether oneDNN knows a layout for the layer's weights; if not, they stay as they are."""
    try:
        packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight)
    except RuntimeError:
        return False
    layer.weight = nn.Parameter(packed, requires_grad=False)
    layer.forward = functools.partial(_product, layer)  # type: ignore[method-assign]
    return True


@torch.no_grad()
def _unpack(layer: nn.Linear, original: Tensor | None) -> None:
    if layer.weight.layout is torch.strided:
        return
    layer.weight = nn.Parameter(layer.weight.to_dense(), requires_grad=False) if original is None else original
    del layer.forward


def _has_room(size: int) -> bool:
    """Whether so many bytes are free. A checkpoint's weights are parts of a file, whose pages the system may drop and
    read again; these it can't."""
    free = psutil.virtual_memory().available
    if size <= free:
        return True
    _logger.info("Weights stay as they are: laid out anew they take %d MiB, and %d are free.", size >> 20, free >> 20)
    return False


@torch.no_grad()
def _leave_the_file(model: nn.Module, packed: int) -> None:
    """Copy what is left of the checkpoint, where that is little: any part of it keeps the whole file mapped."""
    left = [each for each in itertools.chain(model.parameters(), model.buffers()) if each.layout is torch.strided]
    left = [each for each in left if each.device.type == "cpu"]
    if sum(each.nbytes for each in left) <= packed:
        for tensor in left:
            tensor.data = tensor.clone()


def _product(layer: nn.Linear, states: Tensor) -> Tensor:
    """What ``layer(states)`` is.

    The trial can't see every product: an expert may come to none of its tokens, and a step be longer. A layer for which
    oneDNN has no kernel then gets its weights back, and torch computes it.
    """
    try:
        # The overload by name: finding it anew costs as much as a small product.
        product: Tensor = torch.ops.mkldnn._linear_pointwise.default(states, layer.weight, layer.bias, "none", [], "")
    except RuntimeError as error:
        _logger.info("A linear layer gets its weights back (%s).", str(error).partition("\n")[0])
        _unpack(layer, None)
        own: Tensor = layer(states)
        return own
    return product
