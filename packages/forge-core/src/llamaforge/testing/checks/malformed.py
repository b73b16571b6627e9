"""Grammars and schemas that are wrong in themselves."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ...errors import InvalidParameterError, LlamaForgeError
from ..expect import NotAsExpected, expect_equal, expect_refusal
from ..kit import Kit
from ..refusing import expect_a_refusal
from ..subject import Subject

GRAMMAR: Final = 'root ::= ( "this" |'
NO_TYPE: Final = {"type": "no-such-type"}
SCHEMAS: Final[tuple[dict[str, Any], ...]] = (
    NO_TYPE,
    {"type": "object", "properties": {"a": NO_TYPE}, "required": ["a"], "additionalProperties": False},
)


class MalformedChecks(Kit):
    """What nobody can follow is refused, and the error names the parameter."""

    def test_a_malformed_grammar_is_refused(self, subject: Subject) -> None:
        """A grammar with a syntax error raises a typed error; an InvalidParameterError names ``grammar``.

        Why: a grammar that is left out looks like a model that follows it badly. Look at: parsers that return None.
        """
        if not subject.declares("grammar"):
            subject.refuses(grammar=GRAMMAR)
            return
        call = partial(subject.generate, None, {**subject.limit(4), "grammar": GRAMMAR})
        error = expect_refusal(LlamaForgeError, call, f"the grammar {GRAMMAR!r}")
        expect_a_refusal(error, f"the grammar {GRAMMAR!r} to be refused")
        if isinstance(error, InvalidParameterError):
            expect_equal(error.name, "grammar", "error.name")

    def test_a_schema_that_means_nothing_raises_typed_errors_alone(self, subject: Subject) -> None:
        """A JSON schema with an unknown type raises a typed error, wherever it stands in the schema; an
        InvalidParameterError names ``response_format``. A server may also answer in its own way.

        Why: a KeyError of a schema's compiler tells a caller nothing. Look at: what the compiler raises.
        """
        if not subject.declares("response_format"):
            subject.refuses(response_format={"type": "json_object"})
            return
        for schema in SCHEMAS:
            wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
            try:
                subject.generate(None, {**subject.limit(4), "response_format": wanted})
            except InvalidParameterError as error:
                expect_equal(error.name, "response_format", f"error.name for the schema {schema}")
            except LlamaForgeError as error:
                expect_a_refusal(error, f"an answer for the schema {schema}")
            except Exception as error:
                raise NotAsExpected(f"a typed error or an answer for the schema {schema}", error) from error
