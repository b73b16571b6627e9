"""Unloading while somebody reads, loading what can't be loaded, and what a model leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from ...errors import ContextOverflowError, ModelError, ModelNotLoadedError
from ...results import GeneratedText
from ..children import MARK, can_be_seen, descendants
from ..expect import NotAsExpected, Told, comes_true, expect, expect_equal, expect_refusal, within
from ..kit import Kit
from ..subject import Subject

TOKENS: Final = 24
SMALL: Final = 96
SOON: Final = ["e", " ", "\n"]
"""Stop strings that end any answer soon."""
WHILE: Final = 0.15
"""Seconds after which who doesn't wait has surely gone on."""
TURNS: Final = [{"role": "user", "content": "Tell me a long story of the sea."}]


class UnloadingChecks(Kit, slow=True):
    """A model goes: at once, when it is no longer used, or not at all."""

    def test_unloading_may_wait_for_answers(self) -> None:
        """``unload_model(wait=True)`` returns when the running answer has come to its end, and refuses new requests
        meanwhile.

        Why: a server is stopped without cutting anybody off. Look at: an ``unload_model`` of your own; ``wait``.
        """
        with self._reading() as (subject, stream, whole):
            ways = _ways(self, subject)
            unloading = _Unloading(subject, True)
            expect(unloading.is_waiting(), "unload_model(wait=True) to wait for the answer", Told("it returned"))
            for way, ask in ways.items():
                expect_refusal(
                    ModelNotLoadedError,
                    lambda ask=ask, way=way: within(self.patience, ask, f"{way}, while the model is being unloaded"),  # type: ignore[misc]
                    f"{way}, while the model is being unloaded",
                )
            subject.in_time(lambda: list(stream), "the rest of an answer that unload_model(wait=True) waits for")
            subject.agrees(stream.text, whole, "an answer that unload_model(wait=True) waits for")
            expect_equal(stream.result.finish_reason, whole.finish_reason, "its finish_reason")
            subject.in_time(unloading.join, "unload_model(wait=True) after the answer's end")
            expect_equal(subject.backend.is_model_loaded(), False, "is_model_loaded() afterwards")

    def test_unloading_waits_as_long_as_asked(self) -> None:
        """``unload_model(wait=0.1)`` returns though an answer is still being read, which is then whole or an error.

        Why: a shutdown has a limit. Look at: what becomes of ``wait`` if it is a number.
        """
        with self._reading() as (subject, stream, whole):
            subject.in_time(lambda: subject.backend.unload_model(wait=0.1), "unload_model(wait=0.1)")
            expect_equal(subject.backend.is_model_loaded(), False, "is_model_loaded() after unload_model(wait=0.1)")
            self._is_whole_or_fails(subject, lambda: _rest(stream), whole, "a stream")

    def test_a_stream_that_is_cut_does_not_look_finished(self) -> None:
        """An answer whose model is unloaded comes to its own end, or raises ModelNotLoadedError.

        Why: half an answer with the reason "stop" is taken for a whole one. Look at: loops that end where a flag says
        so, and then yield Finished.
        """
        with self._reading() as (subject, stream, whole):
            subject.in_time(subject.backend.unload_model, "unload_model() under a stream")
            self._is_whole_or_fails(subject, lambda: _rest(stream), whole, "a stream")
            self.load(subject.backend)
            if subject.has_template:
                given = {**subject.greedy, **subject.limit(TOKENS)}
                whole = Subject.answered(lambda: subject.backend.chat(TURNS, given), "an answer to a conversation")
                talk = subject.backend.chat_stream(TURNS, given)
                next(talk, "")
                subject.in_time(subject.backend.unload_model, "unload_model() under a conversation")
                self._is_whole_or_fails(subject, lambda: _rest(talk), whole, "a conversation's stream")

    def test_an_asynchronous_stream_that_is_cut_does_not_look_finished(self) -> None:
        """The same, read in an event loop.

        Why: a server's streams are these. Look at: an ``astream`` that ends where a flag says so.
        """
        with self.fresh() as subject:
            if not subject.full:
                subject.refuses_the_full_contract()
                return
            given = {**subject.greedy, **subject.limit(TOKENS)}
            whole = subject.say(TOKENS)

            async def read() -> GeneratedText:
                async with subject.backend.agenerate_stream(subject.prompt, given) as stream:
                    pieces: AsyncIterator[str] = aiter(stream)
                    await anext(pieces, "")
                    thread = threading.Thread(target=subject.backend.unload_model, name="conformance", daemon=True)
                    thread.start()
                    await asyncio.to_thread(thread.join)
                    async for _ in pieces:
                        pass
                return stream.result

            self._is_whole_or_fails(subject, lambda: self.run_async(read), whole, "an asynchronous stream")

    def test_after_unloading_no_way_is_open(self) -> None:
        """After unloading, every way to ask raises ModelNotLoadedError.

        Why: using freed memory crashes native engines. Look at: overrides that don't ask whether a model is loaded.
        """
        with self.fresh() as subject:
            if not subject.full:
                subject.refuses_the_full_contract()
                return
            subject.say(2)
            ways = _ways(self, subject)
            subject.backend.unload_model()
            for way, ask in ways.items():
                expect_refusal(ModelNotLoadedError, ask, f"{way} after unload_model()")

    def test_a_wrong_model_loses_nothing(self, tmp_path: Path) -> None:
        """Where loading a missing model, or a file that is none, raises, the loaded model stays and answers as before,
        with the load parameters that it has.

        Why: a typing error in the next model must not cost the one that works. Look at: ``check_model``, which runs
        before the old model is unloaded; errors that ``load`` alone finds.
        """
        file = tmp_path / "no-model.gguf"
        file.write_bytes(b"This is no model.\n" * 100)
        with self.fresh() as subject:
            if not subject.full:
                subject.refuses_the_full_contract()
                return
            before, length = subject.say(8), subject.backend.context_length
            other = {"n_ctx": SMALL} if "n_ctx" in self.config_class().__struct_fields__ else {}
            for wrong in (tmp_path / "there-is-no-such-model", file):
                try:
                    subject.backend.load_model(str(wrong), {**self.parameters, **other})
                except ModelError:
                    pass
                else:  # it takes any name
                    continue
                expect_equal(subject.backend.is_model_loaded(), True, f"is_model_loaded() after {wrong.name} failed")
                expect_equal(subject.backend.model_path, self.location(), f"model_path after {wrong.name} failed")
                expect_equal(subject.backend.context_length, length, f"context_length after {wrong.name} failed")
                subject.agrees(subject.say(8), before, f"the answer after {wrong.name} failed")
                if length is not None and length > 4 * SMALL:
                    subject.say(1, "word " * (2 * SMALL))

    def test_loading_again_brings_new_parameters_everywhere(self) -> None:
        """After loading with a larger ``n_ctx``, and without it again, every way to ask has the new context.

        Why: what is kept of the first load shows only in some calls. Look at: clients and settings that are made once.
        """
        if "n_ctx" not in self.config_class().__struct_fields__:
            pytest.skip("could not be measured: there is no load parameter n_ctx")
        long = "word " * (2 * SMALL)
        with self.fresh(n_ctx=SMALL) as subject:
            ways = _ways(self, subject, long)
            for turn, n_ctx in enumerate((SMALL, 20 * SMALL, SMALL)):
                if turn:
                    self.load(subject.backend, n_ctx=n_ctx)
                for way, ask in ways.items():
                    what = f"{2 * SMALL} words by {way}, n_ctx={n_ctx}"
                    if n_ctx == SMALL:
                        expect_refusal(ContextOverflowError, ask, what)
                    else:
                        Subject.answered(ask, what)

    def test_defaults_belong_to_one_instance(self) -> None:
        """``set_defaults`` holds for one instance and every way to ask, until it is called again; a request wins.

        Why: two named models have one backend, and settings of their own. Look at: overrides of ``set_defaults``;
        parameters that are kept on the class.
        """
        with self.fresh() as first, self.fresh() as second:
            if not first.declares("max_tokens"):
                first.refuses(max_tokens=1)
                return
            whole = first.say(8)
            given = {**first.greedy, **({"stop": SOON} if first.declares("stop") else {})}
            first.backend.set_defaults({"max_tokens": 1})
            came = {"generate": first.ask(**given), "agenerate": self._asynchronously(first, given)}
            if first.has_template:
                came["chat"] = first.chat(TURNS, **given)
            for way, answer in came.items():
                expect_equal(answer.parameters.get("max_tokens"), 1, f"max_tokens of {way} after set_defaults")
            first.agrees(first.say(8), whole, "an answer whose request sets max_tokens, after set_defaults")
            if not second.declares("stop"):
                return
            other = second.ask(**given).parameters
            expect("max_tokens" not in other, "no max_tokens of the other instance", other)
            first.backend.set_defaults({"stop": SOON})
            kept = first.ask(**first.greedy).parameters
            first.backend.set_defaults({})
            expect("max_tokens" not in kept, "no max_tokens any more after set_defaults without it", kept)

    def test_no_child_process_survives(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """After unloading, and after a load that failed, no process is left that was started meanwhile.

        Why: servers that nobody knows of hold memory and ports for weeks. Look at: ``unload``; ``except`` around the
        start; children of children, which need a process group.
        """
        if not can_be_seen():
            pytest.skip("could not be measured: the system doesn't tell of processes")
        mark = uuid.uuid4().hex
        with self.fresh() as warm:  # what a library starts once for the whole process is no leak
            warm.say(2)
        before = descendants(mark)
        monkeypatch.setenv(MARK, mark)

        def left() -> list[str]:
            return [command for child, command in descendants(mark).items() if child not in before]

        with self.fresh() as subject:
            subject.say(2)
            if not subject.full:
                subject.refuses_the_full_contract()
                return
        comes_true(lambda: not left(), self.grace)
        expect(not left(), "no process left after unloading", left())
        backend = self.make()
        with contextlib.suppress(Exception):
            backend.load_model("/there/is/no/such/model", dict(self.parameters))
        if not backend.is_model_loaded():
            comes_true(lambda: not left(), self.grace)
            expect(not left(), "no process left after a load that failed", left())
        self.release(backend)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[tuple[Subject, Any, GeneratedText]]:
        """A stream of a backend of its own, of which one piece has been read, and the whole answer."""
        __tracebackhide__ = True
        with self.fresh() as subject:
            if not subject.full:
                subject.refuses_the_full_contract()
                pytest.skip("could not be measured: a basic backend can't be unloaded")
            whole = subject.say(TOKENS)
            stream = subject.stream(**subject.greedy, **subject.limit(TOKENS))
            next(stream, "")
            try:
                yield subject, stream, whole
            finally:
                subject.in_time(stream.close, "close() of a stream whose model was unloaded")

    def _is_whole_or_fails(
        self, subject: Subject, read: Callable[[], GeneratedText], whole: GeneratedText, what: str
    ) -> None:
        __tracebackhide__ = True
        try:
            came = within(self.patience, read, f"the rest of {what} whose model was unloaded")
        except ModelNotLoadedError:
            return
        except NotAsExpected:
            raise
        except Exception as error:
            raise NotAsExpected(f"ModelNotLoadedError for {what} whose model was unloaded", error) from error
        if came != whole and not subject.rounding:
            expect(False, f"the whole answer, or ModelNotLoadedError, for {what} whose model was unloaded", came)
        expect_equal(came.finish_reason, whole.finish_reason, f"finish_reason of {what} whose model was unloaded")

    def _asynchronously(self, subject: Subject, given: dict[str, Any]) -> GeneratedText:
        __tracebackhide__ = True
        return Subject.answered(lambda: self.run_async(lambda: subject.backend.agenerate(self.prompt, given)), "it")


class _Unloading:
    """``unload_model`` in a thread."""

    def __init__(self, subject: Subject, wait: bool | float) -> None:
        self._thread = threading.Thread(
            target=lambda: subject.backend.unload_model(wait=wait), name="conformance", daemon=True
        )
        self._thread.start()

    def is_waiting(self) -> bool:
        """Whether it hasn't returned after a while."""
        self._thread.join(WHILE)
        return self._thread.is_alive()

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join()


def _rest(stream: Any) -> GeneratedText:
    for _ in stream:
        pass
    result: GeneratedText = stream.result
    return result


def _ways(kit: Kit, subject: Subject, prompt: str | None = None) -> dict[str, Callable[[], object]]:
    """All ways to ask for one token."""
    backend, text = subject.backend, subject.prompt if prompt is None else prompt
    given = {**subject.greedy, **subject.limit(1)}
    ways: dict[str, Callable[[], object]] = {
        "generate": lambda: backend.generate(text, given),
        "generate_stream": lambda: list(backend.generate_stream(text, given)),
        "agenerate": lambda: kit.run_async(lambda: backend.agenerate(text, given)),
        "a raw prompt": lambda: backend.generate(text, {**given, "raw": True}),
        "generate_batch": lambda: [item.text for item in backend.generate_batch([text], given)],
    }
    if subject.has_template:
        turns = [{"role": "user", "content": text}]
        ways["chat"] = lambda: backend.chat(turns, given)
        ways["chat_stream"] = lambda: list(backend.chat_stream(turns, given))
        ways["achat"] = lambda: kit.run_async(lambda: backend.achat(turns, given))
    return ways
