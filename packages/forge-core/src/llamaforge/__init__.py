"""LlamaForge runs language models on any engine with one meaning.

::

    from llamaforge import LlamaForge

    with LlamaForge() as forge:
        forge.load_model("smollm2-135m-instruct")
        print(forge.generate("What is the capital of France?"))

Names are imported when they are first used, so that ``import llamaforge`` costs next to nothing.
"""

from __future__ import annotations

from ._version import __version__

TYPE_CHECKING = False  # importing typing for it would cost more than all the rest
if TYPE_CHECKING:
    from typing import Any

    from .backends import get_backend, list_backends, register_backend
    from .backends.base import BaseBackend
    from .backends.batch import BatchItem
    from .backends.config import BackendConfig
    from .backends.spec import API_VERSION, BackendSpec, Capabilities
    from .backends.tool_loop import ToolResult, ToolRun, ToolStep
    from .cancellation import CancellationToken
    from .embeddings import (
        AsyncEmbeddingStream,
        EmbeddingBatch,
        Embeddings,
        EmbeddingStream,
        RankedDocument,
        Ranking,
        ScoreBatch,
    )
    from .errors import LlamaForgeError
    from .forge import LlamaForge
    from .functions import Tool, tool
    from .hookspecs import hookimpl
    from .messages import ImagePart, Message, TextPart, ToolCall
    from .models import ModelEntry
    from .requests import EmbeddingRequest, GenerationRequest, RerankRequest
    from .results import (
        Event,
        Finished,
        GeneratedText,
        ReasoningDelta,
        TextDelta,
        Timings,
        TokenLogprob,
        ToolCallDelta,
        Usage,
    )
    from .secrets import Secret
    from .streams import AsyncTextStream, TextStream
    from .vectors import Vectors

_HOMES = {
    "API_VERSION": "backends.spec",
    "AsyncEmbeddingStream": "embeddings",
    "AsyncTextStream": "streams",
    "BackendConfig": "backends.config",
    "BackendSpec": "backends.spec",
    "BaseBackend": "backends.base",
    "BatchItem": "backends.batch",
    "CancellationToken": "cancellation",
    "Capabilities": "backends.spec",
    "EmbeddingBatch": "embeddings",
    "EmbeddingRequest": "requests",
    "EmbeddingStream": "embeddings",
    "Embeddings": "embeddings",
    "Event": "results",
    "Finished": "results",
    "GeneratedText": "results",
    "GenerationRequest": "requests",
    "ImagePart": "messages",
    "LlamaForge": "forge",
    "LlamaForgeError": "errors",
    "Message": "messages",
    "ModelEntry": "models",
    "RankedDocument": "embeddings",
    "Ranking": "embeddings",
    "ReasoningDelta": "results",
    "RerankRequest": "requests",
    "ScoreBatch": "embeddings",
    "Secret": "secrets",
    "TextDelta": "results",
    "TextPart": "messages",
    "TextStream": "streams",
    "Timings": "results",
    "TokenLogprob": "results",
    "Tool": "functions",
    "ToolCall": "messages",
    "ToolCallDelta": "results",
    "ToolResult": "backends.tool_loop",
    "ToolRun": "backends.tool_loop",
    "ToolStep": "backends.tool_loop",
    "Usage": "results",
    "Vectors": "vectors",
    "get_backend": "backends",
    "hookimpl": "hookspecs",
    "list_backends": "backends",
    "register_backend": "backends",
    "tool": "functions",
}

__all__ = [
    "API_VERSION",
    "AsyncEmbeddingStream",
    "AsyncTextStream",
    "BackendConfig",
    "BackendSpec",
    "BaseBackend",
    "BatchItem",
    "CancellationToken",
    "Capabilities",
    "EmbeddingBatch",
    "EmbeddingRequest",
    "EmbeddingStream",
    "Embeddings",
    "Event",
    "Finished",
    "GeneratedText",
    "GenerationRequest",
    "ImagePart",
    "LlamaForge",
    "LlamaForgeError",
    "Message",
    "ModelEntry",
    "RankedDocument",
    "Ranking",
    "ReasoningDelta",
    "RerankRequest",
    "ScoreBatch",
    "Secret",
    "TextDelta",
    "TextPart",
    "TextStream",
    "Timings",
    "TokenLogprob",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolResult",
    "ToolRun",
    "ToolStep",
    "Usage",
    "Vectors",
    "__version__",
    "get_backend",
    "hookimpl",
    "list_backends",
    "register_backend",
    "tool",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{home}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
