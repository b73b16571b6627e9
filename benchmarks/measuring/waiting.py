"""Time to the first text: after a long history, and beside another one's long prompt."""

from __future__ import annotations

import threading
import time
from typing import Any

from llamaforge.requests import read_request

from .load import prose

Messages = list[dict[str, str]]


def conversation(backend: Any, tokens: int, seed: int) -> Messages:
    """One long turn of about *tokens* tokens that nobody has asked before."""
    text = prose(tokens * 5, seed)
    per_token = len(text) / backend_tokens(backend, text)
    return [{"role": "user", "content": f"{prose(int(tokens * per_token), seed)}\n\nWhat is this about?"}]


def backend_tokens(backend: Any, text: str) -> int:
    """Tokens of *text*."""
    return len(backend._engine.tokenize(read_request(text, None, {})).token_ids)


def first_piece(backend: Any, messages: Messages) -> float:
    """Seconds until the first text of an answer to that conversation."""
    with backend.chat_stream(messages, max_tokens=1, temperature=0) as stream:
        for _ in stream:
            pass
    first = stream.result.timings.first_token
    if first is None:
        raise RuntimeError("The model answered nothing.")
    return float(first)


def second_turn(backend: Any, tokens: int, seed: int) -> tuple[float, float]:
    """Seconds to the first text of a second turn after *tokens* tokens of history: after the first turn, and cold."""
    first = conversation(backend, tokens, 2 * seed)
    answer = backend.chat(first, max_tokens=24, temperature=0)
    follow_up = [{"role": "assistant", "content": str(answer)}, {"role": "user", "content": "Say that more simply."}]
    warm = first_piece(backend, first + follow_up)
    other = conversation(backend, tokens, 2 * seed + 1)  # equally long, and new
    cold = first_piece(backend, other + follow_up)
    return warm, cold


def beside_a_long_prompt(backend: Any, tokens: int, seed: int) -> tuple[float, float]:
    """Seconds to the first text of a short request that comes while a prompt of *tokens* tokens is computed, and what
    that prompt took."""
    long = conversation(backend, tokens, 1000 + seed)
    took: list[float] = []
    thread = threading.Thread(target=lambda: took.append(first_piece(backend, long)))
    thread.start()
    time.sleep(0.3)  # it is under way
    short = first_piece(backend, [{"role": "user", "content": f"Name {seed + 3} rivers in Africa."}])
    if took:
        raise RuntimeError("The long prompt was done before the short request came.")
    thread.join()
    return short, took[0]
