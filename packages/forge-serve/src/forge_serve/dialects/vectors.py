"""Embeddings: OpenAI's (https://platform.openai.com/docs/api-reference/embeddings) and Ollama's."""

from __future__ import annotations

import base64
import sys
import time
from array import array
from typing import TYPE_CHECKING, Any, ClassVar, Final

from llamaforge import BaseBackend
from llamaforge.embeddings import Embeddings
from llamaforge.openai_objects import embedding_usage
from llamaforge.vectors import Row

from .. import sse
from ..asked import Work, needed, take
from ..errors import invalid
from .ollama import OllamaVoice
from .openai import OpenAIVoice

if TYPE_CHECKING:
    from llamaforge.observers import Operation

_MOST_TEXTS: Final = 2048
_SILENT: Final = frozenset({"user", "safety_identifier"})
_OURS: Final = ("normalize", "prompt_name", "truncation")


class OpenAIEmbeddings(OpenAIVoice):
    """``POST /v1/embeddings``: texts or token ids; floats, or base64 of little-endian 32-bit floats."""

    operation: ClassVar[Operation | None] = "embed"

    _KNOWN = frozenset({"model", "input", "encoding_format", "dimensions", *_OURS})

    def read(self, body: dict[str, Any]) -> Work:
        """The request in *body*."""
        model = needed(body, "model", str, "a model's name")
        texts = _texts(body)
        form = take(body, "encoding_format", str, "'float' or 'base64'", "float")
        if form not in ("float", "base64"):
            raise invalid("encoding_format must be 'float' or 'base64'.", "encoding_format")
        options = {name: body[name] for name in ("dimensions", *_OURS) if body.get(name) is not None}

        async def run(backend: BaseBackend, seconds: float | None) -> bytes:
            found = await backend.aembed(texts, timeout=seconds, **options)
            write = _base64 if form == "base64" else list
            data = [{"object": "embedding", "index": index, "embedding": write(row)} for index, row in enumerate(found)]
            return sse.encode({"object": "list", "data": data, "model": model, "usage": embedding_usage(found.usage)})

        ignored = [name for name, value in body.items() if name not in self._KNOWN | _SILENT and value is not None]
        return Work(model=model, run=run, ignored=ignored)


class OllamaEmbed(OllamaVoice):
    """``POST /api/embed``. A text that is too long is an error unless ``truncate`` is true."""

    operation: ClassVar[Operation | None] = "embed"

    _KNOWN = frozenset({"model", "input", "truncate", "dimensions", "keep_alive", *_OURS})

    def read(self, body: dict[str, Any]) -> Work:
        """The request in *body*."""
        model = needed(body, "model", str, "a model's name")
        texts = _texts(body)
        options = _truncating(body)
        started = time.perf_counter()

        async def run(backend: BaseBackend, seconds: float | None) -> bytes:
            loaded = time.perf_counter()
            found: Embeddings = await backend.aembed(texts, timeout=seconds, **options)
            told = {
                "model": model,
                "embeddings": [list(row) for row in found],
                "total_duration": round((time.perf_counter() - started) * 1e9),
                "load_duration": round((loaded - started) * 1e9),
                "prompt_eval_count": found.usage.prompt_tokens if found.usage is not None else 0,
            }
            return sse.encode(told)

        ignored = [name for name, value in body.items() if name not in self._KNOWN and value is not None]
        return Work(model=model, run=run, ignored=ignored, keep_alive=body.get("keep_alive"))


class OllamaEmbeddings(OllamaVoice):
    """``POST /api/embeddings``, the older form: one text, one vector."""

    operation: ClassVar[Operation | None] = "embed"

    _KNOWN = frozenset({"model", "prompt", "truncate", "dimensions", "keep_alive", *_OURS})

    def read(self, body: dict[str, Any]) -> Work:
        """The request in *body*."""
        model = needed(body, "model", str, "a model's name")
        text = needed(body, "prompt", str, "a text")
        options = _truncating(body)

        async def run(backend: BaseBackend, seconds: float | None) -> bytes:
            found = await backend.aembed([text], timeout=seconds, **options)
            return sse.encode({"embedding": list(found[0])})

        ignored = [name for name, value in body.items() if name not in self._KNOWN and value is not None]
        return Work(model=model, run=run, ignored=ignored, keep_alive=body.get("keep_alive"))


def _texts(body: dict[str, Any]) -> list[Any]:
    """The texts, or lists of token ids. Their content is checked by the models."""
    given = body.get("input")
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not given:
        raise invalid("input must be a text, a list of texts, a list of token ids, or a list of such lists.", "input")
    texts = [given] if isinstance(given[0], int) else given
    if len(texts) > _MOST_TEXTS:
        raise invalid(f"input has {len(texts):,} texts; at most {_MOST_TEXTS:,} are taken at once.", "input")
    return texts


def _truncating(body: dict[str, Any]) -> dict[str, Any]:
    options = {name: body[name] for name in ("dimensions", *_OURS) if body.get(name) is not None}
    if take(body, "truncate", bool, "true or false", False):
        options.setdefault("truncation", "auto")
    return options


def _base64(row: Row) -> str:
    if sys.byteorder == "little":
        return base64.b64encode(row).decode()
    turned = array("f", row)
    turned.byteswap()
    return base64.b64encode(turned).decode()
