"""What a GGUF file is loaded for, and whether its vectors or scores would be its own.

A reranker's head is where files go wrong. llama.cpp computes the classifier of RoBERTa's kind (a dense layer, tanh, a
projection) and always takes the first segment's embedding for every token. BERT's rerankers have a pooler, which the
converter leaves out, and tell query and document apart by segments, so both their scores would be wrong. Those of
Qwen3's kind come out near zero (llama.cpp #25447). What looks right is still tried at load (:mod:`.embedding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from llamaforge.errors import InvalidModelError, InvalidParameterError
from llamaforge.formats.gguf import Header
from llamaforge.formats.tasks import ENCODERS, gguf_task

from .config import LlamaCppConfig

Task = Literal["generate", "embed", "rerank"]

POOLINGS: Final = {"mean": 1, "cls": 2, "last": 3}
"""``enum llama_pooling_type``, as far as a vector of a text comes of it."""
RANK: Final = 4
_ALL_F32: Final = 0
"""``LLAMA_FTYPE_ALL_F32``."""
PROBES: Final = (
    ("What is the capital of France?", "Paris is the capital of France.", "Whisk two eggs with flour and milk."),
    ("how to bake bread", "To bake bread, mix flour, water and yeast.", "The train to Berlin leaves at nine."),
    ("height of Mount Everest", "Mount Everest is 8,849 metres high.", "My favourite colour is green."),
)
"""Queries, each with a document that answers it and one that has nothing to do with it."""
_DENSE, _PROJECTION = "cls.weight", "cls.output.weight"
_ONE_LAYER: Final = frozenset({"jina-bert-v2"})
"""Architectures whose classifier is a projection alone."""


def chosen_task(header: Header, config: LlamaCppConfig) -> Task:
    """What to load the model for: as asked, or what its file shows."""
    return config.task if config.task is not None else gguf_task(header)


def check_task(location: str, header: Header, config: LlamaCppConfig) -> None:
    """Refuse what can't be loaded for its task.

    Raises InvalidParameterError for a load parameter that is missing or has no effect, and InvalidModelError.
    """
    task = chosen_task(header, config)
    if task == "generate":
        _refuse_options(config, ("pooling", "prompts"), task)
        if header.metadata.get("general.architecture") in ENCODERS:
            raise InvalidModelError(location, 'it is an encoder, which generates no text: load it with task="embed".')
    elif task == "embed":
        _check_pooling(location, header, config)
    else:
        _refuse_options(config, ("pooling", "prompts"), task)
        _check_head(location, header)


def pooling_of(header: Header, config: LlamaCppConfig) -> int | None:
    """The file's pooling, or the caller's in its place (``kv_overrides``); None where neither says."""
    key = f"{header.metadata.get('general.architecture')}.pooling_type"
    found: Any = config.kv_overrides.get(key, header.metadata.get(key))
    return found if type(found) is int and found > 0 else None


def flags_missing(header: Header, config: LlamaCppConfig) -> list[str]:
    """Which metadata are absent that say whether a text begins and ends with special tokens.

    llama.cpp then assumes what is usual for the tokenizer, which may not be what the model was trained with. WordPiece
    vocabularies always have both tokens.
    """
    if header.metadata.get("tokenizer.ggml.model") == "bert":
        return []
    known = {**header.metadata, **config.kv_overrides}
    return [key for name in ("bos", "eos") if (key := f"tokenizer.ggml.add_{name}_token") not in known]


def is_exact(header: Header, config: LlamaCppConfig) -> bool:
    """Whether a text's vector must not depend on the texts beside it: where flash attention is off, and in a file of
    32-bit floats, unless it is on. Others are rounded more than that anyway."""
    if config.flash_attn is not None:
        return not config.flash_attn
    return header.metadata.get("general.file_type") == _ALL_F32 and set(config.cache_types) <= {"f16", "f32"}


def check_scores(path: str, scores: Sequence[float]) -> None:
    """Raise InvalidModelError where, of the documents of :data:`PROBES`, answers don't score above nonsense."""
    if any(not right > wrong for right, wrong in zip(scores[::2], scores[1::2], strict=True)):
        told = ", ".join(f"{score:.3g}" for score in scores)
        raise InvalidModelError(
            path,
            f"its scores are not its own: it doesn't tell plain answers from nonsense (scores {told}). The file lacks "
            "parts of the model, or llama.cpp computes it wrongly. Use the backend huggingface.",
        )


def _refuse_options(config: LlamaCppConfig, names: tuple[str, ...], task: str) -> None:
    for name in names:
        if getattr(config, name):
            message = f"{name} can't be used: the model is loaded for task {task!r}."
            raise InvalidParameterError(name, getattr(config, name), "left out", message=message)


def _check_pooling(location: str, header: Header, config: LlamaCppConfig) -> None:
    pooling = pooling_of(header, config)
    if pooling == RANK and config.pooling is None:
        raise InvalidModelError(location, 'it is a reranker, which has no vectors: load it with task="rerank".')
    if pooling is None and config.pooling is None:
        message = "pooling is missing: the file doesn't say how to pool its tokens. Pass 'mean', 'cls' or 'last'."
        raise InvalidParameterError("pooling", None, "'mean', 'cls' or 'last'", message=message)
    if pooling is not None and pooling not in (*POOLINGS.values(), RANK):
        raise InvalidModelError(location, f"its header is damaged: pooling_type is {pooling}.")


def _check_head(location: str, header: Header) -> None:
    architecture = header.metadata.get("general.architecture")
    reason = None
    if _PROJECTION not in header.head:
        reason = "its classifier (cls.output.weight) is missing"
    elif architecture not in _ONE_LAYER and _DENSE not in header.head:
        reason = (
            "a layer of its classifier (cls.weight) is missing; llama.cpp's converter leaves out the pooler of BERT's "
            "rerankers"
        )
    elif header.metadata.get("tokenizer.ggml.token_type_count", 1) not in (0, 1):
        reason = "it separates query and document by segments, which llama.cpp doesn't compute"
    elif header.head[_PROJECTION][-1:] not in ((1,), header.head[_PROJECTION][:1]):
        reason = f"its classifier has {header.head[_PROJECTION][-1]} outputs; a reranker of this backend has one"
    if reason is not None:
        raise InvalidModelError(location, f"its scores would not be its own: {reason}. Use the backend huggingface.")
