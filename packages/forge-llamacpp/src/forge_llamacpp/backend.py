"""The contract, kept with llama.cpp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llamaforge.backends.base import import_engine
from llamaforge.engine import EngineBackend
from llamaforge.formats.gguf import recommended_sampling
from llamaforge.formats.local import local_path
from llamaforge.parameters import valid_parameters

from .config import LlamaCppConfig
from .embedding_checks import check_task, chosen_task, flags_missing, is_exact
from .errors import IMPORT_ADVICE
from .model_check import check_adapter_file, check_context, check_model_file, check_template
from .plugin import SPEC

if TYPE_CHECKING:
    from llamaforge.formats.gguf import Header

    from .embedding import LlamaCppEmbeddingEngine
    from .engine import LlamaCppEngine


class LlamaCppBackend(EngineBackend):
    """Runs GGUF models with llama.cpp. Any number of threads and event loops may use one loaded model at once."""

    spec = SPEC
    config_class = LlamaCppConfig

    def __init__(self) -> None:
        super().__init__()
        self._recommended: Mapping[str, object] = {}

    def check_model(self, model_path: str, config: LlamaCppConfig) -> None:
        """Refuse a damaged GGUF file, a file that is not an adapter, an invalid chat template, and a context that
        the model was not trained for.

        Where a model is loaded, which a failure would cost, all else is tried out that takes no weights.
        """
        header = check_model_file(model_path)
        self._recommended = valid_parameters(recommended_sampling({**header.metadata, **config.kv_overrides}))
        check_context(header, config)
        for adapter in config.adapters:
            check_adapter_file(adapter.path)
        check_task(model_path, header, config)
        if chosen_task(header, config) == "generate":
            check_template(model_path, header, config)
        import_engine("llama_cpp", backend=self.name, advice=IMPORT_ADVICE)
        if self.is_model_loaded():
            from .loading import dry_run

            dry_run(str(local_path(model_path)), config, chosen_task(header, config))

    def open_engine(self, model_path: str, config: LlamaCppConfig) -> LlamaCppEngine | LlamaCppEmbeddingEngine:
        """Load the model; see :class:`LlamaCppConfig` for the parameters."""
        import_engine("llama_cpp", backend=self.name, advice=IMPORT_ADVICE)
        header = check_model_file(model_path)
        task = chosen_task(header, config)
        if task != "generate":
            return self._open_embedding_engine(model_path, header, config, rerank=task == "rerank")
        from .engine import LlamaCppEngine
        from .log_control import logger

        engine = LlamaCppEngine(str(local_path(model_path)), config)
        engine.generation_defaults = self._recommended
        if config.prompt_lookup and not engine.can_trim:
            logger.warning("prompt_lookup is off: this model's memory can't undo guesses.")
        return engine

    def _open_embedding_engine(
        self, model_path: str, header: Header, config: LlamaCppConfig, *, rerank: bool
    ) -> LlamaCppEmbeddingEngine:
        from .embedding import LlamaCppEmbeddingEngine
        from .log_control import logger

        missing = flags_missing(header, config)
        if missing:
            logger.warning(
                "%s doesn't say whether texts begin and end with special tokens (%s); llama.cpp's guess may not be "
                "what the model was trained with. If you know, pass kv_overrides={%r: True}, or False.",
                model_path,
                ", ".join(missing),
                missing[0],
            )
        exact = is_exact(header, config)
        return LlamaCppEmbeddingEngine(str(local_path(model_path)), config, rerank=rerank, exact=exact)

    def default_parameters(self) -> Mapping[str, object]:
        """The recommended sampling, and the seed if one was given at load."""
        found, config = super().default_parameters(), self._config
        seed = config.seed if isinstance(config, LlamaCppConfig) else None
        return found if seed is None else {**found, "seed": seed}
