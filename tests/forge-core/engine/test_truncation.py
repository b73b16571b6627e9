"""truncation="auto": the oldest turns go, as few as will do, and finding them takes few renderings."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llamaforge.engine import Prompt
from llamaforge.engine.prompts import prompt_tokens
from llamaforge.errors import ContextOverflowError
from llamaforge.requests import GenerationRequest, read_request

PIECES = ("abc", "bcd", "ab", "cd", "a", "b", "c", "d", "<", ">")
"""Longest first: the same text has other tokens where it begins elsewhere."""


class Reader:
    """As much of an engine as truncation needs. It counts what it is asked."""

    def __init__(self, n_ctx: int, marked: bool) -> None:
        self.n_ctx, self.marked, self.asked = n_ctx, marked, 0

    def render(self, request: GenerationRequest) -> str:
        return "".join(f"<{message.text}>" if self.marked else message.text for message in request.messages)

    def tokenize(self, request: GenerationRequest) -> Prompt:
        self.asked += 1
        text, tokens = self.render(request), []
        while text:
            token = next(index for index, piece in enumerate(PIECES) if text.startswith(piece))
            tokens.append(token)
            text = text[len(PIECES[token]) :]
        return Prompt(tokens)


def plainly(engine: Any, request: GenerationRequest) -> list[int] | None:
    """Leave out one turn after another until the rest fits."""
    most = engine.n_ctx - max(min(request.max_tokens or engine.n_ctx // 4, engine.n_ctx // 2), 1)
    turns = list(request.messages)
    while True:
        left = [turn for turn in turns if turn.role not in ("system", "developer")]
        tokens = engine.tokenize(msgspec.structs.replace(request, messages=tuple(turns))).token_ids
        starts_well = left[0].role == "user" or len(left) == 1 or len(left) == len(request.messages)
        if len(tokens) <= most and (starts_well or len(turns) == len(request.messages)):
            return list(tokens)
        if len(left) == 1:
            return None
        turns.remove(left[0])


ROLES = st.sampled_from(["user", "user", "assistant", "system", "developer"])
TURNS = st.lists(st.tuples(ROLES, st.text("abcd", max_size=12)), min_size=1, max_size=24)


@given(turns=TURNS, n_ctx=st.integers(2, 80), marked=st.booleans())
def test_as_few_turns_go_as_will_do(turns: list[tuple[str, str]], n_ctx: int, marked: bool) -> None:
    turns = [*turns, ("user", "d")]
    request = read_request(
        messages=[{"role": role, "content": f"{text}{index % 10 * 'a'}"} for index, (role, text) in enumerate(turns)],
        parameters={"truncation": "auto", "max_tokens": 1},
    )
    engine: Any = Reader(n_ctx, marked)
    wanted = plainly(engine, request)
    if wanted is None:
        with pytest.raises(ContextOverflowError):
            prompt_tokens(engine, request)
    else:
        tokens, left_out = prompt_tokens(engine, request)
        assert tokens == wanted
        assert left_out == len(engine.tokenize(request).token_ids) - len(wanted)


def test_a_cut_may_leave_more_tokens_than_the_one_before_it() -> None:
    turns = [{"role": "user", "content": text} for text in ("dddd", "a", "bcbcd", "d")]
    request = read_request(messages=turns, parameters={"truncation": "auto", "max_tokens": 1})
    engine: Any = Reader(4, marked=False)  # abc bcd d; b c bcd d; d
    assert prompt_tokens(engine, request) == ([0, 1, 7], 4)


def test_a_long_conversation_is_rendered_a_few_times() -> None:
    turns = [{"role": role, "content": "abcd" * 20} for role in ("user", "assistant") * 2000]
    turns.append({"role": "user", "content": "d"})
    request = read_request(messages=turns, parameters={"truncation": "auto", "max_tokens": 1})
    engine: Any = Reader(1000, marked=True)
    tokens, _ = prompt_tokens(engine, request)
    assert 900 < len(tokens) < 1000
    assert engine.asked < 20


def test_instructions_stay_whoever_gives_them() -> None:
    turns = [("developer", "a"), ("user", "bcd" * 9), ("assistant", "b"), ("system", "c"), ("user", "d")]
    request = read_request(
        messages=[{"role": role, "content": text} for role, text in turns], parameters={"truncation": "auto"}
    )
    seen: list[GenerationRequest] = []
    engine: Any = Reader(16, marked=True)
    whole = engine.tokenize
    engine.tokenize = lambda request: (seen.append(request), whole(request))[1]
    prompt_tokens(engine, request)
    assert [message.text for message in seen[-1].messages] == ["a", "c", "d"]
