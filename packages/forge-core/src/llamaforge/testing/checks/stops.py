"""Stop strings: the answer ends before the first of them, and not a character of it is seen."""

from __future__ import annotations

from typing import Final

from ..expect import expect, expect_equal
from ..kit import Kit
from ..subject import Subject

TOKENS: Final = 24
"""As many as the material has."""
NEVER: Final = "\u2603\u2603"
"""Text that no answer has."""


class StopChecks(Kit):
    """Where a stop string ends the answer."""

    def test_a_stop_string_ends_the_answer(self, subject: Subject) -> None:
        """A stop string from the middle of the greedy answer ends it there: the answer is the text before it.

        Why: it is how formats and turns are kept apart. Look at: ``llamaforge.text.TextAssembler`` does all of it.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x"])
            return
        whole = subject.material()
        middle = len(whole) // 2
        self._ends(subject, whole, whole[middle : middle + 3])

    def test_a_stop_string_over_several_tokens_is_found(self, subject: Subject) -> None:
        """It ends the answer wherever it begins and however long it is, over several tokens too.

        Why: tokens don't know where stop strings begin. Look at: code that looks at one token at a time, or for
        equality.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x"])
            return
        whole = subject.material()
        for start, length in ((3, 1), (5, 9), (len(whole) // 3, 16)):
            stop = whole[start : start + length]
            if stop:
                self._ends(subject, whole, stop)

    def test_no_part_of_a_stop_string_is_streamed(self, subject: Subject) -> None:
        """While streaming, no piece has any of the stop string, not even of its beginning.

        Why: what was shown can't be taken back. Look at: pieces that are sent before they can't be a stop string any
        more.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x"])
            return
        whole = subject.material()
        stop = whole[len(whole) // 3 : len(whole) // 3 + 12]
        wanted = whole[: whole.index(stop)]
        with subject.stream(**subject.greedy, **subject.limit(TOKENS), stop=[stop]) as stream:
            shown = ""
            for piece in stream:
                shown += piece
                expect(wanted.startswith(shown), f"only text before {stop!r}: {wanted!r}", shown)
        expect_equal(shown, wanted, f"the stream with the stop string {stop!r}")
        expect_equal(stream.result.finish_reason, "stop", "finish_reason")

    def test_a_stop_string_at_the_very_beginning_leaves_nothing(self, subject: Subject) -> None:
        """A stop string that begins the answer makes it empty, with the reason "stop".

        Why: loops often forget this case. Look at: a search that begins after the first token.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x"])
            return
        whole = subject.material()
        self._ends(subject, whole, whole[:4])

    def test_the_stop_string_is_named(self, subject: Subject) -> None:
        """``result.stop`` is the stop string that was met, or None where the backend can't tell; never another one.

        Why: with several of them callers want to know which. Look at: ``Finished.stop``; ``TextAssembler.matched`` has
        it.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x"])
            return
        whole = subject.material()
        stop = whole[len(whole) // 2 : len(whole) // 2 + 4]
        answer = subject.say(TOKENS, stop=[NEVER, stop])
        expect(answer.stop in (stop, None), f"result.stop to be {stop!r}", answer.stop)
        expect_equal(subject.known(TOKENS).stop, None, "result.stop of an answer that no stop string ended")

    def test_the_first_stop_string_wins(self, subject: Subject) -> None:
        """Of several stop strings, the one that is complete first ends the answer, whatever their order.

        Why: the meaning must not depend on the order of a list. Look at: a loop over the stop strings that takes the
        first in the list.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x", "y"])
            return
        whole = subject.material()
        early, late = whole[6:9], whole[2 * len(whole) // 3 : 2 * len(whole) // 3 + 3]
        wanted = _before_first(whole, [early, late])
        for stops in ([early, late], [NEVER, late, early]):
            answer = subject.say(TOKENS, stop=stops)
            expect_equal(answer, wanted, f"the answer with the stop strings {stops}")

    def test_what_was_held_back_comes_out(self, subject: Subject) -> None:
        """Text that was held back because it might begin a stop string is complete at the end.

        Why: the end of an answer is easily lost. Look at: ``TextAssembler.finish``, on each way out of the loop.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x"])
            return
        whole = subject.material()
        for begun in (whole[-1:], whole[-3:], whole):
            stop = begun + NEVER
            with subject.stream(**subject.greedy, **subject.limit(TOKENS), stop=[stop]) as stream:
                answer = Subject.answered(stream.read, "a stream to its end")
            subject.agrees(answer, whole, f"the answer with the stop string {stop!r}, which it never has")
            expect_equal(answer.finish_reason, subject.known(TOKENS).finish_reason, "finish_reason")

    def test_a_stop_string_at_the_limit_is_the_reason(self, subject: Subject) -> None:
        """Where the last token that max_tokens allows completes a stop string, the reason is "stop".

        Why: whoever reads "length" asks for the rest, and there is none. Look at: which of the two is looked at first.
        """
        if not subject.declares("stop", "max_tokens"):
            subject.refuses(**{"stop": ["x"]} if not subject.declares("stop") else {"max_tokens": 3})
            return
        for tokens in (1, 2, 4, 7, 10):
            whole = subject.known(tokens)
            end = whole[-2:]
            if whole.finish_reason != "length" or "\ufffd" in end or len(end) < 2 or whole.index(end) < len(whole) - 2:
                continue
            answer = subject.say(tokens, stop=[end])
            subject.agrees(answer, whole[:-2], f"the answer with max_tokens={tokens} and the stop string {end!r}")
            if answer == whole[:-2]:
                came = (answer.finish_reason, answer.stop or end)
                expect_equal(came, ("stop", end), f"finish_reason and stop with max_tokens={tokens} and {end!r}")

    def test_a_string_is_as_good_as_a_list(self, subject: Subject) -> None:
        """``stop="x"`` is ``stop=["x"]``.

        Why: both are in use. Look at: iterating over a string, which gives its characters.
        """
        if not subject.declares("stop"):
            subject.refuses(stop="x")
            return
        whole = subject.material()
        stop = whole[len(whole) // 2 : len(whole) // 2 + 4]
        expect_equal(
            subject.say(TOKENS, stop=stop), subject.say(TOKENS, stop=[stop]), "the answer with stop as a string"
        )

    def _ends(self, subject: Subject, whole: str, stop: str) -> None:
        """With *stop* the greedy answer is what stands before its first occurrence."""
        __tracebackhide__ = True
        wanted = whole[: whole.index(stop)]
        answer = subject.say(TOKENS, stop=[stop])
        expect_equal(answer, wanted, f"the answer to end before {stop!r}: it")
        expect_equal(answer.finish_reason, "stop", f"finish_reason with the stop string {stop!r}")
        expect(answer.stop in (stop, None), f"result.stop to be {stop!r}", answer.stop)


def _before_first(whole: str, stops: list[str]) -> str:
    """The text before the stop string that is complete first; of two that end together, the longer one."""
    found = [(whole.index(stop) + len(stop), whole.index(stop)) for stop in stops if stop in whole]
    return whole[: min(found)[1]]
