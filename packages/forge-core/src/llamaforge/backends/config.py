"""Load parameters: typed, described, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import msgspec
import msgspec.inspect as mi

from ..errors import InvalidParameterError, UnknownParameterError
from ..secrets import MASK, Secret
from ..validation import convert, describe_field, is_secret, plain_value


class BackendConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Base class of every backend's load parameters.

    A subclass declares each parameter once, with type, range, default and description::

        class MyConfig(BackendConfig, frozen=True, kw_only=True):
            n_ctx: Annotated[int, Meta(ge=1, description="Context length, in tokens.")] = 4096
            api_key: Annotated[Secret, Meta(description="The key.")] | None = None

    A field of type :class:`~llamaforge.secrets.Secret` takes a string or ``env:NAME`` and is never shown.
    Override ``__post_init__`` to check fields against each other; raise ConflictingParametersError there.
    """

    @classmethod
    def read(cls, parameters: Mapping[str, object] | None) -> Self:
        """Check *parameters* and return them as a config.

        Raises UnknownParameterError with the closest names, or InvalidParameterError with the expected value.
        """
        if parameters is not None and not isinstance(parameters, Mapping):
            raise InvalidParameterError("parameters", parameters, "a mapping from names to values", show_value=False)
        given: dict[str, Any] = {}
        for key, value in (parameters or {}).items():
            if not isinstance(key, str):
                raise InvalidParameterError("parameters", key, "a mapping from names to values")
            if value is not None:
                given[str.__str__(key)] = value
        for name in given:
            if name not in cls.__struct_fields__:
                raise UnknownParameterError(name, cls.__struct_fields__, where="load parameter")

            if is_secret(cls, name):
                given[name] = _read_secret(name, given[name])
            else:
                given[name] = plain_value(given[name])
        config: Self = convert(given, cls, dec_hook=_expect_secret)
        return config

    def public(self) -> dict[str, Any]:
        """The parameters with every secret masked, safe to print."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {
            name: MASK if value is not None and is_secret(type(self), name) else value for name, value in values.items()
        }


def _read_secret(name: str, value: Any) -> Any:
    """Wrap a string, or each value of a mapping; anything else is left for the type check to refuse."""
    if isinstance(value, str):
        return Secret.read(value, name)
    if isinstance(value, Mapping):
        return {key: _read_secret(f"{name}[{key!r}]", item) for key, item in value.items()}
    return value


def _expect_secret(kind: type[Any], value: Any) -> Any:
    if kind is Secret and isinstance(value, Secret):
        return value
    raise TypeError(f"expected {kind.__name__}")


class FieldInfo(msgspec.Struct, frozen=True):
    """One parameter, for help texts and documents."""

    name: str
    type: str
    default: str
    description: str
    secret: bool


def describe_config(config: type[msgspec.Struct]) -> list[FieldInfo]:
    """Name, type in words, default and description of each load parameter.

    :class:`llamaforge.parameters.Parameters`, the generation parameters, can be described, too.
    """
    described = []
    for field in mi.type_info(config).fields:  # type: ignore[attr-defined]
        if field.default is not msgspec.NODEFAULT:
            default = "not set" if field.default is None else repr(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            default = repr(field.default_factory())
        else:
            default = "required"
        described.append(
            FieldInfo(
                name=field.name,
                type=describe_field(config, field.name),
                default=default,
                description=_description(field.type),
                secret=is_secret(config, field.name),
            )
        )
    return described


def _description(kind: Any) -> str:
    """The description in the type's Meta, wherever msgspec put it."""
    if isinstance(kind, mi.Metadata):
        found = (kind.extra_json_schema or {}).get("description", "")
        return str(found) or _description(kind.type)
    if isinstance(kind, mi.UnionType):
        return next((text for text in map(_description, kind.types) if text), "")
    return ""
