"""Values that must never be shown: API keys and tokens."""

from __future__ import annotations

import os
from typing import Final

from .errors import InvalidParameterError

MASK: Final = "***"

ENV_PREFIX: Final = "env:"
"""``env:NAME`` means the value of that environment variable, so that a file need not contain the key itself."""


class Secret:
    """A string that is masked everywhere; :meth:`reveal` returns the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    @classmethod
    def read(cls, value: str, name: str = "the secret") -> Secret:
        """Make a secret from *value*; ``env:NAME`` is read from the environment now.

        Raises InvalidParameterError if that variable is not set.
        """
        if value.startswith(ENV_PREFIX):
            variable = value.removeprefix(ENV_PREFIX)
            found = os.environ.get(variable)
            if not found:
                state = "is not set" if found is None else "is empty"
                message = f"The environment variable {variable}, which {name} refers to, {state}."
                raise InvalidParameterError(
                    name, value, "env: and a variable that is set", show_value=False, message=message
                )
            return cls(found)
        return cls(value)

    def reveal(self) -> str:
        """The value itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("A secret can't be pickled.")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: object) -> Secret:
        return self
