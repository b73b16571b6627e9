"""The defaults of load parameters."""

from __future__ import annotations

import msgspec
import msgspec.inspect as mi

from ...errors import ConflictingParametersError, LlamaForgeError
from ..expect import NotAsExpected, expect, expect_equal
from ..kit import Kit


class ConfigurationChecks(Kit):
    """What a load parameter is where nobody sets it."""

    def test_defaults_of_load_parameters_are_values_they_may_have(self) -> None:
        """Each default can be given as a value, and gives the same config.

        Why: whoever writes the default down, to be explicit, must not change anything. Look at: a default of None for a
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
