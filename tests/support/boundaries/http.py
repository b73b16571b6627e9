"""A backend behind HTTP: the body that a server received."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, get_args

import pytest

from forge_openai import OpenAIBackend
from forge_openai.config import Extension
from llamaforge import GeneratedText, get_backend
from llamaforge.errors import GenerationTimeoutError, InvalidAnswerError
from llamaforge.parameters import NAMES

from ..scripted import ScriptedServer, delta, models_reply, stream_of, stream_reply, usage
from .base import ASK, PICTURE, Boundary

_TEXT = stream_reply({"choices": [{"index": 0, "text": "Hello", "finish_reason": "stop"}]}, usage(3, 2))
_CHAT = stream_reply(delta("Hel"), delta("lo"), delta(finish_reason="stop"), usage(3, 2))


WIRE: dict[str, dict[str, str]] = {
    "llama-server": {"repetition_penalty": "repeat_penalty", "max_reasoning_tokens": "thinking_budget_tokens"},
    "vllm": {"max_reasoning_tokens": "thinking_token_budget"},
}
"""Backend -> parameter -> the server's own name for it, where that is another one."""
_SCHEMA: Any = ASK["response_format"]["response_format"]["json_schema"]["schema"]
CONSTRAINTS: dict[tuple[str, str], dict[str, Any]] = {
    ("vllm", "grammar"): {"structured_outputs": ASK["grammar"]},
    ("llama-server", "response_format"): {"json_schema": _SCHEMA},
    ("tgi", "response_format"): {"response_format": {"type": "json", "value": _SCHEMA}},
    ("vllm", "reasoning_effort"): {
        "reasoning_effort": "none",
        "chat_template_kwargs": {"enable_thinking": False, "thinking": False},
    },
}
"""What a server is told of a constraint or of reasoning, where that isn't OpenAI's field."""


@contextmanager
def open_server_backend(name: str, folder: Path | None = None, **parameters: Any) -> Iterator[Boundary]:
    """The backend *name*, loaded with *parameters* and connected to a server that answers "Hello"."""
    with ScriptedServer() as server, get_backend(name)() as backend:
        server.on("GET", "/models", models_reply("m-1"))
        server.chat(_CHAT)
        server.on("POST", "/completions", _TEXT)
        assert isinstance(backend, OpenAIBackend)
        backend.load_model("m-1", {"api_base": server.url, "max_retries": 0, "api_key": "sk-test", **parameters})
        yield _Server(backend, server)


class _Server(Boundary):
    options: ClassVar[Mapping[str, Any]] = {"service_tier": "flex"}

    def __init__(self, backend: OpenAIBackend, server: ScriptedServer) -> None:
        super().__init__(backend)
        self._server = server

    def work(self) -> int:
        return len(self._server.posted())

    def honours(self, name: str) -> None:
        if name in ASK and name != "stop":
            self._sends(name)
        else:
            super().honours(name)

    def honours_stop(self) -> None:
        """The server is told, or the backend looks for them itself, in what the server goes on to say."""
        result = self.answer(stop=["ell"])
        if "stop" in self._server.last.body:
            assert self._server.last.body["stop"] == ["ell"]
        else:
            assert (result, result.finish_reason, result.stop) == ("H", "stop", "ell")

    def _sends(self, name: str) -> None:
        plain = self._body()
        assert name not in plain
        wire = WIRE.get(self.backend.name, {})
        fields = {wire.get(each, each): value for each, value in ASK[name].items()}
        fields = CONSTRAINTS.get((self.backend.name, name), fields)
        fields = json.loads(json.dumps(fields))  # as JSON has it
        assert self._body(**ASK[name]) == {**plain, **fields}

    def _body(self, **parameters: Any) -> dict[str, Any]:
        """What such a request sends."""
        with contextlib.suppress(InvalidAnswerError):  # this server says "Hello", whatever was asked for
            self.backend.generate("one two three", parameters)
        body: dict[str, Any] = self._server.last.body
        return body

    def condition(self, name: str) -> str | None:
        if self.backend.name != "openai" or name not in get_args(Extension):
            return None  # other backends know their server, and declare all that it has
        with open_server_backend(self.backend.name, extensions=[name]) as extended:
            assert name in extended.backend.capabilities.parameters
            extended.honours(name)
        return "with `extensions`"

    def lacks(self, name: str, result: GeneratedText) -> None:
        super().lacks(name, result)
        assert name not in self._server.last.body

    def honours_raw(self) -> None:
        self.answer(raw=True)
        assert self._server.last.path == "/v1/completions"
        assert self._server.last.body["prompt"] == "one two three"

    def honours_timeout(self) -> None:
        self._server.chat(stream_of(self._server.hang()))
        try:
            with pytest.raises(GenerationTimeoutError):
                self.answer(timeout=0.2)
        finally:
            self._server.chat(_CHAT)

    def honours_engine(self) -> None:
        self.answer(engine=self.options)
        assert self.options.items() <= self._server.last.body.items()

    def takes_images(self) -> None:
        self.backend.chat(PICTURE)
        assert self._server.last.body["messages"] == PICTURE

    def unset(self) -> str:
        result = self.backend.generate("one two three")
        assert not set(NAMES) & set(self._server.last.body)
        assert result.parameters == {}
        return "the server's choice"
