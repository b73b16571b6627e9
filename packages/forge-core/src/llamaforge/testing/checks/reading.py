"""What the model reads: every word of every turn, once, in its place, under its role."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest

from ...errors import ContextOverflowError, LlamaForgeError, RequestError
from ...results import GeneratedText
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..subject import Subject
from ..ways import ways

Turn = dict[str, Any]

LONG: Final = " ".join(f"In harbour {number} the keeper counts {number * 7} boats." for number in range(10))
"""More than a turn is cut to by mistake."""
BASE: Final[Sequence[Turn]] = (
    {"role": "user", "content": f"First of all: {LONG} That was the beginning."},
    {"role": "assistant", "content": "I see the boats. Which of them do you mean?"},
    {"role": "user", "content": "The grey one. What does the keeper do?"},
)
SYSTEM: Final[Turn] = {"role": "system", "content": "You are the keeper's dog, and you bark at gulls."}
BEGUN: Final[Sequence[Turn]] = (BASE[0], {"role": "assistant", "content": "I see the boats. Of them, I "})
MANY: Final = 22
"""Turns of a long conversation."""
WORDS: Final = (3000, 1700, 900, 600, 400, 250, 150, 60)
"""Words of a long prompt: the first number that fits."""
TALE: Final = ("and", "keeper", "garden", "evening", "house", "letter", "harbour", "before", "little", "island")


class ReadingChecks(Kit):
    """Two prompts that differ have other log-probabilities; where there are none, ``render`` shows the difference."""

    def test_every_word_counts(self, subject: Subject) -> None:
        """Conversations that differ in one word, one turn, one role or the order of turns are read as different ones.

        Why: what is cut, merged, doubled or left out of a conversation is answered plausibly. Look at: limits on the
        number and the length of turns; roles that become one; ``content`` of which the first part is taken.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if not subject.has_template:
            return
        first, reply, last = BASE
        history = [turn for number in range(6) for turn in _exchange(number)]
        variants: dict[str, Sequence[Turn]] = {
            "the conversation": BASE,
            "another beginning": ({**first, "content": f"Last{first['content'][5:]}"}, reply, last),
            "another middle": ({**first, "content": first["content"].replace("harbour 5", "harbour 99")}, reply, last),
            "another end of a turn": ({**first, "content": first["content"][:-10] + "end."}, reply, last),
            "another reply": (first, {**reply, "content": "I see the boats. Whose dog do you mean?"}, last),
            "another question": (first, reply, {**last, "content": "The grey one. What does the cormorant do?"}),
            "two paragraphs": (first, {**reply, "content": f"{reply['content']}\n\nThe grey one?"}, last),
            "another second one": (first, {**reply, "content": f"{reply['content']}\n\nThe blue one?"}, last),
            "no history": (last,),
            "one turn of all": ({"role": "user", "content": "\n\n".join(turn["content"] for turn in BASE)},),
            "two parts": (first, reply, _parts(last["content"], "And then?")),
            "two other parts": (first, reply, _parts(last["content"], "And why?")),
            "much history": (*history, last),
            "other old history": (*_exchange(99), *history[2:], last),
            "history the other way round": (*history[2:], *history[:2], last),
        }
        self._all_differ(subject, variants)
        with_system = {
            "no system turn": BASE,
            "a system turn": (SYSTEM, *BASE),
            "another system turn": ({**SYSTEM, "content": "You are the keeper's cat, and you bark at gulls."}, *BASE),
            "a second system turn": (SYSTEM, *BASE[:2], {**SYSTEM, "content": "Bark at boats, too."}, last),
            "another second one": (SYSTEM, *BASE[:2], {**SYSTEM, "content": "Bark at nobody."}, last),
            "two system turns at first": (SYSTEM, {**SYSTEM, "content": "Bark at boats, too."}, *BASE),
            "two others": (SYSTEM, {**SYSTEM, "content": "Bark at nobody."}, *BASE),
            "a turn of the developer": ({**SYSTEM, "role": "developer"}, *BASE[1:]),
            "another turn of the developer": ({"role": "developer", "content": "Bark at boats."}, *BASE[1:]),
            "the system's words as the user's": ({**SYSTEM, "role": "user"}, *BASE[1:]),
            "the user's words as the system's": ({**first, "role": "system"}, last),
            "the first and the last question": (first, last),
            "the last question again": (first, reply, last, reply, last),
            "without the reply again": (first, reply, last, last),
            "the first question again": (first, reply, first, reply, last),
            "without that": (first, reply, reply, last),
        }
        self._all_differ(subject, with_system)

    def test_each_turn_of_a_long_conversation_counts(self, subject: Subject) -> None:
        """If any one of many turns says something else, or says nothing, the conversation is read as a different one.

        Why: what forgets turns forgets the first, the last but one, or every second one. Look at: windows over the
        history; turns that are matched in pairs; turns without text.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if not subject.has_template:
            return
        turns = [*(turn for number in range(MANY // 2) for turn in _exchange(number)), BASE[-1]]
        variants: dict[str, Sequence[Turn]] = {"the conversation": turns}
        for place, turn in enumerate(turns):
            other = {**turn, "content": f"{turn['content']} Or not."}
            variants[f"another turn {place + 1}"] = [*turns[:place], other, *turns[place + 1 :]]
        silent = {**turns[1], "content": ""}
        variants["an answer without text"] = [turns[0], silent, *turns[2:]]
        variants["no such answer"] = [turns[0], *turns[2:]]
        self._all_differ(subject, variants)

    def test_all_of_a_long_prompt_counts(self, subject: Subject) -> None:
        """Of a prompt that nearly fills the context, another beginning, middle or end is read as another prompt; so it
        is in a turn of a conversation.

        Why: limits on characters are met by long prompts alone. Look at: slices, and buffers of a fixed size.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        short, other = (self._read(subject, " ".join((first, *TALE[1:]))) for first in (TALE[0], "other"))
        if short is None or other is None or any(map(operator.eq, short, other)):
            pytest.skip("could not be measured: the beginning of a short prompt doesn't show in the next token, either")
        for words in WORDS:
            text = [TALE[number % len(TALE)] for number in range(words)]
            variants: dict[str, list[str]] = {"the prompt": text}
            for what, place in {"beginning": 0, "middle": words // 2, "end": words - 2}.items():
                variants[f"another {what}"] = [*text[:place], "other", *text[place + 1 :]]
            try:
                seen = {what: self._read(subject, " ".join(words)) for what, words in variants.items()}
            except ContextOverflowError:
                continue
            if None in seen.values():
                pytest.skip("could not be measured: too little is told of what was read")
            plain = seen.pop("the prompt")
            alike = [what for what, came in seen.items() if any(map(operator.eq, came, plain))]
            expect(not alike, f"a prompt of {words} words to be read to its end", alike)
            return

    def test_a_conversation_is_what_it_is_rendered_as(self, subject: Subject) -> None:
        """What ``render`` shows of a conversation, sent raw, has the same answer and as many tokens.

        Each turn's text is in it once, in order.

        Why: ``render`` is looked at when an answer is odd, and must show the reason. Look at: a second rendering for
        the engine; a token that begins a text, put before it twice or never.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if not subject.has_template or not any(way.is_raw for way in ways(subject)):
            pytest.skip("could not be measured: there is no template, or the backend renders nothing")
        given = {**subject.greedy, **subject.limit(6)}
        for turns in (BASE, (SYSTEM, *BASE), (BASE[0], BASE[1], _parts("The grey one.", "And the dog?")), BEGUN):
            try:
                rendered = subject.backend.render(messages=turns)
                if turns is BEGUN:
                    subject.backend.chat(turns, subject.limit(1))
            except RequestError:
                continue  # a template may refuse system turns, and a backend begun answers
            places = [rendered.find(text) for turn in turns for text in _texts(turn)]
            once = all(rendered.count(text) == 1 for turn in turns for text in _texts(turn))
            whole = (once and places == sorted(places)) or turns is BEGUN  # a template may trim it
            expect(whole, "each turn's text once, in order", rendered)
            chat, raw = subject.chat(turns, **given), subject.ask(rendered, **given, raw=True)
            if not subject.declares("logprobs") or fingerprint(subject.chat(turns, **told_by(subject))) is not None:
                subject.agrees(raw, chat, "the answer to what render() shows of a conversation, sent raw")
            if chat.usage is not None and raw.usage is not None:
                expect_equal(chat.usage.prompt_tokens, raw.usage.prompt_tokens, "prompt_tokens of the conversation")

    def test_a_conversation_is_read_alike_on_every_path(self, subject: Subject) -> None:
        """A conversation of several turns has the same answer and counts by ``chat``, its stream, their asynchronous
        twins and batches.

        Why: each path may put the turns together by itself. Look at: another client, or another endpoint, for streams
        or event loops.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if not subject.has_template:
            return
        backend, given = subject.backend, {**subject.greedy, **subject.limit(6)}
        wanted = subject.chat(BASE, **given)

        async def in_a_loop() -> list[GeneratedText]:
            twin = await backend.achat(BASE, given)
            stream = await backend.achat_stream(BASE, given).read()
            return [twin, stream, *[item.text async for item in backend.agenerate_batch([list(BASE)], given)]]

        came = [backend.chat_stream(BASE, given).read(), *(item.text for item in backend.generate_batch([BASE], given))]
        came += subject.answered(lambda: self.run_async(in_a_loop), "asynchronous answers to a conversation")
        names = ("chat_stream()", "generate_batch()", "achat()", "achat_stream()", "agenerate_batch()")
        for name, answer in zip(names, came, strict=True):
            subject.agrees(answer, wanted, f"the answer of {name} to a conversation")
            if answer.usage is not None and wanted.usage is not None:
                expect_equal(answer.usage.prompt_tokens, wanted.usage.prompt_tokens, f"prompt_tokens of {name}")

    def test_the_roles_are_told_apart(self, subject: Subject) -> None:
        """``render`` shows another text where user and assistant are swapped, and where a system turn is a user's.

        Why: with mixed up roles the model answers itself. Look at: a template written by hand; ``developer`` and
        ``tool`` turns.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if not subject.has_template:
            return
        one = [{"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), "ABC", strict=True)]
        shown: dict[str, str] = {}
        for what, turns in {
            "user, assistant, user": one,
            "user alone": [one[2]],
            "user, user": [one[0], {**one[1], "role": "user"}, one[2]],
            "the user twice": [one[0], one[2]],
            "system, user": [{**one[0], "role": "system"}, one[2]],
        }.items():
            try:
                rendered = subject.backend.render(messages=turns)
            except LlamaForgeError:
                continue
            expect(rendered not in shown.values(), f"{what} to be rendered otherwise than {list(shown)}", rendered)
            shown[what] = rendered

    # How.

    def _all_differ(self, subject: Subject, variants: Mapping[str, Sequence[Turn]]) -> None:
        __tracebackhide__ = True
        seen: dict[Any, str] = {}
        for what, turns in variants.items():
            try:
                came = fingerprint(subject.backend.chat(turns, told_by(subject)))
            except RequestError:
                continue  # this model has no such turns, and says so
            if came is None:
                pytest.skip("could not be measured: log-probabilities are not declared")
            expect(came not in seen, f"{what} to be read otherwise than {seen.get(came)}", Told(f"{came} for both"))
            seen[came] = what

    def _read(self, subject: Subject, prompt: str) -> Any:
        """What is made of a prompt, and of a conversation whose first turn it is."""
        seen = [fingerprint(subject.generate(prompt, told_by(subject)))]
        if subject.has_template:
            turns = [{"role": "user", "content": prompt}, *BASE[1:]]
            seen.append(fingerprint(subject.backend.chat(turns, told_by(subject))))
        return None if None in seen else seen


def told_by(subject: Subject) -> dict[str, Any]:
    """Parameters of an answer that :func:`fingerprint` can tell from others."""
    told = {"logprobs": True, "top_logprobs": 5} if subject.declares("logprobs", "top_logprobs") else {}
    return {**subject.greedy, **subject.limit(1), **told}


def fingerprint(answer: GeneratedText) -> Any:
    """What a prompt does to the first token. None where too little is told."""
    if not answer.logprobs:
        return None
    tokens = answer.usage.prompt_tokens if answer.usage is not None else 0
    values = tuple((each.token, each.logprob) for entry in answer.logprobs for each in (entry, *entry.top))
    if all(logprob in (0.0, values[0][1]) for _, logprob in values):
        return None  # one token has all the probability, whatever the prompt is
    return tokens, values


def _exchange(number: int) -> tuple[Turn, Turn]:
    return (
        {"role": "user", "content": f"Count the gulls on roof {number}."},
        {"role": "assistant", "content": f"There are {number + 3}."},
    )


def _parts(*texts: str) -> Turn:
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def _texts(turn: Turn) -> list[str]:
    content = turn["content"]
    return [content] if isinstance(content, str) else [part["text"] for part in content]
