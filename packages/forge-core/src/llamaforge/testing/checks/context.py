"""The context's edge: exactly full, one token over, and what is left out on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from ...errors import ContextOverflowError, LlamaForgeError
from ...results import GeneratedText, Usage
from ..expect import Told, expect, expect_equal, expect_refusal
from ..kit import Kit
from ..subject import Subject

SMALL: Final = 96
ROOM: Final = 3
TURNS: Final = 4


class ContextChecks(Kit):
    """A backend with a load parameter ``n_ctx`` is loaded with small ones; of others, nothing can be seen here."""

    def test_a_context_may_be_full(self, subject: Subject) -> None:
        """With room for three tokens the answer has three, for the reason "length"; with one, one.

        Why: the last tokens of a context are paid for. Look at: ``<`` and ``<=``, and the reason where the context ends
        an answer and not max_tokens.
        """
        tokens = self._prompt_tokens(subject)
        wanted = subject.known(ROOM)
        if subject.is_certain(subject.say(ROOM + 1, logprobs=True)) if subject.declares("logprobs") else False:
            pytest.skip("could not be measured: the model has but one answer")
        if wanted.finish_reason != "length":
            pytest.skip("could not be measured: the answer ends by itself")
        for room in (ROOM, 1):
            with self.fresh(n_ctx=tokens + room) as tight:
                answer = tight.ask(**tight.greedy)
                expect_equal(answer.finish_reason, "length", f"finish_reason with room for {room} tokens")
                expect_equal(_usage(answer).completion_tokens, room, f"completion_tokens with room for {room}")
                tight.agrees(answer, subject.known(room), f"the answer in a context with room for {room} tokens")
                more = tight.ask(**tight.greedy, **tight.limit(room + 20))
                expect_equal(
                    _usage(more).completion_tokens, room, f"completion_tokens where more than {room} were asked"
                )
                expect_equal(more.finish_reason, "length", "finish_reason where the context ends before max_tokens")

    def test_a_prompt_that_fills_the_context_is_refused(self, subject: Subject) -> None:
        """A prompt of exactly n_ctx tokens leaves no room for an answer: ContextOverflowError, with exact counts.

        Why: an empty answer looks like one. Look at: which of the counts is whose; what the template adds.
        """
        tokens = self._prompt_tokens(subject)
        with self.fresh(n_ctx=tokens) as tight:
            error = expect_refusal(
                ContextOverflowError, lambda: tight.generate(None, tight.limit(1)), f"{tokens} tokens, n_ctx={tokens}"
            )
            expect_equal((error.prompt_tokens, error.context_size), (tokens, tokens), "prompt_tokens and context_size")

    def test_instances_have_contexts_of_their_own(self) -> None:
        """A second instance with a smaller context leaves the first one's alone, and loading again brings a new one.

        Why: parameters that are kept in one place for all are not seen with one instance. Look at: class attributes.
        """
        self._needs_n_ctx()
        with self.fresh(n_ctx=20 * SMALL) as large, self.fresh(n_ctx=SMALL) as small:
            long = "word " * (2 * SMALL)
            expect_refusal(ContextOverflowError, lambda: small.generate(long), f"{2 * SMALL} words, n_ctx={SMALL}")
            expect(large.say(1, long) is not None, "an answer of the instance with the larger context", Told("none"))
            self.load(small.backend, n_ctx=20 * SMALL)
            expect(small.say(1, long) is not None, "an answer after loading with a larger context", Told("none"))

    def test_nothing_is_left_out_unasked(self, subject: Subject) -> None:
        """Without ``truncation``, and where the prompt fits, ``usage.truncated_tokens`` is 0.

        Why: a prompt that is cut gets an invented answer. Look at: truncation that is on by default.
        """
        counts = [subject.known(4).usage]
        if subject.declares("truncation"):
            fits = subject.say(4, truncation="auto")
            subject.agrees(fits, subject.known(4), 'the answer with truncation="auto" where the prompt fits')
            counts.append(fits.usage)
        cut = [each for each in counts if each is not None and each.truncated_tokens]
        expect(not cut, "no truncated_tokens where the prompt fits", cut)

    def test_a_text_loses_its_beginning_on_request(self, subject: Subject) -> None:
        """With truncation="auto" a raw text that is too long loses its beginning; the counts say how much. Half of the
        context stays for it, whatever max_tokens is, and a quarter for the answer where it is not set. A prompt that is
        a turn is refused.

        Why: the end of a text is what is to be continued. Look at: which end is cut; prompt_tokens, which counts what
        was read, and truncated_tokens, which counts the rest.
        """
        if not subject.declares("truncation"):
            subject.refuses(truncation="auto")
            return
        self._needs_n_ctx()
        end = "and so the keeper climbed the stairs, lit the lamp and said:"
        long = "It was a dark night and nobody saw the boats that came in from the sea. " * 9 + end
        raw = {"raw": True, **subject.greedy, **subject.limit(4)}
        whole = _usage(subject.ask(long, **raw)).prompt_tokens
        with self.fresh(n_ctx=SMALL) as small:
            expect_refusal(ContextOverflowError, lambda: small.generate(long, raw), f"{whole} tokens, n_ctx={SMALL}")
            answer = small.ask(long, **raw, truncation="auto")
            counts = _usage(answer)
            expect(counts.truncated_tokens > 0, "truncated_tokens above 0", counts)
            expect_equal(counts.prompt_tokens + counts.truncated_tokens, whole, "tokens that were read and left out")
            expect(counts.prompt_tokens <= SMALL - 4, f"at most {SMALL - 4} prompt_tokens, to leave room for 4", counts)
            expect(counts.prompt_tokens >= SMALL // 2, f"at least {SMALL // 2} prompt_tokens: no more is cut", counts)
            most = _usage(small.ask(long, **{**raw, **small.limit(1)}, truncation="auto")).prompt_tokens
            expect_equal(most, counts.prompt_tokens + 3, "prompt_tokens with max_tokens=1, three more than with 4")
            half = _usage(small.ask(long, **{**raw, **small.limit(SMALL)}, truncation="auto")).prompt_tokens
            expect_equal(half, SMALL // 2, f"prompt_tokens with max_tokens={SMALL}, half of the context")
            fits = long[-int(0.75 * SMALL * len(long) / whole) :]
            alone = _usage(small.ask(fits, **{**raw, **small.limit(1)})).prompt_tokens
            if alone > SMALL // 2:
                asked = {**raw, **small.limit(SMALL // 2), "truncation": "auto"}
                came = _usage(small.ask(fits, **asked)).prompt_tokens
                expect_equal(came, SMALL // 2, f"prompt_tokens of {alone} with max_tokens={SMALL // 2}")
            free = _usage(small.ask(long, raw=True, **subject.greedy, truncation="auto")).prompt_tokens
            expect(free <= SMALL - SMALL // 4, f"room for {SMALL // 4} tokens without max_tokens", free)
            if not _ends_with(small, long):
                given = {**subject.greedy, **subject.limit(4), "truncation": "auto"}
                expect_refusal(ContextOverflowError, lambda: small.generate(long, given), "a turn that is too long")
            other = small.ask(
                long.replace(end, "while in the harbour the dog slept and the bread went stale:"),
                **raw,
                truncation="auto",
            )
            same = small.ask("Other words stood here. " + long, **raw, truncation="auto")
            small.agrees(same, answer, "the answer to a text with the same end")
            silent = not any(each or each.reasoning for each in (answer, other))
            expect(not silent or not small.ask(end, **raw), "an answer to a text that was cut", answer)
            if answer and not subject.only_one_answer(4, **subject.greedy):
                expect(other != answer, "another answer to a text with another end", other)

    def test_a_conversation_loses_its_oldest_turns_on_request(self, subject: Subject) -> None:
        """With truncation="auto" a conversation that is too long loses its oldest turns, but no system turn and not
        the last one.

        Why: the rules for the model stand in the system turn, and the question in the last one. Look at: what is left
        out, and that it is whole turns.
        """
        if not subject.declares("truncation"):
            subject.refuses(truncation="auto")
            return
        if not subject.has_template:
            return
        self._needs_n_ctx()
        system = {"role": "system", "content": "You are the keeper."}
        last = {"role": "user", "content": "What did the dog do then?"}
        given = {**subject.greedy, **subject.limit(4)}
        newest = [*_turns()[-2:], last]
        try:
            fits = _usage(subject.backend.chat([system, *newest], given)).prompt_tokens
        except Exception:  # noqa: BLE001 - a template may refuse system turns
            system, fits = {}, _usage(subject.chat(newest, **given)).prompt_tokens
        opening = [system] if system else []
        turns = [*opening, *_turns(), last]
        with self.fresh(n_ctx=fits + 4) as small:
            answer = small.chat(turns, **given, truncation="auto")
            counts = _usage(answer)
            whole = _usage(subject.chat(turns, **given)).prompt_tokens
            expect(counts.truncated_tokens > 0, "truncated_tokens above 0", counts)
            expect_equal(counts.prompt_tokens + counts.truncated_tokens, whole, "tokens that were read and left out")
            expect_equal(counts.prompt_tokens, fits, "prompt_tokens of the newest turns, which just fit")
            small.agrees(answer, small.chat([*opening, *newest], **given), "the answer to the turns that are left")

    def _prompt_tokens(self, subject: Subject) -> int:
        self._needs_n_ctx()
        if not subject.declares("max_tokens"):
            pytest.skip("could not be measured: max_tokens is not declared")
        return _usage(subject.known(4)).prompt_tokens

    def _needs_n_ctx(self) -> None:
        if "n_ctx" not in self.config_class().__struct_fields__:
            pytest.skip("could not be measured: there is no load parameter n_ctx")


def _ends_with(subject: Subject, prompt: str) -> bool:
    """Whether the engine sees a prompt's end as that of the text, so that its beginning can be cut."""
    try:
        return not subject.has_template or subject.backend.render(prompt).endswith(prompt)
    except LlamaForgeError:
        return True  # nobody can tell


def _turns() -> Sequence[Mapping[str, Any]]:
    words = "the fog came in over the sea and nobody saw the boat"
    return [
        {"role": role, "content": f"Number {number}: {words}."}
        for number in range(TURNS)
        for role in ("user", "assistant")
    ]


def _usage(answer: GeneratedText) -> Usage:
    if answer.usage is None or answer.usage.estimated:
        pytest.skip("could not be measured: the engine counts no tokens")
    return answer.usage
