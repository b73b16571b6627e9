"""All ways to ask a backend. A check that is written once runs over them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from ..backends.base import BaseBackend
from ..errors import LlamaForgeError
from ..results import GeneratedText
from .expect import NotAsExpected
from .subject import Subject

T = TypeVar("T")
Given = Mapping[str, Any]
Ask = Callable[[str, Given], GeneratedText]
AsyncAsk = Callable[[str, Given], Awaitable[GeneratedText]]


@dataclass(frozen=True)
class Way:
    """One way to ask: a prompt and parameters in, the finished answer out."""

    name: str
    """The call."""
    ask: Ask
    later: AsyncAsk
    """The same inside an event loop; what is synchronous runs in a thread."""
    is_raw: bool = False
    """Whether the prompt goes rendered and raw. Tools are not asked for then: the template puts them into words."""


def first_way(subject: Subject) -> Way:
    """``generate``, which every backend has."""
    return _blocking("generate()", subject.generate)


def ways(subject: Subject) -> list[Way]:
    """The ways that *subject* has, ``generate`` first. A backend of four methods has one."""
    made = [first_way(subject)]
    if not subject.full:
        return made
    patience = subject.patience
    made += _noted(subject, _others(subject, patience))
    return made


def _others(subject: Subject, patience: float) -> list[Way]:
    """All but the first."""
    backend = subject.backend
    made = [
        _blocking("generate_stream()", lambda prompt, given: backend.generate_stream(prompt, given).read()),
        _in_a_loop("agenerate()", backend.agenerate, patience),
        _in_a_loop(
            "agenerate_stream()", lambda prompt, given: backend.agenerate_stream(prompt, given).read(), patience
        ),
        _blocking("generate_batch()", lambda prompt, given: next(iter(backend.generate_batch([prompt], given))).text),
        _in_a_loop("agenerate_batch()", lambda prompt, given: _from_a_batch(backend, prompt, given), patience),
    ]
    if subject.has_template:
        made += [
            _blocking("chat()", lambda prompt, given: backend.chat(_turn(prompt), given)),
            _blocking("chat_stream()", lambda prompt, given: backend.chat_stream(_turn(prompt), given).read()),
            _in_a_loop("achat()", lambda prompt, given: backend.achat(_turn(prompt), given), patience),
            _in_a_loop(
                "achat_stream()", lambda prompt, given: backend.achat_stream(_turn(prompt), given).read(), patience
            ),
        ]
    if _renders(subject):
        raw = {"raw": True}
        made += [
            _blocking(
                "generate(raw=True)",
                lambda prompt, given: backend.generate(backend.render(prompt), {**given, **raw}),
                is_raw=True,
            ),
            _blocking(
                "generate_stream(raw=True)",
                lambda prompt, given: backend.generate_stream(backend.render(prompt), {**given, **raw}).read(),
                is_raw=True,
            ),
            _in_a_loop(
                "agenerate(raw=True)",
                lambda prompt, given: backend.agenerate(backend.render(prompt), {**given, **raw}),
                patience,
                is_raw=True,
            ),
        ]
    return made


def _noted(subject: Subject, made: Sequence[Way]) -> list[Way]:
    """These ways; the subject looks at each answer."""
    return [_note(subject, way) for way in made]


def _note(subject: Subject, way: Way) -> Way:
    def note(prompt: str, given: Given, answer: GeneratedText) -> GeneratedText:
        if way.is_raw:
            subject.note(way.name, ("rendered", prompt), {**given, "raw": True}, answer)
        else:
            subject.note(way.name, prompt, given, answer)
        return answer

    async def later(prompt: str, given: Given) -> GeneratedText:
        return note(prompt, given, await way.later(prompt, given))

    return replace(way, ask=lambda prompt, given: note(prompt, given, way.ask(prompt, given)), later=later)


def spread(cells: Sequence[T], most: int) -> list[T]:
    """At most that many of *cells*, taken from all of them evenly."""
    if len(cells) <= most:
        return list(cells)
    return [cells[place * len(cells) // most] for place in range(most)]


def _blocking(name: str, ask: Ask, is_raw: bool = False) -> Way:
    async def later(prompt: str, given: Given) -> GeneratedText:
        return await asyncio.to_thread(ask, prompt, given)

    return Way(name, ask, later, is_raw)


def _in_a_loop(name: str, later: AsyncAsk, patience: float, is_raw: bool = False) -> Way:
    def ask(prompt: str, given: Given) -> GeneratedText:
        async def bounded() -> GeneratedText:
            try:
                return await asyncio.wait_for(later(prompt, given), patience)
            except TimeoutError as error:
                if isinstance(error, LlamaForgeError):
                    raise
                raise NotAsExpected(f"an answer of {name} within {patience:g} s (patience)", "none") from None

        return asyncio.run(bounded())

    return Way(name, ask, later, is_raw)


async def _from_a_batch(backend: BaseBackend, prompt: str, given: Given) -> GeneratedText:
    found = [item.text async for item in backend.agenerate_batch([prompt], given)]
    return found[0]


def _turn(prompt: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": prompt}]


def _renders(subject: Subject) -> bool:
    """Whether it shows what the engine sees, and takes it raw."""
    known = subject.remembered.setdefault("renders", {})
    if not known:
        try:
            subject.generate(subject.backend.render(subject.prompt), {**subject.limit(1), "raw": True})
        except LlamaForgeError:
            known["it"] = False
        else:
            known["it"] = True
    return bool(known["it"])


ENOUGH_SECONDS: Final = 2.0
"""What a check that runs over all ways may take of an engine's time."""
MOST_TOKENS: Final = 6000
"""And of its tokens."""


def cells_within(subject: Subject, tokens: int, seconds: float = ENOUGH_SECONDS, least: int = 24) -> int:
    """How many requests of that many tokens fit into the budget; *least* at least."""
    return max(least, subject.lasting(seconds, MOST_TOKENS) // tokens)
