"""The load parameters of all installed backends as one tagged union, discriminated by the field ``type``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from ..errors import InvalidParameterError, LlamaForgeError
from ..secrets import Secret
from .config import BackendConfig
from .registry import get_config, list_backends

TAG: Final = "type"
"""The field that names the backend."""
_BUILT_IN: Final = "echo"
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def read_config(values: Mapping[str, Any]) -> BackendConfig:
    """The config of the backend that ``values["type"]`` names, checked: ``{"type": "vllm", "model": "org/name"}``.

    Raises InvalidParameterError if ``type`` is missing, the errors of :func:`llamaforge.get_backend` for an unknown
    backend, and those of :meth:`.config.BackendConfig.read` for the other fields.
    """
    name = values.get(TAG)
    if not isinstance(name, str):
        raise InvalidParameterError(TAG, name, "the name of a backend, such as 'llama.cpp'")
    config = get_config(name)
    tagged = TAG in config.__struct_fields__
    return config.read({key: value for key, value in values.items() if tagged or key != TAG})


def config_classes() -> tuple[dict[str, type[BackendConfig]], dict[str, LlamaForgeError]]:
    """Two mappings by backend name: the classes of load parameters, and the errors of those that failed."""
    found: dict[str, type[BackendConfig]] = {}
    failures: dict[str, LlamaForgeError] = {}
    for name in (_BUILT_IN, *list_backends()):
        try:
            found[name] = get_config(name)
        except LlamaForgeError as failure:
            failures[name] = failure
    return found, failures


def config_schema(names: Iterable[str] | None = None) -> dict[str, Any]:
    """The JSON schema (2020-12) for the load parameters of the backends *names*, by default of all that can be loaded.

    A document has one backend's parameters and its name as ``type``. If *names* are given, raises the errors of
    :func:`llamaforge.get_backend`.
    """
    classes = config_classes()[0] if names is None else {name: get_config(name) for name in names}
    references, definitions = msgspec.json.schema_components(
        list(classes.values()), schema_hook=_schema_of, ref_template="#/$defs/{name}"
    )
    branches = {}
    for (name, config), reference in zip(classes.items(), references, strict=True):
        described = definitions[reference["$ref"].rpartition("/")[2]]
        tag = {**described["properties"].get(TAG, {}), "const": name}
        tag.pop("enum", None)
        tag.pop("default", None)
        branches[name] = {
            **described,
            "title": name,
            "description": (config.__doc__ or "").strip().partition("\n")[0],
            "properties": {TAG: tag, **{key: each for key, each in described["properties"].items() if key != TAG}},
            "required": [TAG, *(each for each in described.get("required", ()) if each != TAG)],
            "additionalProperties": False,
        }
    roots = {reference["$ref"].rpartition("/")[2] for reference in references}
    shared = {name: each for name, each in definitions.items() if name not in roots}
    return {
        "$schema": _DIALECT,
        "title": "Load parameters of a LlamaForge backend",
        "oneOf": [{"$ref": f"#/$defs/{_escaped(name)}"} for name in branches],
        "discriminator": {
            "propertyName": TAG,
            "mapping": {name: f"#/$defs/{_escaped(name)}" for name in branches},
        },
        "$defs": {**branches, **shared},
    }


def _schema_of(kind: type[Any]) -> dict[str, Any]:
    if kind is Secret:
        return {"type": "string", "format": "password", "writeOnly": True, "description": "A secret, or env:NAME."}
    raise NotImplementedError(kind)


def _escaped(name: str) -> str:
    """*name* as a part of a JSON pointer."""
    return name.replace("~", "~0").replace("/", "~1")
