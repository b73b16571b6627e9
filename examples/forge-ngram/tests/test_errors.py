"""Every exception that reading a model may raise is in the table."""

from __future__ import annotations

import gzip
import zlib
from types import ModuleType

import pytest
from llamaforge.errors import LlamaForgeError, ModelNotFoundError

from forge_ngram import arpa
from forge_ngram.errors import TABLE, translated


@pytest.mark.parametrize("module", [arpa, gzip, zlib])
def test_each_exception_that_a_library_defines_is_mapped(module: ModuleType) -> None:
    defined = {
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Exception) and each.__module__ in (module.__name__, "zlib")
    }
    assert defined
    assert defined <= TABLE.keys()


@pytest.mark.parametrize("kind", TABLE)
def test_each_becomes_a_typed_error_that_keeps_its_cause(kind: type[Exception]) -> None:
    cause = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no") if kind is UnicodeDecodeError else kind.__new__(kind)
    with pytest.raises(LlamaForgeError) as caught, translated("a.arpa"):
        raise cause
    assert caught.value.__cause__ is cause


def test_errors_that_are_typed_already_pass() -> None:
    error = ModelNotFoundError("gone", "a.arpa")
    with pytest.raises(ModelNotFoundError) as caught, translated("b.arpa"):
        raise error
    assert caught.value is error
