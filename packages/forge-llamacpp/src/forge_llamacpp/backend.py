"""The contract, kept with llama.cpp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llamaforge.backends.base import import_engine
from llamaforge.engine import EngineBackend

from .config import LlamaCppConfig
from .errors import IMPORT_ADVICE
from .model_check import check_adapter_file, check_model_file
from .plugin import SPEC

if TYPE_CHECKING:
    from .engine import LlamaCppEngine


class LlamaCppBackend(EngineBackend):
    """Runs GGUF models with llama.cpp. Any number of threads and event loops may use one loaded model at once."""

    spec = SPEC
    config_class = LlamaCppConfig

    def check_model(self, model_path: str, config: LlamaCppConfig) -> None:
        """Refuse what is no sound GGUF model, an adapter that is none, and a chat template that is none."""
        check_model_file(model_path)
        for adapter in config.adapters:
            check_adapter_file(adapter.path)
        if config.chat_template is not None:
            from llamaforge.chat import read_template

            read_template(config.chat_template)

    def open_engine(self, model_path: str, config: LlamaCppConfig) -> LlamaCppEngine:
        """Load the model; see :class:`LlamaCppConfig` for the parameters."""
        import_engine("llama_cpp", backend=self.name, advice=IMPORT_ADVICE)
        from .engine import LlamaCppEngine
        from .log_control import logger

        engine = LlamaCppEngine(model_path, config)
        if config.prompt_lookup and not engine.can_trim:
            logger.warning("prompt_lookup: this model's memory can't take guesses back, so none are made.")
        return engine

    def default_parameters(self) -> Mapping[str, Any]:
        """The seed, where one was given to load."""
        config = self._config
        return {"seed": config.seed} if isinstance(config, LlamaCppConfig) and config.seed is not None else {}
