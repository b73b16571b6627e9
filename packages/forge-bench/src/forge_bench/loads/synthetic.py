"""Texts of wanted lengths, made of common words."""

from __future__ import annotations

from typing import Any

import msgspec

from llamaforge.errors import InvalidParameterError

from ..driver import Item
from ..records import Call
from .base import Wording, source_of, text_of
from .lengths import Lengths


class Synthetic(msgspec.Struct, kw_only=True):
    """Prompts and answers of given lengths, in tokens as the engine counts them.

    ::

        Synthetic(prompt_tokens="lognormal:512:200", output_tokens=128)
        Synthetic(prompt_tokens=64, output_tokens=128, prefix_tokens=2000, prefixes=4)     # four shared system prompts
        Synthetic(prompt_tokens=100, output_tokens=100, turns=5)                           # conversations

    The engine is asked how it counts these words before the first trial. What it counted for each request is in the
    results. Raises InvalidParameterError.
    """

    prompt_tokens: int | str | Lengths = 512
    """Length of a whole prompt, prefix and chat template included; see :class:`Lengths`."""
    output_tokens: int | str | Lengths = 128
    """Length of an answer."""
    prefix_tokens: int = 0
    """Tokens at the beginning of a prompt that other prompts share."""
    prefixes: int = 1
    """How many different shared beginnings there are."""
    turns: int = 1
    """User turns of each conversation. Each is as long as a prompt, but for the shared prefix."""
    pause: float = 0.0
    """Seconds between an answer and the next turn."""
    exact_output: bool = True
    """Whether answers should be exactly so long, where the engine can ignore the model's own end."""

    def __post_init__(self) -> None:
        self.prompt_tokens = Lengths.read(self.prompt_tokens, "prompt_tokens")
        self.output_tokens = Lengths.read(self.output_tokens, "output_tokens")
        for name, least in (("prefix_tokens", 0), ("prefixes", 1), ("turns", 1), ("pause", 0)):
            if not getattr(self, name) >= least:
                raise InvalidParameterError(name, getattr(self, name), f"at least {least}")

    @property
    def name(self) -> str:
        """For reports."""
        lengths, answers = Lengths.read(self.prompt_tokens), Lengths.read(self.output_tokens)
        return f"synthetic, {lengths.say()} -> {answers.say()} tokens"

    @property
    def size(self) -> None:
        """As many as are wanted."""
        return

    @property
    def needs_wording(self) -> bool:
        """Lengths are tokens."""
        return True

    def draw(self, count: int, *, seed: int, salt: str, wording: Wording, fresh: bool) -> list[Item]:
        """The next *count*."""
        lengths, answers = Lengths.read(self.prompt_tokens), Lengths.read(self.output_tokens)
        sizes, texts = source_of(seed, "lengths", fresh), source_of(salt, "texts", fresh)
        shared = [
            text_of(wording.words(self.prefix_tokens, whole=False), source_of(salt, "prefix", fresh, number))
            for number in range(self.prefixes if self.prefix_tokens else 0)
        ]
        items = []
        for index in range(count):
            tokens = lengths.draw(sizes)
            beginning = shared[index % len(shared)] + "\n\n" if shared else ""
            own = max(1, wording.words(tokens) - len(beginning.split()))
            call = Call(
                prompt=beginning + text_of(own, texts), max_tokens=answers.draw(sizes), exact_length=self.exact_output
            )
            further = [text_of(wording.words(lengths.draw(sizes), whole=False), texts) for _ in range(self.turns - 1)]
            items.append(Item(call=call, turns=further, pause=self.pause, index=index))
        return items

    def describe(self) -> dict[str, Any]:
        """For the report."""
        plain = {name: getattr(self, name) for name in self.__struct_fields__}
        plain |= {name: Lengths.read(plain[name]).say() for name in ("prompt_tokens", "output_tokens")}
        return {"kind": "synthetic", **plain}
