"""What a finished answer says: checked against its format, and as an object."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import InvalidAnswerError
from ..type_schemas import instance, is_answer_type, type_format
from .formats import AnswerFormat, read_format
from .partial import partial_json
from .validating import TOO_DEEP

if TYPE_CHECKING:
    from .validating import Validator


def take_type(parameters: Mapping[str, object] | None) -> tuple[Mapping[str, object] | None, Any]:
    """*parameters* with the format that a type under ``response_format`` stands for; and the type, or None.

    Raises ConstraintError for a type that has no JSON schema.
    """
    if not isinstance(parameters, Mapping):
        return parameters, None
    wanted = parameters.get("response_format")
    if wanted is None or isinstance(wanted, Mapping) or not is_answer_type(wanted):
        return parameters, None
    return {**parameters, "response_format": type_format(wanted)}, wanted


class AnswerReader:
    """Reads one answer.

    Args:
        response_format: the request's.
        kind: the type that the caller gave for it; None: there was none.
        validate: whether the engine may break the format, so that the answer is checked.

    Raises ConstraintError for a format or a schema that can't be read.
    """

    def __init__(self, response_format: Mapping[str, Any], kind: Any = None, *, validate: bool = False) -> None:
        self._format: AnswerFormat = read_format(response_format)
        self._kind = kind
        self._validator: Validator | None = None
        self._validate = validate
        if validate and self._format.is_json:
            from .validating import Validator

            self._validator = Validator(self._format.schema)
        self.parsed: Any = None
        """What a complete answer says: an instance of the type that was asked for, or plain data; None for an answer
        that was cut, and for formats that are no JSON."""

    @property
    def is_json(self) -> bool:
        """Whether answers are JSON."""
        return self._format.is_json

    def finish(self, text: str) -> None:
        """The answer is *text*, which was not cut. Raises InvalidAnswerError where it breaks its format."""
        if self._validate and self._format.kind == "choice" and text not in self._format.choice:
            raise InvalidAnswerError(text, f"it is not one of {', '.join(map(repr, self._format.choice))}.")
        if not self._format.is_json:
            return
        plain = _decoded(text)
        if self._validator is not None:
            self._validator.check(text, plain)
        if self._kind is None:
            self.parsed = plain
            return
        try:
            self.parsed = instance(self._kind, text)
        except Exception as error:
            name = getattr(self._kind, "__name__", repr(self._kind))
            raise InvalidAnswerError(text, f"it can't be converted to {name} ({error}).") from error

    def partial(self, text: str) -> Any:
        """What the beginning of an answer, *text*, says so far, as plain data; None while it says nothing."""
        return partial_json(text) if self._format.is_json else None


def _decoded(text: str) -> Any:
    """What *text* says. A number that no float holds, such as 1e999, is JSON as well, and comes out as infinity."""
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        raise InvalidAnswerError(text, TOO_DEEP) from None
    except msgspec.DecodeError as error:
        try:
            return json.loads(text, parse_constant=_refuse)
        except RecursionError:
            raise InvalidAnswerError(text, TOO_DEEP) from None
        except ValueError:
            raise InvalidAnswerError(text, f"it is not JSON ({error}).") from None


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
