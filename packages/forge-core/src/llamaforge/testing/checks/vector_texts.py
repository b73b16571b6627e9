"""Texts in large numbers, at the limits of length, and of odd characters: each counts, whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

from ...errors import ContextOverflowError, LlamaForgeError, RequestError
from ...results import Usage
from ..expect import expect, expect_equal, expect_refusal
from ..subject import Subject
from .comparing_vectors import LONG, TEXTS, VectorKit, declares, embed

MANY: Final = 600
"""Texts, at most: more than most backends take in one request."""
SMALL: Final = 96
"""Tokens of a context whose end is cheap to reach."""
_WORDS: Final = 50_000
_LONGEST: Final = 4096
"""Tokens of a context whose end is still looked for."""
WHOLE: Final = (
    ("tide\x00 and a dog by the sea", "tide", "a text goes on after a NUL"),
    ("Grüße aus Köln", "Gre aus Kln", "letters beyond ASCII count"),
    ("fog on the sea, and a dog that barks at a lamp", "fog on the sea, and a dog that barks at a", "the last word"),
)
"""A text, another one that a careless backend takes for it, and what tells them apart."""
_FOG: Final = "fog on the sea, " * 20
_LONG_ONE: Final = (f"{_FOG}and a lamp", f"{_FOG}and a dog", "the last word of many")


class VectorTextChecks(VectorKit):
    """What ``embed`` reads."""

    def test_many_texts_have_their_own_vectors(self, subject: Subject) -> None:
        """Hundreds of texts, of which some are long and some alike, have the vectors that they have alone; a stream's
        rows stay what they are while it goes on, and usage counts them all.

        Why: what is split into requests and batches is put together again. Look at: the places of the second request's
        texts; buffers that the next batch overwrites; a cache of texts.
        """
        count = min(MANY, 2 * subject.backend.texts_per_request + 40)
        texts = [TEXTS[3] if number % 9 == 4 else f"fog {number}" for number in range(count)]
        edge = subject.backend.texts_per_request
        looked_at = {0, 1, 3, 4, 12, 13, count // 2, count - 2, count - 1, edge - 1, edge, edge + 1} & {*range(count)}
        whole = embed(subject, iter(texts))
        expect_equal(len(whole), count, "the number of vectors")
        with subject.backend.embed_stream(texts, timeout=self.patience) as stream:
            rows = list(stream)  # not copied: they are the caller's
            counted = stream.usage
        expect_equal(len(rows), count, "the number of vectors of a stream")
        for place in sorted(looked_at):
            alone = embed(subject, texts[place])[0]
            self.same(whole[place], alone, f"the vector of text {place} of {count}")
            self.same(rows[place], alone, f"the vector of text {place} of a stream of {count}")
        if whole.usage is not None and not whole.usage.estimated:
            one, long = (_tokens(subject, text) for text in (texts[0], TEXTS[3]))
            least = sum(long if text == TEXTS[3] else one for text in texts)
            expect(whole.usage.prompt_tokens >= least, f"at least {least} prompt_tokens", whole.usage)
            expect_equal(counted, whole.usage, "the usage of a stream")

    def test_the_whole_of_a_text_counts(self, subject: Subject) -> None:
        """All of a text counts: what follows a NUL, letters beyond ASCII, and its last word.

        Why: C strings end at a NUL, and a text that is encoded carelessly loses letters. Look at: how the text gets to
        the tokenizer; cutting without being asked.
        """
        for text, other, what in (*WHOLE, _LONG_ONE):
            try:
                vectors = subject.backend.embed([text, other])
            except RequestError:  # what can't be read is refused
                continue
            self.differ(vectors[0], vectors[1], f"{text!r} and {other!r} ({what})")

    def test_odd_texts_disturb_nobody(self, subject: Subject) -> None:
        """Beside a text of odd characters, any other text has the vector that it has alone.

        Why: a text of a stranger is computed with one's own. Look at: texts that become no token at all.
        """
        known = embed(subject, TEXTS[:3])
        for odd in ("\u200b", "\x00", "\u0301", "\U0001f9ff" * 40, "x" * 300):
            with contextlib.suppress(RequestError):
                found = subject.backend.embed([TEXTS[0], odd, *TEXTS[1:3]])
                for place in range(3):
                    self.same(found[place + (place > 0)], known[place], f"the vector of a text beside {odd[:8]!r}")

    def test_token_ids_are_a_text(self, subject: Subject) -> None:
        """A list of token ids is one text with as many tokens; an id that the model doesn't have crashes nothing. A
        backend may refuse all.

        Why: clients tokenize texts to cut them to length. Look at: special tokens that are added once more; an id
        beyond the vocabulary, which engines read as memory beyond a table.
        """
        ids = [7, 9, 8, 11, 10]
        try:
            found = subject.backend.embed([ids, ids[:2], ids[::-1]])
        except LlamaForgeError:
            found = None
        if found is not None:
            expect_equal(len(found), 3, "the number of vectors of lists of token ids")
            self.differ(found[0], found[1], "token ids and the first two of them")
            self.same(subject.backend.embed(ids)[0], found[0], "the vector of token ids, alone and among others")
            if found.usage is not None and not found.usage.estimated:
                expect_equal(found.usage.prompt_tokens, 12, "prompt_tokens of 5, 2 and 5 token ids")
                again = subject.backend.embed([*ids, *ids]).usage
                told = again and again.prompt_tokens
                expect_equal(told, 10, "prompt_tokens of 5 token ids, each of which comes again")
        try:
            subject.backend.embed([[2**31 - 1]])
        except LlamaForgeError:
            pass
        except Exception as error:  # noqa: BLE001 - a backend may raise anything
            expect(False, "a typed error for a token id that hardly any model has", error)
        embed(subject, TEXTS[0])

    def test_usage_adds_up(self, subject: Subject) -> None:
        """Texts that are embedded together have as many tokens as one by one, asynchronously, too.

        Why: padding is no token of anybody's. Look at: counts of the padded matrix; the last request's count alone.
        """
        together = embed(subject, TEXTS).usage
        if together is None or together.estimated:
            return
        expect_equal(together.prompt_tokens, sum(_tokens(subject, text) for text in TEXTS), "prompt_tokens of all")
        expect_equal(together.truncated_tokens, 0, "truncated_tokens of short texts")
        found = self.run_async(lambda: subject.backend.aembed(TEXTS))
        expect_equal(found.usage, together, "the usage of aembed")

    def test_a_text_that_just_fits_is_read(self, subject: Subject) -> None:
        """The longest text that the model reads is embedded, and one word more is refused with both counts.

        Why: splitters fill chunks up to the limit. Look at: special tokens, which count; ``<`` and ``<=``.
        """
        with self._short_context(subject) as short:
            try:
                short.backend.embed("a " * _WORDS, timeout=self.patience)
            except ContextOverflowError as error:
                most, told = error.context_size, error.prompt_tokens
            except LlamaForgeError:
                return
            else:
                return
            few, more = (short.backend.embed("a " * words).usage for words in (4, 8))
            if most is None or most > _LONGEST or few is None or more is None or few.estimated:
                return
            step = (more.prompt_tokens - few.prompt_tokens) / 4
            words = 4 + int((most - few.prompt_tokens) // step)
            read = embed(short, "a " * words).usage
            expect(read is not None and read.prompt_tokens <= most, f"at most {most} tokens to be read", read)
            refused = expect_refusal(
                ContextOverflowError, lambda: short.backend.embed(["fine", "a " * (words + 1)]), f"{words + 1} words"
            )
            expect_equal(refused.context_size, most, "the context's size in the error")
            if told is not None:
                expect_equal(refused.prompt_tokens, int(few.prompt_tokens + step * (words - 3)), "the text's tokens")
                expect_equal(told, int(few.prompt_tokens + step * (_WORDS - 4)), f"the tokens of {_WORDS} words")

    def test_a_cut_text_is_its_beginning(self, subject: Subject) -> None:
        """With ``truncation="auto"`` the beginning of a long text counts and not its end; texts beside it and short
        texts are not cut; tokens read and tokens cut off are all of them.

        Why: a title stands at the beginning. Look at: a tokenizer's ``truncation_side``; cutting by characters.
        """
        if not declares(subject, "truncation"):
            return
        long = (LONG + TEXTS[1], LONG + TEXTS[2], TEXTS[1] * 3 + LONG)
        with self._short_context(subject) as short:
            vectors = short.backend.embed([long[0], TEXTS[0]], truncation="auto", timeout=self.patience)
            self.same(vectors[1], embed(short, TEXTS[0])[0], "the vector of a short text beside a long one")
            uncut = embed(short, TEXTS[0], truncation="auto")
            self.same(uncut[0], embed(short, TEXTS[0])[0], "the vector of a short text with truncation='auto'")
            expect(_cut(uncut.usage) == 0, "nothing to be cut off a short text", uncut.usage)
            if not _cut(vectors.usage):  # the model reads it all, or the backend can't tell
                return
            other = short.backend.embed(long[1:], truncation="auto", timeout=self.patience)
            self.same(other[0], vectors[0], "the vector of a long text with another end")
            self.differ(other[1], vectors[0], "long texts with different beginnings")
            told = None
            try:
                short.backend.embed(long[0], timeout=self.patience)
            except ContextOverflowError as error:
                told = error.prompt_tokens
            except LlamaForgeError:
                pass
            usage, little = vectors.usage, uncut.usage
            if told is not None and usage is not None and little is not None:
                counted = usage.prompt_tokens + usage.truncated_tokens - little.prompt_tokens
                expect_equal(counted, told, "tokens read and tokens cut off")

    def test_vectors_are_the_same_after_loading_again(self, subject: Subject) -> None:
        """Loaded again, the model gives a text the same vector.

        Why: an index outlives the process. Look at: layers whose weights the checkpoint doesn't have, made at random.
        """
        known = embed(subject, TEXTS[:2])
        with self.fresh() as other:
            found = embed(other, TEXTS[:2])
        for place, text in enumerate(TEXTS[:2]):
            self.same(found[place], known[place], f"the vector of {text!r} after loading again")

    @contextlib.contextmanager
    def _short_context(self, subject: Subject) -> Iterator[Subject]:
        """The backend with a context that is soon full, where it can be loaded so."""
        if "n_ctx" not in self.config_class().__struct_fields__:
            yield subject
            return
        with self.fresh(n_ctx=SMALL) as short:
            yield short


def _tokens(subject: Subject, text: Any) -> int:
    usage = embed(subject, text).usage
    return 0 if usage is None else usage.prompt_tokens


def _cut(usage: Usage | None) -> int:
    return 0 if usage is None else usage.truncated_tokens
