"""Bad input and failures: typed errors, nothing swallowed, and the next request works."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ...errors import (
    ContextOverflowError,
    EmptyPromptError,
    InvalidParameterError,
    LlamaForgeError,
)
from ..expect import NotAsExpected, Told, expect, expect_equal, expect_refusal, within
from ..kit import Kit
from ..refusing import expect_a_refusal
from ..subject import Subject

SMALL: Final = 256
ODD_TEXTS: Final = (
    "\x00",
    "a\x00b",
    "\ud800",
    "\u200b\u200d\ufeff",
    "\U0001f98a" * 20,
    "שלום עולם",
    "e\u0301" * 10,
    "<|im_end|></s><eos>[INST]",
    "{{ messages }} {% raw %}",
    "%s %d {} \\x00",
    "x" * 500,
)
"""Prompts that have broken something somewhere."""


class ErrorChecks(Kit):
    """What goes wrong is said, by type."""

    def test_an_empty_prompt_is_refused(self, subject: Subject) -> None:
        """An empty prompt, or one of blanks alone, raises EmptyPromptError.

        Why: engines answer it with nothing, with nonsense, or crash. Look at: overrides that skip the base's checks.
        """
        for prompt in ("", " ", "\n\t "):
            expect_refusal(EmptyPromptError, partial(subject.generate, prompt), f"the prompt {prompt!r}")

    def test_a_prompt_that_is_no_text_is_refused(self, subject: Subject) -> None:
        """A prompt of bytes, None or a list raises InvalidParameterError.

        Why: ``str(prompt)`` would send "b'...'" to the model. Look at: overrides that skip the base's checks.
        """
        for prompt in (b"Hello", 3, ["Hello"]):
            wrong: Any = prompt
            expect_refusal(InvalidParameterError, partial(subject.generate, wrong), f"the prompt {wrong!r}")

    def test_odd_texts_are_answered_or_refused(self, subject: Subject) -> None:
        """Zeros, half surrogate pairs, emoji, other scripts, template syntax: an answer or a typed error, and no hang.

        Why: users paste anything. Look at: encoding, C strings that end at a zero, templates that run the text.
        """
        for text in ODD_TEXTS:
            try:
                answer = within(
                    self.patience,
                    partial(subject.generate, text, subject.limit(2)),
                    f"the prompt {text!r}",
                )
            except LlamaForgeError as error:
                expect_a_refusal(error, f"an answer for the prompt {text!r}")
                continue
            except NotAsExpected:
                raise
            except Exception as error:
                raise NotAsExpected(f"an answer or a typed error for the prompt {text!r}", error) from error
            expect(isinstance(answer, str), f"text for the prompt {text!r}", answer)
            if answer.usage is not None:
                expect(answer.usage.prompt_tokens > 0, f"the prompt {text!r} to be read", answer.usage)

    def test_a_long_prompt_is_read_whole_or_refused(self, subject: Subject) -> None:
        """A prompt that is longer than the context raises ContextOverflowError; one that is answered was read whole.

        Why: a prompt that is cut silently gets an invented answer. Look at: truncation in the engine or the server, on
        by default; errors that become an empty answer.
        """
        if "n_ctx" in self.config_class().__struct_fields__ and self.context_size is None:
            with self.fresh(n_ctx=SMALL) as small:
                self._reads_or_refuses(small, SMALL * 2)
        else:
            words = 20_000 if self.context_size is None else self.context_size * 2
            self._reads_or_refuses(subject, words if subject.full else 2_000)

    def test_an_overflow_has_both_counts(self, subject: Subject) -> None:
        """Where a context is known, the error says how many tokens the prompt has and how many fit.

        Why: the caller has to know how much to cut. Look at: the arguments of ContextOverflowError.
        """
        if "n_ctx" not in self.config_class().__struct_fields__:
            return
        with self.fresh(n_ctx=SMALL) as small:
            error = expect_refusal(
                ContextOverflowError, lambda: small.generate("word " * SMALL * 2), f"{SMALL * 2} words, n_ctx={SMALL}"
            )
            expect_equal(error.context_size, SMALL, "error.context_size")
            counted = error.prompt_tokens
            expect(counted is not None and counted > SMALL, f"error.prompt_tokens above {SMALL}", counted)
            after = small.say(2)
            expect(after or after.reasoning, "an answer to the next request", Told("nothing"))

    def test_after_an_error_the_next_request_works(self, subject: Subject) -> None:
        """After refused and failed requests, the greedy answer is what it was.

        Why: one user's mistake must not be another's. Look at: locks and slots that are not released where it raises.
        """
        wanted = subject.known(8)
        wrong: list[tuple[Any, dict[str, Any]]] = [("", {}), (None, {"no_such_parameter": 1}), (3, {}), ("\ud800", {})]
        for prompt, parameters in wrong:
            ask = partial(subject.generate, prompt, parameters | subject.limit(1))
            try:
                within(self.patience, ask, "a wrong request")
            except NotAsExpected:
                raise
            except Exception:  # noqa: BLE001, S112 - which one is another check's matter
                continue
        came = subject.in_time(lambda: subject.say(8), "the request after wrong ones")
        subject.agrees(came, wanted, "the answer after wrong requests")

    def test_a_token_that_there_is_not_is_refused(self, subject: Subject) -> None:
        """A logit_bias for a token beyond the vocabulary raises a typed error or has no effect; it never crashes.

        Why: ids belong to one vocabulary, and people mix them up. Look at: an index that is passed to native code.
        """
        if not subject.declares("logit_bias"):
            subject.refuses(logit_bias={65: 1})
            return
        try:
            answer = subject.generate(None, {**subject.greedy, **subject.limit(4), "logit_bias": {2_000_000_000: 100}})
        except LlamaForgeError as error:
            expect_a_refusal(error, "an answer with a bias on a token that there is not")
        except Exception as error:
            raise NotAsExpected("a typed error for a token beyond the vocabulary", error) from error
        else:
            subject.agrees(answer, subject.known(4), "the answer with a bias on a token that there is not")
        subject.agrees(subject.say(4), subject.known(4), "the next answer")

    def _reads_or_refuses(self, subject: Subject, words: int) -> None:
        __tracebackhide__ = True
        try:
            answer = within(self.patience, lambda: subject.generate("word " * words, subject.limit(1)), "a long prompt")
        except ContextOverflowError:
            pass
        except NotAsExpected:
            raise
        except Exception as error:
            typed = isinstance(error, LlamaForgeError) and not subject.full
            if not typed:
                raise NotAsExpected(f"a ContextOverflowError, or an answer, for {words} words", error) from error
        else:
            if subject.full:
                expect(answer.usage is not None, "result.usage", answer.usage)
                read = answer.usage.prompt_tokens if answer.usage is not None else 0
                expect(read >= words, f"a prompt of {words} words to be read whole, or refused", answer.usage)
        after = subject.in_time(lambda: subject.say(4), "the next request")
        expect(after or after.reasoning, "an answer afterwards", Told("none"))
