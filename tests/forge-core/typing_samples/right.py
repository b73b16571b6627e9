"""Calls and subclasses that type checkers accept."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from llamaforge import BaseBackend, LlamaForge


class CustomBackend(BaseBackend):
    """A basic backend with plain annotations, as in the reference."""

    def __init__(self) -> None:
        self.model: str | None = None

    def load_model(self, model_path: str, parameters: dict[str, Any] | None = None) -> None:
        self.model = model_path

    def generate(self, prompt: str, parameters: dict[str, Any] | None = None) -> str:
        return prompt

    def generate_stream(self, prompt: str, parameters: dict[str, Any] | None = None) -> Iterator[str]:
        yield prompt

    def is_model_loaded(self) -> bool:
        return self.model is not None


def calls(forge: LlamaForge, backend: BaseBackend) -> None:
    """Every call takes the parameters by name or as a mapping."""
    forge.generate("Hi", max_tokens=5, temperature=0.5, stop=["x"], model="m")
    forge.generate("Hi", {"max_tokens": 5}, top_p=0.5)
    forge.chat([{"role": "user", "content": "Hi"}], seed=1)
    forge.generate_stream("Hi", raw=True).read()
    backend.generate("Hi", max_new_tokens=5, do_sample=False)
    backend.chat_stream([{"role": "user", "content": "Hi"}], logit_bias={1: -100.0})
    for item in forge.generate_batch(["Hi"], timeout=5, concurrency=2):
        print(item.text)


async def asynchronous_calls(forge: LlamaForge, backend: BaseBackend) -> None:
    """And their asynchronous twins."""
    await forge.agenerate("Hi", max_tokens=5)
    await backend.achat([{"role": "user", "content": "Hi"}], max_tokens=5)
    async for piece in forge.agenerate_stream("Hi", min_p=0.1):
        print(piece)
