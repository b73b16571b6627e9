"""Load parameters that a struct itself refuses, and what errors say of types and ranges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from llamaforge import BackendConfig, BackendSpec, BaseBackend, Capabilities
from llamaforge.cancellation import CancellationToken
from llamaforge.errors import ConflictingParametersError, InvalidParameterError
from llamaforge.requests import GenerationRequest
from llamaforge.results import Event, Finished, TextDelta


class Part(msgspec.Struct, frozen=True):
    path: str
    scale: float = 1.0


class PickyConfig(BackendConfig, frozen=True, kw_only=True):
    low: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    high: Annotated[int, Meta(ge=0)] = 0
    parts: tuple[str | Part, ...] = ()

    def __post_init__(self) -> None:
        if self.low > self.high > 0:
            raise ConflictingParametersError(["low", "high"], "low must not be above high.")


def test_what_a_struct_raises_itself_comes_out_as_it_is() -> None:
    with pytest.raises(ConflictingParametersError) as caught:
        PickyConfig.read({"low": 5, "high": 3})
    assert caught.value.names == ["low", "high"]


def test_large_bounds_are_whole_numbers() -> None:
    with pytest.raises(InvalidParameterError, match="from 0 to 2147483647"):
        PickyConfig.read({"low": -1})


def test_structs_are_described_by_their_fields() -> None:
    with pytest.raises(InvalidParameterError, match="a list of strings or mappings with path and scale"):
        PickyConfig.read({"parts": [3]})


class Seeded(BaseBackend):
    """Brings a seed of its own."""

    spec = BackendSpec(
        name="seeded", target="x:X", config="x:X", summary="", capabilities=Capabilities(parameters=frozenset({"seed"}))
    )

    def load(self, model_path: str, config: BackendConfig) -> None:
        pass

    def default_parameters(self) -> Mapping[str, Any]:
        return {"seed": 7}

    def stream(self, request: GenerationRequest, cancellation: CancellationToken) -> Iterator[Event]:
        yield TextDelta(str(request.seed))
        yield Finished(finish_reason="stop")


def test_a_loaded_model_may_bring_parameters_that_requests_override() -> None:
    backend = Seeded()
    backend.load_model("m")
    assert backend.generate("x") == "7"
    assert backend.generate("x", seed=3) == "3"
    assert backend.generate("x").parameters["seed"] == 7
