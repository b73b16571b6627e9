"""What errors say of themselves, for programs that read them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ...errors import InvalidParameterError, LlamaForgeError
from ..expect import NotAsExpected, expect
from ..kit import Kit
from ..refusing import expect_a_refusal
from ..subject import Subject

NO_TOKEN: Final = 2_000_000_000
TOOLS: Final[list[dict[str, Any]]] = [
    {"type": "function", "function": {"name": "paint", "parameters": {"type": "object", "properties": {}}}}
]
NO_TOOL: Final = {"type": "function", "function": {"name": "no_such_tool"}}
HALF: Final = "half of a pair: \ud83d"


class ExplanationChecks(Kit):
    """An InvalidParameterError names its parameter and what the parameter may be."""

    def test_an_invalid_parameter_is_named_and_explained(self, subject: Subject) -> None:
        """Where a value is refused by an InvalidParameterError, ``name`` is the parameter, and ``expected`` says what
        it may be; the message has the name.

        Why: a program that asked with many parameters can't mend "invalid value". Look at: errors that are raised with
        their arguments in another order.
        """
        for name, prompt, given in self._refusals(subject):
            try:
                subject.generate(prompt, {**subject.greedy, **subject.limit(2), **given})
            except InvalidParameterError as error:
                names = (name, "messages") if name == "prompt" else (name,)  # it is one user turn
                expect(error.name in names, f"error.name to be {name!r} for {given or HALF!r}", error.name)
                told = isinstance(error.expected, str) and error.expected.strip()
                expect(told, f"error.expected to say what {name} may be", repr(error.expected))
                expect(error.name in str(error), f"an error that names {name}", error)
            except LlamaForgeError as error:
                expect_a_refusal(error, f"an answer for {given or HALF!r}")  # in its own words
            except Exception as error:
                raise NotAsExpected(f"a typed error, or an answer, for {given or HALF!r}", error) from error

    def _refusals(self, subject: Subject) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
        """Parameters that may well be refused, and what with."""
        yield "prompt", HALF, {}
        values = {"temperature": -1.0, "top_p": 2.0, "top_k": -5, "max_tokens": -1, "stop": 5, "seed": -(2**70)}
        yield from ((name, None, {name: value}) for name, value in values.items() if subject.declares(name))
        if subject.declares("logit_bias"):
            yield "logit_bias", None, {"logit_bias": {NO_TOKEN: 1.0}}
        if subject.declares("tools", "tool_choice"):
            yield "tool_choice", None, {"tools": TOOLS, "tool_choice": NO_TOOL}
