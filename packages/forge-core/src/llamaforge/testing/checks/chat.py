"""Conversations: put into the model's words, whole, by the model's own template, or not at all."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, Final

from ...errors import (
    ConflictingParametersError,
    EmptyPromptError,
    InvalidParameterError,
    LlamaForgeError,
    NoChatTemplateError,
    RequestError,
    UnsupportedError,
)
from ...messages import ImagePart, Message, TextPart
from ...messages import ImageUrl as Url
from ..expect import NotAsExpected, expect, expect_equal, expect_refusal
from ..kit import Kit
from ..subject import Subject

SYSTEM: Final[dict[str, Any]] = {"role": "system", "content": "Answer like a heron who minds the lighthouse."}
FIRST: Final[dict[str, Any]] = {"role": "user", "content": "Which bird walks along the harbour?"}
REPLY: Final[dict[str, Any]] = {"role": "assistant", "content": "Mostly the cormorant walks there."}
SECOND: Final[dict[str, Any]] = {"role": "user", "content": "Tell me more of its feathers, at length."}
CONVERSATION: Final = [SYSTEM, FIRST, REPLY, SECOND]
PREFILL: Final[dict[str, Any]] = {"role": "assistant", "content": "Its feathers are"}
IMAGE: Final = "data:image/png;base64,iVBORw0KGgo="


class ChatChecks(Kit):
    """Messages. A model without a template refuses them; a basic backend always does."""

    def test_a_conversation_is_answered(self, subject: Subject) -> None:
        """``chat`` answers a conversation of several turns; a model without a template raises NoChatTemplateError.

        Why: most programs do that. Look at: ``render_request``, and where the template comes from; never guess
        one.
        """
        if self._refused(subject):
            return
        answer = subject.chat(_conversation(subject), **subject.greedy, **subject.limit(12))
        expect(answer or answer.reasoning, "an answer with text", answer)

    def test_chat_and_its_stream_agree(self, subject: Subject) -> None:
        """``chat_stream``, joined, and ``achat`` return the same as ``chat``.

        Why: one meaning. Look at: overrides of one of them.
        """
        if self._refused(subject):
            return
        given = {**subject.greedy, **subject.limit(12)}
        backend = subject.backend
        turns = _conversation(subject)
        wanted = subject.chat(turns, **given)
        with backend.chat_stream(turns, given) as stream:
            subject.agrees(Subject.answered(lambda: "".join(stream), "a stream"), wanted, "chat_stream(), joined")
        twin = Subject.answered(lambda: self.run_async(lambda: backend.achat(turns, given)), "achat()")
        subject.agrees(twin, wanted, "the text of achat()")
        expect_equal(twin.finish_reason, wanted.finish_reason, "finish_reason of achat()")

    def test_a_prompt_is_one_user_turn(self, subject: Subject) -> None:
        """``generate(prompt)`` is ``chat`` with that one turn; without a template, the text is sent unchanged.

        Why: a raw prompt makes chat models stop at once or babble. Look at: ``request.as_messages()`` in your
        rendering.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if not subject.has_template:
            subject.agrees(subject.say(12, raw=True), subject.known(12), "the answer to the raw prompt")
            return
        turn = subject.chat([{"role": "user", "content": subject.prompt}], **subject.greedy, **subject.limit(12))
        subject.agrees(turn, subject.known(12), "the answer to the prompt as a user turn")
        if turn.usage is not None and subject.known(12).usage is not None:
            plain = subject.known(12).usage
            expect_equal(turn.usage.prompt_tokens, plain and plain.prompt_tokens, "prompt_tokens of the user turn")

    def test_a_raw_prompt_is_sent_as_it_stands(self, subject: Subject) -> None:
        """With ``raw=True`` the engine sees the text and no template; never more tokens than with it.

        Why: completions and hand-written templates need it. Look at: ``request.raw`` in your rendering.
        """
        if not subject.full:
            subject.refuses_the_full_contract(raw=True)
            return
        raw = {**subject.greedy, **subject.limit(4), "raw": True}
        try:
            answer = subject.generate(None, raw)
        except LlamaForgeError as error:  # a server that has conversations alone
            expect(subject.has_template, "an answer to a raw prompt: without a template there is no other", error)
            return
        except Exception as error:
            raise NotAsExpected("an answer to a raw prompt, or a typed error", error) from error
        plain = subject.known(4).usage
        if answer.usage is not None and plain is not None:
            fewer = answer.usage.prompt_tokens <= plain.prompt_tokens
            expect(fewer, f"at most {plain.prompt_tokens} prompt_tokens, as with the template", answer.usage)
        rendered = self._rendered(subject, prompt=subject.prompt, parameters={"raw": True})
        if rendered is not None:
            expect(rendered.endswith(subject.prompt), "render() of a raw prompt to end with it, untouched", rendered)

    def test_every_turn_reaches_the_model(self, subject: Subject) -> None:
        """With each further turn the prompt has more tokens, and a longer system turn has more than a short one.

        A template may add its own system turn if there is none, so a conversation without one is not compared.

        Why: a backend that sends only the last turn gives plausible, wrong answers. Look at: how messages become text;
        a template without system turns must refuse them or put them elsewhere.
        """
        if self._refused(subject):
            return
        longer = {**SYSTEM, "content": f"{SYSTEM['content']} Never forget the gulls, the lamp or the tide."}
        for pair in (([SECOND], [FIRST, REPLY, SECOND]), (CONVERSATION, [longer, *CONVERSATION[1:]])):
            try:
                answers = [subject.backend.chat(turns, {**subject.greedy, **subject.limit(1)}) for turns in pair]
            except RequestError as error:
                expect(pair[0] is CONVERSATION, "an answer to user and assistant turns", error)
                continue  # this model has no system turns, and says so
            counts = [answer.usage.prompt_tokens for answer in answers if answer.usage is not None]
            if counts:
                expect(counts[0] + 4 <= counts[1], f"more prompt_tokens for {pair[1]} than for {pair[0]}", counts)

    def test_every_turn_is_rendered(self, subject: Subject) -> None:
        """``render`` shows each turn's text, in order, or is refused if the engine doesn't show it.

        Why: ``render`` is how people find out what went wrong. Look at: ``render_request``; ``stream`` must use it,
        too.
        """
        if self._refused(subject):
            return
        rendered = self._rendered(subject, messages=[FIRST, REPLY, SECOND])
        if rendered is None:
            return
        places = [rendered.find(turn["content"]) for turn in (FIRST, REPLY, SECOND)]
        expect(-1 not in places and places == sorted(places), "each turn's text, in order", rendered)
        with_system = self._rendered(subject, messages=CONVERSATION)
        if with_system is not None:
            expect(SYSTEM["content"] in with_system, "the system turn's text", with_system)

    def test_rendering_is_what_the_engine_sees(self, subject: Subject) -> None:
        """A prompt and the one user turn with it render alike, and rendering again gives the same.

        Why: what is shown must be what is sent. Look at: ``render_request``; dates and random parts in templates.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        shown = self._rendered(subject, prompt=subject.prompt)
        if shown is None:
            return
        expect(subject.prompt in shown, "the prompt in what render() shows", shown)
        expect_equal(self._rendered(subject, prompt=subject.prompt), shown, "render(), asked again")
        if subject.has_template:
            turn = self._rendered(subject, messages=[{"role": "user", "content": subject.prompt}])
            expect_equal(turn, shown, "render() of the prompt as a user turn")

    def test_messages_may_be_objects_or_dicts(self, subject: Subject) -> None:
        """``Message`` objects, dicts, and content in text parts mean the same.

        Why: all three are in use. Look at: code that reads ``content`` as a string; ``Message.text`` joins the parts.
        """
        if self._refused(subject):
            return
        given = {**subject.greedy, **subject.limit(8)}
        wanted = subject.chat([FIRST], **given)
        text = FIRST["content"]
        subject.agrees(subject.chat([Message(role="user", content=text)], **given), wanted, "the answer to a Message")
        parts = [{"role": "user", "content": [{"type": "text", "text": text}]}]
        subject.agrees(subject.chat(parts, **given), wanted, "the answer to a text part")
        struct = [Message(role="user", content=(TextPart(text),))]
        subject.agrees(subject.chat(struct, **given), wanted, "the answer to a TextPart")

    def test_the_callers_messages_are_left_alone(self, subject: Subject) -> None:
        """``chat`` changes neither the list nor the messages in it.

        Why: callers append the answer and go on. Look at: ``pop``, ``insert`` and item assignment.
        """
        turns = CONVERSATION if self._refused(subject) else _conversation(subject)
        given: Any = copy.deepcopy(turns)
        if not self._refused(subject):
            subject.chat(given, **subject.limit(2))
        expect_equal(given, turns, "the caller's messages afterwards")

    def test_conversations_do_not_mix(self, subject: Subject) -> None:
        """A conversation in between changes nothing for the next: nothing of it is remembered.

        Why: conversations belong to callers, and are sent whole. Look at: a history or cache inside your backend.
        """
        if self._refused(subject):
            return
        given = {**subject.greedy, **subject.limit(8)}
        before = subject.chat([SECOND], **given)
        subject.chat(_conversation(subject), **given)
        after = subject.chat([SECOND], **given)
        subject.agrees(after, before, "the answer after another conversation")
        if before.usage is not None and after.usage is not None:
            expect_equal(
                after.usage.prompt_tokens, before.usage.prompt_tokens, "prompt_tokens after another conversation"
            )

    def test_a_begun_answer_is_continued_or_refused(self, subject: Subject) -> None:
        """A last turn of the assistant is continued: rendered last and left open; or it raises a typed error.

        Why: a new turn instead of a continuation looks right but isn't. Look at: the template's end-of-turn marks.
        """
        if self._refused(subject):
            return
        turns = [SECOND, PREFILL]
        try:
            subject.backend.chat(turns, {**subject.greedy, **subject.limit(4)})
        except RequestError:
            return
        except Exception as error:
            raise NotAsExpected("a continued answer, or a RequestError", error) from error
        rendered = self._rendered(subject, messages=turns)
        if rendered is not None:
            expect(rendered.rstrip().endswith(PREFILL["content"]), "the begun answer, left open, at the end", rendered)

    def test_malformed_messages_are_refused(self, subject: Subject) -> None:
        """No messages, a wrong role, or a string instead of the list raise a RequestError that says so.

        Why: a half-understood conversation gets a wrong answer. Look at: overrides that skip the base's checks.
        """
        backend = subject.backend
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        expect_refusal(EmptyPromptError, lambda: backend.chat([]), "no messages")
        wrong: list[Any] = [
            "Hello",
            {"role": "user", "content": "x"},
            [{"role": "ghost", "content": "x"}],
            [{"content": "x"}],
        ]
        for messages in wrong:
            expect_refusal(InvalidParameterError, partial(backend.chat, messages), f"{messages!r}")
        expect_refusal(ConflictingParametersError, lambda: backend.chat([FIRST], raw=True), "messages with raw=True")

    def test_images_are_seen_or_refused(self, subject: Subject) -> None:
        """Images in messages raise UnsupportedError unless ``images`` is declared.

        Why: if an image is silently left out, the model invents a description. Look at: ``images`` in the capabilities.
        """
        turns = [Message(role="user", content=(TextPart("What is it?"), ImagePart(Url(IMAGE))))]
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if not subject.backend.capabilities.images:
            expect_refusal(UnsupportedError, lambda: subject.backend.chat(turns), "an image, images not being declared")
            return
        try:
            answer = subject.backend.chat(turns, subject.limit(2))
        except LlamaForgeError:
            return  # this model has no eyes, or the image is refused
        except Exception as error:
            raise NotAsExpected("an answer or a typed error", error) from error
        expect(isinstance(answer, str), "text", answer)

    def test_tool_turns_need_tools(self, subject: Subject) -> None:
        """Turns with tool calls and tool results raise UnsupportedError unless ``tools`` is declared.

        Why: left out, the model repeats the call for ever. Look at: ``tools`` in the capabilities, and the template.
        """
        call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        turns = [
            FIRST,
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "content": "42", "tool_call_id": "1"},
        ]
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if not subject.declares("tools"):
            expect_refusal(
                UnsupportedError, lambda: subject.backend.chat(turns), "tool turns, tools not being declared"
            )
            return
        try:
            answer = subject.backend.chat(turns, {**subject.greedy, **subject.limit(4)})
        except LlamaForgeError:
            return
        except Exception as error:
            raise NotAsExpected("an answer or a typed error", error) from error
        if answer.usage is not None:
            alone = subject.chat([FIRST], **subject.greedy, **subject.limit(1)).usage
            more = alone is None or answer.usage.prompt_tokens > alone.prompt_tokens
            expect(more, "tool turns to have tokens of their own", answer.usage)

    def _refused(self, subject: Subject) -> bool:
        """Whether there is no chat here; then check that it is refused."""
        __tracebackhide__ = True
        if not subject.full:
            subject.refuses_the_full_contract()
            return True
        if subject.has_template:
            return False
        what = "messages without a chat template"
        error = expect_refusal(NoChatTemplateError, lambda: subject.backend.chat([FIRST]), what)
        expect(isinstance(error.model, str) and error.model, "error.model to name the model", error.model)
        return True

    def _rendered(self, subject: Subject, **asked: Any) -> str | None:
        """What ``render`` shows; None where this backend can't show it, or refuses a role."""
        __tracebackhide__ = True
        try:
            rendered = subject.backend.render(asked.pop("prompt", None), **asked)
        except RequestError:
            return None
        except Exception as error:
            raise NotAsExpected("a rendering, or a RequestError", error) from error
        expect(isinstance(rendered, str), "render() to give text", rendered)
        return rendered


def _conversation(subject: Subject) -> list[dict[str, Any]]:
    """Several turns; without a system turn where the template refuses one."""
    try:
        subject.backend.chat(CONVERSATION, subject.limit(1))
    except InvalidParameterError:
        return CONVERSATION[1:]
    except Exception:  # noqa: BLE001 - the check that asks will say so
        return CONVERSATION
    return CONVERSATION
