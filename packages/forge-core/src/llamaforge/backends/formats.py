"""Formats of answers, where a request begins. Nothing of :mod:`llamaforge.constraints` is imported without one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..requests import GenerationRequest

if TYPE_CHECKING:
    from ..constraints.reading import AnswerReader


def take_type(parameters: Mapping[str, object] | None) -> tuple[Mapping[str, object] | None, Any]:
    """*parameters* with a mapping in place of a type under ``response_format``; and the type, or None.

    Raises ConstraintError for a type without a JSON schema.
    """
    if not parameters or not isinstance(parameters, Mapping):
        return parameters, None
    wanted = parameters.get("response_format")
    if wanted is None or isinstance(wanted, Mapping):
        return parameters, None
    from ..constraints import reading

    return reading.take_type(parameters)


def answer_reader(request: GenerationRequest, kind: Any, *, validate: bool) -> AnswerReader | None:
    """What reads the answer to *request*; None where it has no format.

    Args:
        request: the request.
        kind: the type that the caller gave as the format, or None.
        validate: whether the answer may break its format, so that it is checked.

    Raises ConstraintError for a format that can't be read.
    """
    if request.response_format is None:
        return None
    from ..constraints.reading import AnswerReader

    return AnswerReader(request.response_format, kind, validate=validate)
