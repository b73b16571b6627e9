"""The contract, kept with llama.cpp."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from llamaforge.backends.base import BaseBackend, import_engine
from llamaforge.errors import ModelNotLoadedError
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event

from .config import LlamaCppConfig
from .errors import IMPORT_ADVICE
from .plugin import SPEC
from .sanity import check_adapter_file, check_model_file

if TYPE_CHECKING:
    from .model import LoadedModel


class LlamaCppBackend(BaseBackend):
    """Runs GGUF models with llama.cpp.

    Any number of threads may use one loaded model; they take turns, by order of arrival.
    """

    spec = SPEC
    config_class = LlamaCppConfig

    def __init__(self) -> None:
        super().__init__()
        self._model: LoadedModel | None = None

    def check_model(self, model_path: str, config: LlamaCppConfig) -> None:
        """Refuse what is no sound GGUF model, an adapter that is none, and a chat template that is none."""
        check_model_file(model_path)
        for adapter in config.adapters:
            check_adapter_file(adapter.path)
        if config.chat_template is not None:
            from .templates import read_template

            read_template(config.chat_template)

    def load(self, model_path: str, config: LlamaCppConfig) -> None:
        """Load the model; see :class:`LlamaCppConfig` for the parameters."""
        import_engine("llama_cpp", backend=self.name, advice=IMPORT_ADVICE)
        from .model import LoadedModel

        self._model = LoadedModel(model_path, config)

    def unload(self) -> None:
        """Give the model's memory back. Answers that are being written end with ModelNotLoadedError."""
        model, self._model = self._model, None
        if model is not None:
            model.close()

    def default_parameters(self) -> Mapping[str, Any]:
        """The seed, where one was given to load."""
        model = self._model
        return {} if model is None or model.seed is None else {"seed": model.seed}

    def render_request(self, request: GenerationRequest) -> str:
        """The text that the model reads: a conversation in the words of its chat template."""
        return self._require().render(request)

    def stream(self, request: GenerationRequest) -> Iterator[Event]:
        """Generate. What is wrong with the request is raised at once; the engine starts with the first event."""
        arrived = time.perf_counter()
        model = self._require()
        return model.answer(request, model.tokens(request), arrived)

    def _require(self) -> LoadedModel:
        model = self._model
        if model is None:
            raise ModelNotLoadedError()
        return model
