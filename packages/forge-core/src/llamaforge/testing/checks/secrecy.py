"""Secrets: never seen; and standard output, which is the caller's."""

from __future__ import annotations

import contextlib
import io
import logging
import traceback
from collections.abc import Iterator
from typing import Any, Final

from ...backends.config import BackendConfig, describe_config
from ...errors import LlamaForgeError
from ...validation import describe_field, is_secret
from ..expect import Told, expect, expect_equal
from ..kit import Kit
from ..subject import Subject
from ..watching import captured_output

CANARY: Final = "canary-7d1f-never-to-be-seen"
_TELLING: Final = ("password", "secret", "token", "api_key", "apikey", "credentials", "access_token", "auth_token")


class SecretChecks(Kit):
    """A canary is given for each secret load parameter, and looked for everywhere."""

    def test_what_sounds_secret_is_a_secret(self) -> None:
        """Load parameters that are called like secrets are declared as :class:`llamaforge.Secret`.

        Why: a plain string is shown by every repr and error. Look at: the field's type in your config.
        """
        config = self.config_class()
        for field in describe_config(config):
            name = field.name.casefold()
            if name in _TELLING or name.endswith(("_api_key", "_password", "_secret", "_access_token")):
                expect(
                    field.secret,
                    f"the load parameter {field.name!r} to be a Secret",
                    describe_field(config, field.name),
                )

    def test_the_config_never_shows_a_secret(self) -> None:
        """Neither the config's repr, its string nor its public form shows a secret.

        Why: configs are logged. Look at: overrides of ``__repr__`` and ``public``, and fields that copy the secret.
        """
        for name, given in canaries(self.config_class()):
            try:
                config = self.config_class().read({**self.parameters, name: given})
            except LlamaForgeError as error:
                self._unseen(told_of(error), f"the error about the load parameter {name!r}")
                continue
            self._unseen(repr(config), "the config's repr")
            self._unseen(str(config), "the config as a string")
            self._unseen(repr(config.public()), "the config's public form")
            plain = [field for field, value in _values(config) if isinstance(value, str) and CANARY in value]
            expect(not plain, "secrets in Secret fields alone", plain)

    def test_errors_about_a_secret_do_not_show_it(self) -> None:
        """A secret of the wrong type, or beside a wrong parameter, is not shown by the error.

        Why: errors are sent to others. Look at: messages of your own that repeat what was given.
        """
        for name, _ in canaries(self.config_class()):
            for wrong in ({name: [CANARY]}, {name: {"key": [CANARY]}}, {name: CANARY, "no_such_parameter": 1}):
                try:
                    config = self.config_class().read(wrong)
                except LlamaForgeError as error:
                    self._unseen(told_of(error), f"the error about {name!r} and its traceback")
                    self._unseen(repr(vars(error)), f"the attributes of the error about {name!r}")
                else:
                    self._unseen(repr(config), "the config's repr")

    def test_the_backend_never_shows_a_secret(self) -> None:
        """Loaded with a canary for a secret, the backend's repr, its errors, logs and output don't show it.

        Where the server refuses the canary, the error must not show it.

        Why: keys in logs are keys that were stolen. Look at: ``__repr__``; exceptions of libraries whose text has the
        headers or the URL; debug logs.
        """
        for name, given in canaries(self.config_class()):
            backend = self.make()
            with everything_logged() as log, captured_output() as output:
                try:
                    backend.load_model(self.location(), {**self.parameters, name: given})
                    subject = self.wrap(backend)
                    subject.generate(None, {**subject.greedy, **subject.limit(1)})
                except Exception as error:  # noqa: BLE001 - whatever it is, it must not show the canary
                    self._unseen(told_of(error), f"an error, {name!r} being secret")
                    self._unseen(repr(vars(error)), f"an error's attributes, {name!r} being secret")
                try:
                    self._unseen(f"{backend!r} {backend}", "the backend's repr")
                    backend.generate("Hello", {"no_such_parameter": 1})
                except Exception as error:  # noqa: BLE001 - as above
                    self._unseen(told_of(error), f"an error, {name!r} being secret")
                finally:
                    with contextlib.suppress(Exception):
                        self.release(backend)
            self._unseen(log.getvalue(), f"the log, {name!r} being secret")
            self._unseen(output.text, f"standard output, {name!r} being secret")

    def test_results_show_no_load_parameters(self, subject: Subject) -> None:
        """A result has no load parameters in it, and so no secret.

        Why: results are stored. Look at: ``Finished.parameters``; they are the request's.
        """
        told = str(subject.known(4).to_dict())
        for name in ("api_key", "password", "headers"):
            expect(f"'{name}'" not in told, f"no {name!r} in the result", told)

    def test_loading_prints_nothing(self, subject: Subject) -> None:
        """Loading writes nothing to standard output, neither from Python nor from native code.

        Why: what a program prints is its own, and often read by another program. Look at: ``print``, progress bars, the
        engine's log; standard error is the place.
        """
        expect_equal(subject.printed_at_load, "", "what loading wrote to standard output")

    def test_generating_prints_nothing(self, subject: Subject) -> None:
        """Generating, streaming, failing and describing write nothing to standard output.

        Why: as above. Look at: ``print``; the engine's log callback.
        """
        with captured_output() as output:
            subject.say(4)
            with subject.stream(**subject.greedy, **subject.limit(4)) as stream:
                next(stream, "")
            with contextlib.suppress(LlamaForgeError):
                subject.generate("")
            repr(subject.backend)
        expect_equal(output.text, "", "what generating wrote to standard output")

    def _unseen(self, text: str, where: str) -> None:
        __tracebackhide__ = True
        if CANARY in text:
            at = text.index(CANARY)
            expect(False, f"no secret in {where}", Told(f"...{text[max(0, at - 60) : at + len(CANARY)]}..."))


def canaries(config: type[BackendConfig]) -> Iterator[tuple[str, Any]]:
    """Each secret load parameter with a canary of its type."""
    for name in config.__struct_fields__:
        if is_secret(config, name):
            mapping = "mapping" in describe_field(config, name)
            yield name, {"x-canary": CANARY} if mapping else CANARY


def _values(config: BackendConfig) -> list[tuple[str, Any]]:
    return [(name, getattr(config, name)) for name in config.__struct_fields__]


def told_of(error: BaseException) -> str:
    """All that an error tells, its causes among it."""
    return "".join(traceback.format_exception(error)) + repr(error)


@contextlib.contextmanager
def everything_logged() -> Iterator[io.StringIO]:
    """All that any logger logs in this block, at the lowest level."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setLevel(logging.DEBUG)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield written
    finally:
        root.setLevel(level)
        root.removeHandler(handler)
