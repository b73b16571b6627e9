"""Loading, unloading, and what comes before, between and after."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ...backends import registry
from ...backends.base import BaseBackend
from ...errors import (
    LlamaForgeError,
    ModelError,
    ModelNotLoadedError,
    UnsupportedError,
)
from ...forge import LlamaForge
from ..expect import NotAsExpected, Told, expect, expect_equal, expect_refusal, within
from ..kit import Kit
from ..subject import Subject

TURNS = [{"role": "user", "content": "Hello"}]


class LifecycleChecks(Kit):
    """A model is loaded, used, given back, and loaded again."""

    def test_a_new_backend_has_no_model(self) -> None:
        """A backend that was just made says that no model is loaded.

        Why: programs ask before they generate. Look at: ``is_model_loaded``, and attributes that the class shares.
        """
        backend = self.make()
        expect_equal(backend.is_model_loaded(), False, "is_model_loaded() of a new backend")
        expect(isinstance(repr(backend), str), "a repr", repr(backend))

    def test_generate_before_load_is_refused(self) -> None:
        """``generate`` without a model raises RuntimeError; of a full backend, ModelNotLoadedError.

        Why: an invented or empty answer hides the mistake. Look at: what your class answers before ``load``.
        """
        backend = self.make()
        kind = RuntimeError if backend.is_basic else ModelNotLoadedError
        expect_refusal(kind, lambda: backend.generate("Hello"), "generate() before load_model()")

    def test_a_stream_before_load_is_refused(self) -> None:
        """``generate_stream`` without a model raises the same, at the latest when it is read.

        Why: streaming callers make the same mistakes. Look at: checks that only ``generate`` does.
        """
        backend = self.make()
        kind = RuntimeError if backend.is_basic else ModelNotLoadedError
        expect_refusal(kind, lambda: list(backend.generate_stream("Hello")), "generate_stream() before load_model()")

    def test_chat_before_load_is_refused(self) -> None:
        """``chat`` and ``render`` without a model raise ModelNotLoadedError; a basic backend has no chat at all.

        Why: one mistake, one error. Look at: overrides of ``chat`` or ``render``.
        """
        backend = self.make()
        kind = UnsupportedError if backend.is_basic else ModelNotLoadedError
        expect_refusal(kind, lambda: backend.chat(TURNS), "chat() before load_model()")
        expect_refusal(kind, lambda: backend.chat_stream(TURNS), "chat_stream() before load_model()")
        if not backend.is_basic:
            expect_refusal(ModelNotLoadedError, lambda: backend.render("Hello"), "render() before load_model()")

    def test_async_calls_before_load_are_refused(self) -> None:
        """``agenerate`` and ``achat`` without a model raise ModelNotLoadedError; a basic backend has neither.

        Why: the asynchronous twins mean the same. Look at: overrides of them.
        """
        backend = self.make()
        kind = UnsupportedError if backend.is_basic else ModelNotLoadedError
        expect_refusal(kind, lambda: asyncio.run(_generate(backend)), "agenerate() before load_model()")
        expect_refusal(kind, lambda: asyncio.run(_chat(backend)), "achat() before load_model()")

    def test_unloading_nothing_is_harmless(self) -> None:
        """Without a model ``close`` and ``unload_model`` do nothing, however often; a basic one refuses
        ``unload_model``.

        Why: clean-up code runs in ``finally``, whatever happened before. Look at: ``unload``, and whether it is
        idempotent.
        """
        backend = self.make()
        if backend.is_basic and type(backend).unload_model is BaseBackend.unload_model:
            expect_refusal(UnsupportedError, backend.unload_model, "unload_model() of a basic backend")
        else:
            Subject.answered(backend.unload_model, "unload_model() without a model to do nothing")
            Subject.answered(backend.unload_model, "unload_model() without a model to do nothing, again")
        Subject.answered(backend.close, "close() without a model to do nothing")
        Subject.answered(backend.close, "close() without a model to do nothing, again")

    def test_a_loaded_model_is_reported(self, subject: Subject) -> None:
        """After ``load_model`` the backend says that a model is loaded, and which.

        Why: so that programs and people can tell. Look at: ``is_model_loaded``, and overrides of ``load_model``.
        """
        expect_equal(subject.backend.is_model_loaded(), True, "is_model_loaded() after load_model()")
        if subject.full:
            expect_equal(subject.backend.model_path, self.location(), "model_path")

    def test_after_unloading_nothing_is_generated(self) -> None:
        """After ``unload_model`` the backend says so, refuses to generate, and may be unloaded again.

        Why: using freed memory crashes native engines. Look at: ``unload``, and what ``is_model_loaded`` looks at.
        """
        with self.fresh() as subject:
            if not subject.full:
                expect_refusal(UnsupportedError, lambda: _unload(subject), "unload_model() of a basic backend")
                return
            backend = subject.backend
            Subject.answered(backend.unload_model, "unload_model() to return")
            expect_equal(backend.is_model_loaded(), False, "is_model_loaded() after unload_model()")
            expect_refusal(ModelNotLoadedError, lambda: backend.generate("Hello"), "generate() after unload_model()")
            Subject.answered(backend.unload_model, "a second unload_model() to do nothing")

    def test_a_model_can_be_loaded_again(self) -> None:
        """Unloaded and loaded again, the backend gives the same answer as before.

        Why: servers swap models. Look at: what ``unload`` leaves behind, and what ``load`` takes for granted.
        """
        with self.fresh() as subject:
            before = subject.say(8)
            if subject.full:
                subject.backend.unload_model()
            self.load(subject.backend)
            subject.agrees(subject.say(8), before, "the answer after unloading and loading again")

    def test_loading_over_a_loaded_model_works(self) -> None:
        """``load_model`` on a backend with a model gives the old one up and answers as before.

        Why: the reference promises it. Look at: ``load`` where something is loaded already.
        """
        with self.fresh() as subject:
            before = subject.say(8)
            self.load(subject.backend)
            expect_equal(subject.backend.is_model_loaded(), True, "is_model_loaded() after a second load_model()")
            subject.agrees(subject.say(8), before, "the answer after a second load_model()")

    def test_the_with_statement_unloads(self) -> None:
        """Leaving ``with backend:`` unloads the model; ``close`` may be called again.

        Why: that is what the statement is for. Look at: overrides of ``close`` and ``__exit__``.
        """
        backend = self.make()
        try:
            with backend as entered:
                expect(entered is backend, "the with statement to give the backend itself", entered)
                self.load(backend)
            if not backend.is_basic:
                expect_equal(backend.is_model_loaded(), False, "is_model_loaded() after the with statement")
            Subject.answered(backend.close, "a second close() to do nothing")
        finally:
            self.release(backend)

    def test_a_missing_model_is_an_error(self, tmp_path: Path) -> None:
        """A path where nothing is raises a ModelError that names it and leaves no model loaded, or is a model that can
        be used.

        Why: a typing error is the most frequent failure of all. Look at: ``check_model``, ``load``, and which of the
        errors in :mod:`llamaforge.errors` fits.
        """
        self._refuses_or_answers(str(tmp_path / "there-is-no-such-model"))

    def test_a_file_that_is_no_model_is_an_error(self, tmp_path: Path) -> None:
        """A file of other content raises a ModelError, and the process goes on.

        Why: native engines crash on such files. Look at: ``check_model``; read the file's first bytes yourself.
        """
        file = tmp_path / "no-model.gguf"
        file.write_bytes(b"This is no model.\n" * 100)
        self._refuses_or_answers(str(file))

    def test_a_failed_load_can_be_followed_by_a_good_one(self, tmp_path: Path) -> None:
        """After a load that failed, a good one works and answers.

        Why: people correct the path and try again. Look at: what ``load`` leaves behind where it raises.
        """
        backend = self.make()
        try:
            try:
                backend.load_model(str(tmp_path / "there-is-no-such-model"), dict(self.parameters))
            except LlamaForgeError:
                expect_equal(backend.is_model_loaded(), False, "is_model_loaded() after a load that failed")
            except Exception as error:  # noqa: BLE001 - a basic backend raises what it likes
                expect(backend.is_basic, "a typed error", error)
            self.load(backend)
            answer = self.wrap(backend).say(4)
            expect(answer or answer.reasoning, "an answer after a failed and a good load", answer)
        finally:
            self.release(backend)

    def test_loading_leaves_the_callers_parameters_alone(self) -> None:
        """``load_model`` doesn't change the mapping it is given.

        Why: callers use it again. Look at: ``pop`` and item assignment on ``parameters``.
        """
        backend = self.make()
        given = dict(self.parameters)
        try:
            Subject.answered(lambda: backend.load_model(self.location(), given), "the model to be loaded")
            expect_equal(given, dict(self.parameters), "the caller's load parameters afterwards")
        finally:
            self.release(backend)

    def test_two_backends_do_not_share_a_model(self) -> None:
        """Two instances with the model each answer alike, and go on answering when the other one is unloaded.

        Why: programs hold several models. Look at: class attributes, module globals, a library's global state.
        """
        with self.fresh() as first:
            wanted = first.say(8)
            with self.fresh() as second:
                second.agrees(second.say(8), wanted, "the second instance's answer")
                first.agrees(first.say(8), wanted, "the first one's answer while there is a second")
            expect_equal(first.backend.is_model_loaded(), True, "is_model_loaded() of the first, the second unloaded")
            first.agrees(first.say(8), wanted, "the first one's answer after the second was unloaded")

    def test_unloading_under_a_stream_is_survived(self) -> None:
        """Unloading while an answer is being read ends the stream, with its rest or a typed error, and nothing hangs.

        Why: someone shuts the program down in the middle of an answer. Look at: what ``stream`` holds of the model
        while ``unload`` frees it; take one lock, or let the stream keep what it needs.
        """
        with self.fresh() as subject:
            if not subject.full:
                subject.refuses_the_full_contract()
                return
            stream = subject.stream(**subject.greedy, **subject.limit(24))
            next(stream, "")
            subject.in_time(subject.backend.unload_model, "unload_model() under a stream")
            try:
                within(self.patience, lambda: list(stream), "the rest of a stream whose model was unloaded")
            except LlamaForgeError:
                pass
            except NotAsExpected:
                raise
            except Exception as error:
                raise NotAsExpected("the stream's rest, or a typed error", error) from error
            finally:
                subject.in_time(stream.close, "close() of a stream whose model was unloaded")
            self.load(subject.backend)
            expect(_says(subject), "an answer after loading again", Told("nothing"))

    def test_it_works_through_the_front_door(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """``LlamaForge`` loads the model on this backend, generates, streams and unloads.

        Why: that is how most people will use it. Look at: the level of your backend, and what it raises there.
        """
        name = self.registered_name()
        if name is None:
            name = "conformance-subject"
            monkeypatch.setattr(registry, "_registered", {**registry._registered, name: self.backend_class()})
        forge = LlamaForge(tmp_path / "models.toml")
        forge.add_model("subject", self.model, name, dict(self.parameters))
        try:
            Subject.answered(lambda: forge.load_model("subject"), "LlamaForge.load_model() to work")
            subject = self.wrap(forge.backend())
            parameters = {**subject.greedy, **subject.limit(8)}
            answer = Subject.answered(lambda: forge.generate(self.prompt, parameters), "LlamaForge.generate()")
            with forge.generate_stream(self.prompt, parameters) as stream:
                streamed = Subject.answered(lambda: "".join(stream), "LlamaForge.generate_stream()")
            expect(answer, "text", answer)
            subject.agrees(streamed, answer, "the streamed text")
            subject.agrees(subject.say(8), answer, "the backend's own answer")
        finally:
            forge.close()
        expect_equal(forge.is_model_loaded("subject"), False, "LlamaForge.is_model_loaded() after close()")

    def _refuses_or_answers(self, path: str) -> None:
        """Loading *path* is a typed error, or it is a model after all (some backends take any name)."""
        __tracebackhide__ = True
        backend = self.make()
        try:
            backend.load_model(path, dict(self.parameters))
        except ModelError as error:
            expect_equal(backend.is_model_loaded(), False, "is_model_loaded() after a load that failed")
            told = getattr(error, "model", path)
            named = isinstance(told, str) and Path(path).name in told
            expect(named, f"error.model to name {path}", told)
            reason = getattr(error, "reason", "none")
            expect(isinstance(reason, str) and reason.strip(), "error.reason to say why", reason)
            return
        except Exception as error:
            if not backend.is_basic:
                raise NotAsExpected(f"a ModelError for {path}", error) from error
            expect_equal(backend.is_model_loaded(), False, "is_model_loaded() after a load that failed")
            return
        try:
            expect_equal(backend.is_model_loaded(), True, "is_model_loaded() after a load that raised nothing")
            answer = self.wrap(backend).say(4)
            what = f"an answer of the model {path}, which was loaded without an error"
            expect(answer or answer.reasoning, what, answer)
        finally:
            self.release(backend)


def _unload(subject: Subject) -> None:
    if type(subject.backend).unload_model is not BaseBackend.unload_model:
        raise UnsupportedError("nothing to check", "it has an unload_model of its own")
    subject.backend.unload_model()


async def _generate(backend: BaseBackend) -> str:
    return await backend.agenerate("Hello")


async def _chat(backend: BaseBackend) -> str:
    return await backend.achat(TURNS)


def _says(subject: Subject) -> bool:
    answer = subject.say(4)
    return bool(answer or answer.reasoning)
