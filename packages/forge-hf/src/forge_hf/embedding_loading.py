"""From checked load parameters to an engine for vectors or scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from llamaforge.backends.base import import_engine
from llamaforge.engine.context import context_length, trained_context
from llamaforge.errors import InvalidModelError, InvalidParameterError, ModelLoadError
from llamaforge.formats.local import is_model_folder, local_path
from llamaforge.formats.tasks import folder_task
from llamaforge.installing import install_command

from . import hub
from .checkpoint import check_weights, read_config
from .config import HuggingFaceConfig
from .devices import choose_device, choose_dtype
from .embedding import TorchEmbeddingEngine, in_turn, pooled, scored
from .loading import loading_model, own_dtype
from .model_check import check_devices, check_files, what_is_wrong
from .model_source import ModelSource, find

Task = Literal["generate", "embed", "rerank"]

_MODULES = "modules.json"


def chosen_task(model_path: str, config: HuggingFaceConfig) -> Task:
    """What to load the model for: as asked, or what its files show where they are on this machine."""
    if config.task is not None:
        return config.task
    if config.pooling is not None:
        return "embed"
    if is_model_folder(model_path):
        return folder_task(local_path(model_path)) or "generate"
    return "generate"


def prepare_embedder(
    model_path: str, config: HuggingFaceConfig, task: Task, forbidden_by: str | None
) -> tuple[ModelSource, Path]:
    """Fetch the files where the model is on the hub, and refuse what can be refused before weights are read.

    Raises ModelNotFoundError, InvalidModelError, InvalidParameterError, DeviceNotAvailableError, the hub's errors, or
    EngineNotAvailableError where sentence-transformers is needed and missing.
    """
    source = find(model_path, config.gguf_file)
    check_devices(config)
    if source.gguf_file is not None:
        raise InvalidModelError(source.name, "a GGUF file makes vectors with the backend llama.cpp, not with this one.")
    with loading_model(source.name):
        folder = source.folder if source.folder is not None else hub.fetch(source, config, forbidden_by)
        source = ModelSource(source.name, folder)
        check_files(source, folder, config)
        if task == "embed":
            _check_embedder(source, folder, config)
        else:
            _check_reranker(source, folder, config)
    return source, folder


def load_embedder(source: ModelSource, folder: Path, config: HuggingFaceConfig, task: Task) -> TorchEmbeddingEngine:
    """Read the weights. Raises InvalidModelError or ModelLoadError."""
    with loading_model(source.name):
        if task == "rerank":
            return _load_reranker(source, folder, config)
        if config.pooling is None:
            return _load_sentence_transformer(source, folder, config)
        return _load_encoder(source, folder, config)


def _check_embedder(source: ModelSource, folder: Path, config: HuggingFaceConfig) -> None:
    if not (folder / _MODULES).is_file():
        if config.pooling is None:
            raise InvalidParameterError(
                "pooling",
                None,
                f"given ('mean', 'cls' or 'last'): {source.name} has no {_MODULES} that says how vectors are made",
            )
    elif config.pooling is not None:
        raise InvalidParameterError("pooling", config.pooling, f"left out: {source.name}'s own {_MODULES} says it")
    else:
        import_engine(
            "sentence_transformers",
            backend="huggingface",
            advice=f"Install it: {install_command('forge-hf[embeddings]')}",
        )


def _check_reranker(source: ModelSource, folder: Path, config: HuggingFaceConfig) -> None:
    for name in ("pooling", "prompts"):
        if getattr(config, name):
            raise InvalidParameterError(name, getattr(config, name), "left out: the model is loaded for task 'rerank'")
    described = read_config(folder, source.name)
    classes = described.get("architectures") or []
    if not any(str(name).endswith("ForSequenceClassification") for name in classes):
        what = ", ".join(map(str, classes)) or str(described.get("model_type"))
        raise InvalidModelError(
            source.name, f"{what} is no cross-encoder: take a model whose class ends in ForSequenceClassification."
        )
    labels = described.get("id2label")
    count = len(labels) if isinstance(labels, dict) else described.get("num_labels", 2)
    if count != 1:
        raise InvalidModelError(source.name, f"it tells {count} classes apart; a reranker has one score.")


def _common(config: HuggingFaceConfig) -> dict[str, Any]:
    return {"trust_remote_code": config.trust_remote_code, "local_files_only": True}


def _dtype(source: ModelSource, folder: Path, config: HuggingFaceConfig) -> Any:
    settings = AutoConfig.from_pretrained(str(folder), **_common(config))
    check_weights(folder, source.name)
    return choose_dtype(config.chosen_dtype, choose_device(config.device), own_dtype(source, folder, settings))


def _load_sentence_transformer(source: ModelSource, folder: Path, config: HuggingFaceConfig) -> TorchEmbeddingEngine:
    from sentence_transformers import SentenceTransformer

    dtype = _dtype(source, folder, config)
    model: Any = SentenceTransformer(
        str(folder),
        device=str(choose_device(config.device)),
        model_kwargs={"dtype": dtype, **_attention(config)},
        **_common(config),
    ).eval()
    modules = list(model.children())
    names = [type(module).__name__ for module in modules]
    if any(getattr(module, "include_prompt", True) is False for module in modules):
        raise ModelLoadError(source.name, "its pooling leaves prompts out, which this backend doesn't support.")
    normalizes = names[-1] == "Normalize"
    engine = TorchEmbeddingEngine(
        model,
        in_turn(modules[:-1] if normalizes else modules),
        model.tokenizer,
        n_ctx=context_length(config.n_ctx, model.max_seq_length),
        n_batch=config.n_batch,
        task="embed",
        lowercase=bool(getattr(modules[0], "do_lower_case", False)),
    )
    engine.normalizes = normalizes
    engine.prompts = {**(model.prompts or {}), **config.prompts}
    engine.default_prompt = model.default_prompt_name
    described = read_config(folder, source.name)
    engine.matryoshka = described.get("matryoshka_dimensions")
    return engine


def _load_encoder(source: ModelSource, folder: Path, config: HuggingFaceConfig) -> TorchEmbeddingEngine:
    pooling = config.pooling
    assert pooling is not None  # noqa: S101 - asked for by the caller
    model = _model(AutoModel, source, folder, config)
    tokenizer = AutoTokenizer.from_pretrained(str(folder), **_common(config))
    engine = TorchEmbeddingEngine(
        model,
        pooled(model, pooling),
        tokenizer,
        n_ctx=_context(model, tokenizer, config),
        n_batch=config.n_batch,
        task="embed",
    )
    engine.prompts = dict(config.prompts)
    return engine


def _load_reranker(source: ModelSource, folder: Path, config: HuggingFaceConfig) -> TorchEmbeddingEngine:
    model = _model(AutoModelForSequenceClassification, source, folder, config)
    tokenizer = AutoTokenizer.from_pretrained(str(folder), **_common(config))
    if tokenizer.pad_token_id is None:
        raise ModelLoadError(source.name, "its tokenizer has no token to fill up shorter texts with.")
    n_ctx = _context(model, tokenizer, config)
    return TorchEmbeddingEngine(model, scored(model), tokenizer, n_ctx=n_ctx, n_batch=config.n_batch, task="rerank")


def _model(auto_class: Any, source: ModelSource, folder: Path, config: HuggingFaceConfig) -> Any:
    model, report = auto_class.from_pretrained(
        str(folder),
        dtype=_dtype(source, folder, config),
        output_loading_info=True,
        **_attention(config),
        **_common(config),
    )
    if auto_class is not AutoModel:  # a head of other classes may be left over there, and a pooler may be missing
        wrong = what_is_wrong(model, report)
        if wrong is not None:
            raise InvalidModelError(source.name, wrong)
    return model.to(choose_device(config.device)).eval()


def _attention(config: HuggingFaceConfig) -> dict[str, Any]:
    return {} if config.attn_implementation is None else {"attn_implementation": config.attn_implementation}


def _context(model: Any, tokenizer: Any, config: HuggingFaceConfig) -> int:
    """The most tokens of a text: positions that the model has, and the tokenizer's limit. RoBERTa's kind counts
    positions from behind the padding's."""
    settings = model.config
    positions = trained_context(getattr(settings, "max_position_embeddings", None))
    table = next((module for name, module in model.named_modules() if name.endswith("position_embeddings")), None)
    padding = getattr(table, "padding_idx", None)
    if positions is not None and padding is not None:
        positions -= padding + 1
    said = tokenizer.model_max_length if tokenizer.model_max_length < 10**6 else None
    known = [limit for limit in (positions, said) if limit is not None]
    return context_length(config.n_ctx, min(known) if known else None)
