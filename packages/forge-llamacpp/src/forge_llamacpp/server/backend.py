"""The contract, kept with llama.cpp's own server."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import AsyncIterator, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from forge_openai.server import OpenAIServerBackend
from llamaforge.backends.spec import Capabilities, Task
from llamaforge.cancellation import CancellationToken
from llamaforge.chat import BrokenTemplateError, ChatTemplate, read_template
from llamaforge.embeddings import ScoreBatch
from llamaforge.engine.context import context_length
from llamaforge.engine.embedding_backend import logistic
from llamaforge.errors import ContextOverflowError, ServerError, UnsupportedError
from llamaforge.formats.gguf import DamagedFileError, read_header
from llamaforge.formats.local import local_path
from llamaforge.formats.tasks import gguf_task
from llamaforge.installing import install_command
from llamaforge.requests import EmbeddingRequest, GenerationRequest, RerankRequest
from llamaforge.results import Event

from ..config import LlamaCppConfig
from ..embedding_checks import PROBES, check_scores, check_task
from ..model_check import check_model_file, trained_for
from .config import LlamaServerConfig
from .plugin import SPEC

_SAMPLERS: Final = "penalties;temperature;top_k;top_p;min_p"
"""The contract's order. The server's own applies the temperature last, so that top_p and min_p leave other tokens."""
_USUAL_CONTEXT: Final = 4096
"""Tokens for each request where the caller says nothing."""
_ANY_SEED: Final = 2**32 - 1
"""llama.cpp reads its largest seed as "take any"."""


class LlamaServerBackend(OpenAIServerBackend[LlamaServerConfig]):
    """A GGUF model behind a server of its own: ``llama-server`` where it is installed, else the one in xllamacpp."""

    spec = SPEC
    program_module = "forge_llamacpp.server"
    _templates: Mapping[str, str] = MappingProxyType({})
    """What the server told when it was attached to."""
    _task: Task | None = None
    """What the loaded model is for."""
    _most: int | None = None
    """Tokens of a request, where the server says."""
    _shows_tools = True
    """Whether its template tells the model of tools; True where the server doesn't say."""
    program_advice = f"Install llama.cpp's llama-server, or: {install_command('forge-llamacpp[server]')}"

    def build_launch_command(self) -> list[str]:
        """The flags of ``llama-server``, which :mod:`forge_llamacpp.server.__main__` understands as well."""
        config = self.config
        command = ["llama-server", "--model", str(local_path(config.model or "")), "--alias", self.served_model]
        command += ["--host", config.host, "--port", str(config.port)]
        command += ["--ctx-size", str(self._context(config) * config.n_parallel), "--parallel", str(config.n_parallel)]
        command += ["--n-gpu-layers", str(config.n_gpu_layers if config.n_gpu_layers >= 0 else 999)]
        task, width = self._chosen_task(config), config.n_batch
        if task != "generate":  # a text has to fit into one computation
            width = max(width, self._context(config))
            command += ["--ubatch-size", str(width)]
        command += ["--batch-size", str(width), "--jinja", "--no-webui"]
        command += ["--samplers", _SAMPLERS]
        if config.n_threads is not None:
            command += ["--threads", str(config.n_threads)]
        if config.n_threads_batch is not None:
            command += ["--threads-batch", str(config.n_threads_batch)]
        if config.flash_attn is not None:
            command += ["--flash-attn", "on" if config.flash_attn else "off"]
        if config.chat_template is not None:
            command += ["--chat-template", read_template(config.chat_template)]
        if task == "rerank":
            command += ["--reranking"]
        elif task == "embed":
            command += ["--embeddings", *(["--pooling", config.pooling] if config.pooling is not None else [])]
        return command

    @property
    def served_task(self) -> Task:
        """As the load parameter ``task`` says, or the model's file."""
        return self._chosen_task(self.config)

    def _context(self, config: LlamaServerConfig) -> int:
        """Tokens for each request; 0 leaves them to the server."""
        if config.n_ctx is not None:
            return config.n_ctx
        try:
            trained = trained_for(read_header(local_path(config.model or "")))
        except (OSError, DamagedFileError):  # the server says what it makes of such a file
            trained = None
        return context_length(None, trained, usual=_USUAL_CONTEXT)

    def launch_environment(self) -> dict[str, str]:
        """The key, which is not for a command line."""
        key = self.config.api_key
        return {} if key is None else {"LLAMA_API_KEY": key.reveal()}

    def check_model(self, model_path: str, config: Any) -> None:
        """Refuse what is no sound GGUF model, where we are to load it, a context that the model was not trained for,
        and a broken chat template."""
        if config.endpoint is None:
            header = check_model_file(model_path)
            context_length(config.n_ctx, trained_for(header))
            check_task(model_path, header, LlamaCppConfig(task=config.task, pooling=config.pooling))
            if config.chat_template is not None:
                read_template(config.chat_template)
        super().check_model(model_path, config)

    def attach(self, model: str, endpoint: str, config: Any) -> None:
        """Ask the server for its chat templates as well."""
        super().attach(model, endpoint, config)
        self._task = self._chosen_task(config)
        if self._task == "rerank" and self._server is not None:
            self._check_scores()
        _, told = self._probe(endpoint).ask("/props")
        keys = {"default": "chat_template", "tool_use": "chat_template_tool_use"}
        found = {name: told.get(key) for name, key in keys.items()} if isinstance(told, dict) else {}
        self._templates = {name: text for name, text in found.items() if isinstance(text, str) and text}
        able = told.get("chat_template_caps") if isinstance(told, dict) else None
        settings = told.get("default_generation_settings") if isinstance(told, dict) else None
        self._most = settings.get("n_ctx") if isinstance(settings, dict) else None
        self._shows_tools = not isinstance(able, dict) or able.get("supports_tools") is not False
        self.__dict__.pop("_template", None)

    def detach(self) -> None:
        """Close the connections."""
        super().detach()
        self._task = None

    @property
    def capabilities(self) -> Capabilities:
        """What the spec declares; a loaded model has one task."""
        declared = super().capabilities
        return declared if self._task is None else dataclasses.replace(declared, tasks=frozenset({self._task}))

    def _chosen_task(self, config: LlamaServerConfig) -> Task:
        if config.task is not None or config.endpoint is not None:
            return config.task or "generate"
        try:
            return gguf_task(read_header(local_path(config.model or "")))
        except (OSError, DamagedFileError):  # the server says what it makes of such a file
            return "generate"

    def compute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        """One POST; the server's logits become scores as the engine in this process has them."""
        return _scored(super().compute_scores(request, cancellation))

    async def acompute_scores(self, request: RerankRequest, cancellation: CancellationToken) -> ScoreBatch:
        """The same in the running event loop."""
        return _scored(await super().acompute_scores(request, cancellation))

    def explain_inputs(
        self, error: ContextOverflowError | ServerError, request: EmbeddingRequest
    ) -> ContextOverflowError | ServerError:
        """The server's error for a text that is too long depends on how long it is: count the tokens of each."""
        endpoint, most = self.endpoint, self._most
        if endpoint is None or most is None:
            return super().explain_inputs(error, request)
        probe = self._probe(endpoint)
        for index, given in enumerate(request.inputs):
            length = len(given)
            if isinstance(given, str):
                _, told = probe.ask("/tokenize", {"content": given, "add_special": True})
                length = len(told.get("tokens") or ()) if isinstance(told, dict) else 0
            if length > most:
                return ContextOverflowError(length, most, "Shorten it.", input_name=request.name_of(index))
        return super().explain_inputs(error, request)

    def _check_scores(self) -> None:
        """Raise InvalidModelError where plain answers don't score above plain nonsense."""
        scores: list[float] = []
        for query, *documents in PROBES:
            request = RerankRequest(query=query, documents=tuple(documents))
            scores += self.compute_scores(request, CancellationToken()).scores
        check_scores(self.config.model or "", scores)

    def render_request(self, request: GenerationRequest) -> str:
        """Refused, as the server renders; first for variables that its template doesn't read."""
        return super().render_request(self._fit(request))

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """One POST."""
        return super().stream(self._fit(request), cancellation)

    def astream(self, request: GenerationRequest, cancellation: CancellationToken) -> AsyncIterator[Event]:
        """One POST, in the running event loop."""
        return super().astream(self._fit(request), cancellation)

    def _fit(self, request: GenerationRequest) -> GenerationRequest:
        """*request* for llama.cpp. Raises InvalidParameterError for variables that the server's template doesn't read
        and for an effort that it can't ask for, and UnsupportedError for tools that it doesn't show: the server would
        ignore them."""
        changed: dict[str, Any] = {}
        if request.seed == _ANY_SEED:
            changed["seed"] = _ANY_SEED - 1  # as the engine in this process does
        wants = request.chat_template_kwargs or request.reasoning_effort is not None
        if wants and not request.raw and self._template is not None:
            changed["chat_template_kwargs"] = self._template.variables(request) or None
            changed["reasoning_effort"] = None  # the variables say it
        if request.tools and request.tool_choice != "none" and not self._shows_tools:
            if request.on_unsupported != "drop":
                raise UnsupportedError("tools with this model", self.name, "Its chat template doesn't show them.")
            changed.update(tools=None, tool_choice=None, parallel_tool_calls=None)
        return msgspec.structs.replace(request, **changed) if changed else request

    @functools.cached_property
    def _template(self) -> ChatTemplate | None:
        """The server's chat template. None where the server doesn't tell one that can be read here."""
        if not self._templates:
            return None
        try:
            return ChatTemplate(self._templates, model=self.name)
        except BrokenTemplateError:  # llama.cpp's own reader takes some that Jinja refuses
            return None


def _scored(batch: ScoreBatch) -> ScoreBatch:
    return ScoreBatch([logistic(logit) for logit in batch.scores], batch.usage)
