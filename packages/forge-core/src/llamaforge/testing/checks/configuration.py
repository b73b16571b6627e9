"""The defaults of load parameters and of generation parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import msgspec.inspect as mi

from ...errors import ConflictingParametersError, LlamaForgeError
from ..expect import NotAsExpected, expect, expect_equal
from ..kit import Kit
from ..subject import Subject

DOCUMENTED: Final[Mapping[str, object]] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "stop": (),
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "truncation": "disabled",
}
"""What docs/parameters.md says. Written down once more: what is read from the code follows it wherever it goes."""


class ConfigurationChecks(Kit):
    """What a parameter is where nobody sets it."""

    def test_defaults_are_the_documented_ones(self, subject: Subject) -> None:
        """Where neither the caller nor the model sets a parameter, the result reports the default of the documents.

        Why: a distribution that is reshaped unasked makes every comparison wrong. Look at: the engine's own defaults.
        """
        if not subject.full:
            subject.refuses_the_full_contract()
            return
        if subject.backend.capabilities.server_defaults:
            return  # the server chooses
        reported = subject.ask(**subject.limit(1)).parameters
        recommended = subject.backend.default_parameters()
        for name, value in DOCUMENTED.items():
            if subject.declares(name) and name not in recommended:
                came = reported.get(name)
                came = tuple(came) if isinstance(came, list) else came
                expect_equal(came, value, f"result.parameters[{name!r}], which nobody set")

    def test_defaults_of_load_parameters_are_values_they_may_have(self) -> None:
        """Each default can be passed as a value, and gives the same config.

        Why: passing the default explicitly must not change anything. Look at: a default of None for a
        type without None, and defaults out of their own range.
        """
        config = self.config_class()
        for field in mi.type_info(config).fields:  # type: ignore[attr-defined]
            default = field.default
            if default is msgspec.NODEFAULT:
                if field.default_factory is msgspec.NODEFAULT:
                    continue
                default = field.default_factory()
            if default is None:
                expect(_has_none(field.type), f"a default of {field.name!r} that its type allows", default)
                continue
            try:
                read = config.read({**self.parameters, field.name: default})
            except ConflictingParametersError:
                continue  # with what the author gave
            except LlamaForgeError as error:
                raise NotAsExpected(f"{field.name}={default!r}, its default, to be accepted", error) from error
            expect_equal(getattr(read, field.name), default, f"{field.name}, given its default")


def _has_none(kind: mi.Type) -> bool:
    if isinstance(kind, mi.Metadata):
        return _has_none(kind.type)
    if isinstance(kind, mi.UnionType):
        return any(map(_has_none, kind.types))
    return isinstance(kind, mi.NoneType | mi.AnyType)
