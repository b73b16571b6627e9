"""Standard output and secrets, on every way that a backend can be used and fail."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from ...backends.base import BaseBackend
from ..children import can_be_seen, descendants
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..mixed import mixtures
from ..subject import Subject
from ..watching import captured_output
from .secrecy import CANARY, canaries, everything_logged, told_of

SMALL: Final = 96
TURNS: Final = [{"role": "user", "content": "Hello"}]


class OutputChecks(Kit):
    """What :class:`.secrecy.SecretChecks` looks for in a plain request, looked for everywhere."""

    def test_nothing_is_printed_on_any_way(self, subject: Subject) -> None:
        """Conversations, asynchronous calls, batches, raw, sampled and refused requests print nothing, whatever
        parameters they have.

        Why: what a program prints is its own. Look at: ``print`` in code that a plain request doesn't reach.
        """
        for way, ask in _ways(self, subject).items():
            # Which errors there are is other checks' matter.
            with captured_output() as output, contextlib.suppress(Exception):
                ask()
            expect_equal(output.text, "", f"what {way} printed")
        if "n_ctx" in self.config_class().__struct_fields__:
            with self.fresh(n_ctx=SMALL) as small, captured_output() as output, contextlib.suppress(Exception):
                small.generate("Nobody saw the boats. " * SMALL, small.limit(2))
            expect_equal(output.text, "", "what a prompt that doesn't fit printed")

    def test_loading_again_and_unloading_print_nothing(self, tmp_path: Path) -> None:
        """Loading over a model, loads that fail, unloading, closing and health print nothing.

        Why: as above. Look at: farewells, progress bars, an engine's timings that it prints when it is freed.
        """
        file = tmp_path / "no-model.gguf"
        file.write_bytes(b"This is no model.\n" * 100)
        with captured_output() as output:
            backend = self.make()
            self.load(backend)
            self.wrap(backend).say(2)
            bool(backend.health())
            for wrong in (tmp_path / "there-is-no-such-model", file):
                with contextlib.suppress(Exception):
                    self.make().load_model(str(wrong), dict(self.parameters))
            with contextlib.suppress(Exception):
                self.make().load_model(self.location(), {"no_such_parameter": 1})
            self.load(backend)
            self.release(backend)
            backend.close()
        expect_equal(output.text, "", "what loading again, failing and unloading printed")

    def test_no_way_shows_a_secret(self) -> None:
        """Loaded with a canary for a secret, no way to ask shows it: in its result, error, warnings, log or output.

        Why: a key in one answer's details is stored with it. Look at: ``Finished.parameters``; text of exceptions;
        ``warnings.warn``; what only conversations or asynchronous calls do.
        """
        for name, given in canaries(self.config_class()):
            with _everything_told() as told:
                backend = self.make()
                try:
                    backend.load_model(self.location(), {**self.parameters, name: given})
                except Exception as error:  # noqa: BLE001 - a server may refuse the canary
                    told.write(told_of(error))
                else:
                    subject = self.wrap(backend)
                    for way, ask in _ways(self, subject).items():
                        told.write(f"\n{way}: {_result_of(ask)}")
                    told.write(f"\n{backend!r} {backend} {backend.capabilities} {backend.model_path}")
                    with contextlib.suppress(Exception):
                        told.write(str(backend.memory()))
                finally:
                    with contextlib.suppress(Exception):
                        self.release(backend)
                told.write(f"\nafter unloading: {backend!r} {_result_of(partial(backend.generate, 'Hello'))}")
                if "n_ctx" in self.config_class().__struct_fields__:
                    told.write(self._overflowed({name: given}))
            _unseen(told.getvalue(), name)

    def _overflowed(self, given: Mapping[str, Any]) -> str:
        """What is told of prompts that don't fit."""
        backend, text = self.make(), "Nobody saw the boats. " * SMALL
        try:
            backend.load_model(self.location(), {**self.parameters, **given, "n_ctx": SMALL})
        except Exception as error:  # noqa: BLE001 - a server may refuse the canary
            return told_of(error)
        turns = [{"role": "user", "content": text}]
        asked: tuple[Callable[[], object], ...] = (
            lambda: backend.generate(text),
            lambda: backend.chat(turns),
            lambda: self.run_async(lambda: backend.agenerate(text)),
        )
        try:
            return "\n".join(map(_result_of, asked))
        finally:
            with contextlib.suppress(Exception):
                self.release(backend)

    def test_a_failed_load_shows_no_secret(self, tmp_path: Path) -> None:
        """Loads that fail, by a missing model, a file that is none or a wrong parameter, don't show the secrets given.

        Why: such errors are sent to others first of all. Look at: messages with the whole configuration; exceptions of
        libraries with the headers; chained causes.
        """
        file = tmp_path / "no-model.gguf"
        file.write_bytes(b"This is no model.\n" * 100)
        wrong: list[tuple[str, dict[str, Any]]] = [
            (str(tmp_path / "there-is-no-such-model"), {}),
            (str(file), {}),
            (self.location(), {"no_such_parameter": 1}),
            ("", {}),
        ]
        for name, given in canaries(self.config_class()):
            for path, more in wrong:
                with _everything_told() as told:
                    backend = self.make()
                    told.write(_result_of(partial(self._try, backend, path, {**more, name: given})))
                    told.write(f"\n{backend!r}")
                _unseen(told.getvalue(), name)

    def test_no_other_program_sees_a_secret(self) -> None:
        """No process that the backend starts has a secret on its command line, and none is left in the environment.

        Why: everybody on the machine can read command lines. Look at: ``--api-key``; pass it by a file or a pipe.
        """
        for name, given in canaries(self.config_class()):
            backend = self.make()
            try:
                with contextlib.suppress(Exception):
                    backend.load_model(self.location(), {**self.parameters, name: given})
                commands = " ".join(descendants("").values()) if can_be_seen() else ""
                _unseen(commands, name)
                _unseen(str(dict(os.environ)), name)
            finally:
                with contextlib.suppress(Exception):
                    self.release(backend)

    def _try(self, backend: BaseBackend, path: str, more: dict[str, Any]) -> str:
        try:
            backend.load_model(path, {**self.parameters, **more})
            return repr(backend)
        finally:
            with contextlib.suppress(Exception):
                self.release(backend)


def _ways(kit: Kit, subject: Subject) -> dict[str, Callable[[], object]]:
    """All ways to ask for a few tokens, and to be refused."""
    backend, prompt = subject.backend, subject.prompt
    given = {**subject.greedy, **subject.limit(2)}

    def left() -> object:
        with subject.stream(**subject.greedy, **subject.limit(8)) as stream:
            next(stream, "")
        return stream.result

    ways: dict[str, Callable[[], object]] = {
        "a request": lambda: subject.generate(None, given),
        "a stream": lambda: subject.stream(**given).read(),
        "a stream that was left": left,
        "an empty prompt": lambda: subject.generate("", given),
        "a parameter that there isn't": lambda: subject.generate(None, {**given, "no_such_parameter": 1}),
    }
    if not subject.full:
        return ways

    async def stream() -> object:
        async with backend.agenerate_stream(prompt, given) as answer:
            async for _ in answer:
                pass
        return answer.result

    ways |= {
        "a deadline that has passed": lambda: subject.generate(None, {**given, "timeout": 1e-6}),
        "a deadline amid an answer": lambda: subject.generate(None, {**subject.limit(8), "timeout": 0.001}),
        "a raw prompt": lambda: backend.generate(prompt, {**given, "raw": True}),
        "a sampled request": lambda: backend.generate(prompt, subject.limit(2)),
        "a batch": lambda: [item.text for item in backend.generate_batch([prompt, ""], given)],
        "an asynchronous request": lambda: kit.run_async(lambda: backend.agenerate(prompt, given)),
        "an asynchronous stream": lambda: kit.run_async(stream),
        "a conversation": lambda: backend.chat(TURNS, given),
        "a short answer": lambda: backend.generate(prompt, {**given, **subject.limit(1)}),
        "a short answer in a conversation": lambda: backend.chat(TURNS, {**given, **subject.limit(1)}),
        "a conversation that is sampled": lambda: backend.chat(TURNS, subject.limit(3)),
        "a conversation's stream": lambda: backend.chat_stream(TURNS, given).read(),
        "an asynchronous conversation": lambda: kit.run_async(lambda: backend.achat(TURNS, given)),
        "malformed messages": lambda: backend.chat([{"role": "nobody", "content": "Hello"}], given),
        "render()": lambda: backend.render(messages=TURNS),
    }
    for what, more in mixtures(subject).items():
        ways[f"a request with {what}"] = partial(backend.generate, prompt, {**subject.limit(1), **more})
        ways[f"a conversation with {what}"] = partial(backend.chat, TURNS, {**subject.limit(1), **more})
    return ways


def _result_of(ask: Callable[[], Any]) -> str:
    """All that a result or an error tells."""
    try:
        came = ask()
    except Exception as error:  # noqa: BLE001 - whatever it is, it must not show the canary
        return f"{told_of(error)} {vars(error)}"
    details = getattr(came, "to_dict", None)
    return f"{came!r} {came} {details() if details is not None else ''} {getattr(came, '__dict__', '')}"


def _unseen(text: str, name: str) -> None:
    __tracebackhide__ = True
    at = text.find(CANARY)
    shown = text[max(0, at - 80) : at + len(CANARY)]
    expect(at < 0, f"the secret {name!r} to be shown nowhere", Told(f"...{shown}..."))


@contextlib.contextmanager
def _everything_told() -> Iterator[io.StringIO]:
    """What is logged, warned of and printed in this block, and what else is written there."""
    with everything_logged() as log, captured_output() as output, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        yield log
    log.write("".join(f"\nwarning: {each.message}" for each in warned))
    log.write(f"\nprinted: {output.text}")
