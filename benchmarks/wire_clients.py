"""The clients of wire.py, each as its documentation has it: stream an answer, with text and usage; ask for one whole.

Each function takes a base URL and gives two: the first streams and returns how many tokens the server counted, the
second asks without streaming. A client that is not installed raises ImportError.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

Client = tuple[Callable[[], int], Callable[[], Any]]

PROMPT = "Count."
MESSAGES = [{"role": "user", "content": PROMPT}]
MODEL, KEY = "m-1", "sk-none"


def forge(url: str) -> Client:
    """Ours: events, text, usage, timings, checks."""
    from forge_openai import OpenAIBackend

    backend = OpenAIBackend()
    backend.load_model(MODEL, {"api_base": url, "api_key": KEY})

    def stream() -> int:
        with backend.generate_stream(PROMPT) as answer:
            for _ in answer.events():
                pass
        assert answer.result.usage is not None
        return answer.result.usage.completion_tokens

    return stream, lambda: backend.generate(PROMPT)


def httpx(url: str) -> Client:
    """The floor of all that follow: the HTTP library of the SDK, and nobody looks at the bytes."""
    import httpx2

    client = httpx2.Client()

    def stream() -> int:
        with client.stream("POST", f"{url}/chat/completions", json={"stream": True}) as answer:
            last = b""
            for piece in answer.iter_bytes():
                last = piece or last
        return int(last.count(b"DONE")) and -1

    return stream, lambda: client.post(f"{url}/chat/completions", json={"messages": MESSAGES}).json()


def openai(url: str) -> Client:
    """The SDK's own iteration."""
    from openai import OpenAI

    client = OpenAI(base_url=url, api_key=KEY)

    def stream() -> int:
        text, tokens = [], 0
        for chunk in client.chat.completions.create(
            model=MODEL,
            messages=MESSAGES,  # type: ignore[arg-type]
            stream=True,
            stream_options={"include_usage": True},
        ):
            if chunk.choices and chunk.choices[0].delta.content:
                text.append(chunk.choices[0].delta.content)
            if chunk.usage is not None:
                tokens = chunk.usage.completion_tokens
        return tokens

    return stream, lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES)  # type: ignore[call-overload]


def llm(url: str) -> Client:
    """Simon Willison's llm, without its log."""
    from llm.default_plugins.openai_models import Chat

    model = Chat(MODEL, model_name=MODEL, api_base=url)

    def stream() -> int:
        answer = model.prompt(PROMPT, key=KEY, stream=True)
        for _ in answer:
            pass
        return answer.usage().output or 0

    return stream, lambda: model.prompt(PROMPT, key=KEY, stream=False).text()


def litellm(url: str) -> Client:
    """litellm.completion."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm as library

    given: dict[str, Any] = {"model": f"openai/{MODEL}", "api_base": url, "api_key": KEY, "messages": MESSAGES}

    def stream() -> int:
        text, tokens = [], 0
        for chunk in library.completion(stream=True, stream_options={"include_usage": True}, **given):
            if chunk.choices and chunk.choices[0].delta.content:
                text.append(chunk.choices[0].delta.content)
            if getattr(chunk, "usage", None) is not None:
                tokens = chunk.usage.completion_tokens
        return tokens

    return stream, lambda: library.completion(**given)


def langchain(url: str) -> Client:
    """langchain-openai's ChatOpenAI."""
    from langchain_openai import ChatOpenAI

    model = ChatOpenAI(model=MODEL, base_url=url, api_key=KEY, stream_usage=True)  # type: ignore[call-arg,arg-type]

    def stream() -> int:
        text, tokens = [], 0
        for chunk in model.stream(PROMPT):
            text.append(chunk.content)
            if chunk.usage_metadata:
                tokens = chunk.usage_metadata["output_tokens"]
        return tokens

    return stream, lambda: model.invoke(PROMPT)


def any_llm(url: str) -> Client:
    """Mozilla's any-llm."""
    from any_llm import completion

    given: dict[str, Any] = {"model": MODEL, "provider": "openai", "api_base": url, "api_key": KEY}

    def stream() -> int:
        text, tokens = [], 0
        for chunk in completion(messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **given):
            if chunk.choices and chunk.choices[0].delta.content:
                text.append(chunk.choices[0].delta.content)
            if chunk.usage is not None:
                tokens = chunk.usage.completion_tokens
        return tokens

    return stream, lambda: completion(messages=MESSAGES, **given)


CLIENTS: dict[str, tuple[str, Callable[[str], Client]]] = {
    "forge": ("forge-openai", forge),
    "httpx": ("httpx2", httpx),
    "openai": ("openai", openai),
    "llm": ("llm", llm),
    "litellm": ("litellm", litellm),
    "langchain": ("langchain-openai", langchain),
    "any-llm": ("any-llm-sdk", any_llm),
}
"""Name: the distribution, and how to make it."""
