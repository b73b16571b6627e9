"""What embedding and ranking leave to others: standard output, and what belongs to the whole process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Final

from ...errors import LlamaForgeError
from ..expect import expect_equal
from ..patience import on_main_thread
from ..subject import Subject
from ..watching import captured_output
from .process import WatchedProcess, unchanged

TEXTS: Final = ("The tide comes in twice a day.", "A dog sleeps by the sea.", "Bread is made of flour and water.")


class QuietChecks(WatchedProcess, slow=True):
    """The same as for text, with the calls that there are."""

    def test_vectors_and_scores_change_nothing_of_the_process(self, subject: Subject) -> None:
        """Loading, calls of all kinds and unloading change nothing of the whole process: see
        ``test_loading_leaves_the_process_as_it_was`` for what is looked at.

        Why: another part of the program relies on it. Look at: seeds of global generators, ``numpy.seterr``, numbers of
        threads, ``os.environ``.
        """
        with self._watched() as before:
            with self._loaded(before) as loaded:
                for what, ask in _calls(self, loaded):
                    on_main_thread(lambda ask=ask, what=what: Subject.answered(ask, what))  # type: ignore[misc]
                    unchanged(before, what)
            unchanged(before, "unloading")

    def test_vectors_and_scores_print_nothing(self, subject: Subject) -> None:
        """Loading, calls of all kinds and unloading print nothing.

        Why: what a program prints is its own. Look at: progress bars, which libraries show for many texts.
        """
        with captured_output() as output:
            for _, ask in _calls(self, subject):
                ask()
            with self.fresh():
                pass
        expect_equal(output.text, "", "what calls, loading and unloading printed")

    def _warm_up(self, subject: Subject) -> None:
        for _, ask in _calls(self, subject):
            ask()


def _calls(kit: QuietChecks, subject: Subject) -> Iterator[tuple[str, Callable[[], object]]]:
    """What the model's tasks are asked for, one after another."""
    backend, able = subject.backend, subject.backend.capabilities
    many = [f"{text} {number}" for number in range(8) for text in TEXTS]
    options: dict[str, Any] = {"normalize": False, "dimensions": 8, "truncation": "auto"}

    def refused(ask: Callable[[], object]) -> None:
        with contextlib.suppress(LlamaForgeError):
            ask()

    if "embed" in able.tasks:
        yield "a call of embed", lambda: backend.embed(many)
        yield "a call of aembed", lambda: kit.run_async(lambda: backend.aembed(many))
        yield "a stream of vectors", lambda: list(backend.embed_stream(many))
        for name, value in options.items():
            if name in able.embedding:
                yield (
                    f"embed with {name}",
                    lambda name=name, value=value: refused(  # type: ignore[misc]
                        lambda: backend.embed(TEXTS, **{name: value})
                    ),
                )
        yield "a text that is refused", lambda: refused(lambda: backend.embed([""]))
        yield "a deadline that has passed", lambda: refused(lambda: backend.embed(many, timeout=1e-6))
    if "rerank" in able.tasks:
        yield "a call of rerank", lambda: backend.rerank(TEXTS[0], many)
        yield "a call of arerank", lambda: kit.run_async(lambda: backend.arerank(TEXTS[0], many))
        yield "a query that is refused", lambda: refused(lambda: backend.rerank("", many))
        yield "a ranking's deadline", lambda: refused(lambda: backend.rerank(TEXTS[0], many, timeout=1e-6))
