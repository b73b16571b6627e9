"""Telling a refusal from a fault of the backend that came out as an error of LlamaForge's."""

from __future__ import annotations

from typing import Final

from ..errors import ContractError, InvalidAnswerError, LlamaForgeError
from .expect import NotAsExpected

_FAULTS: Final = (AttributeError, AssertionError, LookupError, NameError, StopIteration, TypeError, ZeroDivisionError)


def expect_a_refusal(error: LlamaForgeError, what: str) -> None:
    """Fail if *error* breaks the contract, tells of an answer that breaks its request, or hides a fault of the
    backend's code: that refuses nothing."""
    __tracebackhide__ = True
    cause: BaseException | None = error
    while cause is not None:
        fault = isinstance(cause, _FAULTS) and not isinstance(cause, LlamaForgeError)
        if isinstance(cause, (ContractError, InvalidAnswerError)) or fault:
            raise NotAsExpected(f"{what}, or an error that refuses it", error) from error
        cause = cause.__cause__
