"""Constraints on answers: JSON schemas, regular expressions, choices and grammars become masks over tokens.

A request's ``response_format`` or ``grammar`` becomes one :class:`Grammar` for the whole answer. Each vocabulary
compiles it once (:mod:`.vocabulary`); each answer has a :class:`.matcher.Matcher`, which says what may come next. The
scheduler of in-process engines owns the matchers.

llguidance (https://github.com/guidance-ai/llguidance) does the work. It is imported with the first constraint.

===============  ====================================================================================
module           contents
===============  ====================================================================================
``formats``      reads ``response_format``
``grammar``      from a format to one grammar for the whole answer
``json_schema``  what of a JSON schema can be enforced, and what can't, by name and place
``regexes``      regular expressions
``gbnf``         llama.cpp's grammars, translated to Lark
``vocabulary``   a model's tokens, and grammars compiled for them
``matcher``      where one answer stands in its grammar
``accepting``    whether a finished text is an answer that a constraint allows
``library``      llguidance, and limits on what a grammar may cost
===============  ====================================================================================
"""

from __future__ import annotations

from .accepting import accepts, grammar_accepts
from .formats import AnswerFormat, read_format
from .grammar import Grammar, format_grammar, json_rule, literal, request_grammar, special_token, text_grammar

__all__ = [
    "AnswerFormat",
    "Grammar",
    "accepts",
    "format_grammar",
    "grammar_accepts",
    "json_rule",
    "literal",
    "read_format",
    "request_grammar",
    "special_token",
    "text_grammar",
]
