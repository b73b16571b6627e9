"""Answers that are known letter by letter: a form that allows one text only makes the model write it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest

from ...errors import InvalidAnswerError, LlamaForgeError, RequestError, UnsupportedError
from ..expect import NotAsExpected, expect, expect_equal
from ..kit import Kit
from ..subject import Subject
from ..ways import cells_within, spread, ways

TEXT: Final = (
    " \t The  end.\r\n\n\nUser: 1 < 2 & <b>3</b>\n### Human: \u00e9 e\u0301 \u6d77 \U0001f98a "
    "\U0001f44b\U0001f3fd \u00a0\u200b\ufffd\x01\x07 </s> ```\nAssistant:  \n \n"
)
"""White space at both ends and in the middle, what engines stop at by default, and what gets lost on the way."""
WITH_NUL: Final = "one\x00two"
HALF: Final = 12
SHORT: Final = 132
LONG: Final = 516
"""More characters than an engine's own limit on answers often allows."""


class SpellingChecks(Kit, slow=True):
    """The other checks compare one way with another; what all ways do to a text is seen where the text is known."""

    def test_a_text_comes_out_as_it_is(self, subject: Subject) -> None:
        """An answer that can be but one text is that text on several paths, streamed or not: with its white space, its
        control characters, and whatever looks like the end of an answer.

        Why: text is trimmed, translated and cut at stop strings that nobody asked for. Look at: ``strip``; default stop
        strings; line ends; characters that are taken out; ``errors="ignore"``.
        """
        asked = self._only(subject, TEXT)
        if asked is None:
            return
        given = {**subject.greedy, **subject.limit(4 * len(TEXT)), **asked}
        counts: dict[str, int] = {}
        sampled = {"temperature": 0.7, "seed": 1} if subject.declares("temperature", "seed") else {}
        heats: tuple[dict[str, Any], ...] = (subject.greedy, {**subject.greedy, **sampled})
        for place, way in enumerate(spread(ways(subject), min(6, cells_within(subject, len(TEXT), 4.0, least=3)))):
            given = {**given, **heats[place % 2]}
            answer = subject.answered(lambda: way.ask("Say it.", given), f"{way.name} with {given}")  # noqa: B023
            expect_equal(str(answer), TEXT, f"the answer of {way.name} that can be but one text")
            expect_equal(answer.finish_reason, "stop", f"finish_reason of {way.name} at the end of a text")
            expect_equal(answer.stop, None, f"result.stop of {way.name}, which was given no stop string")
            # Where tokens are drawn, others may spell the same text.
            if answer.usage is not None and not answer.usage.estimated and heats[place % 2] == subject.greedy:
                counts[way.name] = answer.usage.completion_tokens - answer.usage.reasoning_tokens
        expect(len(set(counts.values())) < 2, "as many completion_tokens on each path", counts)
        if counts:
            most, count = len(TEXT.encode()), max(counts.values())
            expect(0 < count <= most, f"at most a token for each of {most} bytes", count)

    def test_a_known_text_comes_in_pieces(self, subject: Subject) -> None:
        """Streamed, a text of many tokens comes as many pieces, on every path that streams.

        Why: nobody sees a stream of two pieces grow. Look at: buffers by size or by line.
        """
        asked = self._only(subject, TEXT)
        if asked is None:
            return
        given = {**subject.greedy, **subject.limit(4 * len(TEXT)), **asked}
        backend, turns = subject.backend, [{"role": "user", "content": "Say it."}]

        async def later(stream: Any) -> list[str]:
            return [piece async for piece in stream]

        calls: dict[str, Callable[[], list[str]]] = {
            "generate_stream()": lambda: list(backend.generate_stream("Say it.", given)),
            "agenerate_stream()": lambda: self.run_async(lambda: later(backend.agenerate_stream("Say it.", given))),
        }
        if subject.has_template:
            calls["chat_stream()"] = lambda: list(backend.chat_stream(turns, given))
            calls["achat_stream()"] = lambda: self.run_async(lambda: later(backend.achat_stream(turns, given)))
        came = {name: subject.answered(call, f"{name} with {asked}") for name, call in calls.items()}
        for name, pieces in came.items():
            expect_equal("".join(pieces), TEXT, f"the pieces of {name}, joined")
            expect(all(pieces), f"no empty piece of {name}", pieces)
            few = len(pieces) < HALF or max(map(len, pieces)) > len(TEXT) // 3
            expect(not few, f"at least {HALF} pieces of {name}, none of them a third of the text", pieces)

    def test_a_long_text_is_not_cut(self, subject: Subject) -> None:
        """Without max_tokens, and with one that is large enough, an answer of some hundred tokens comes whole.

        Why: limits that nobody asked for are higher than short tests. Look at: defaults of 128, 256 or 512 tokens; a
        max_tokens that is clipped.
        """
        if not subject.declares("max_tokens"):
            subject.refuses(max_tokens=LONG)
            return
        enough = min(LONG, cells_within(subject, 1, 4.0, least=60))
        text = "".join(f"{number % 10}" for number in range(enough))
        asked = self._only(subject, text)
        if asked is None:
            return
        if subject.declares("stop"):  # what is asked for here ends with its request
            subject.ask("Count.", **subject.greedy, **subject.limit(8), stop=["3", "99"])
        for limit in ({}, {"max_tokens": 2 * enough}):
            answer = subject.ask("Count.", **{**subject.greedy, **limit, **asked})
            expect_equal(str(answer), text, f"the answer that can be but one text, with {limit or 'no max_tokens'}")
            expect_equal(answer.finish_reason, "stop", f"finish_reason with {limit or 'no max_tokens'}")
        short = self._only(subject, text[:SHORT])
        given = {**subject.greedy, **(short or {})}
        for way in spread(ways(subject)[1:], min(4, cells_within(subject, SHORT, 4.0, least=3))):
            answer = subject.answered(lambda: way.ask("Count.", given), f"{way.name} with {short}")  # noqa: B023
            expect_equal(str(answer), text[:SHORT], f"the answer of {way.name} that can be but one text")

    def test_a_nul_does_not_end_a_text(self, subject: Subject) -> None:
        """An answer that can be but one text, with a NUL in it, comes with the NUL and what follows.

        Why: native code takes a NUL for the end of a text. Look at: C strings; control characters that are taken out.
        """
        asked = {"response_format": {"type": "choice", "choice": [WITH_NUL]}}
        if not subject.declares("response_format"):
            subject.refuses(**asked)
            return
        given = {**subject.greedy, **subject.limit(4 * len(WITH_NUL)), **asked}
        for way in spread(ways(subject), cells_within(subject, len(WITH_NUL), least=3)):
            try:
                answer = way.ask("Say it.", given)
            except InvalidAnswerError as error:
                if subject.backend.capabilities.server_defaults:
                    pytest.skip("could not be measured: the server keeps to no form with a NUL in it")
                raise NotAsExpected(f"the answer of {way.name} to be {WITH_NUL!r}", error) from error
            except LlamaForgeError:
                pytest.skip("could not be measured: the engine takes no form with a NUL in it")
            expect_equal(str(answer), WITH_NUL, f"the answer of {way.name} that can be but one text")

    def _only(self, subject: Subject, text: str) -> dict[str, Any] | None:
        """Parameters with which the answer is *text* and nothing else; None where no form can be asked for."""
        if not subject.declares("response_format"):
            subject.refuses(response_format={"type": "choice", "choice": [text]})
            return None
        asked = {"response_format": {"type": "choice", "choice": [text]}}
        try:
            subject.generate("Say it.", {**subject.greedy, **subject.limit(1), **asked})
        except UnsupportedError:
            pytest.skip("could not be measured: the server knows no choices")
        except RequestError as error:
            expect(False, f"an answer with {asked}", error)
        except LlamaForgeError:
            pytest.skip("could not be measured: the server doesn't keep to choices")
        return asked
