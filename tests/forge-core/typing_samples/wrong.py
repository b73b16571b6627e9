"""Each line with "wrong" in a comment is an error for type checkers; no other line is."""

from __future__ import annotations

from llamaforge import BaseBackend, LlamaForge


def calls(forge: LlamaForge, backend: BaseBackend) -> None:
    forge.generate("Hi", max_tokns=5)  # wrong: misspelt
    forge.generate_stream("Hi", temperature="hot")  # wrong: no number
    forge.chat([{"role": "user", "content": "Hi"}], sed=1)  # wrong: misspelt
    forge.chat_stream("Hi")  # wrong: no conversation
    forge.generate_batch(["Hi"], concurency=2)  # wrong: misspelt
    backend.generate("Hi", max_token=5)  # wrong: misspelt
    backend.generate_stream("Hi", stops=["x"])  # wrong: misspelt
    backend.chat([{"role": "user", "content": "Hi"}], truncation="on")  # wrong: no such choice
    forge.load_model("m", params={})  # wrong: no such argument


async def asynchronous_calls(forge: LlamaForge, backend: BaseBackend) -> None:
    await forge.agenerate("Hi", max_tokns=5)  # wrong: misspelt
    await forge.achat([{"role": "user", "content": "Hi"}], top_k=0.5)  # wrong: no whole number
    await backend.agenerate("Hi", max_tokns=5)  # wrong: misspelt
    backend.achat_stream([{"role": "user", "content": "Hi"}], tempereature=1)  # wrong: misspelt
