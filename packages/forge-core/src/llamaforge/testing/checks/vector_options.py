"""Options of ``embed``: each is the call's own, and they go together."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Final

from ...errors import InvalidParameterError, RequestError, UnsupportedError
from ..expect import expect, expect_equal, expect_refusal, together
from ..subject import Subject
from .comparing_vectors import TEXTS, VectorKit, declares, embed

_TIMES: Final = 3
_ONE: Final = 1e-3
"""How far from 1 the length of a vector of length 1 may be."""
PROMPT: Final = "The keeper asks: "


class VectorOptionChecks(VectorKit):
    """Several options, several callers."""

    def test_shortened_vectors_are_scaled_again(self, subject: Subject) -> None:
        """Shortened vectors have length 1 where they are to have it, and are exactly the first components where they
        are not; all dimensions change nothing, and one more is refused.

        Why: the dot product is a cosine for vectors of length 1 alone. Look at: scaling before cutting.
        """
        if not declares(subject, "dimensions"):
            return
        whole = embed(subject, TEXTS)
        width = whole.vectors.dimensions
        expect_refusal(
            RequestError, lambda: subject.backend.embed(TEXTS[0], dimensions=width + 1), f"{width + 1} dimensions"
        )
        for place, vector in enumerate(embed(subject, TEXTS, dimensions=width)):
            self.same(vector, whole[place], "the vector with all its dimensions")
        half = max(1, width // 2)
        with contextlib.suppress(InvalidParameterError):  # a model that can't be shortened to this
            short = subject.backend.embed(TEXTS, dimensions=half)
            if all(abs(math.hypot(*vector) - 1) < _ONE for vector in whole):
                _expect_unit(short, "shortened, of vectors that have length 1")
            if declares(subject, "normalize"):
                _expect_unit(subject.backend.embed(TEXTS, dimensions=half, normalize=True), "shortened and normalized")
                with contextlib.suppress(UnsupportedError):
                    raw = subject.backend.embed(TEXTS, dimensions=half, normalize=False)
                    for vector, untouched in zip(raw, embed(subject, TEXTS, normalize=False), strict=True):
                        self.same(vector, list(untouched[:half]), "the first components, not scaled")

    def test_options_belong_to_their_call(self, subject: Subject) -> None:
        """Calls with different options, one after another and at once, each get what they asked for.

        Why: one backend serves many programs. Look at: options that are kept on the backend or the tokenizer; a cache
        that looks at the text alone.
        """
        options: list[dict[str, Any]] = [{}]
        options += [{"normalize": wanted} for wanted in (True, False) if declares(subject, "normalize")]
        options += [{"truncation": "auto"}] if declares(subject, "truncation") else []
        with contextlib.suppress(InvalidParameterError):
            if declares(subject, "dimensions"):
                half = max(1, embed(subject, TEXTS[0]).vectors.dimensions // 2)
                subject.backend.embed(TEXTS[0], dimensions=half)
                options.append({"dimensions": half})
        known = {}
        for number, option in enumerate(options):
            with contextlib.suppress(UnsupportedError):
                known[number] = [list(row) for row in subject.backend.embed(TEXTS, **option)]

        def ask(number: int) -> None:
            for _ in range(_TIMES):
                found = embed(subject, TEXTS, **options[number])
                for vector, wanted in zip(found, known[number], strict=True):
                    self.same(vector, wanted, f"the vector with {options[number]} beside calls with other options")

        if declares(subject, "normalize"):
            new = [f"{text} Again." for text in TEXTS]
            with contextlib.suppress(UnsupportedError):
                subject.backend.embed(new, normalize=False)
            _expect_unit(embed(subject, new, normalize=True), "asked for after vectors that are not scaled")
        for _ in range(2):
            for number in known:
                ask(number)
        together(self.patience, [lambda number=number: ask(number) for number in [*known] * 2])  # type: ignore[misc]

    def test_a_prompt_stands_before_the_text(self, subject: Subject) -> None:
        """``prompt_name`` puts the prompt of that name before each text, and its tokens count.

        Why: models that were trained with prompts find little without them. Look at: ``request.prompt_name``. It is
        looked at where a load parameter ``prompts`` takes prompts by name.
        """
        if not declares(subject, "prompt_name") or "prompts" not in self.config_class().__struct_fields__:
            return
        prompts = {**self.parameters.get("prompts", {}), "of the kit": PROMPT}
        with self.fresh(prompts=prompts) as other:
            asked = embed(other, TEXTS, prompt_name="of the kit")
            written = embed(other, [PROMPT + text for text in TEXTS])
            plain = embed(other, TEXTS)
        for place, text in enumerate(TEXTS):
            self.same(asked[place], written[place], f"the vector of {text!r} with a prompt")
            self.same(plain[place], embed(subject, text)[0], f"the vector of {text!r} without one")
        expect_equal(asked.usage, written.usage, "usage with a prompt")

    def test_what_was_asked_is_told(self, subject: Subject) -> None:
        """A result tells the options in effect; what is out of bounds is refused, asynchronously as well.

        Why: logs show how an index was made. Look at: an ``embed`` of your own.
        """
        for name, value in (("normalize", True), ("truncation", "auto")):
            if declares(subject, name):
                given: dict[str, Any] = {name: value}
                expect_equal(embed(subject, TEXTS[0], **given).parameters.get(name), value, f"{name} in parameters")
        bad: tuple[dict[str, Any], ...] = (
            {"dimensions": 0},
            {"dimensions": "8"},
            {"normalize": 1},
            {"truncation": "left"},
            {"timeout": -1},
            {"on_unsupported": "ignore"},
        )
        for option in bad:
            expect_refusal(RequestError, lambda option=option: subject.backend.embed("x", **option), f"{option}")  # type: ignore[misc]
            expect_refusal(
                RequestError,
                lambda option=option: self.run_async(lambda: subject.backend.aembed("x", **option)),  # type: ignore[misc]
                f"{option} in an event loop",
            )


def _expect_unit(vectors: Any, what: str) -> None:
    __tracebackhide__ = True
    for vector in vectors:
        expect(abs(math.hypot(*vector) - 1) < _ONE, f"vectors of length 1, {what}", math.hypot(*vector))
