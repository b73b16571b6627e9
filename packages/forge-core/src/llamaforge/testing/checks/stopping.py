"""Stop strings of every shape, met, nearly met and never met."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import Final

import pytest

from ..expect import expect, expect_equal
from ..kit import Kit
from ..subject import Subject
from ..ways import cells_within, spread, ways

TOKENS: Final = 24
LONGER: Final = 56
LONG_STOP: Final = 120
"""Characters of a stop string that some limit might cut."""
PROMPTS: Final = 6
NEVER: Final = "\u2603"
_LONG_WORD: Final = re.compile("[a-z]{5,}")
SPECIAL: Final = ".*+?[](){}|^$\\"


class StoppingChecks(Kit):
    """What stop strings do, beyond the plain ones. Expected is what a search in the whole answer finds."""

    def test_stop_strings_of_every_shape(self, subject: Subject) -> None:
        """Long ones, many, ones of repeated letters, of one space, with capitals, with marks that regular expressions
        know, over a character of several bytes: the answer ends before the first that is complete.

        Why: each way to look for them forgets one of these. Look at: a search that starts again too late after a near
        miss; limits on number or length; ``lower()`` and ``re``.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x"])
            return
        whole = str(subject.material())
        longer = str(subject.known(LONGER)).rstrip("\ufffd")
        if len(longer) > LONG_STOP + 20 and longer.startswith(whole.rstrip("\ufffd")):
            stop = longer[10 : 10 + LONG_STOP]
            wanted, _ = _ended(longer, [stop])
            answer = subject.say(LONGER, stop=[stop])
            expect_equal(str(answer), wanted, f"the answer with a stop string of {LONG_STOP} characters")
        for stops in _shapes(whole.rstrip("\ufffd")):  # there, a further token completes a character
            wanted, met = _ended(whole, stops)
            answer = subject.say(TOKENS, stop=stops)
            shown = stops if len(stops) < 5 else [*stops[:2], "...", stops[-1]]
            expect_equal(str(answer), wanted, f"the answer with the stop strings {shown}")
            expect(answer.stop in (met, None), f"result.stop to be {met!r}", answer.stop)
            reason = "stop" if met is not None else subject.known(TOKENS).finish_reason
            expect_equal(answer.finish_reason, reason, f"finish_reason with the stop strings {shown}")

    def test_of_two_that_end_together_the_longer_counts(self, subject: Subject) -> None:
        """Where two stop strings are complete at the same character, the answer ends before the longer one, in
        whatever order they are given.

        Why: "\\n" and "\\n\\n" are often given together. Look at: the first of the list, or the shortest.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x", "y"])
            return
        whole = str(subject.material())
        for end in (len(whole) // 2, 2 * len(whole) // 3):
            long, short = whole[end - 5 : end], whole[end - 2 : end]
            for stops in ([long, short], [short, long]):
                wanted, met = _ended(whole, stops)
                answer = subject.say(TOKENS, stop=stops)
                expect_equal(str(answer), wanted, f"the answer with the stop strings {stops}")
                expect(answer.stop in (met, None), f"result.stop to be {met!r}", answer.stop)

    def test_stop_strings_on_every_path(self, subject: Subject) -> None:
        """On every path, streamed or not, the answer ends before the stop string, and keeps its leading white space.

        Why: text is trimmed on some paths, and stop strings are looked for in others. Look at: ``strip``; the client's
        own search.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x"])
            return
        whole = str(subject.material())
        stops = [whole[len(whole) // 2 : len(whole) // 2 + 7], f"{whole[:3]}{NEVER}"]
        wanted, _ = _ended(whole, stops)
        for way in ways(subject):
            answer = way.ask(subject.prompt, {**subject.greedy, **subject.limit(TOKENS), "stop": stops})
            subject.agrees(answer, wanted, f"the answer of {way.name} with the stop strings {stops}")
            subject.begins(answer, whole, f"the answer of {way.name} with the stop strings {stops}")

    def test_a_stop_string_may_hold_any_character(self, subject: Subject) -> None:
        """On every path, a stop string with a line end in it, or with a character beyond ASCII, ends the answer.

        Why: "\\n\\n" is the commonest stop string of all. Look at: stop strings that are split at lines, or stripped;
        a header or a protocol that takes them.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x"])
            return
        measured = False
        for what, is_wanted in (("a line end", "\n".__eq__), ("a character beyond ASCII", lambda each: each > "~")):
            prompt, place = _with(subject, is_wanted)
            if prompt is None:
                continue
            measured = True
            whole = str(subject.known(TOKENS, prompt))
            stops = [whole[place - 1 : place + 2], NEVER]
            wanted, _ = _ended(whole, stops)
            for way in spread(ways(subject), cells_within(subject, TOKENS, least=6)):
                answer = way.ask(prompt, {**subject.greedy, **subject.limit(TOKENS), "stop": stops})
                subject.agrees(answer, wanted, f"the answer of {way.name} with {what} in the stop strings {stops}")
        if not measured:
            pytest.skip("could not be measured: no answer has a line end, or a character beyond ASCII")

    def test_a_stop_string_never_met_holds_nothing_back(self, subject: Subject) -> None:
        """With a long stop string that the answer never begins, the first piece comes as it does without.

        Why: a stream that waits for as many characters as the stop string has looks slow. Look at: a buffer of the
        longest stop string's length.
        """
        if not subject.declares("stop"):
            subject.refuses(stop=["x"])
            return
        stop = NEVER + "never" * 20
        given = {**subject.greedy, **subject.limit(TOKENS)}
        counts = []
        for more in ({}, {"stop": [stop]}):
            with subject.stream(**given, **more) as stream:
                pieces = Subject.answered(lambda: list(stream), "a stream to its end")
            counts.append(pieces)
        plain, held = counts
        if len(plain) < 8:
            pytest.skip("could not be measured: the answer comes in few pieces")
        expect(len(held) >= len(plain) // 2, f"about {len(plain)} pieces, as without the stop string", held)
        expect(len(held[0]) <= 4 * max(map(len, plain)), f"a first piece like {plain[0]!r}", held[0])


def _with(subject: Subject, is_wanted: Callable[[str], bool]) -> tuple[str | None, int]:
    """A prompt whose answer has such a character, and where; None if there is none."""
    for prompt in (subject.prompt, *subject.prompts(PROMPTS)):
        whole = str(subject.known(TOKENS, prompt)).rstrip("\ufffd")
        for place, letter in enumerate(whole[:-2]):
            if place > 3 and is_wanted(letter) and letter != "\ufffd":
                return prompt, place
    return None, 0


def _shapes(whole: str) -> Iterator[list[str]]:
    middle = whole[len(whole) // 2 :]
    yield [whole[8:]]  # to the end of the answer
    yield [whole[5:] + NEVER, middle[:4]]
    yield [f"{number}{NEVER}" for number in range(40)] + [middle[:3]]
    yield [NEVER * 300, middle[:3]]
    yield [middle[:3].swapcase()]
    yield [middle[:6].upper() if middle[:6].upper() not in whole else NEVER]
    yield [" "]
    yield [" " + NEVER, middle[1:5]]
    for word in islice(_LONG_WORD.finditer(whole[4:]), 2):  # a token or two: both may be complete when it has come
        yield [word[0], word[0][1:3]]
    yield [f"{middle[:1]}{mark}" for mark in SPECIAL]
    yield ["." if "." not in whole[:12] else NEVER, "[a-z]", "\\w"]
    yield [middle[:2] + NEVER, middle[1:4] + NEVER, middle[2:5]]
    for place, (one, two) in enumerate(pairwise(whole)):
        if one == two and place > 1:  # the search must not start again after the second of them
            yield [whole[place + 1 : place + 4]]
            yield [one + whole[place + 2 : place + 4]]
            break
    for letter in sorted(set(whole)):
        apart = unicodedata.normalize("NFD", letter)
        if apart not in whole:
            yield [apart, NEVER]  # it looks alike, and is another text
            break
    for place, letter in enumerate(whole):
        if not letter.isascii() and place > 2 and letter != "\ufffd":
            yield [whole[place : place + 2]]
            yield [letter + NEVER, whole[place - 1 : place + 1]]
            break


def _ended(whole: str, stops: list[str]) -> tuple[str, str | None]:
    """The text before the stop string that is complete first, the longest of those, and which it is."""
    for end in range(1, len(whole) + 1):
        met = [stop for stop in stops if whole[:end].endswith(stop)]
        if met:
            longest = max(met, key=len)
            return whole[: end - len(longest)], longest
    return whole, None
