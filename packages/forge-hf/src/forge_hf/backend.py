"""The Hugging Face backend. torch and transformers are imported when a model is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from llamaforge.backends.base import BaseBackend, import_engine
from llamaforge.errors import ModelNotLoadedError
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event

from .config import HuggingFaceConfig
from .plugin import SPEC

if TYPE_CHECKING:
    from .engine import Engine

_ADVICE = "Mend the installation: pip install --force-reinstall torch transformers"


class HuggingFaceBackend(BaseBackend):
    """Runs models of the Hugging Face hub, and local ones, on transformers and torch.

    ::

        backend = HuggingFaceBackend()
        backend.load_model("HuggingFaceTB/SmolLM2-135M-Instruct", {"device": "cpu"})
        print(backend.generate("Explain quantum computing in simple terms", {"max_new_tokens": 200}))

    The path is a folder with config.json, a ``.gguf`` file, or an ``org/name`` of the hub. Load parameters:
    :class:`forge_hf.config.HuggingFaceConfig`. It may be used by any number of threads; they take turns at the model,
    one forward pass each, first come, first served.
    """

    spec = SPEC
    config_class = HuggingFaceConfig

    def __init__(self) -> None:
        super().__init__()
        self._engine: Engine | None = None
        self._seed: int | None = None

    def check_model(self, model_path: str, config: HuggingFaceConfig) -> None:
        """Refuse a path, a file, a device or a quantization that can't work."""
        for library in ("torch", "transformers", "transformers.models.auto.modeling_auto"):
            import_engine(library, backend=self.name, advice=_ADVICE)
        from .loading import check

        check(model_path, config)

    def load(self, model_path: str, config: HuggingFaceConfig) -> None:
        """Load the model, from the hub's cache where it is there."""
        from .loading import load

        self._engine = load(model_path, config)
        self._seed = config.seed

    def unload(self) -> None:
        """Give the memory back, once the forward pass that is under way has ended. Open streams then fail."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def default_parameters(self) -> Mapping[str, Any]:
        """The seed, where one was given at load time."""
        return {} if self._seed is None else {"seed": self._seed}

    def stream(self, request: GenerationRequest) -> Iterator[Event]:
        """Generate token by token."""
        from .generation import answer

        return answer(self._loaded(), request)

    def render_request(self, request: GenerationRequest) -> str:
        """The prompt, special tokens and all."""
        from .generation import render

        return render(self._loaded(), request)

    def _loaded(self) -> Engine:
        if self._engine is None:
            raise ModelNotLoadedError
        return self._engine
