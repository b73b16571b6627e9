"""Grammars and schemas that are wrong in themselves."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from ...errors import ConstraintError, InvalidParameterError, LlamaForgeError
from ..expect import NotAsExpected, expect, expect_equal, expect_refusal
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
        """A JSON schema with an unknown type raises a typed error, wherever it stands in the schema, that of a tool
        among them; an InvalidParameterError names ``response_format`` or ``tools``, and a ConstraintError also the
        place, which is there. A server may also answer in its own way.

        Why: a KeyError of a schema's compiler tells a caller nothing. Look at: what the compiler raises; pointers that
        begin amid the parameter.
        """
        if not subject.declares("response_format"):
            subject.refuses(response_format={"type": "json_object"})
            return
        for schema in SCHEMAS:
            form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
            self._rejects(subject, "response_format", form, schema)
            if subject.declares("tools", "tool_choice"):
                sound = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
                wrong = {"type": "function", "function": {"name": "paint", "parameters": schema}}
                choice = {"type": "function", "function": {"name": "paint"}}
                self._rejects(subject, "tools", [sound, wrong], schema, tool_choice=choice)

    def _rejects(self, subject: Subject, name: str, wanted: Any, schema: Any, **more: Any) -> None:
        try:
            subject.generate(None, {**subject.limit(4), name: wanted, **more})
        except InvalidParameterError as error:
            expect_equal(error.name.partition("[")[0], name, f"error.name for the schema {schema}")
        except LlamaForgeError as error:
            expect_a_refusal(error, f"an answer for the schema {schema}")
            if isinstance(error, ConstraintError):
                expect_equal(error.parameter, name, f"error.parameter for the schema {schema}")
                expect(_is_there(error.place, wanted), f"error.place to point into {wanted}", error.place)
        except Exception as error:
            raise NotAsExpected(f"a typed error or an answer for the schema {schema}", error) from error


def _is_there(pointer: str, value: Any) -> bool:
    """Whether a JSON pointer leads somewhere."""
    if pointer and not pointer.startswith("/"):
        return False
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        elif isinstance(value, dict) and part in value:
            value = value[part]
        else:
            return False
    return True
