"""Answers held against a JSON schema, for engines that may not enforce it."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from ..errors import ConstraintError, InvalidAnswerError, MissingDependencyError
from .formats import escaped

_PLACE = "/json_schema/schema"
TOO_DEEP = "its values are nested too deeply for Python to read them."


class Validator:
    """One schema.

    Args:
        schema: a mapping, true or false.

    Raises ConstraintError for what is no schema, and MissingDependencyError without jsonschema.
    """

    def __init__(self, schema: Any) -> None:
        try:
            library = importlib.import_module("jsonschema")
            referencing = importlib.import_module("referencing")
        except ImportError as error:
            command = 'pip install "forge-core[constraints]"'
            raise MissingDependencyError("Checking answers against a schema", "jsonschema", command) from error
        kind = library.validators.validator_for(schema, default=library.Draft202012Validator)
        try:
            kind.check_schema(schema)
        except library.SchemaError as error:
            raise ConstraintError(
                "response_format", _PLACE + _pointer(error.absolute_path), f"{error.message}."
            ) from None
        except RecursionError:
            raise ConstraintError("response_format", _PLACE, "schemas are nested too deeply.") from None
        exact = library.validators.extend(kind, {"multipleOf": partial(_multiple_of, library.ValidationError)})
        # With a registry of its own it fetches nothing from a network.
        self._native = exact(schema, registry=referencing.Registry())
        self._unresolvable: type[Exception] = referencing.exceptions.Unresolvable

    def check(self, text: str, value: Any) -> None:
        """Raise InvalidAnswerError if *value*, which *text* says, is not valid."""
        try:
            error = next(iter(sorted(self._native.iter_errors(value), key=lambda each: len(each.absolute_path))), None)
        except self._unresolvable as error:
            raise InvalidAnswerError(
                text, f"it can't be checked, since the schema refers to another one ({error})."
            ) from None
        except RecursionError:
            raise InvalidAnswerError(text, TOO_DEEP) from None
        if error is not None:
            raise InvalidAnswerError(text, f"{error.message}.", _pointer(error.absolute_path))


def _multiple_of(error: Any, validator: Any, factor: Any, value: Any, schema: Any) -> Iterator[Any]:
    """``multipleOf`` on decimal numbers as they are written: 1.1 is a multiple of 0.1, although no float says so."""
    if not validator.is_type(value, "number") or (isinstance(value, float) and not math.isfinite(value)):
        return
    if (Fraction(repr(value)) / Fraction(repr(factor))).denominator != 1:
        yield error(f"{value!r} is not a multiple of {factor!r}")


def _pointer(path: Any) -> str:
    return "".join(f"/{escaped(part)}" for part in path)
