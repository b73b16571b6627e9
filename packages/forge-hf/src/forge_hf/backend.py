"""The Hugging Face backend. torch and transformers are imported when a model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from llamaforge.backends.base import import_engine
from llamaforge.backends.memory import MemoryUsage
from llamaforge.engine import EngineBackend

from .config import HuggingFaceConfig
from .plugin import SPEC
from .torch_library import link_early

if TYPE_CHECKING:
    from pathlib import Path

    from .embedding import TorchEmbeddingEngine
    from .embedding_loading import Task
    from .engine import Engine
    from .loading import PreparedModel
    from .model_source import ModelSource

_ADVICE = "Mend the installation: pip install --force-reinstall torch transformers"


class HuggingFaceBackend(EngineBackend):
    """Runs models of the Hugging Face hub, and local ones, on transformers and torch.

    ::

        backend = HuggingFaceBackend()
        backend.load_model("HuggingFaceTB/SmolLM2-135M-Instruct", {"device": "cpu"})
        print(backend.generate("Explain quantum computing in simple terms", {"max_new_tokens": 200}))

    The path is a folder with config.json, a ``.gguf`` file, or an ``org/name`` of the hub. Load parameters:
    :class:`forge_hf.config.HuggingFaceConfig`. It may be used by any number of threads and event loops; their requests
    share the forward passes of the model.
    """

    spec = SPEC
    config_class = HuggingFaceConfig

    def __init__(self) -> None:
        super().__init__()
        self._prepared: tuple[str, HuggingFaceConfig, PreparedModel] | None = None
        self._embedder: tuple[ModelSource, Path, Task] | None = None

    def check_model(self, model_path: str, config: HuggingFaceConfig) -> None:
        """Fetch the model's files, and refuse all that can be known to be wrong before its weights are read."""
        link_early()
        for library in ("torch", "transformers", "transformers.models.auto.modeling_auto"):
            import_engine(library, backend=self.name, advice=_ADVICE)
        from .embedding_loading import chosen_task, prepare_embedder
        from .hub import switched_off
        from .loading import prepare

        self._prepared = self._embedder = None
        task = chosen_task(model_path, config)
        if task != "generate":
            found = prepare_embedder(model_path, config, task, switched_off(config, offline=self.offline))
            self._embedder = (*found, task)
            return
        self._prepared = model_path, config, prepare(model_path, config, offline=self.offline)

    def open_engine(self, model_path: str, config: HuggingFaceConfig) -> Engine | TorchEmbeddingEngine:
        """Read the weights."""
        from .loading import load, prepare

        embedder, self._embedder = self._embedder, None
        if embedder is not None:
            from .embedding_loading import load_embedder

            return load_embedder(embedder[0], embedder[1], config, embedder[2])
        prepared, self._prepared = self._prepared, None
        if prepared is not None and prepared[:2] == (model_path, config):
            return load(prepared[2], config)
        return load(prepare(model_path, config, offline=self.offline), config)

    def default_parameters(self) -> Mapping[str, object]:
        """The recommended sampling, and the seed if one was given at load."""
        found, config = super().default_parameters(), self._config
        seed = config.seed if isinstance(config, HuggingFaceConfig) else None
        return found if seed is None else {**found, "seed": seed}

    def memory(self) -> MemoryUsage | None:
        """The bytes of the model's weights, and of the keys and values that it holds."""
        engine = cast("Engine | TorchEmbeddingEngine | None", self._engine)
        return None if engine is None else engine.memory()

    @property
    def one_at_a_time(self) -> str | None:
        """Why requests to the loaded model don't share forward passes; None where they do."""
        engine: Any = self._engine
        return getattr(engine, "one_at_a_time", None)
