"""llguidance: imported when the first constraint is needed, with limits on what a grammar may cost."""

from __future__ import annotations

import functools
import importlib
import json
import re
from typing import Any, Final

from ..errors import MissingDependencyError

_LIMITS: Final = {
    "max_items_in_row": 2000,
    "initial_lexer_fuel": 1_000_000,
    "step_lexer_fuel": 200_000,
    "step_max_items": 50_000,
    "max_lexer_states": 1_000_000,  # a string of a bounded length takes some nine a character, 260 bytes each
    "max_grammar_size": 200_000,
    "verbose_errors": False,
}
"""What a grammar may cost: compiling stays under a second or so, a mask under some tens of milliseconds."""

_LONGEST: Final = 500
"""Characters of a reason."""
_REMOTE = re.compile(r"Resource '([^']*)' is not present in a registry")
_UNKNOWN = re.compile(r"Unimplemented keys: \[([^\]]*)\]")
_SOURCE = re.compile(r"\d+ \|")
"""How a line of the grammar begins that a message shows."""
_AT = re.compile(r"^(?:at )?(\d+)\((\d+)\): ")
"""How a message tells a line and a column."""
_NO_STATE: Final = "<non-verbose/>"
_ENDLESS: Final = "no text satisfies it: it only refers to itself."


@functools.cache
def llguidance() -> Any:
    """The module. Raises MissingDependencyError where it isn't installed."""
    try:
        return importlib.import_module("llguidance")
    except ImportError as error:
        raise MissingDependencyError(
            "Constraints on answers", "llguidance", 'pip install "forge-core[constraints]"'
        ) from error


@functools.cache
def limits() -> Any:
    """The limits for compiling and matching."""
    return llguidance().LLParserLimits(**_LIMITS)


@functools.cache
def bytes_tokenizer() -> Any:
    """A vocabulary of the 256 bytes, for texts that no model wrote."""
    return llguidance().LLTokenizer("byte")


def compile_grammar(tokenizer: Any, text: str) -> tuple[Any, str]:
    """A matcher for *text* (llguidance's Lark, or its JSON of several grammars), and "".

    If it can't be compiled: None, and the reason in one line.
    """
    try:
        matcher = llguidance().LLMatcher(tokenizer, text, log_level=0, limits=limits())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - a panic in Rust is no Exception
        return None, plain_reason(f"llguidance failed: {error}")
    if not matcher.is_error():
        matcher.compute_bitmask()  # what only refers to itself is found out when the first token is looked for
    if matcher.is_error():
        reason = matcher.get_error()
        return None, _ENDLESS if reason.startswith("NoExtensionBias") else plain_reason(reason)
    return matcher, ""


def plain_reason(message: str) -> str:
    """llguidance's *message* without its state and without the grammar, which may be long."""
    lines = [line.strip() for line in message.partition("\n<state>")[0].removesuffix(_NO_STATE).splitlines()]
    reason = " ".join(line for line in lines if line and set(line) != {"^"} and not _SOURCE.match(line))
    reason = _AT.sub(r"line \1, column \2: ", reason)
    _, found, told = reason.partition("failed to compile JSON schema: ")
    reason = told if found else reason
    unknown = _UNKNOWN.search(reason)
    if unknown is not None:
        names = ", ".join(json.loads(f"[{unknown[1]}]"))
        reason = f"{names}: this can't be enforced token by token."
    remote = _REMOTE.search(reason)
    if remote is not None:
        reason = f"the $ref {remote[1]!r} is in another document, and nothing is fetched. Put it into $defs."
    if "coerce_one_of" in reason:  # an option that nobody can set here
        reason = "oneOf: this can't be enforced token by token where several of its schemas may apply. Use anyOf."
    reason = reason if len(reason) <= _LONGEST else reason[:_LONGEST] + "..."
    return reason if reason.endswith(".") else reason + "."
