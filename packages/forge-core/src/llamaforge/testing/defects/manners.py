"""Defects of manners: what is printed, shown, declared."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ...backends.base import BaseBackend
from ...backends.config import BackendConfig
from ...cancellation import CancellationToken
from ...errors import ModelLoadError, ModelNotLoadedError
from ...requests import GenerationRequest
from ...results import Event, Finished
from ..fakes import ToyBackend, ToyConfig
from .specs import respecified

_HERE = "llamaforge.testing.defects.manners"


class PrintsItsAnswers(ToyBackend):
    """Prints while it generates."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With a note on standard output."""
        print("generating ...")  # noqa: T201 - that is the defect
        return super().stream(request, cancellation)


class PrintsWhileItLoads(ToyBackend):
    """Prints while it loads."""

    def load(self, model_path: str, config: ToyConfig) -> None:
        """With a note on standard output."""
        print(f"loading {model_path} ...")  # noqa: T201 - that is the defect
        super().load(model_path, config)


class PrintsNatively(ToyBackend):
    """Its engine writes to the file descriptor."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With a note on file descriptor 1."""
        os.write(1, b"llama_decode: ok\n")
        return super().stream(request, cancellation)


class _KnowsAKey(ToyBackend):
    """Keeps the key as it is."""

    key = ""

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Reveal the key."""
        super().load(model_path, config)
        revealed = [*([config.api_key] if config.api_key is not None else []), *config.headers.values()]
        self.key = " ".join(secret.reveal() for secret in revealed)


class ShowsItsKey(_KnowsAKey):
    """Has the key in its repr."""

    def __repr__(self) -> str:
        return f"<ShowsItsKey {self.key}>"


class LogsItsKey(_KnowsAKey):
    """Logs the key, for debugging."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With a log line."""
        logging.getLogger("toy").debug("request with key %s", self.key)
        return super().stream(request, cancellation)


class TellsItsKey(_KnowsAKey):
    """Has the key in its errors."""

    def load(self, model_path: str, config: ToyConfig) -> None:
        """Refuse every key."""
        super().load(model_path, config)
        if self.key:
            raise ModelLoadError(model_path, f"401: the key {self.key} is not known")


class ChainsItsKey(_KnowsAKey):
    """Has the key in the cause of its errors."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """Refuse every key."""
        if self.key:
            try:
                raise RuntimeError(f"Authorization: Bearer {self.key}")
            except RuntimeError as error:
                raise ModelNotLoadedError() from error
        yield from super().stream(request, cancellation)


class PlainConfig(BackendConfig, frozen=True, kw_only=True):
    """Load parameters whose key is a plain string."""

    api_key: Annotated[str, Meta(description="The key.")] | None = None


@respecified(config=f"{_HERE}:PlainConfig")
class HasAPlainKey(ToyBackend):
    """Declares its key as a string."""

    config_class = PlainConfig

    def load(self, model_path: str, config: Any) -> None:
        """As the toy does, with its defaults."""
        super().load(model_path, ToyConfig())


class CopyingConfig(ToyConfig, frozen=True, kw_only=True):
    """Load parameters that copy the key into a plain field."""

    address: Annotated[str, Meta(description="Where to go, with the key in it.")] = ""

    def __post_init__(self) -> None:
        if self.api_key is not None:
            msgspec.structs.force_setattr(self, "address", f"https://{self.api_key.reveal()}@host")


@respecified(config=f"{_HERE}:CopyingConfig")
class CopiesItsKey(ToyBackend):
    """Puts the key into an address."""

    config_class = CopyingConfig


class SilentConfig(BackendConfig, frozen=True, kw_only=True):
    """Load parameters that nobody describes."""

    n_ctx: Annotated[int, Meta(ge=2)] = 2048
    template: bool = True


@respecified(config=f"{_HERE}:SilentConfig")
class DescribesNothing(ToyBackend):
    """Has load parameters without descriptions."""

    config_class = SilentConfig

    def load(self, model_path: str, config: Any) -> None:
        """As the toy does, with its defaults."""
        super().load(model_path, ToyConfig())


class LooseConfig(BackendConfig, frozen=True, kw_only=True):
    """Load parameters that may be anything."""

    n_ctx: Annotated[Any, Meta(description="Context length, in tokens.")] = 2048


@respecified(config=f"{_HERE}:LooseConfig")
class ChecksNothing(ToyBackend):
    """Has load parameters without types."""

    config_class = LooseConfig

    def load(self, model_path: str, config: Any) -> None:
        """As the toy does, with its defaults."""
        super().load(model_path, ToyConfig())


@respecified(target=f"{_HERE}:TheNameItHadBefore")
class WasRenamed(ToyBackend):
    """Has a spec that names a class that there is no more."""


@respecified(summary="One line,\nand another.")
class SaysTooMuch(ToyBackend):
    """Has a summary of two lines."""


@respecified(api_version=99)
class ComesFromTheFuture(ToyBackend):
    """Is written for a contract that there isn't."""


def _score(location: str) -> int:
    return 100 if open(location, "rb").read(4) == b"TOY!" else 0  # noqa: PTH123 - that is the defect


@respecified(match=_score)
class MatchesFilesAlone(ToyBackend):
    """Fails for a location that is no file."""


@respecified(probe=f"{_HERE}:probe")
class MumblesToTheDoctor(ToyBackend):
    """Has a probe that answers something else."""


def probe() -> dict[str, str]:
    """No lists."""
    return {"compiled": "cpu"}


class HalfBasic(ToyBackend):
    """Was written with the four methods, and lost two of them."""

    stream = BaseBackend.stream


class TellsLoadParameters(ToyBackend):
    """Reports its load parameters with each answer."""

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        """With what it was loaded with."""
        for event in super().stream(request, cancellation):
            if isinstance(event, Finished):
                yield Finished(
                    finish_reason=event.finish_reason,
                    usage=event.usage,
                    stop=event.stop,
                    parameters={**request.parameters(), "api_key": "***"},
                )
            else:
                yield event
